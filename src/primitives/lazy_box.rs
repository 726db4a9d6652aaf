//! Lazily allocated fields.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A lazily boxed field: reads yield a static default, and the first write allocates.
///
/// Saves memory for state that most peers never have.
#[derive(Default)]
pub(crate) struct LazyBox<T>(Option<Box<T>>);

/// The static default of a value in a [`LazyBox`].
pub(crate) trait StaticDefault: Sized + 'static {
    const DEFAULT: &'static Self;
}

impl<T> LazyBox<T> {
    /// Whether nothing was written yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes the value out. `None` if nothing was written.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take().map(|value| *value)
    }
}

impl<T> From<Box<T>> for LazyBox<T> {
    fn from(value: Box<T>) -> LazyBox<T> {
        LazyBox(Some(value))
    }
}

impl<T: StaticDefault> Deref for LazyBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::DEFAULT)
    }
}

impl<T: StaticDefault + Default> DerefMut for LazyBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: fmt::Debug> fmt::Debug for LazyBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
