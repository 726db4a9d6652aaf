//! From an accepted stream to a peer.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_lite::future;

use super::handshake::{Fresh, Handshake, Offer, Terms};
use super::service::Service;
use super::{dial, encrypted, link_down, link_up, merge};
use crate::accept::Incoming;
use crate::context::Running;
use crate::error::{DownReason, DropReason, Farewell, FarewellReason, HandshakeError};
use crate::link::{Link, Stream};
use crate::peer::{Origin, Pair, Peer};
use crate::proto::{Hello, Impossible, PublicKey};
use crate::timer::{self, within};

/// Serves a stream that a listener accepted: shakes hands, and if that goes well runs the peer
/// until its link ends. A stream that never becomes a peer is dropped, and an event says why.
///
/// A link holds this future for as long as it lasts, so it is kept small: what is needed before and
/// after is in boxes of its own.
pub(crate) fn handle_stream(
    running: Arc<Running>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) -> impl Future<Output = ()> + Send {
    let entering = Box::pin(come_in(running.clone(), stream, addr));
    async move {
        let Some((service, link)) = entering.await else { return };
        serve(running, service, link).await;
    }
}

/// A peer's link, if a stream that was accepted becomes one.
async fn come_in(
    running: Arc<Running>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) -> Option<(Service, Arc<Link>)> {
    match enter(running.clone(), stream, addr).await {
        Entered::Up(service, link) => return Some((service, link)),
        // A peer that was taken over for a link which then failed goes on waiting for one.
        Entered::Failed(Some(service)) => {
            let task = running.clone();
            running.spawn(async move { go_on(&task, service).await });
        }
        Entered::Failed(None) => {}
    }
    None
}

/// What came of a stream that was accepted.
enum Entered {
    /// A peer's link.
    Up(Service, Arc<Link>),
    /// Nothing, but a peer may have lost its link to it.
    Failed(Option<Service>),
}

/// Shakes hands, and enters the peer.
async fn enter(running: Arc<Running>, stream: Arc<dyn Stream>, addr: SocketAddr) -> Entered {
    let mut known = None;
    let accepted = accept_connection(&running, stream, addr, &mut known).await;
    let reason = match accepted {
        Ok(Accepted { hello, pair, link }) => {
            let was_known = known.is_some();
            match known.or_else(|| adopt(&running, &hello, pair, &link)) {
                Some(service) => match link_up(&running, &service.peer, &link, hello.id).await {
                    Ok(()) => return Entered::Up(service, link),
                    Err(error) => {
                        running.events.dropped(Some(addr), DropReason::Handshake(error));
                        return Entered::Failed(was_known.then_some(service));
                    }
                },
                None if running.is_stopping() => DropReason::ShuttingDown,
                None => DropReason::TooManyPeers,
            }
        }
        Err(reason) => {
            running.events.dropped(Some(addr), reason);
            return Entered::Failed(known);
        }
    };
    running.events.dropped(Some(addr), reason);
    Entered::Failed(None)
}

/// A stranger that has shaken hands.
struct Accepted {
    hello: Hello,
    /// What is shared from now on with one that is new, and shares records.
    pair: Option<Pair>,
    link: Arc<Link>,
}

/// Shakes hands as the listener, under one deadline, as one of so many strangers.
async fn accept_connection(
    running: &Arc<Running>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
    known: &mut Option<Service>,
) -> Result<Accepted, DropReason> {
    let ticket = running.pending.enter(addr.ip(), stream.clone());
    let stopping = async {
        running.until_stopping().await;
        Err(DropReason::ShuttingDown)
    };
    let displaced = async {
        ticket.displaced().await;
        Err(DropReason::Displaced)
    };
    // In a box: what wraps it would hold it several times.
    let shaking = Box::pin(shake(running, stream, addr, known));
    let shaking = future::or(displaced, future::or(stopping, shaking));
    let shaken = within(running.limits.handshake_timeout, shaking).await;
    match ticket.was_displaced() {
        true => Err(DropReason::Displaced),
        false => shaken.unwrap_or(Err(DropReason::Handshake(HandshakeError::TimedOut))),
    }
}

