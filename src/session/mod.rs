//! From a socket or an address to a link that has shaken hands.

mod accept;
mod connect;
mod dial;
#[cfg_attr(not(feature = "noise"), path = "plain.rs")]
mod encrypted;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod handshake;
mod merge;
mod pending;
mod probe;
mod service;

use std::sync::Arc;
use std::time::Duration;

use crate::context::Running;
use crate::error::DownReason;
use crate::events::Event;
use crate::link::Link;
use crate::peer::Peer;
use crate::proto::Id;

pub(crate) use accept::handle_stream;
pub(crate) use dial::{start_connection, start_stream};
pub(crate) use pending::Pending;
pub(crate) use probe::probe;

/// Notes and tells that a peer's link is up.
async fn link_up(running: &Arc<Running>, peer: &Arc<Peer>, link: &Link, id: Id) {
    encrypted::enter(running, peer, id, link);
    probe::probe_claimed(running, peer, id);
    running.routes.add_peer(peer.target(), peer.clone()).await;
    running.events.emit(Event::Up {
        target: peer.target(),
        id,
        addr: link.addr,
        origin: peer.origin(),
        peer_type: peer.peer_type(),
        key: link.key(),
    });
    merge::introduce(running, peer);
}

/// Notes and tells that a peer's link ended, and when it is dialed next.
fn link_down(running: &Running, peer: &Peer, reason: DownReason, retry: Option<Duration>) {
    peer.link_down(&reason, retry);
    running.events.emit(Event::Down { target: peer.target(), reason, retry });
}
