//! A peer file that is read again while the node runs.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use super::Process;
use crate::addresses::own_addr;

/// A file that goes with the test.
struct PeerFile(PathBuf);

impl PeerFile {
    fn new(test: &str, text: &str) -> PeerFile {
        let name = format!("netmod-inet-{}-{test}", std::process::id());
        let file = PeerFile(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a temporary file");
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path of text")
    }
}

impl Drop for PeerFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn targets(node: &mut Process) -> Vec<(u64, String, u64)> {
    node.command("peers");
    let mut peers = Vec::new();
    loop {
        let object = node.wait_any(&["peer", "peers-end"]);
        if object["event"] == "peers-end" {
            return peers;
        }
        let number = |key: &str| object[key].as_u64().expect("a number");
        let dial = object["dial"].as_str().expect("a peer that is dialed").to_owned();
        peers.push((number("target"), dial, number("links")));
    }
}

/// Has the node read its file again, which must add, remove and keep so many. Waits for as many
/// peers to come up as are added, which may be reported first; returns the last of them.
fn reload(node: &mut Process, [added, removed, kept]: [u64; 3]) -> Option<Value> {
    node.signal(Signal::HUP);
    let (mut reloaded, mut ups) = (None, Vec::new());
    while reloaded.is_none() || (ups.len() as u64) < added {
        let object = node.wait_any(&["reloaded", "up"]);
        match object["event"] == "up" {
            true => ups.push(object),
            false => reloaded = Some(object),
        }
    }
    let reloaded = reloaded.expect("the loop waits for it");
    for (key, count) in [("added", added), ("removed", removed), ("kept", kept)] {
        assert_eq!(reloaded[key], count, "{reloaded}");
    }
    ups.pop()
}

#[test]
fn sighup_adds_and_removes_peers_and_leaves_the_others_up() {
    let mut alice = Process::start(&["--bind", "127.0.0.1:0"]);
    let mut carol = Process::start(&["--bind", "127.0.0.1:0"]);
    let (alice_at, carol_at) = (alice.address(), carol.address());
    let nobody = own_addr();
    let file = PeerFile::new("reload", &format!("# two\n{alice_at}\n{nobody}\n"));
    let mut bob = Process::start(&["--bind", "127.0.0.1:0", "--peer-file", file.path()]);
    assert_eq!(bob.wait("up")["target"], 0);

    file.write(&format!("{alice_at}\n\n{carol_at}\n"));
    assert_eq!(reload(&mut bob, [1, 1, 1]).expect("a link")["target"], 2);
    carol.wait("up");
    assert_eq!(targets(&mut bob), [(0, alice_at.clone(), 1), (2, carol_at.clone(), 1)]);

    // The same again is nothing at all.
    reload(&mut bob, [0, 0, 2]);
    // An entry that asks for another kind of link is another peer.
    file.write(&format!("{carol_at}?limited=send\n{alice_at}\n"));
    assert_eq!(reload(&mut bob, [1, 1, 1]).expect("a link")["type"], "limited-sending");
    assert_eq!(targets(&mut bob)[0], (0, alice_at.clone(), 1));

    // One that was removed by hand is dialed again, since it is listed. The one that the file no
    // longer has may be reported late: its link is ended first.
    bob.command("remove 0");
    while bob.wait("removed")["target"] != 0 {}
    reload(&mut bob, [1, 0, 1]);
}

#[test]
fn a_bad_line_names_file_and_line_and_changes_nothing() {
    let mut alice = Process::start(&["--bind", "127.0.0.1:0"]);
    let address = alice.address();
    let file = PeerFile::new("bad", &address);
    let mut bob = Process::start(&["--bind", "127.0.0.1:0", "--peer-file", file.path()]);
    bob.wait("up");
    for (text, named) in [
        ("other.example:9000\nno-port\n".to_owned(), "line 2: `no-port`"),
        (format!("{address}\n{address}X\n"), "line 2"),
        ("\u{0}".to_owned(), "line 1"),
    ] {
        file.write(&text);
        bob.signal(Signal::HUP);
        let message = bob.wait("error")["message"].as_str().expect("a text").to_owned();
        assert!(message.contains(file.path()) && message.contains(named), "{message}");
    }
    std::fs::remove_file(&file.0).expect("a temporary file");
    bob.signal(Signal::HUP);
    let message = bob.wait("error")["message"].as_str().expect("a text").to_owned();
    assert!(message.contains(file.path()) && message.contains("No such file"), "{message}");
    // What would wait for a writer does not hold up the node.
    std::os::unix::net::UnixListener::bind(&file.0).expect("a socket in the place of the file");
    bob.signal(Signal::HUP);
    bob.wait("error");
    assert_eq!(targets(&mut bob), [(0, address, 1)]);
    bob.signal(Signal::TERM);
    assert_eq!(bob.end(), Some(0));
}

#[test]
fn without_a_peer_file_a_hangup_is_an_end() {
    let mut node = Process::start(&["--bind", "127.0.0.1:0"]);
    node.address();
    node.signal(Signal::HUP);
    assert_eq!(node.end(), Some(0));
}

/// What would clear the screen, set a title, and turn the direction of text.
const HIDDEN: &str = "\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}2J\u{202e}\u{200b}";

fn is_hidden(c: char) -> bool {
    c.is_control() || HIDDEN.contains(c) && !c.is_ascii()
}

#[test]
fn a_bad_line_does_not_control_the_terminal() {
    let file = PeerFile::new("hidden", &format!("host{HIDDEN}:9000\n"));
    let args = ["--bind", "127.0.0.1:0", "--peer-file", file.path()];
    let output = crate::runner::command(super::program()).args(args).output().expect("output");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("line 1: `host\\u{1b}[2J"), "{text:?}");
    assert!(!text.replace('\n', "").contains(is_hidden), "{text:?}");
    // Nor does one that a running node reads, in either format.
    file.write("");
    let mut nodes = [Process::start(&args), Process::start_text(&args)];
    nodes.iter_mut().for_each(|node| drop(node.wait_line(&["listening"])));
    file.write(&format!("host{HIDDEN}:9000\n"));
    for mut node in nodes {
        node.signal(Signal::HUP);
        let line = node.wait_line(&["line 1"]);
        assert!(!line.contains(is_hidden), "{line:?}");
    }
}
