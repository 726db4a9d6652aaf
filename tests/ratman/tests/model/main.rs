//! A model of Ratman's router over the adapter, with each node in a process of its own.
//!
//! The suite beside this one tests the adapter call by call. These tests drive it as a whole router
//! does: one task forwards and floods inside the loop that calls `next`, another sends streams as
//! fast as `send` returns, and whatever `send` refuses is lost. So a stream that arrives whole
//! shows that nothing was refused, on the way or at its beginning.
//!
//! `NETMOD_INET_MODEL=full` runs the sizes and repetitions of an acceptance test.

mod cuts;
mod floods;
mod lines;
mod logs;
mod node;
mod plain;
mod plain_nodes;
mod process;
mod proxy;
mod restarts;
mod router;
mod scale;
mod stream;
mod transfers;

/// The entry of the processes that the tests start. Run as a test, it does nothing.
#[test]
fn node_process() {
    if let Ok(arguments) = std::env::var(node::ARGUMENTS) {
        node::run(&arguments);
    }
}
