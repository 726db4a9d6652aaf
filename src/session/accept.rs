//! From an accepted stream to a peer.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handshake::Handshake;
use super::{link_down, link_up, within};
use crate::accept::Incoming;
use crate::context::{EndOnDrop, Running};
use crate::error::{DropReason, HandshakeError};
use crate::link::{Link, Stream};
use crate::peer::{Origin, Peer};
use crate::proto::Hello;

/// Serves a stream that a listener accepted: shakes hands, and if that goes well runs the peer
/// until its link ends. A stream that never becomes a peer is dropped, and an event says why.
pub(crate) async fn handle_stream(
    running: Arc<Running>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) {
    let accepted = match accept_connection(&running, stream, addr).await {
        Ok((hello, link)) => {
            let peer_type = hello.peer_type.seen_from_other_end();
            let peer = running.add_linked(peer_type, Origin::Accepted);
            peer.map(|peer| (peer, hello, link)).ok_or(DropReason::TooManyPeers)
        }
        Err(reason) => Err(reason),
    };
    match accepted {
        Ok((peer, hello, link)) => serve(&running, &peer, &link, &hello).await,
        Err(reason) => running.events.dropped(Some(addr), reason),
    }
}

/// Shakes hands as the listener, under one deadline, as one of so many strangers.
async fn accept_connection(
    running: &Running,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) -> Result<(Hello, Link), DropReason> {
    let ticket = running.pending.enter(addr.ip(), stream.clone());
    let shaking = shake(running, stream, addr);
    let shaken = within(running.limits.handshake_timeout, shaking).await;
    match ticket.was_displaced() {
        true => Err(DropReason::Displaced),
        false => shaken.unwrap_or(Err(DropReason::Handshake(HandshakeError::TimedOut))),
    }
}

async fn shake(
    running: &Running,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) -> Result<(Hello, Link), DropReason> {
    let mut handshake = Handshake::new(&*stream, running.limits.handshake_bytes);
    let hello = handshake.hear_hello().await.map_err(DropReason::Handshake)?;
    let incoming = Incoming {
        addr,
        id: hello.id,
        peer_type: hello.peer_type.seen_from_other_end(),
        listening_port: hello.port,
    };
    if !running.admits(&incoming) {
        return Err(DropReason::NotAllowed);
    }
    if !running.has_room_for_peer() {
        return Err(DropReason::TooManyPeers);
    }
    let said = handshake.say_ack(running.id, hello.peer_type).await;
    said.map_err(DropReason::Handshake)?;
    let ahead = handshake.into_rest();
    // Answered all the same: this node itself, or a copy of it, learns what is wrong from our id.
    match hello.id == running.id {
        true => Err(DropReason::Handshake(HandshakeError::OwnSelf)),
        false => Ok((hello, Link::new(stream, Some(addr), ahead))),
    }
}

/// Runs the peer for as long as its link lasts. It is plain: nothing tells it apart from another
/// that claims its id, so nothing of it is kept when the link ends.
async fn serve(running: &Arc<Running>, peer: &Arc<Peer>, link: &Link, hello: &Hello) {
    let _end = EndOnDrop::new(running, peer);
    link_up(running, peer, link, hello.id).await;
    let reason = peer.run(link, &running.inbound, running.limits.drain_timeout).await;
    link_down(running, peer, reason, None);
    running.routes.remove_peer(peer.target()).await;
}
