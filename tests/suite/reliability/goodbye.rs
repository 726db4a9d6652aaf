//! A node that goes away without `shutdown`: it drops its last handle, and may be gone right after.

use std::io::BufRead;
use std::sync::Arc;

use netmod_inet::{DownReason, GoodbyeReason, InetEndpoint, SendErrorKind, Target};
use smol::Executor;

use super::figures::number;
use super::process::{Process, part};
use crate::scripted::{STANDARD, numbered, prefixed};
use crate::subject::{Node, TIMEOUT, parsed, quick, within};

const EXIT: &str =
    "reliability::goodbye::a_process_that_drops_its_last_handle_and_exits_sends_goodbye";

/// What is under way to the node that goes away.
const QUIET: &str = "quiet";
const READ: &str = "read";
const UNREAD: &str = "unread";

/// `ROUNDS` processes for each of the cases, in turn.
#[test]
fn a_process_that_drops_its_last_handle_and_exits_sends_goodbye() {
    if let Some(case) = part(EXIT) {
        go_away(&case);
    }
    for round in 0..number("ROUNDS", 3) {
        for case in [QUIET, READ, UNREAD] {
            let mut node = Node::listening();
            let mut process = Process::start(EXIT, case);
            process.send_line(&node.port().to_string());
            let (target, _, _) = node.up();
            match case {
                QUIET => {}
                READ => send_on(&node, target),
                _ => fill(&node, target),
            }
            process.send_line("go");
            let (reason, _) = node.down(target);
            assert!(is_goodbye(&reason), "round {round}, {case}: {reason}");
            process.end();
        }
    }
}

/// Peers with the node whose port it reads from standard input, and exits at the next line.
fn go_away(case: &str) -> ! {
    let mut lines = std::io::stdin().lock().lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let mut node = Node::dial_only();
    node.add(&format!("127.0.0.1:{}", line()));
    node.up();
    if case == READ {
        within("some frames", async {
            for _ in 0..100 {
                node.endpoint.next().await.expect("a running endpoint");
            }
        });
    }
    line();
    drop(node);
    std::process::exit(0);
}

/// Sends for as long as the peer is there.
fn send_on(node: &Node, target: Target) {
    let endpoint = node.endpoint.clone();
    std::thread::spawn(move || {
        smol::block_on(async {
            for number in 0.. {
                if endpoint.send(target, parsed(&numbered(number, 1_000))).await.is_err() {
                    return;
                }
            }
        });
    });
}

/// Sends more than anybody takes.
fn fill(node: &Node, target: Target) {
    for number in 0..100_000 {
        let sent = node.endpoint.send(target, parsed(&numbered(number, 20_000)));
        if let Err(error) = within("room or refusal", sent) {
            assert_eq!(error.reason(), SendErrorKind::TimedOut);
            return;
        }
    }
    panic!("the queue has no bound");
}

fn is_goodbye(reason: &DownReason) -> bool {
    matches!(reason, DownReason::Goodbye(goodbye)
        if goodbye.reason == GoodbyeReason::ShuttingDown)
}

/// The tasks of the node never run again.
#[test]
fn the_goodbye_is_sent_though_the_executor_is_dropped_with_the_last_handle() {
    let mut near = Node::listening();
    let executor = Arc::new(Executor::new());
    let builder = InetEndpoint::builder().spawner(Arc::downgrade(&executor)).limits(quick());
    let (far, target) = smol::block_on(executor.run(async {
        let far = builder.start().await.expect("start");
        let addr = format!("127.0.0.1:{}", near.port());
        let target = far.add_peers([addr]).await.expect("add_peers")[0];
        let events = far.events();
        while !matches!(events.next().await, Ok(netmod_inet::Event::Up { .. })) {}
        (far, target)
    }));
    let (to_far, _, _) = near.up();
    far.try_send(target, parsed(&numbered(1, 9))).expect("room");
    near.try_send(to_far, &numbered(1, 9));
    drop(far);
    drop(executor);
    let (reason, _) = near.down(to_far);
    assert!(is_goodbye(&reason), "{reason}");
}

/// Where the executor runs, the link is read to its end, so that no reset takes the goodbye back.
#[test]
fn a_link_is_read_to_its_end_after_the_last_handle() {
    let mut limits = quick();
    limits.drain_timeout = TIMEOUT;
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let (mut peer, _) = node.accept_plain(STANDARD, 5);
    let events = node.endpoint.events();
    peer.send(&numbered(0, 9));
    drop(node);
    peer.expect_end();
    // More than the buffers of the system hold.
    for number in 0..2_000 {
        peer.send(&numbered(number, 10_000));
    }
    peer.half_close();
    within("end of the endpoint", async { while events.next().await.is_ok() {} });
}

/// The system takes a part of a frame only where a buffer of its own ends inside.
#[test]
fn in_the_middle_of_a_frame_the_last_handle_only_ends_the_stream() {
    assert!((0..20).any(|_| is_cut_and_nothing_follows()), "no frame was cut");
}

/// Whether the last handle was dropped in the middle of a frame. Nothing must follow in any case.
fn is_cut_and_nothing_follows() -> bool {
    let mut node = Node::listening();
    let (mut peer, target) = node.accept_plain(STANDARD, 5);
    let frame = numbered(7, 65_535);
    let mut sent = 0;
    while within("room or refusal", node.endpoint.send(target, parsed(&frame))).is_ok() {
        sent += 1;
    }
    drop(node);
    let (bytes, _) = peer.read_to_end();
    let len = 4 + frame.len();
    assert!(bytes.len() / len < sent, "all was sent");
    assert!(bytes.chunks(len).all(|part| part == &prefixed(&frame)[..part.len()]));
    bytes.len() % len > 0
}