async fn shake(
    running: &Arc<Running>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
    known: &mut Option<Service>,
) -> Result<Accepted, DropReason> {
    let limit = running.limits.handshake_bytes;
    let mut handshake = Handshake::new(stream, limit, Some(running), &[]);
    let (hello, offer) = handshake.hear_hello().await?;
    let incoming = Incoming {
        addr,
        id: hello.id,
        peer_type: hello.peer_type.seen_from_other_end(),
        listening_port: hello.port,
        key: None,
    };
    if let Some((reason, farewell)) = refusal(running, &hello, offer.as_ref(), &incoming) {
        if offer.is_some() {
            handshake.say_end(running.id, Farewell::new(farewell).into()).await?;
        }
        return Err(reason);
    }
    let pair = match &offer {
        Some(offer) => {
            let peer = known_peer(running, &hello, offer);
            handshake.encryption.expect(running, peer.as_deref(), addr);
            answer(running, &mut handshake, &hello, &incoming, offer, known).await?
        }
        None => {
            handshake.say_ack(running.id, &hello).await?;
            None
        }
    };
    // Answered all the same: this node itself, or a copy of it, learns what is wrong from our id.
    if hello.id == running.id {
        return Err(HandshakeError::OwnSelf.into());
    }
    let key = handshake.key();
    let (stream, ahead) = handshake.into_stream();
    let records_as = offer.map(|_| running.records_as.clone());
    let link = Link::keyed(stream, Some(addr), ahead, records_as, key);
    Ok(Accepted { hello, pair, link })
}

/// Why a stranger may not come in, and what it is told.
fn refusal(
    running: &Running,
    hello: &Hello,
    offer: Option<&Offer>,
    incoming: &Incoming,
) -> Option<(DropReason, FarewellReason)> {
    let is_judged_later = offer.is_some_and(|offer| encrypted::shows_key(running, offer));
    // The address once more: the policy may have changed since it was let in to say so much.
    let is_admitted = running.admits_addr(incoming.addr);
    if !is_admitted || !(is_judged_later || running.admits(incoming)) {
        return Some((DropReason::NotAllowed, FarewellReason::NotAllowed));
    }
    let known = offer.and_then(|offer| known_peer(running, hello, offer));
    if let Some(refused) = encrypted::refusal(running, hello, offer, known.as_deref()) {
        return Some(refused);
    }
    match known {
        Some(peer) if is_taken(running, &peer, offer) => {
            Some((DropReason::Duplicate, FarewellReason::Duplicate))
        }
        None if !running.has_room_for_peer(incoming.addr) => {
            Some((DropReason::TooManyPeers, FarewellReason::Busy))
        }
        _ => None,
    }
}

/// Whether the peer that the dialer wants to be is being dialed, or merged into another, by this
/// node just now, and this node has precedence: when both sides dial, the link of the lower boot id
/// stays.
fn is_taken(running: &Running, peer: &Peer, offer: Option<&Offer>) -> bool {
    let goes_first = offer.is_some_and(|offer| running.boot < offer.boot);
    peer.is_going() || (goes_first && peer.is_shaking())
}

/// The peer that the dialer wants to be, which is still to be proved.
fn known_peer(running: &Running, hello: &Hello, offer: &Offer) -> Option<Arc<Peer>> {
    let peer = running.paired(&offer.pair?, &offer.boot)?;
    (peer.peer_type() == hello.peer_type.seen_from_other_end()).then_some(peer)
}

