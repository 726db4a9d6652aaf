//! The listener's half of connection set-up: from an accepted stream to a peer with a link.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_lite::future;

use crate::config::Incoming;
use crate::error::{DropReason, Goodbye, GoodbyeReason, HandshakeError};
use crate::peer::{Origin, Peer, Session};
use crate::primitives::clock::within;
use crate::proto::{Hello, Id, InvalidAck, PublicKey};
use crate::session::handshake::{Handshake, LocalHello, Negotiated, RemoteExtension};
use crate::session::key_exchange;
use crate::session::peer_lease::PeerLease;
use crate::shared::TaskRef;
use crate::transport::{Link, Stream};

/// The result of accepting a stream.
pub(crate) enum Accepted {
    /// A peer, its new link, the router id that the remote node claims, and whether the peer was
    /// resumed.
    Established(PeerLease, Arc<Link>, Id, bool),
    /// No link. If the lease of a resumed peer was acquired for it, that peer has lost its previous
    /// link, and the lease is returned.
    Failed(Option<PeerLease>),
}

/// Runs the handshake as the listener, and registers the peer. If the stream is dropped, an event
/// gives the reason.
pub(crate) async fn accept(
    running: Arc<TaskRef>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) -> Accepted {
    let mut known = None;
    let accepted = accept_connection(&running, stream, addr, &mut known).await;
    let reason = match accepted {
        Ok(Handshaken { hello, session: pair, link }) => {
            let is_resumed = known.is_some();
            match known.or_else(|| register_peer(&running, &hello, pair, &link)) {
                Some(service) => return Accepted::Established(service, link, hello.id, is_resumed),
                None if running.is_stopping() => DropReason::ShuttingDown,
                None => DropReason::TooManyPeers,
            }
        }
        Err(reason) => {
            running.events.dropped(Some(addr), reason);
            return Accepted::Failed(known);
        }
    };
    running.events.dropped(Some(addr), reason);
    Accepted::Failed(None)
}

/// An inbound stream whose handshake is complete.
struct Handshaken {
    hello: Hello,
    /// The new session. `None` if a peer was resumed, or if the remote node is plain.
    session: Option<Session>,
    link: Arc<Link>,
}

/// Runs the handshake as the listener, under one deadline and in one of the handshake slots. Fails
/// if the slot is evicted or the endpoint stops. A resumed peer is stored in `known`.
async fn accept_connection(
    running: &Arc<TaskRef>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
    known: &mut Option<PeerLease>,
) -> Result<Handshaken, DropReason> {
    let ticket = running.handshake_slots.acquire(addr.ip(), stream.clone());
    let stopping = async {
        running.stopping().await;
        Err(DropReason::ShuttingDown)
    };
    let displaced = async {
        ticket.evicted().await;
        Err(DropReason::Evicted)
    };
    // Boxed: the futures that wrap it would each reserve space for it again.
    let shaking = Box::pin(run_handshake(running, stream, addr, known));
    let shaking = future::or(displaced, future::or(stopping, shaking));
    let shaken = within(running.limits.handshake_timeout, shaking).await;
    match ticket.was_evicted() {
        true => Err(DropReason::Evicted),
        false => shaken.unwrap_or(Err(DropReason::Handshake(HandshakeError::TimedOut))),
    }
}

/// Receives the Hello, checks whether the remote node is admitted, and completes the handshake.
async fn run_handshake(
    running: &Arc<TaskRef>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
    known: &mut Option<PeerLease>,
) -> Result<Handshaken, DropReason> {
    let limit = running.limits.handshake_bytes;
    let mut handshake = Handshake::new(stream, limit, Some(running), &[]);
    let (hello, offer) = handshake.recv_hello().await?;
    let incoming = Incoming {
        addr,
        id: hello.id,
        peer_type: hello.peer_type.mirrored(),
        listening_port: hello.port,
        key: None,
    };
    if let Some((reason, goodbye)) = admission_error(running, &hello, offer.as_ref(), &incoming) {
        if offer.is_some() {
            handshake.send_close(running.id, Goodbye::new(goodbye).into()).await?;
        }
        return Err(reason);
    }
    let pair = match &offer {
        Some(offer) => {
            let peer = find_resumable(running, &hello, offer);
            handshake.key_exchange.mark_expected(running, peer.as_deref(), addr);
            respond_extended(running, &mut handshake, &hello, &incoming, offer, known).await?
        }
        None => {
            handshake.send_ack(running.id, &hello).await?;
            None
        }
    };
    // Answered nonetheless: from our id, this node or a copy of it learns what is wrong.
    if hello.id == running.id {
        return Err(HandshakeError::OwnSelf.into());
    }
    let key = handshake.key();
    let (stream, ahead) = handshake.into_stream();
    let control_sender = offer.map(|_| running.control_sender.clone());
    let link = Link::keyed(stream, Some(addr), ahead, control_sender, key);
    Ok(Handshaken { hello, session: pair, link })
}

