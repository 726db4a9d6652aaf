//! Two nodes of the command line in two networks, and the cable between them is pulled.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::network::{in_own_network, ip};
use super::process::report;
use crate::processes::metrics::scrape;
use crate::processes::screen::Screen;
use crate::processes::{Process, program};
use crate::runner;

const PULLED: &str = "reliability::cable::table_and_log_show_why_a_link_ended_and_when_it_is_back";

/// Far longer than the limits below make anything take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The kernel gives up a link over which nothing comes within this time, instead of 3 minutes.
const LIMITS: [&str; 6] =
    ["--limit", "keepalive=1s", "--limit", "user_timeout=2s", "--limit", "redial_cap=500ms"];

/// Takes root, or a system that allows network namespaces to all users.
#[test]
fn table_and_log_show_why_a_link_ended_and_when_it_is_back() {
    in_own_network(PULLED, || {
        let mut far = Command::new("unshare");
        far.arg("--net")
            .args(runner::words(program()))
            .args(["--json", "--bind", "0.0.0.0:9000"])
            .args(LIMITS);
        let mut far = Process::run(far.stdin(Stdio::piped()).stdout(Stdio::piped()));
        far.address();
        lay_cable(far.id());

        let mut near = runner::command(program());
        near.args(["--bind", "127.0.0.1:0", "--metrics", "127.0.0.1:9100", "--watch"]);
        near.args(["--peer", "10.7.0.2:9000"]).args(LIMITS);
        let (mut screen, mut near) = Screen::start(&mut near, 80, 24);
        let shown = |picture: &[String], words: &[&str]| {
            picture.iter().any(|line| words.iter().all(|word| line.contains(word)))
        };
        let picture =
            screen.wait("link", TIMEOUT, |picture| shown(picture, &["0 up", "10.7.0.2:9000"]));
        picture.iter().for_each(|line| report(line));
        near.wait_line(&["peer 0 up: 10.7.0.2:9000"]);
        far.wait("up");

        ip("link set near down");
        let pulled = Instant::now();
        // One that waits for the link is sent over the next.
        far.command("send 0 for later");
        far.wait("sent");
        let picture = screen.wait("reason", TIMEOUT, |picture| {
            shown(picture, &["0 d", "10.7.0.2:9000"])
                && shown(picture, &["connection lost: ", "next try in", "cannot connect"])
        });
        report(&format!("reported {:.1?} after the cable was pulled", pulled.elapsed()));
        picture.iter().for_each(|line| report(line));
        report(&near.wait_line(&["peer 0 down: connection lost: ", "; next try in "]));
        report(&near.wait_line(&["peer 0 not reached at 10.7.0.2:9000: ", "unreachable"]));
        report(&format!("far: {}", far.wait("down")["reason"]));

        ip("link set near up");
        let plugged = Instant::now();
        let picture = screen.wait("link", TIMEOUT, |picture| {
            shown(picture, &["0 up", "10.7.0.2:9000"])
                && shown(picture, &["was down: connection lost: "])
        });
        report(&format!("back {:.1?} after the cable was plugged in", plugged.elapsed()));
        picture.iter().for_each(|line| report(line));
        report(&near.wait_line(&["peer 0 up: 10.7.0.2:9000", ", after ", " failed dial"]));
        let end = Instant::now() + TIMEOUT;
        let received = "netmod_inet_peer_received_frames_total{peer=\"0\"} 1\n";
        while !scrape("127.0.0.1:9100").contains(received) {
            assert!(Instant::now() < end, "the frame did not come over the new link");
        }
        let lines = near.lines_so_far().iter().filter(|line| line.starts_with("peer 0 ")).count();
        assert_eq!(lines, 4, "up, down, not reached, up: {:?}", near.lines_so_far());
        screen.press("q");
        assert_eq!(near.end(), Some(0));
    });
}

/// Between this network and that of another process.
fn lay_cable(far: u32) {
    ip(&format!("link add near type veth peer name far netns {far}"));
    ip("addr add 10.7.0.1/24 dev near");
    ip("link set near up");
    let enter = |words: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &far.to_string(), "ip"]).args(words.split(' '));
        let done = command.output().expect("the nsenter command");
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "ip {words}: {error}");
    };
    enter("addr add 10.7.0.2/24 dev far");
    enter("link set far up");
}
