//! Locks that a panic does not poison.
//!
//! Code of the user (a callback, the destructor of a payload) may panic in a task of the endpoint.
//! That task ends, and its drop guards undo what it had started; the others continue. None of the
//! locks protects a state that is inconsistent halfway, so a poisoned one is as good as any.

use std::sync::{self, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// A [`sync::Mutex`] without poisoning.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no thread holds the lock.
    #[cfg(test)]
    pub(crate) fn is_free(&self) -> bool {
        self.0.try_lock().is_ok()
    }
}

/// A [`sync::RwLock`] without poisoning.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> RwLock<T> {
        RwLock(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no thread holds the lock.
    #[cfg(test)]
    pub(crate) fn is_free(&self) -> bool {
        self.0.try_write().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_usable_after_a_panic_under_them() {
        let (mutex, rw_lock) = (Mutex::new(1), RwLock::new(2));
        let panicked = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _guards = (mutex.lock(), rw_lock.write());
                panic!("under both locks");
            });
            holder.join().is_err()
        });
        assert!(panicked);
        let read = *rw_lock.read();
        let write = *rw_lock.write();
        assert_eq!((*mutex.lock(), read, write), (1, 2, 2));
    }
}
