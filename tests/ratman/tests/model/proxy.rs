//! A TCP proxy in the process of the test: a slow path, or one that is cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};

/// What the kernel keeps for each end of a connection, so that most of a stream waits at its
/// sender.
const SOCKET_BUFFER: u32 = 64 << 10;

/// Most that is read at once: a segment of an Ethernet.
const SEGMENT: usize = 1_460;

/// A proxy to one address. Dropping it ends its connections.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    path: Arc<Path>,
    runtime: Option<Runtime>,
}

/// What the proxy does to the bytes.
#[derive(Debug, Default)]
pub(crate) struct Path {
    /// Bytes per second, each way.
    rate: Option<u32>,
    /// Bytes, both ways together, after which a connection is cut.
    cut_after: Option<u64>,
    /// How often that is still done.
    cuts_left: AtomicU32,
}

impl Path {
    /// A path of `rate` Mbit/s each way.
    pub(crate) fn mbit(rate: u32) -> Path {
        Path { rate: Some(rate * 1_000_000 / 8), ..Path::default() }
    }

    /// A path that cuts `cuts` connections, each after `after` bytes.
    pub(crate) fn cut(cuts: u32, after: u64) -> Path {
        Path { cut_after: Some(after), cuts_left: cuts.into(), ..Path::default() }
    }
}

impl Proxy {
    pub(crate) fn start(to: &str, path: Path) -> Proxy {
        let to = to.parse().expect("an address");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let path = Arc::new(path);
        let listener = runtime.block_on(async {
            let socket = socket();
            socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
            socket.listen(16).expect("a listener")
        });
        let addr = listener.local_addr().expect("an address");
        runtime.spawn(accept(listener, to, path.clone()));
        Proxy { addr, path, runtime: Some(runtime) }
    }

    /// How many more connections are to be cut.
    pub(crate) fn cuts_left(&self) -> u32 {
        self.path.cuts_left.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SOCKET_BUFFER).expect("a size");
    socket.set_send_buffer_size(SOCKET_BUFFER).expect("a size");
    socket
}

async fn accept(listener: TcpListener, to: SocketAddr, path: Arc<Path>) {
    loop {
        let (from, _) = listener.accept().await.expect("a connection");
        let path = path.clone();
        tokio::spawn(async move {
            // If nobody listens, the dialer is cut off as well.
            if let Ok(to) = socket().connect(to).await {
                connect(from, to, &path).await;
            }
        });
    }
}

/// Passes bytes both ways until either end closes, or it is time to cut. Closes both ends then.
async fn connect(one: TcpStream, other: TcpStream, path: &Path) {
    let passed = AtomicU64::new(0);
    let ((one_in, one_out), (other_in, other_out)) = (one.into_split(), other.into_split());
    tokio::select! {
        () = pass(one_in, other_out, path, &passed) => {}
        () = pass(other_in, one_out, path, &passed) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, path: &Path, passed: &AtomicU64) {
    let mut segment = [0; SEGMENT];
    let mut free_at = Instant::now();
    while let Ok(len @ 1..) = from.read(&mut segment).await {
        if to.write_all(&segment[..len]).await.is_err() {
            return;
        }
        let passed = passed.fetch_add(len as u64, Ordering::Relaxed) + len as u64;
        if path.cut_after.is_some_and(|most| passed > most) && path.cut_one() {
            return;
        }
        if let Some(rate) = path.rate {
            free_at = free_at.max(Instant::now() - BURST) + Duration::from_secs(len as u64) / rate;
            sleep_until(free_at).await;
        }
    }
}

/// Time that the path may have been idle and make up for: timers are coarse.
const BURST: Duration = Duration::from_millis(10);

impl Path {
    /// Whether one more connection is to be cut.
    fn cut_one(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.cuts_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}
