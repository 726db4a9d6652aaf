use super::*;
use crate::peer::recv::batch::FRAME_OVERHEAD;
use crate::proto::{Id, LENGTH_PREFIX, encode_length};
use crate::testing::kit::pipe::TestWaker;
use futures_lite::future::{block_on, poll_once};

const LIMIT: usize = 1 << 20;

fn message(number: u8, payload: usize, trailing: usize) -> Vec<u8> {
    let builder = Frame::builder(8, Id::from_bytes([number; 32]));
    let frame = builder.payload(vec![0; payload]).build().unwrap();
    let len = encode_length(frame.len() + trailing);
    [&len, frame.as_bytes(), &vec![0xEE; trailing]].concat()
}

/// A peer, and the queue that it delivers to.
struct Source {
    sender: InboundSender,
    inbox: Arc<Inbox>,
    class: PeerClass,
}

impl Source {
    fn new(sender: &InboundSender, target: u16, class: PeerClass) -> Source {
        let inbox = Inbox::new(target.into(), sender.pool().strangers().account(None.into()));
        Source { sender: sender.clone(), inbox, class }
    }

    fn deliver(&self, messages: &[Vec<u8>]) -> Result<(), Closed> {
        let (frames, messages) = (messages.len(), messages.concat());
        let pinned = messages.len();
        let is_stranger = self.class == PeerClass::Stranger;
        let messages = messages.into();
        let batch = Batch { messages, frames, pinned, no_trailing: false, is_stranger };
        self.sender.deliver(&self.inbox, batch, self.class)
    }
}

/// The targets of the next frames, as runs with their lengths.
fn runs(inbound: &Inbound) -> Vec<(u16, usize)> {
    let mut runs: Vec<(u16, usize)> = Vec::new();
    while let Some((target, _)) = inbound.try_next().unwrap() {
        let target = u16::from(target);
        match runs.last_mut().filter(|(last, _)| *last == target) {
            Some((_, len)) => *len += 1,
            None => runs.push((target, 1)),
        }
    }
    runs
}

#[test]
fn frames_come_out_whole_and_trailing_bytes_do_not() {
    block_on(async {
        let (sender, inbound) = inbound(LIMIT);
        let source = Source::new(&sender, 7, PeerClass::Stranger);
        drop(sender);
        source.deliver(&[message(1, 0, 0), message(2, 0, 5), message(3, 0, 0)]).unwrap();
        for number in 1..=3 {
            let (target, frame) = inbound.next().await.unwrap();
            assert_eq!((target, frame.len()), (7.into(), 41));
            assert_eq!(frame.sender(), Id::from_bytes([number; 32]));
        }
        assert_eq!(inbound.try_next(), Ok(None));
        assert_eq!((source.inbox.held(), source.sender.pool().strangers().used()), (0, 0));
        drop(source);
        assert_eq!(inbound.next().await, Err(Closed));
    });
}

#[test]
fn a_cancelled_next_loses_no_frame() {
    block_on(async {
        let (sender, inbound) = inbound(LIMIT);
        let source = Source::new(&sender, 7, PeerClass::Stranger);
        assert!(poll_once(inbound.next()).await.is_none());
        source.deliver(&[message(1, 0, 0), message(2, 0, 0)]).unwrap();
        assert!(poll_once(inbound.next()).await.is_some());
        assert!(poll_once(inbound.next()).await.is_some());
        assert!(poll_once(inbound.next()).await.is_none());
    });
}

#[test]
fn the_consumer_is_woken_by_a_frame_and_by_the_end() {
    let (sender, inbound) = inbound(LIMIT);
    let source = Source::new(&sender, 7, PeerClass::Stranger);
    let wakes = TestWaker::new();
    let next = || Box::pin(inbound.next());
    for _ in 0..2 {
        let mut waiting = next();
        assert!(wakes.poll(waiting.as_mut()).is_none());
        source.deliver(&[message(1, 0, 0)]).unwrap();
        assert!(wakes.was_woken() && wakes.poll(waiting.as_mut()).unwrap().is_ok());
    }
    let mut last = next();
    assert!(wakes.poll(last.as_mut()).is_none());
    drop(sender);
    assert!(wakes.poll(last.as_mut()).is_none(), "another sender is left");
    drop(source);
    assert!(wakes.was_woken());
    assert_eq!(wakes.poll(last.as_mut()), Some(Err(Closed)));
}

