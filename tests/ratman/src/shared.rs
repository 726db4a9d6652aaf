//! What the handles of a netmod share, and how frames get to the router.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use event_listener::Event as Signal;
use libratman::types::Ident32;
use netmod_inet::{Closed, Events, InetEndpoint, Received, Target};
use smol::Timer;
use smol::future;

use crate::blocks::Blocks;
use crate::echoes::Echoes;
use crate::neighbours::{Neighbours, Sender};
use crate::receiving::ReceiveLoop;

/// The state of a [`RatmanInet`](crate::RatmanInet) that all its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) endpoint: InetEndpoint,
    /// Taken under the lock of `neighbours` only, so that they are applied in their order.
    events: Events,
    neighbours: Mutex<Neighbours>,
    /// Notified when events were applied.
    pub(crate) applied: Signal,
    pub(crate) receive_loop: ReceiveLoop,
    pub(crate) echoes: Mutex<Echoes>,
    pub(crate) blocks: Mutex<Blocks>,
}

impl Shared {
    pub(crate) fn new(endpoint: InetEndpoint) -> Shared {
        // Before the peers are looked at, so that none is missed in between.
        let events = endpoint.events();
        let neighbours = Mutex::new(Neighbours::new(&endpoint));
        let (applied, receive_loop) = (Signal::new(), ReceiveLoop::new());
        let (echoes, blocks) = Default::default();
        Shared { endpoint, events, neighbours, applied, receive_loop, echoes, blocks }
    }

    /// The neighbours, after what happened up to now.
    pub(crate) fn neighbours(&self) -> MutexGuard<'_, Neighbours> {
        let mut neighbours = self.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut has_changed = false;
        // What an event leads to may be another one, which is applied next time.
        let events: Vec<_> = std::iter::from_fn(|| self.events.try_next().ok().flatten()).collect();
        for event in events {
            neighbours.apply(&self.endpoint, event, now);
            has_changed = true;
        }
        neighbours.tick(&self.endpoint, now);
        if has_changed {
            // They take the lock when they look.
            self.applied.notify(usize::MAX);
        }
        neighbours
    }

    /// Waits until there is an event to apply, or another task has applied one. The caller
    /// listens to `applied` before it looks.
    pub(crate) async fn changed(&self, applied: event_listener::EventListener) {
        let ready = async {
            match self.endpoint.is_closed() {
                // There will be no more.
                true => future::pending().await,
                false => self.events.ready().await,
            }
        };
        future::or(ready, applied).await;
    }

    /// Whether a frame is an announcement that this router flooded, sent back by a neighbour that
    /// cannot know where it had it from; see [`Echoes`].
    fn is_echo(&self, neighbours: &Neighbours, received: &Received) -> bool {
        let is_known = self.echoes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = is_known.is_known(received.frame());
        is_known && neighbours.is_plain_dialer(&self.endpoint, received.target())
    }

    /// Whether a frame that is about to be handed out would spoil the block that it belongs to; see
    /// [`Blocks`].
    pub(crate) fn is_duplicate(&self, received: &Received) -> bool {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.is_duplicate(received.frame())
    }

    /// Waits until one of these queues has room for the length that stands beside its target.
    async fn until_any_room(&self, blocked: Vec<(Target, usize)>) {
        let until_room = |(target, len)| {
            Box::pin(async move {
                if self.endpoint.until_room(target, len).await.is_err() {
                    // The event that reports it is still to come.
                    future::pending::<()>().await;
                }
            })
        };
        let mut waits: Vec<_> = blocked.into_iter().map(until_room).collect();
        future::poll_fn(|cx| {
            let is_ready = waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready());
            if is_ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The next frame, and the name of who sent it.
    pub(crate) async fn recv(&self) -> std::result::Result<(Ident32, Received), Closed> {
        loop {
            let applied = self.applied.listen();
            let (due, blocked) = {
                let mut neighbours = self.neighbours();
                if let Some(ready) = neighbours.pop_ready() {
                    return Ok(ready);
                }
                (neighbours.due(), neighbours.blocked())
            };
            let received = async { Some(self.endpoint.recv().await) };
            let changed = async {
                self.changed(applied).await;
                None
            };
            let due = async {
                match due {
                    Some(due) => Timer::at(due).await,
                    None => future::pending().await,
                };
                None
            };
            let room = async {
                self.until_any_room(blocked).await;
                None
            };
            let found = future::or(received, future::or(changed, future::or(due, room))).await;
            match found {
                Some(Ok(received)) => {
                    let mut neighbours = self.neighbours();
                    if self.is_echo(&neighbours, &received) {
                        continue;
                    }
                    match neighbours.sender(received.target()) {
                        // What was held of the same neighbour goes before.
                        Sender::Named(name) if !neighbours.has_ready() => {
                            return Ok((name, received));
                        }
                        Sender::Named(name) => neighbours.push_ready(name, received),
                        Sender::Undecided => neighbours.hold(received),
                    }
                }
                Some(Err(Closed)) => {
                    let mut neighbours = self.neighbours();
                    neighbours.decide_all();
                    return neighbours.pop_ready().ok_or(Closed);
                }
                None => {}
            }
        }
    }
}
