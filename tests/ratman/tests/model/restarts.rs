//! Nodes that are killed and start again with their router id.

use std::time::Duration;

use crate::process::Node;
use crate::scale::scaled;
use crate::transfers::{Stream, pair};

/// The bytes of a short message: a stream of one frame.
pub(crate) const MESSAGE: u64 = 200;

/// Which node of a pair is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    Dialer,
    Listener,
}

fn messages_arrive_after_each_restart_of(killed: Killed) {
    let (mut dialer, mut listener, _) = pair(Node::start(1), Node::start(2), None);
    listener.wait("up ");
    dialer.wait("up ");
    let rounds = scaled(5, 20);
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let (newcomer, other) = match killed {
            Killed::Dialer => (&mut dialer, &mut listener),
            Killed::Listener => (&mut listener, &mut dialer),
        };
        newcomer.kill();
        // While the neighbour is away, and perhaps before that has been noticed.
        let early = Stream::start(other, newcomer, 3 * round, MESSAGE);
        newcomer.restart();
        if killed == Killed::Dialer {
            newcomer.peer(other);
        }
        let (up, id) = other.wait("up ");
        assert_eq!(id, newcomer.id.to_string());
        let late = Stream::start(other, newcomer, 3 * round + 1, MESSAGE);
        let answer = Stream::start(newcomer, other, 3 * round + 2, MESSAGE);
        let arrived =
            [early.wait(other, newcomer), late.wait(other, newcomer), answer.wait(newcomer, other)];
        let slowest = arrived.into_iter().max().map_or(Duration::ZERO, |at| at - up);
        longest = longest.max(slowest);

        let (at_newcomer, at_other) = (newcomer.figures(), other.figures());
        assert_eq!(at_newcomer.neighbours(), other.id.to_string());
        assert_eq!(at_other.neighbours(), newcomer.id.to_string());
        at_newcomer.assert_clean();
        at_other.assert_clean();
    }
    println!("all messages within {longest:?} of the link, {rounds} restarts");
}

#[test]
fn messages_arrive_after_each_restart_of_the_dialer() {
    messages_arrive_after_each_restart_of(Killed::Dialer);
}

#[test]
fn messages_arrive_after_each_restart_of_the_listener() {
    messages_arrive_after_each_restart_of(Killed::Listener);
}
