//! Commands that find the queue of a peer full.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::Process;
use crate::scripted::hex;

/// The number of frames in the queue of the sender.
const QUEUE_FRAMES: usize = 4;

/// The time that a command waits for room.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends that wait one after the other. Two are enough, unless the machine is very busy.
const ATTEMPTS: u32 = 20;

/// A receiver that is stopped, and a sender whose queue for it is full.
fn full_queue() -> (Process, Process) {
    let mut receiver = Process::start(&["--bind", "127.0.0.1:0"]);
    let address = receiver.address();
    let queue = format!("queue_frames={QUEUE_FRAMES}");
    // A command that waited for as long as the library does by default would miss every deadline.
    let limits = ["--limit", &queue, "--limit", "send_timeout=1h"];
    let args = [&["--bind", "127.0.0.1:0", "--peer", &address][..], &limits].concat();
    let mut sender = Process::start(&args);
    sender.wait("up");
    receiver.wait("up");
    receiver.stop();
    // Frames stay in the queue until they are acknowledged: once full, it stays full.
    for _ in 0..QUEUE_FRAMES {
        sender.command("flood queued");
        sender.wait("sent");
    }
    (receiver, sender)
}

/// Checks that a send was refused for lack of room.
fn assert_timed_out(refused: &Value) {
    assert_eq!(refused["event"], "refused", "the receiver is stopped: {refused}");
    assert_eq!(refused["target"], 0);
    assert_eq!(refused["reason"], "there was no room for the frame in time");
}

#[test]
fn a_send_waits_for_room_in_a_full_queue() {
    let (mut receiver, mut sender) = full_queue();
    let started = Instant::now();
    sender.command(&["send 0 late"; ATTEMPTS as usize].join("\n"));
    let mut timeouts = 0;
    loop {
        let answer = sender.wait_any(&["sent", "refused"]);
        if answer["event"] == "sent" {
            break;
        }
        assert_timed_out(&answer);
        timeouts += 1;
        assert!(started.elapsed() >= timeouts * SEND_TIMEOUT, "it did not wait for its timeout");
        assert!(timeouts < ATTEMPTS, "no send was accepted");
        // The first send found the queue full, and timed out. The second waits now. On a busy
        // machine the acknowledgements may take longer than it waits: a later one gets the room.
        if timeouts == 1 {
            receiver.signal(Signal::CONT);
        }
    }
    assert!(timeouts > 0, "a full queue had room");
    for _ in 0..QUEUE_FRAMES {
        assert_eq!(receiver.wait("frame")["payload"], hex(b"queued"));
    }
    assert_eq!(receiver.wait("frame")["payload"], hex(b"late"));
}

#[test]
fn a_send_to_a_queue_that_stays_full_times_out_and_the_next_command_is_executed() {
    let (mut receiver, mut sender) = full_queue();
    let started = Instant::now();
    sender.command("send 0 refused\npeers");
    assert_timed_out(&sender.wait_any(&["sent", "refused"]));
    assert!(started.elapsed() >= SEND_TIMEOUT, "it did not wait for its timeout");
    assert_eq!(sender.wait("peer")["queued_frames"], QUEUE_FRAMES);
    receiver.signal(Signal::CONT);
    for _ in 0..QUEUE_FRAMES {
        assert_eq!(receiver.wait("frame")["payload"], hex(b"queued"));
    }
    // The refused frame is never sent.
    sender.command("quit");
    assert_eq!(receiver.wait_any(&["frame", "down"])["event"], "down");
    assert_eq!(sender.end(), Some(0));
}