#[test]
fn closing_wakes_the_consumer_and_loses_nothing() {
    let (sender, inbound) = inbound(LIMIT);
    let wakes = TestWaker::new();
    let mut next = Box::pin(inbound.next());
    assert!(wakes.poll(next.as_mut()).is_none());
    let (one, other) =
        (Source::new(&sender, 1, PeerClass::Dialed), Source::new(&sender, 2, PeerClass::Stranger));
    // More than one turn of each.
    for _ in 0..200 {
        one.deliver(&[message(1, 1000, 0)]).unwrap();
        other.deliver(&[message(2, 1000, 0)]).unwrap();
    }
    inbound.close();
    assert!(wakes.was_woken());
    assert_eq!(one.deliver(&[message(1, 0, 0)]), Err(Closed));
    assert!(wakes.poll(next.as_mut()).unwrap().is_ok());
    let rest = std::iter::from_fn(|| inbound.try_next().ok()).flatten().count();
    assert_eq!(rest, 399);
    assert_eq!(inbound.try_next(), Err(Closed));
}

#[test]
fn peers_take_turns_by_bytes_and_class() {
    let (sender, inbound) = inbound(LIMIT);
    let small = Source::new(&sender, 1, PeerClass::Stranger);
    let large = Source::new(&sender, 2, PeerClass::Stranger);
    let dialed = Source::new(&sender, 3, PeerClass::Dialed);
    let cost = |payload: usize| LENGTH_PREFIX + Frame::MIN_LEN + payload + FRAME_OVERHEAD;
    small.deliver(&vec![message(1, 100, 0); 800]).unwrap();
    large.deliver(&[message(2, 30_000, 0), message(2, 30_000, 0), message(2, 9, 0)]).unwrap();
    dialed.deliver(&vec![message(3, 1000, 0); 40]).unwrap();
    dialed.deliver(&vec![message(3, 1000, 0); 40]).unwrap();
    let (turn, dialed_turn) = ((16 << 10) / cost(100) + 1, (64 << 10) / cost(1000) + 1);
    let runs = runs(&inbound);
    assert_eq!(runs[..3], [(1, turn), (2, 1), (3, dialed_turn)], "{runs:?}");
    // The frame of 30 000 bytes took almost two turns at once.
    assert_eq!(runs[3..6].iter().map(|run| run.0).collect::<Vec<_>>(), [1, 2, 3], "{runs:?}");
    let total = |target| runs.iter().filter(|run| run.0 == target).map(|run| run.1).sum::<usize>();
    assert_eq!([1, 2, 3].map(total), [800, 3, 80]);
    let held = [&small, &large, &dialed].map(|source| source.inbox.held());
    assert_eq!((held, sender.pool().strangers().used()), ([0; 3], 0));
}

#[test]
fn a_busy_peer_does_not_delay_another_by_more_than_a_turn() {
    let (sender, inbound) = inbound(LIMIT);
    let strangers: Vec<_> =
        (0..34).map(|target| Source::new(&sender, target, PeerClass::Stranger)).collect();
    for stranger in &strangers {
        stranger.deliver(&vec![message(1, 59, 0); 1000]).unwrap();
    }
    (0..100).for_each(|_| drop(inbound.try_next()));
    let good = Source::new(&sender, 99, PeerClass::Stranger);
    good.deliver(&[message(9, 59, 0)]).unwrap();
    let is_other = |next: &(Target, Frame)| next.0 != 99.into();
    let before = std::iter::from_fn(|| inbound.try_next().unwrap()).take_while(is_other).count();
    assert!(before <= 34 * ((16 << 10) / 168 + 1), "{before} frames went first");
}
