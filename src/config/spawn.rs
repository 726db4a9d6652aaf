//! The executor of an endpoint.

use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;

use smol::Executor;

/// A task that an endpoint spawns on its executor. It ends by itself.
///
/// ```
/// // What a thread of its own does to run one.
/// fn run(task: netmod_inet::Task) {
///     smol::block_on(task);
/// }
/// # run(Box::pin(async {}));
/// ```
pub type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// The executor that an endpoint runs on.
///
/// This is all that the endpoint needs of a runtime: sockets and timers come from `async-io`, which
/// works under every executor.
///
/// If the executor is gone, all its tasks have been dropped, and the endpoint closes. If it drops a
/// single task before it has completed, only what that task served ends: one peer, one listener, or
/// one inbound handshake. A spawner that panics has dropped its task; an event reports it.
///
/// Implemented for closures, which is the way to use a runtime other than smol:
///
/// ```
/// # async fn run() -> Result<(), netmod_inet::StartError> {
/// use netmod_inet::{InetEndpoint, Task};
///
/// let endpoint = InetEndpoint::builder()
///     .bind("[::1]:0")
///     .spawner(|task: Task| {
///         std::thread::spawn(|| smol::block_on(task));
///     })
///     .start()
///     .await?;
/// # Ok(()) }
/// ```
pub trait Spawn: Send + Sync + 'static {
    /// Spawns `task`, which must be run to completion in the background.
    ///
    /// ```
    /// use netmod_inet::Spawn;
    ///
    /// let executor = std::sync::Arc::new(smol::Executor::new());
    /// let spawner = std::sync::Arc::downgrade(&executor);
    /// spawner.spawn(Box::pin(async { println!("in the background") }));
    /// assert!(executor.try_tick());
    /// ```
    fn spawn(&self, task: Task);
}

impl<F: Fn(Task) + Send + Sync + 'static> Spawn for F {
    fn spawn(&self, task: Task) {
        self(task);
    }
}

/// An executor that the caller drives. It is held weakly, so dropping it ends the tasks.
impl Spawn for Weak<Executor<'static>> {
    fn spawn(&self, task: Task) {
        if let Some(executor) = self.upgrade() {
            executor.spawn(task).detach();
        }
    }
}

impl Spawn for &'static Executor<'static> {
    fn spawn(&self, task: Task) {
        Executor::spawn(self, task).detach();
    }
}

/// smol's global executor, which starts its own threads.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Global;

impl Spawn for Global {
    fn spawn(&self, task: Task) {
        smol::spawn(task).detach();
    }
}
