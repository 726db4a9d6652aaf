//! Calls of the caller's code.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls the caller's code: a resolver, a spawner, an accept callback or a logger. `None` if it
/// panics, which the panic hook of the program has reported by then. So a panic costs this call, and
/// not the task that makes it, which may serve a peer or a listener.
///
/// Call it without holding a lock: the code may call back into the endpoint.
pub(crate) fn catch_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    // Unwind safe: what the call was given is dropped with it.
    catch_unwind(AssertUnwindSafe(call)).ok()
}
