//! Lines that lose packets: some of them, all of them, or those to an address that is gone.

use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{DownReason, Event, Events, Frame, InetEndpoint, Target};
use smol::Timer;

use super::figures::number;
use super::network::ip;
use super::process::report;
use super::tunnel::{FAR, Faults, NEAR, Tunnel, through_tunnel};
use crate::scripted::{PlainPeer, STANDARD, hello, number_of, numbered, prefixed};
use crate::subject::{Node, quick};

/// Far longer than anything takes here. TCP itself may be silent for many seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Two nodes of ours, and what each calls the other.
struct Two {
    listener: Node,
    dialer: Node,
    to_dialer: Target,
    to_listener: Target,
}

impl Two {
    fn through_tunnel() -> Two {
        let builder = InetEndpoint::builder().bind("0.0.0.0:0").limits(quick());
        let mut listener = Node::built(builder);
        let mut dialer = Node::dial_only();
        let to_listener = dialer.add(&format!("{FAR}:{}", listener.port()));
        dialer.up();
        let (to_dialer, _, _) = listener.up();
        Two { listener, dialer, to_dialer, to_listener }
    }

    /// Both send the frames with these numbers.
    fn send(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.dialer.try_send(self.to_listener, &numbered(number, 1_000));
            self.listener.try_send(self.to_dialer, &numbered(number, 1_000));
        }
    }

    /// Both must get these frames next, each once and in order.
    fn expect(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            for (node, from) in [(&self.listener, self.to_dialer), (&self.dialer, self.to_listener)]
            {
                let next = in_time("a frame", node.endpoint.next()).expect("a running endpoint");
                assert_eq!((next.0, number_of(next.1.as_bytes())), (from, number));
            }
        }
    }

    fn links(&self) -> [u64; 2] {
        [self.dialer.info(self.to_listener).links, self.listener.info(self.to_dialer).links]
    }
}

fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(TIMEOUT).await;
        panic!("no {what} within {TIMEOUT:?}")
    };
    smol::block_on(future::or(work, late))
}

/// Waits for the end of a link: why, and how long after `since`.
fn end_of_link(events: &Events, of: Target, since: Instant) -> (DownReason, Duration) {
    let end = async {
        loop {
            match events.next().await {
                Ok(Event::Down { target, reason, .. }) if target == of => return reason,
                Ok(_) => {}
                Err(error) => panic!("no events: {error}"),
            }
        }
    };
    (in_time("end of the link", end), since.elapsed())
}

const SLOW: &str = "reliability::lossy::a_slow_and_lossy_link_is_kept_while_it_makes_progress";

/// For `LOSSY_SECONDS`: a round trip of 2 s and 5 packets of 100 lost, in an order that `SEED`
/// makes.
#[test]
fn a_slow_and_lossy_link_is_kept_while_it_makes_progress() {
    let seed = number("SEED", fastrand::usize(..));
    through_tunnel(SLOW, seed as u64, |tunnel| {
        report(&format!("seed {seed}"));
        let time = Duration::from_secs(number("LOSSY_SECONDS", 10) as u64);
        let two = Two::through_tunnel();
        tunnel.set(Faults { delay: Duration::from_secs(1), loss: 5, is_dead: false });
        let (echoed, longest) = echo(&two, time);
        tunnel.set(Faults::default());
        assert_eq!(two.links(), [1, 1], "the link that they had before");
        let round_trip = two.dialer.info(two.to_listener).round_trip;
        let (forwarded, lost) = tunnel.counts();
        assert!(lost > 0, "nothing was lost of {forwarded} packets");
        report(&format!(
            "round trip 2 s, 5 % loss, {time:?}: {echoed} frames there and back in order over one \
             link, {lost} of {} packets lost, round trip measured as {round_trip:.1?}, nothing \
             came for {longest:.1?} at most",
            forwarded + lost,
        ));
    });
}

/// The dialer sends for so long and the listener sends back what it gets. Returns how many frames
/// came back, each once and in order, and the longest time in which neither got any.
fn echo(two: &Two, time: Duration) -> (u32, Duration) {
    const AHEAD: u32 = 64;
    let started = Instant::now();
    let (mut sent, mut arrived, mut echoed, mut longest) = (0, 0, 0, Duration::ZERO);
    while echoed < sent || started.elapsed() < time {
        while sent - echoed < AHEAD && started.elapsed() < time {
            two.dialer.try_send(two.to_listener, &numbered(sent, 1_000));
            sent += 1;
        }
        let waiting = Instant::now();
        let (is_there, frame) = in_time("a frame", next_of_both(two));
        longest = longest.max(waiting.elapsed());
        let due = if is_there { &mut arrived } else { &mut echoed };
        assert_eq!(number_of(frame.as_bytes()), *due, "lost, doubled or out of order");
        *due += 1;
        if is_there {
            two.listener.try_send(two.to_dialer, frame.as_bytes());
        }
    }
    (echoed, longest)
}

