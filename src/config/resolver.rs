//! Name resolution.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::primitives::clock::{self, within};
use crate::primitives::lock::Mutex;
use crate::primitives::notify::Notify;

/// The future returned by [`Resolve::resolve`].
///
/// ```
/// let addrs = vec![([192, 0, 2, 7], 9000).into()];
/// let found: netmod_inet::ResolveFuture = Box::pin(async { Ok(addrs) });
/// # assert_eq!(smol::block_on(found).unwrap().len(), 1);
/// ```
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves the host name of a peer to socket addresses.
///
/// Called for every dial attempt, but never for an IP address, with a zone or without. The addresses
/// are tried in the given order, with the address families alternating (RFC 8305). The future may be
/// dropped at any time, and is dropped after `Limits::resolve_timeout`. A panic is a failed lookup.
///
/// ```
/// use netmod_inet::{ResolveFuture, Resolve};
///
/// /// A program's own table of names.
/// struct Hosts;
///
/// impl Resolve for Hosts {
///     fn resolve(&self, host: &str, port: u16) -> ResolveFuture {
///         let known = host == "mynas.example";
///         Box::pin(async move {
///             match known {
///                 true => Ok(vec![([192, 0, 2, 7], port).into()]),
///                 false => Err(std::io::ErrorKind::NotFound.into()),
///             }
///         })
///     }
/// }
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// Looks up `host`, a name.
    ///
    /// # Errors
    ///
    /// Any error; the peer is redialed later.
    ///
    /// ```
    /// # fn run(hosts: impl netmod_inet::Resolve) -> std::io::Result<()> {
    /// let addresses = smol::block_on(hosts.resolve("mynas.example", 9000))?;
    /// # Ok(()) }
    /// ```
    fn resolve(&self, host: &str, port: u16) -> ResolveFuture;
}

/// Maximum number of system lookups that run and do not hang. Each has a thread of its own: a name
/// server that does not answer can hold it for half a minute, and it cannot be stopped.
const MAX_LOOKUPS: usize = 64;

/// Maximum number of lookups that hang, or whose name did so last time. A name of which nothing is
/// known yet waits for them only once all threads hang.
const MAX_HANGING: usize = MAX_LOOKUPS / 2;

/// Maximum number of threads.
const MAX_THREADS: usize = 2 * MAX_LOOKUPS;

/// Maximum number of concurrent lookups of one name and port. A lookup that was given up may still
/// hang, and its peer tries again. More than one, so that a kick on another network does not wait
/// for the old name server.
const MAX_LOOKUPS_PER_NAME: usize = 2;

/// Time after which a lookup counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(1);

/// Maximum time that a lookup waits for a thread. Shorter than the default of
/// `Limits::resolve_timeout`, so that the error names the cause.
const THREAD_TIMEOUT: Duration = Duration::from_secs(4);

/// Number of names that are remembered because they hung.
const MAX_NAMES: usize = 256;

/// Size of the stack of a lookup: several times what the C libraries take.
const STACK: usize = 256 << 10;

/// The system's resolver, with a thread for each lookup.
///
/// Not on the thread pool of `blocking`: that retries while no thread can be started, and holds up
/// the executor meanwhile.
#[derive(Debug, Default)]
pub(crate) struct SystemResolver {
    lookups: Arc<Lookups>,
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> ResolveFuture {
        let (lookups, name) = (self.lookups.clone(), Name { host: host.to_owned(), port });
        Box::pin(async move {
            let lookup = lookups.admit(&name).await?;
            let (sender, answer) = async_channel::bounded(1);
            let look_up = move || {
                // The thread owns the lookup, which counts even after its future was dropped.
                let Name { host, port } = &lookup.name;
                let found = (host.as_str(), *port).to_socket_addrs().map(Iterator::collect);
                drop(lookup);
                // Fails if nobody waits any more.
                let _ = sender.try_send(found);
            };
            let builder = thread::Builder::new().name("lookup".to_owned()).stack_size(STACK);
            builder.spawn(look_up).map_err(no_thread)?;
            answer.recv().await.map_err(io::Error::other)?
        })
    }
}

/// The system's resolver on the thread pool of the crate `blocking`, which a program may share with
/// its other blocking work. Names that hang take threads of that pool for up to half a minute.
///
/// Where no thread can be started, as in a container with few processes, the pool tries again and
/// again, and holds up the executor meanwhile, so this is not the default.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use netmod_inet::{InetEndpoint, PoolResolver};
///
/// let endpoint = InetEndpoint::builder().resolver(PoolResolver).start().await?;
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolResolver;

