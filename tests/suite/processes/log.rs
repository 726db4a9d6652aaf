//! The log for people: a line for each change, and no more.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;

use super::{Process, program};
use crate::addresses::own_addr;
use crate::runner;

/// Dials that fail in the same way are logged once, and counted when the peer is up.
#[test]
fn an_outage_has_three_lines() {
    let mut alice = Process::start(&["--bind", &own_addr().to_string()]);
    let address = alice.address();
    let limits = ["--limit", "redial_first=1ms", "--limit", "redial_cap=10ms"];
    let args = [&["--bind", "127.0.0.1:0", "--quiet", "--peer", &address][..], &limits].concat();
    let mut bob = Process::start_text(&args);
    bob.wait_line(&["peer 0 up: ", &address, "(standard, out)"]);
    drop(alice);
    bob.wait_line(&["peer 0 down: ", "; next try in "]);
    bob.wait_line(&["peer 0 not reached at ", &address, "refused", "; dialing on"]);
    // Each fails as the one before, which is not logged.
    loop {
        let before = bob.lines_so_far().len();
        bob.command("peers");
        bob.wait_line(&["1 peer"]);
        let is_tried = |line: &&String| line.contains("tried ") && line.contains("refused");
        if bob.lines_so_far()[before..].iter().filter(is_tried).count() >= 4 {
            break;
        }
    }
    let _alice = Process::start(&["--bind", &address]);
    let up = bob.wait_line(&["peer 0 up: "]);
    let failed = up.rsplit_once(" and ").and_then(|(_, end)| end.split(' ').next());
    assert!(failed.expect("a count").parse::<usize>().expect("a number") >= 4, "{up}");
    let lines: Vec<_> =
        bob.lines_so_far().iter().filter(|line| line.starts_with("peer 0 ")).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[test]
fn repeated_drops_of_one_address_have_one_line() {
    let mut node = Process::start_text(&["--bind", "127.0.0.1:0"]);
    let address = node.wait_line(&["listening on "]).split_off("listening on ".len());
    for _ in 0..20 {
        let mut connection = TcpStream::connect(&address).expect("a listener");
        connection.write_all(&[0xFF; 64]).expect("a connection");
        // The drop is logged before the connection is seen to end.
        let _ = std::io::copy(&mut connection, &mut std::io::sink());
    }
    node.wait_line(&["dropped "]);
    node.command("flood x");
    node.wait_line(&["nothing was sent"]);
    let lines = node.lines_so_far().iter().filter(|line| line.starts_with("dropped ")).count();
    assert_eq!(lines, 1, "{:?}", node.lines_so_far());
}

#[test]
fn each_line_has_the_time_if_asked_for() {
    let mut node = Process::start_text(&["--bind", "127.0.0.1:0", "--time"]);
    let line = node.wait_line(&["router id "]);
    let (time, _) = line.split_once("Z router id ").expect("a time before it");
    assert!(time.len() == 19 && time.starts_with("20") && &time[10..11] == "T", "{line}");
}

#[test]
fn exit_codes_name_the_kind_of_failure() {
    let run = |args: &[&str]| {
        let output = runner::command(program()).args(args).stdin(Stdio::null()).output();
        let output = output.expect("a process");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mut holder = Process::start(&["--bind", "127.0.0.1:0"]);
    let held = holder.address();
    let (code, text) = run(&["--bind", &held]);
    assert!(code == Some(3) && text.contains(&held), "{code:?} {text}");
    let (code, text) = run(&["--bind", "127.0.0.1:0", "--metrics", &held]);
    assert!(code == Some(3) && text.contains("--metrics") && text.contains(&held), "{text}");
    let (code, text) = run(&["--metrics", "9100"]);
    assert!(code == Some(2) && text.contains("9100"), "{code:?} {text}");
    let (code, text) = run(&["--limit", "keepalive=1"]);
    assert!(code == Some(2) && text.contains("keepalive (write 500ms, 30s"), "{code:?} {text}");
    #[cfg(not(feature = "noise"))]
    for words in [&["keygen", "node.key"][..], &["--key-file", "node.key"]] {
        let (code, text) = run(words);
        assert!(code == Some(2) && text.contains("without the feature noise"), "{code:?} {text}");
    }
    let (code, text) = run(&["--watch", "--json"]);
    assert!(code == Some(2) && text.contains("--watch"), "{code:?} {text}");
    for word in ["--help", "--limits"] {
        let (code, text) = run(&[word]);
        assert!(code == Some(0) && text.is_empty(), "{code:?} {text}");
    }
}
