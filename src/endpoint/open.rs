//! Opens an endpoint from its parts.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use smol::Async;

use crate::config::Limits;
use crate::endpoint::InetEndpoint;
use crate::error::StartError;
use crate::peer::{Origin, inbound};
use crate::proto::PeerType;
use crate::server::Server;
use crate::session::start_stream;
use crate::shared::{Shared, SharedConfig, TaskRef};
use crate::transport::{Keepalive, Stream, TcpLink};

/// Creates an endpoint, and the strong reference that its tasks hold.
pub(crate) fn open(config: SharedConfig, servers: &[Server]) -> (InetEndpoint, Arc<TaskRef>) {
    let (sender, inbound) = inbound(config.limits.inbound_bytes);
    let shared = Arc::new(Shared::new(config, inbound));
    let running = TaskRef::new(shared.clone(), sender);
    let endpoint = InetEndpoint::new(shared, &running, servers);
    hold_open(&running);
    (endpoint, running)
}

/// Starts a task that only waits for the endpoint to stop. It keeps an endpoint without listeners
/// and peers open; if it is dropped earlier, the executor is gone.
fn hold_open(running: &Arc<TaskRef>) {
    let task = running.clone();
    running.spawn(async move { task.stopping().await });
}

/// A stream connected by the caller, ready for the handshake.
pub(crate) struct PreparedStream {
    stream: Arc<dyn Stream>,
    addr: Option<SocketAddr>,
    peer_type: PeerType,
}

/// Prepares the streams, before anything is started.
pub(crate) fn prepare(
    streams: Vec<(TcpStream, PeerType)>,
    limits: &Limits,
) -> Result<Vec<PreparedStream>, StartError> {
    let prepare = |(stream, peer_type): (TcpStream, PeerType)| {
        let addr = stream.peer_addr().ok();
        let stream = TcpLink::new(Async::new(stream)?, Keepalive::new(limits))?;
        Ok(PreparedStream { stream: Arc::new(stream), addr, peer_type })
    };
    streams.into_iter().map(prepare).collect::<Result<_, _>>().map_err(StartError::Socket)
}

/// Registers a stream as a peer and starts its handshake. There are at most as many streams as
/// `Limits::peers`, so this fails only if the endpoint is stopping.
pub(crate) fn register_stream(running: &Arc<TaskRef>, stream: PreparedStream) {
    let PreparedStream { stream, addr, peer_type } = stream;
    if let Some(peer) = running.add_linked(peer_type, Origin::Dialed, addr, false) {
        start_stream(running, peer, stream, addr);
    }
}
