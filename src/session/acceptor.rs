//! The listener's half of connection set-up: from an accepted stream to a peer with a link.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_lite::future;

use crate::config::Incoming;
use crate::error::{DropReason, Goodbye, GoodbyeReason, HandshakeError};
use crate::peer::{InitialCredit, Origin, Peer, Session, WindowSize};
use crate::primitives::clock::within;
use crate::proto::{Hello, Id, InvalidAck, PublicKey};
use crate::session::handshake::{Handshake, LocalHello, Negotiated, Progress, RemoteExtension};
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
        Ok(Handshaken { hello, session, link }) => {
            let is_resumed = known.is_some();
            match known.or_else(|| register_peer(&running, &hello, session, &link)) {
                Some(lease) => return Accepted::Established(lease, link, hello.id, is_resumed),
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

/// A new session, its receive window and the credit of both nodes.
type NewSession = (Session, WindowSize, InitialCredit);

/// An inbound stream whose handshake is complete.
struct Handshaken {
    hello: Hello,
    /// The new session. `None` if a peer was resumed, or if the remote node is plain.
    session: Option<NewSession>,
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
    let slot = running.handshake_slots.acquire(addr.ip(), stream.clone());
    let stopping = async {
        running.stopping().await;
        Err(DropReason::ShuttingDown)
    };
    let evicted = async {
        slot.evicted().await;
        Err(DropReason::Evicted)
    };
    // Boxed: the futures that wrap it would each reserve space for it again.
    let handshake = Box::pin(run_handshake(running, stream, addr, known));
    let handshake = future::or(evicted, future::or(stopping, handshake));
    let result = within(running.limits.handshake_timeout, handshake).await;
    match slot.was_evicted() {
        true => Err(DropReason::Evicted),
        false => result.unwrap_or(Err(DropReason::Handshake(HandshakeError::TimedOut))),
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
    let (hello, remote) = handshake.recv_hello().await?;
    let incoming = Incoming {
        addr,
        id: hello.id,
        peer_type: hello.peer_type.mirrored(),
        listening_port: hello.port,
        key: None,
    };
    if let Some((reason, goodbye)) = admission_error(running, &hello, remote.as_ref(), &incoming) {
        if remote.is_some() {
            handshake.send_close(running.id, Goodbye::new(goodbye).into()).await?;
        }
        return Err(reason);
    }
    let session = match &remote {
        Some(remote) => {
            let peer = find_resumable(running, &hello, remote);
            handshake.key_exchange.mark_expected(running, peer.as_deref(), addr);
            respond_extended(running, &mut handshake, &hello, &incoming, remote, known).await?
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
    let control_sender = remote.map(|_| running.control_sender.clone());
    let link = Link::new(stream, Some(addr), ahead, control_sender, key);
    Ok(Handshaken { hello, session, link })
}

/// Why a dialer is not admitted after its Hello, and the reason to send to it.
fn admission_error(
    running: &TaskRef,
    hello: &Hello,
    remote: Option<&RemoteExtension>,
    incoming: &Incoming,
) -> Option<(DropReason, GoodbyeReason)> {
    let offered = remote.and_then(|remote| remote.noise);
    let is_checked_later = key_exchange::will_authenticate(running, offered);
    // The address is checked again: the policy may have changed since the connection was accepted.
    let checked = match running.admits_addr(incoming.addr) {
        false => Err(DropReason::NotAllowed),
        true if is_checked_later => Ok(()),
        true => running.check_callback(incoming),
    };
    if let Err(reason) = checked {
        return Some((reason, GoodbyeReason::NotAllowed));
    }
    let known = remote.and_then(|remote| find_resumable(running, hello, remote));
    if let Some(refused) = key_exchange::admission_error(running, hello, offered, known.as_deref())
    {
        return Some(refused);
    }
    match known {
        Some(peer) if loses_simultaneous_open(running, &peer, remote) => {
            Some((DropReason::Duplicate, GoodbyeReason::Duplicate))
        }
        None if !running.can_accept(incoming.addr, is_checked_later) => {
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
    remote: Option<&RemoteExtension>,
) -> bool {
    let goes_first = remote.is_some_and(|remote| running.instance_id < remote.instance_id);
    peer.is_merge_loser() || (goes_first && peer.is_dialing())
}

/// The peer that the dialer asks to resume. The claim is not proved yet.
fn find_resumable(running: &TaskRef, hello: &Hello, remote: &RemoteExtension) -> Option<Arc<Peer>> {
    let peer = running.resumable_peer(remote.session?, remote.instance_id)?;
    (peer.peer_type() == hello.peer_type.mirrored()).then_some(peer)
}

/// Completes the handshake with an extended dialer. Acquires the peer that it proves to be and
/// stores its lease in `known`, or returns the new session.
async fn respond_extended(
    running: &Arc<TaskRef>,
    handshake: &mut Handshake<'_>,
    hello: &Hello,
    incoming: &Incoming,
    remote: &RemoteExtension,
    known: &mut Option<PeerLease>,
) -> Result<Option<NewSession>, DropReason> {
    let (window, credit) = running.initial_window(None);
    let local = LocalHello::new(running.instance_id, credit)?;
    let peer = find_resumable(running, hello, remote);
    let session = peer.as_ref().and_then(|peer| peer.session());
    let secret = session.as_ref().map(|session| &session.secret);
    handshake.send_extended_ack(running.id, hello, &local, remote, secret).await?;
    // The key may be another than that of the session: then this is another node.
    let key = handshake.key();
    let peer = peer.filter(|_| session.as_ref().is_some_and(|session| session.key() == key));
    let secret = secret.filter(|_| peer.is_some());
    let negotiated = handshake.recv_proof(&local, remote, secret).await?;
    // Not earlier: closing a socket with unread data may reset the connection, and discard the
    // refusal.
    if let Err(reason) = check_policy(running, incoming, remote, key, peer.as_deref()) {
        let goodbye = match reason {
            DropReason::TooManyPeers => GoodbyeReason::Busy,
            _ => GoodbyeReason::NotAllowed,
        };
        handshake.send_close(running.id, Goodbye::new(goodbye).into()).await?;
        return Err(reason);
    }
    match (negotiated, peer) {
        (Negotiated::New(session, credit), _) => {
            if key.is_some() {
                let progress = Progress { received: 0, credit: credit.granted };
                handshake.send_progress(running.id, progress).await?;
            }
            Ok(Some((session, window, credit)))
        }
        (Negotiated::Resumed(Progress { received, credit }), Some(peer)) => {
            if loses_simultaneous_open(running, &peer, Some(remote)) {
                let goodbye = Goodbye::new(GoodbyeReason::Duplicate);
                return Err(HandshakeError::Refused(goodbye).into());
            }
            let lease = known.insert(PeerLease::acquire(running, &peer).await);
            lease.peer.set_coming_up(true);
            if lease.peer.has_ended() {
                return Err(HandshakeError::NotProved.into());
            }
            let queue = &lease.peer.queue;
            queue.resume(received, credit).map_err(|InvalidAck| HandshakeError::NotProved)?;
            handshake.send_progress(running.id, Progress::of(queue)).await?;
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
    remote: &RemoteExtension,
    key: Option<PublicKey>,
    known: Option<&Peer>,
) -> Result<(), DropReason> {
    key_exchange::check_policy(running, incoming.id, key, known)?;
    let incoming = Incoming { key, ..incoming.clone() };
    if !key_exchange::will_authenticate(running, remote.noise) {
        return Ok(());
    }
    running.check_callback(&incoming)?;
    // Part of the places is reserved for keys that are listed or pinned.
    let is_trusted = key_exchange::is_trusted(running, key);
    match known.is_some() || running.can_accept(incoming.addr, is_trusted) {
        true => Ok(()),
        false => Err(DropReason::TooManyPeers),
    }
}

/// Registers a peer for an inbound link. `None` if there are too many peers, or the endpoint stops.
fn register_peer(
    running: &Arc<TaskRef>,
    hello: &Hello,
    session: Option<NewSession>,
    link: &Link,
) -> Option<PeerLease> {
    let peer_type = hello.peer_type.mirrored();
    let is_trusted = key_exchange::is_trusted(running, link.key());
    let peer = running.add_linked(peer_type, Origin::Accepted, link.addr, is_trusted)?;
    running.start_session(&peer, hello.id, session);
    PeerLease::try_acquire(running, &peer)
}
