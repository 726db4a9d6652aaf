use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;

use smol::Executor;

/// What an endpoint asks an executor to run: a task that ends by itself.
///
/// ```
/// // What a thread of its own does to run one.
/// fn run(task: netmod_inet::Task) {
///     smol::block_on(task);
/// }
/// # run(Box::pin(async {}));
/// ```
pub type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// The executor that an endpoint runs on: the only thing that it needs of a runtime.
///
/// Sockets and timers come from `async-io`, which works under every executor.
///
/// An executor that is gone has dropped all tasks, and the endpoint then closes. One that drops a
/// single task instead of running it to its end takes away what that task served, and no more: a
/// peer comes to its end, a listener closes, a stranger is not let in.
///
/// It is implemented for closures, which is how to bring a runtime that smol does not know:
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
    /// Runs `task` to its end in the background.
    ///
    /// ```
    /// use netmod_inet::Spawn;
    ///
    /// let executor = std::sync::Arc::new(smol::Executor::new());
    /// std::sync::Arc::downgrade(&executor).spawn(Box::pin(async { println!("in the background") }));
    /// assert!(executor.try_tick());
    /// ```
    fn spawn(&self, task: Task);
}

impl<F: Fn(Task) + Send + Sync + 'static> Spawn for F {
    fn spawn(&self, task: Task) {
        self(task);
    }
}

/// An executor that the caller drives and may drop: tasks hold it weakly, so dropping it ends them.
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

/// smol's own global executor, on threads that it starts itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Global;

impl Spawn for Global {
    fn spawn(&self, task: Task) {
        smol::spawn(task).detach();
    }
}
