//! From a socket or an address to a link that has shaken hands.

mod accept;
mod connect;
mod dial;
mod handshake;
mod pending;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use smol::Timer;

use crate::context::Running;
use crate::error::DownReason;
use crate::events::Event;
use crate::link::Link;
use crate::peer::Peer;
use crate::proto::Id;

pub(crate) use accept::handle_stream;
pub(crate) use dial::{start_connection, start_stream};
pub(crate) use pending::Pending;

/// The result of `future`, unless it takes longer than `limit`.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timed_out = async {
        Timer::after(limit).await;
        None
    };
    future::or(async { Some(future.await) }, timed_out).await
}

/// Notes and tells that a peer's link is up.
async fn link_up(running: &Running, peer: &Arc<Peer>, link: &Link, id: Id) {
    peer.link_up(id, link);
    running.routes.add_peer(peer.target(), peer.clone()).await;
    running.events.emit(Event::Up {
        target: peer.target(),
        id,
        addr: link.addr,
        origin: peer.origin(),
        peer_type: peer.peer_type(),
    });
}

/// Notes and tells that a peer's link ended, and when it is dialed next.
fn link_down(running: &Running, peer: &Peer, reason: DownReason, retry: Option<Duration>) {
    peer.link_down(&reason, retry);
    running.events.emit(Event::Down { target: peer.target(), reason, retry });
}
