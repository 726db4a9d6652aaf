//! What the router swallows is in the log.

use crate::process::Node;
use crate::transfers::pair;

/// Waits for a warning of the adapter that contains all of `words`.
fn wait_for_warning(node: &mut Node, words: &[&str]) {
    loop {
        let (_, warning) = node.wait("log WARN netmod_inet_ratman: ");
        if words.iter().all(|word| warning.contains(word)) {
            return;
        }
    }
}

#[test]
fn peers_that_are_not_added_are_in_the_log() {
    let (mut node, other, _) = pair(Node::start(1), Node::start(2), None);
    node.command("peer no-port.example");
    wait_for_warning(&mut node, &["`no-port.example`", "port"]);
    node.peer(&other);
    wait_for_warning(&mut node, &[&format!("`{}`", other.addr), "already"]);
}

#[test]
fn envelopes_that_are_refused_are_in_the_log() {
    let (mut node, other, _) = pair(Node::start(1), Node::start(2), None);
    node.command("send-unknown 77");
    wait_for_warning(&mut node, &["1 frames not sent", "no neighbour has this id"]);
    node.command(&format!("send-reserved {}", other.id));
    wait_for_warning(&mut node, &["1 frames not sent", "modes 32 to 63 are reserved"]);
}