impl Resolve for PoolResolver {
    fn resolve(&self, host: &str, port: u16) -> ResolveFuture {
        let host = host.to_owned();
        let look_up = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        Box::pin(blocking::unblock(look_up))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    host: String,
    port: u16,
}

/// The lookups that run.
#[derive(Debug)]
struct Lookups {
    state: Mutex<State>,
    /// Notified when one ends.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: Vec<(Name, Instant)>,
    /// The names whose last lookup hung, the latest one last.
    hung: VecDeque<Name>,
}

impl Default for Lookups {
    fn default() -> Lookups {
        Lookups { state: Mutex::default(), ended: Notify::new() }
    }
}

impl Lookups {
    /// Waits until a lookup of this name may start.
    async fn admit(self: &Arc<Self>, name: &Name) -> io::Result<Lookup> {
        let until = clock::now() + THREAD_TIMEOUT;
        loop {
            let ended = self.ended.listen();
            if let Some(lookup) = self.try_admit(name)? {
                return Ok(lookup);
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                let reason = "too many other lookups hang";
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            // That a lookup begins to hang makes room too, and notifies nobody.
            within(left.min(HANGS_AFTER / 4), ended).await;
        }
    }

    /// Starts a lookup of this name. `None` if there is no thread for it yet.
    fn try_admit(self: &Arc<Self>, name: &Name) -> io::Result<Option<Lookup>> {
        let mut state = self.state.lock();
        let of_name = state.running.iter().filter(|(other, _)| other == name).count();
        if of_name >= MAX_LOOKUPS_PER_NAME {
            let reason = "earlier lookups of this name hang";
            return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
        }
        let hangs = |(name, since): &&(Name, Instant)| {
            clock::since(*since) >= HANGS_AFTER || state.hung.contains(name)
        };
        let hanging = state.running.iter().filter(hangs).count();
        let has_thread = match state.hung.contains(name) {
            true => hanging < MAX_HANGING,
            false => state.running.len() - hanging < MAX_LOOKUPS,
        };
        if !has_thread || state.running.len() >= MAX_THREADS {
            return Ok(None);
        }
        let since = clock::now();
        state.running.push((name.clone(), since));
        Ok(Some(Lookup { lookups: self.clone(), name: name.clone(), since }))
    }
}

/// A lookup that runs. Dropping it records how it ended.
#[derive(Debug)]
struct Lookup {
    lookups: Arc<Lookups>,
    name: Name,
    since: Instant,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut state = self.lookups.state.lock();
        let is_own = |(name, since): &(Name, Instant)| *since == self.since && *name == self.name;
        let at = state.running.iter().position(is_own);
        at.map(|at| state.running.swap_remove(at));
        state.hung.retain(|name| *name != self.name);
        if clock::since(self.since) >= HANGS_AFTER {
            state.hung.push_back(self.name.clone());
            if state.hung.len() > MAX_NAMES {
                state.hung.pop_front();
            }
        }
        drop(state);
        self.lookups.ended.notify_all();
    }
}

fn no_thread(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("no thread for the lookup can be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::kit::manual_clock::Clock;

    fn name(number: usize) -> Name {
        Name { host: format!("host{number}.example"), port: 9 }
    }

    fn admitted(lookups: &Arc<Lookups>, names: std::ops::Range<usize>) -> Vec<Lookup> {
        names.filter_map(|number| lookups.try_admit(&name(number)).unwrap()).collect()
    }

    #[test]
    fn names_are_looked_up_on_threads_that_end() {
        let system = SystemResolver::default();
        let found = smol::block_on(system.resolve("localhost", 9)).unwrap();
        assert!(found.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 9));
        assert!(!found.is_empty() && system.lookups.state.lock().running.is_empty());
    }

    /// Regression: one dead name, tried again while its lookups hung, took all of them.
    #[test]
    fn one_name_takes_no_more_than_its_share() {
        let lookups = Arc::<Lookups>::default();
        let two: Vec<_> = (0..2).map(|_| lookups.try_admit(&name(1)).unwrap().unwrap()).collect();
        let error = lookups.try_admit(&name(1)).unwrap_err();
        assert!(error.to_string().contains("earlier lookups"), "{error}");
        drop(two);
        assert!(lookups.try_admit(&name(1)).unwrap().is_some());
        assert!(lookups.state.lock().running.is_empty());
    }

    /// Regression: four names that hung held all others.
    #[test]
    fn a_new_name_waits_for_hanging_ones_no_longer_than_a_second() {
        let clock = Clock::install();
        let lookups = Arc::<Lookups>::default();
        let hanging = admitted(&lookups, 0..100);
        assert_eq!(hanging.len(), MAX_LOOKUPS);
        assert!(admitted(&lookups, 100..101).is_empty());
        clock.advance(HANGS_AFTER);
        let new = admitted(&lookups, 100..300);
        assert_eq!(new.len(), MAX_THREADS - MAX_LOOKUPS, "as many as there may be threads");
        drop((hanging, new));
        // Those that hung have their part, and leave the rest to others.
        let again = admitted(&lookups, 0..MAX_LOOKUPS);
        assert_eq!(again.len(), MAX_HANGING);
        assert_eq!(admitted(&lookups, 500..600).len(), MAX_LOOKUPS);
        drop(again);
        assert_eq!(admitted(&lookups, 0..MAX_LOOKUPS).len(), MAX_LOOKUPS, "they hang no more");
    }

    #[test]
    fn a_lookup_waits_while_all_threads_hang() {
        let clock = Clock::install();
        let lookups = Arc::<Lookups>::default();
        let mut hanging = admitted(&lookups, 0..MAX_LOOKUPS);
        clock.advance(HANGS_AFTER);
        hanging.extend(admitted(&lookups, 100..100 + MAX_LOOKUPS));
        clock.advance(HANGS_AFTER);
        assert!(lookups.try_admit(&name(999)).unwrap().is_none());
        hanging.pop();
        assert!(lookups.try_admit(&name(999)).unwrap().is_some());
    }
}