/// Why a dialer is not admitted after its Hello, and the reason to send to it.
fn admission_error(
    running: &TaskRef,
    hello: &Hello,
    offer: Option<&RemoteExtension>,
    incoming: &Incoming,
) -> Option<(DropReason, GoodbyeReason)> {
    let is_judged_later =
        offer.is_some_and(|offer| key_exchange::will_authenticate(running, offer));
    // The address is checked again: the policy may have changed since the connection was accepted.
    let is_admitted = running.admits_addr(incoming.addr);
    if !is_admitted || !(is_judged_later || running.admits(incoming)) {
        return Some((DropReason::NotAllowed, GoodbyeReason::NotAllowed));
    }
    let known = offer.and_then(|offer| find_resumable(running, hello, offer));
    if let Some(refused) = key_exchange::admission_error(running, hello, offer, known.as_deref()) {
        return Some(refused);
    }
    match known {
        Some(peer) if loses_simultaneous_open(running, &peer, offer) => {
            Some((DropReason::Duplicate, GoodbyeReason::Duplicate))
        }
        None if !running.can_accept(incoming.addr) => {
            Some((DropReason::TooManyPeers, GoodbyeReason::Busy))
        }
        _ => None,
    }
}

/// Whether the inbound link loses against what this node does with the same peer: it is being
/// merged into another, or this node is dialing it and has the lower instance id. If both nodes
/// dial at the same time, the link dialed by the node with the lower instance id survives.
fn loses_simultaneous_open(
    running: &TaskRef,
    peer: &Peer,
    offer: Option<&RemoteExtension>,
) -> bool {
    let goes_first = offer.is_some_and(|offer| running.instance_id < offer.instance_id);
    peer.is_merge_loser() || (goes_first && peer.is_dialing())
}

/// The peer that the dialer asks to resume. The claim is not proved yet.
fn find_resumable(running: &TaskRef, hello: &Hello, offer: &RemoteExtension) -> Option<Arc<Peer>> {
    let peer = running.resumable_peer(&offer.session?, &offer.instance_id)?;
    (peer.peer_type() == hello.peer_type.mirrored()).then_some(peer)
}

/// Completes the handshake with an extended dialer. Acquires the peer that it proves to be and
/// stores its lease in `known`, or returns the new session.
async fn respond_extended(
    running: &Arc<TaskRef>,
    handshake: &mut Handshake<'_>,
    hello: &Hello,
    incoming: &Incoming,
    offer: &RemoteExtension,
    known: &mut Option<PeerLease>,
) -> Result<Option<Session>, DropReason> {
    let fresh = LocalHello::new(running.instance_id)?;
    let peer = find_resumable(running, hello, offer);
    let pair = peer.as_ref().and_then(|peer| peer.session());
    let secret = pair.as_ref().map(|pair| &pair.secret);
    handshake.send_extended_ack(running.id, hello, &fresh, offer, secret).await?;
    // The key may be another than that of the session: then this is another node.
    let key = handshake.key();
    let peer = peer.filter(|_| pair.as_ref().is_some_and(|pair| pair.key() == key));
    let secret = secret.filter(|_| peer.is_some());
    let terms = handshake.recv_proof(&fresh, offer, secret).await?;
    // Not earlier: closing a socket with unread data may reset the connection, and discard the
    // refusal.
    if let Err(reason) = check_policy(running, incoming, offer, key, peer.as_deref()) {
        let end = Goodbye::new(GoodbyeReason::NotAllowed).into();
        handshake.send_close(running.id, end).await?;
        return Err(reason);
    }
    match (terms, peer) {
        (Negotiated::New(pair), _) => {
            if key.is_some() {
                handshake.send_ack_count(running.id, 0).await?;
            }
            Ok(Some(pair))
        }
        (Negotiated::Resumed { received }, Some(peer)) => {
            if loses_simultaneous_open(running, &peer, Some(offer)) {
                let goodbye = Goodbye::new(GoodbyeReason::Duplicate);
                return Err(HandshakeError::Refused(goodbye).into());
            }
            let service = known.insert(PeerLease::acquire(running, &peer).await);
            service.peer.set_coming_up(true);
            if service.peer.has_ended() {
                return Err(HandshakeError::NotProved.into());
            }
            let queue = &service.peer.queue;
            queue.resume(received).map_err(|InvalidAck| HandshakeError::NotProved)?;
            handshake.send_ack_count(running.id, queue.received_total()).await?;
            Ok(None)
        }
        _ => Err(HandshakeError::NotProved.into()),
    }
}

/// Checks whether a dialer is admitted after its proof, and after it has authenticated if the link
/// is encrypted.
fn check_policy(
    running: &TaskRef,
    incoming: &Incoming,
    offer: &RemoteExtension,
    key: Option<PublicKey>,
    known: Option<&Peer>,
) -> Result<(), DropReason> {
    key_exchange::check_policy(running, incoming.id, key, known)?;
    let incoming = Incoming { key, ..incoming.clone() };
    match key_exchange::will_authenticate(running, offer) && !running.admits(&incoming) {
        true => Err(DropReason::NotAllowed),
        false => Ok(()),
    }
}

/// Registers a peer for an inbound link. `None` if there are too many peers, or the endpoint stops.
fn register_peer(
    running: &Arc<TaskRef>,
    hello: &Hello,
    pair: Option<Session>,
    link: &Link,
) -> Option<PeerLease> {
    let peer_type = hello.peer_type.mirrored();
    let peer = running.add_linked(peer_type, Origin::Accepted, link.addr)?;
    running.start_session(&peer, hello.id, pair);
    PeerLease::try_acquire(running, &peer)
}