/// The next frame at the listener, or at the dialer.
async fn next_of_both(two: &Two) -> (bool, Frame) {
    let next = |node: &Node| {
        let endpoint = node.endpoint.clone();
        async move { endpoint.next().await.expect("a running endpoint").1 }
    };
    let there = async { (true, next(&two.listener).await) };
    future::or(there, async { (false, next(&two.dialer).await) }).await
}

const HOLE: &str = "reliability::lossy::a_link_that_swallows_everything_is_given_up_and_resumed";

/// What the README states, and what a tick of the clock and a busy machine may add.
const SILENCE: Duration = Duration::from_secs(15);
const ALLOWANCE: Duration = Duration::from_secs(10);

/// Links of ours are given up by this crate, those of plain nodes by the kernel.
#[test]
fn a_link_that_swallows_everything_is_given_up_and_resumed() {
    through_tunnel(HOLE, 0, |tunnel| {
        let two = Two::through_tunnel();
        let plain = Plain::through_tunnel();
        two.send(0..10);
        two.expect(0..10);
        let links = [
            ("plain, bytes owed", &plain.node, plain.owed.1),
            ("plain, quiet", &plain.node, plain.quiet.1),
            ("this crate's, dialer", &two.dialer, two.to_listener),
            ("this crate's, listener", &two.listener, two.to_dialer),
        ];
        let links = links.map(|(what, node, target)| (what, target, node.endpoint.events()));
        tunnel.set(Faults { is_dead: true, ..Faults::default() });
        let since = Instant::now();
        two.send(10..60);
        plain.node.try_send(plain.owed.1, &numbered(0, 1_000));
        for (what, target, events) in &links {
            let (reason, after) = end_of_link(events, *target, since);
            report(&format!("black hole, {what}: given up after {after:.1?}: {reason}"));
            let is_ours = what.starts_with("this");
            assert_eq!(matches!(reason, DownReason::PeerTimeout(_)), is_ours, "{what}: {reason}");
            assert!(after < SILENCE + ALLOWANCE, "{what}: {after:?}");
        }
        two.send(60..70);
        tunnel.set(Faults::default());
        let since = Instant::now();
        two.expect(10..70);
        report(&format!(
            "the hole is gone: 60 frames each way arrived once and in order within {:.1?}",
            since.elapsed()
        ));
        two.send(70..71);
        two.expect(70..71);
        assert_eq!(two.links(), [2, 2]);
    });
}

/// A node with two plain peers.
struct Plain {
    node: Node,
    owed: (PlainPeer, Target),
    quiet: (PlainPeer, Target),
}

impl Plain {
    /// With shorter times than by default, so that a test can wait for them.
    fn through_tunnel() -> Plain {
        let mut limits = quick();
        limits.user_timeout = Duration::from_secs(3);
        limits.keepalive = Duration::from_secs(1);
        let mut node = Node::built(InetEndpoint::builder().bind("0.0.0.0:0").limits(limits));
        let mut accept_plain = |id| {
            let far = format!("{FAR}:{}", node.port());
            let mut peer = PlainPeer::connect_to(far.parse().expect("an address"));
            peer.write(&prefixed(&hello(STANDARD, 0, id)));
            peer.read_frame();
            (peer, node.up().0)
        };
        let (owed, quiet) = (accept_plain(7), accept_plain(8));
        Plain { node, owed, quiet }
    }
}

const MOVED: &str = "reliability::lossy::after_a_change_of_address_a_kick_restores_the_link";

#[test]
fn after_a_change_of_address_a_kick_restores_the_link() {
    through_tunnel(MOVED, 0, |_tunnel: Tunnel| {
        let two = Two::through_tunnel();
        two.send(0..10);
        two.expect(0..10);
        ip("addr add 10.9.0.3/32 dev tun0");
        ip(&format!("addr del {NEAR}/32 dev tun0"));
        two.send(10..30);
        let since = Instant::now();
        two.dialer.endpoint.kick(Some(two.to_listener)).expect("the peer");
        two.expect(10..30);
        let after = since.elapsed();
        report(&format!("new address: all frames arrived {after:.1?} after the kick"));
        assert!(after < SILENCE, "{after:?}: the kick did nothing");
        assert_eq!(two.links(), [2, 2]);
    });
}
