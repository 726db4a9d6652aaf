//! The table that a terminal shows.

use super::screen::Screen;
use super::{Process, program};
use crate::addresses::own_addr;
use crate::runner;
use crate::subject::TIMEOUT;

fn has(picture: &[String], words: &[&str]) -> bool {
    picture.iter().any(|line| words.iter().all(|word| line.contains(word)))
}

/// The most columns that a line takes. Nothing wider than one stands in these pictures.
fn widest(picture: &[String]) -> usize {
    picture.iter().map(|line| line.chars().count()).max().unwrap_or_default()
}

#[test]
fn peers_are_shown_in_80_columns_and_in_less() {
    let mut alice = Process::start(&["--bind", &own_addr().to_string()]);
    let address = alice.address();
    let long = "a-long-name-of-a-machine.in-a-department.of-an-organisation.invalid:9000X";
    let mut command = runner::command(program());
    command.args(["--bind", "127.0.0.1:0", "--watch", "--peer", &address, "--peer", long]);
    command.args(["--limit", "redial_cap=200ms"]);
    let (mut screen, mut bob) = Screen::start(&mut command, 80, 24);
    let picture = screen.wait("peer that is up", TIMEOUT, |picture| {
        has(picture, &["0 up ", &address]) && has(picture, &["cannot look up the name"])
    });
    assert_eq!(widest(&picture), 80, "{picture:#?}");
    assert!(picture.len() <= 24, "{picture:#?}");
    assert!(has(&picture, &["2 peers: 1 up"]) && has(&picture, &["PEER STATE", "ADDRESS"]));
    assert!(has(&picture, &["1 d", "a-long-", "…", "invalid:9000X"]), "{picture:#?}");
    assert!(has(&picture, &["Z peer 0 up: ", &address]), "the log: {picture:#?}");

    alice.command("quit");
    screen.wait("reason", TIMEOUT, |picture| {
        has(picture, &["0 d", &address]) && has(picture, &["it shuts down", "try"])
    });
    bob.wait_line(&["peer 0 down: ", "it shuts down"]);
    let _alice = Process::start(&["--bind", &address]);
    screen.wait("peer that is back", TIMEOUT, |picture| {
        has(picture, &["0 up ", &address]) && has(picture, &["was down: ", "it shuts down"])
    });
    bob.wait_line(&["peer 0 up: ", ", after "]);

    for (columns, rows) in [(40, 12), (20, 5), (1, 1), (200, 60)] {
        screen.resize(columns, rows);
        screen.wait("picture of that size", TIMEOUT, |picture| {
            picture.len() == usize::from(rows) && widest(picture) == usize::from(columns)
        });
    }
    screen.press("q");
    assert_eq!(bob.end(), Some(0));
    let sent = screen.until("\x1b[?1049l");
    assert!(sent.starts_with("\x1b[?1049h"), "{sent}");
}

#[test]
fn more_peers_than_lines_can_be_scrolled() {
    let nobody = own_addr();
    let mut command = runner::command(program());
    command.args(["--bind", "127.0.0.1:0", "--watch"]);
    for host in 1..=100 {
        command.args(["--peer", &format!("127.0.0.{host}:{}", nobody.port())]);
    }
    let (mut screen, mut node) = Screen::start(&mut command, 80, 24);
    let first = screen.wait("first peers", TIMEOUT, |picture| {
        has(picture, &["100 peers: "]) && has(picture, &["1 to ", " of 100"])
    });
    assert!(first.len() <= 24 && widest(&first) <= 80, "{first:#?}");
    screen.press("\x1b[B");
    screen.wait("second to last", TIMEOUT, |picture| has(picture, &["2 to ", " of 100"]));
    for _ in 0..100 {
        screen.press(" ");
    }
    let last = screen.wait("last peers", TIMEOUT, |picture| has(picture, &["to 100 of 100"]));
    assert!(has(&last, &["   99 d"]), "{last:#?}");
    for _ in 0..100 {
        screen.press("b");
    }
    screen.wait("first again", TIMEOUT, |picture| has(picture, &["      1 to "]));
    screen.press("q");
    assert_eq!(node.end(), Some(0));
}

#[test]
fn without_a_terminal_lines_are_printed_with_a_warning() {
    let mut command = runner::command(program());
    command.args(["--bind", "127.0.0.1:0", "--watch"]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let mut node = Process::run(&mut command);
    node.wait_line(&["listening on 127.0.0.1:"]);
    let mut command = runner::command(program());
    command.args(["--bind", "127.0.0.1:0", "--watch"]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut node = Process::run(command.stderr(std::process::Stdio::piped()));
    node.wait_line(&["warning: --watch: standard output is no terminal"]);
}