/// Answers a dialer that shares records. Takes over the peer that it proves to be, or returns what
/// is shared from now on.
async fn answer(
    running: &Arc<Running>,
    handshake: &mut Handshake<'_>,
    hello: &Hello,
    incoming: &Incoming,
    offer: &Offer,
    known: &mut Option<Service>,
) -> Result<Option<Pair>, DropReason> {
    let fresh = Fresh::new(running.boot)?;
    let peer = known_peer(running, hello, offer);
    let pair = peer.as_ref().and_then(|peer| peer.pair());
    let secret = pair.as_ref().map(|pair| &pair.secret);
    handshake.say_offer(running.id, hello, &fresh, offer, secret).await?;
    // Who it is may have turned out otherwise.
    let key = handshake.key();
    let peer = peer.filter(|_| pair.as_ref().is_some_and(|pair| pair.key() == key));
    let secret = secret.filter(|_| peer.is_some());
    let terms = handshake.hear_proof(&fresh, offer, secret).await?;
    // Not before: who closes with something unread may take back what it said.
    if let Err(reason) = judge(running, incoming, offer, key, peer.as_deref()) {
        let end = Farewell::new(FarewellReason::NotAllowed).into();
        handshake.say_end(running.id, end).await?;
        return Err(reason);
    }
    match (terms, peer) {
        (Terms::New(pair), _) => {
            if key.is_some() {
                handshake.say_received(running.id, 0).await?;
            }
            Ok(Some(pair))
        }
        (Terms::Resumed { received }, Some(peer)) => {
            if is_taken(running, &peer, Some(offer)) {
                let farewell = Farewell::new(FarewellReason::Duplicate);
                return Err(HandshakeError::Refused(farewell).into());
            }
            let service = known.insert(Service::take(running, &peer).await);
            if service.peer.has_ended() {
                return Err(HandshakeError::NotProved.into());
            }
            let queue = &service.peer.queue;
            queue.resume(received).map_err(|Impossible| HandshakeError::NotProved)?;
            handshake.say_received(running.id, queue.received_total()).await?;
            Ok(None)
        }
        _ => Err(HandshakeError::NotProved.into()),
    }
}

/// Whether a stranger may come in that has proved what it could, and shown its key if the link is
/// encrypted.
fn judge(
    running: &Running,
    incoming: &Incoming,
    offer: &Offer,
    key: Option<PublicKey>,
    known: Option<&Peer>,
) -> Result<(), DropReason> {
    encrypted::judge(running, incoming.id, key, known)?;
    let incoming = Incoming { key, ..incoming.clone() };
    match encrypted::shows_key(running, offer) && !running.admits(&incoming) {
        true => Err(DropReason::NotAllowed),
        false => Ok(()),
    }
}

/// Enters a stranger that has shaken hands as a peer. `None` if there are too many.
fn adopt(
    running: &Arc<Running>,
    hello: &Hello,
    pair: Option<Pair>,
    link: &Link,
) -> Option<Service> {
    let peer_type = hello.peer_type.seen_from_other_end();
    let peer = running.add_linked(peer_type, Origin::Accepted, link.addr)?;
    running.pair_anew(&peer, hello.id, pair);
    Service::begin(running, &peer)
}

/// Runs the peer for as long as its link lasts.
fn serve(
    running: Arc<Running>,
    service: Service,
    link: Arc<Link>,
) -> impl Future<Output = ()> + Send {
    async move {
        let reason = {
            let peer = &service.peer;
            let notices = |notice| merge::hear(&running, peer, notice);
            let drain = &running.limits.drain_timeout;
            let serving = peer.run(&link, &running.inbound, drain, &notices);
            let replaced = async {
                service.turn.wanted().await;
                DownReason::Replaced
            };
            future::or(serving, replaced).await
        };
        // Closed before the wait for another.
        drop(link);
        if service.turn.is_wanted() || !service.peer.is_dialed() {
            link_down(&running, &service.peer, reason, None);
            Box::pin(go_on(&running, service)).await;
        } else {
            dial::again(&running, service, reason);
        }
    }
}

/// Goes on with a peer that has no link: dials it if it can, or waits for it.
pub(super) async fn go_on(running: &Arc<Running>, service: Service) {
    let mut service = service;
    if service.peer.has_ended() {
        // It became another peer while this task waited for its turn.
        return;
    }
    if service.turn.is_wanted() {
        match service.give_way().await {
            Some(unwanted) => service = unwanted,
            None => return,
        }
    }
    match service.peer.is_dialed() {
        true => dial::restore(running, service),
        false => wait(running, service).await,
    }
}

/// Waits for the peer to come back, if it can prove to be the same; otherwise, and when it has
/// been away for too long, ends it. Of a plain one nothing is kept: nothing would tell it from
/// another that claims its id.
async fn wait(running: &Running, mut service: Service) {
    let until = timer::now() + running.limits.resume_window;
    while service.peer.may_come_back() && timer::now() < until {
        running.enter_absent(&service.peer);
        let called = future::or(service.turn.wanted(), service.peer.stopped());
        within(until.saturating_duration_since(timer::now()), called).await;
        if service.turn.is_wanted() {
            match service.give_way().await {
                Some(unwanted) => service = unwanted,
                None => return,
            }
        }
    }
    running.routes.remove_peer(service.peer.target()).await;
}
