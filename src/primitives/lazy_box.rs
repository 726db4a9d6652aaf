//! Lazily allocated fields.

use std::fmt;
use std::ops::Deref;

/// A lazily boxed value: reads yield a static default until it is allocated.
///
/// Saves memory for state that most peers never have. A write names what it does: `set` allocates
/// only for a value that differs from the default, `get_or_allocate` always. There is no
/// `DerefMut`, since an assignment that clears a field would allocate unnoticed.
#[derive(Default)]
pub(crate) struct LazyBox<T>(Option<Box<T>>);

/// The static default of a value in a [`LazyBox`]. Equal to its [`Default`].
pub(crate) trait StaticDefault: Sized + 'static {
    const DEFAULT: &'static Self;
}

impl<T> LazyBox<T> {
    /// Whether nothing is allocated.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The value, if it is allocated.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Takes the value out. `None` if nothing is allocated.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take().map(|value| *value)
    }
}

impl<T: Default> LazyBox<T> {
    /// Returns the value, which is allocated if it was not.
    pub(crate) fn get_or_allocate(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    /// Sets a field. If nothing is allocated, the default of the field is not written.
    pub(crate) fn set<F>(&mut self, field: impl FnOnce(&mut T) -> &mut F, value: F)
    where
        F: Default + PartialEq,
    {
        if !self.is_empty() || value != F::default() {
            *field(self.get_or_allocate()) = value;
        }
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

impl<T: fmt::Debug> fmt::Debug for LazyBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct State {
        error: Option<String>,
        count: u32,
    }

    impl StaticDefault for State {
        const DEFAULT: &'static State = &State { error: None, count: 0 };
    }

    /// Regression: clearing a field allocated the whole value.
    #[test]
    fn setting_a_field_to_its_default_allocates_nothing() {
        let mut state = LazyBox::<State>::default();
        state.set(|state| &mut state.error, None);
        state.set(|state| &mut state.count, 0);
        assert!(state.is_empty() && state.get_mut().is_none());
        assert_eq!((state.error.as_deref(), state.count), (None, 0));
    }

    #[test]
    fn an_allocated_value_is_written_whatever_the_value() {
        let mut state = LazyBox::<State>::default();
        state.set(|state| &mut state.count, 7);
        state.get_or_allocate().error = Some("refused".into());
        assert_eq!((state.error.as_deref(), state.count), (Some("refused"), 7));
        state.set(|state| &mut state.error, None);
        state.set(|state| &mut state.count, 0);
        assert_eq!((state.error.as_deref(), state.count), (None, 0));
        assert!(!state.is_empty() && state.take().is_some() && state.is_empty());
    }
}
