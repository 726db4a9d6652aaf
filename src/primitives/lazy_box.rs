//! Memory for what most peers do not have.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value that is empty for most peers: it is in a box that is made when somebody writes to it.
#[derive(Default)]
pub(crate) struct LazyBox<T>(Option<Box<T>>);

/// What stands for a value that nobody has written to.
pub(crate) trait StaticDefault: Sized + 'static {
    const DEFAULT: &'static Self;
}

impl<T> LazyBox<T> {
    /// Whether nobody has written to it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes the value out, if somebody has written to it.
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
