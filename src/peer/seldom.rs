//! Memory for what most peers do not have.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value that is empty for most peers: it is in a box that is made when somebody writes to it.
#[derive(Default)]
pub(super) struct Seldom<T>(Option<Box<T>>);

/// What stands for a value that nobody has written to.
pub(super) trait Empty: Sized + 'static {
    const EMPTY: &'static Self;
}

impl<T> Seldom<T> {
    /// Whether nobody has written to it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes the value out, if somebody has written to it.
    pub(super) fn take(&mut self) -> Option<T> {
        self.0.take().map(|value| *value)
    }
}

impl<T> From<Box<T>> for Seldom<T> {
    fn from(value: Box<T>) -> Seldom<T> {
        Seldom(Some(value))
    }
}

impl<T: Empty> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty + Default> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
