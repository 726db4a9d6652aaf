//! Metrics over HTTP: the text, and clients that behave badly.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Instant;

use super::{Process, program};
use crate::runner;
use crate::subject::TIMEOUT;

/// What the server answers to these bytes, to its end.
fn ask(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    stream.write_all(request).expect("a connection");
    stream.shutdown(std::net::Shutdown::Write).expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The text that a node at this address hands out.
pub(crate) fn scrape(address: &str) -> String {
    let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let kind = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(kind), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    body.to_owned()
}

fn metrics_address(node: &mut Process) -> String {
    node.wait("metrics")["addr"].as_str().expect("an address").to_owned()
}

/// The samples of a text, after a check of all that OpenMetrics asks of it.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("an end");
    let (mut samples, mut families) = (BTreeMap::new(), Vec::new());
    let (mut family, mut kind) = ("", "");
    for line in body.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, of] => {
                assert!(!families.contains(&name), "{name} twice");
                assert!(["gauge", "counter", "info"].contains(&of), "{line}");
                families.push(name);
                (family, kind) = (name, of);
            }
            ["#", "UNIT", name, unit] => {
                assert!(name == family && name.ends_with(&format!("_{unit}")), "{line}");
            }
            ["#", "HELP", name, help] => assert!(name == family && !help.is_empty(), "{line}"),
            _ => {
                let (name, value) = line.rsplit_once(' ').expect("a value");
                let end = name.find('{').unwrap_or(name.len());
                let suffix = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                assert_eq!(&name[..end], format!("{family}{suffix}"), "{line}");
                let value = value.parse().expect("a number");
                assert!(samples.insert(name.to_owned(), value).is_none(), "{line} twice");
            }
        }
    }
    samples
}

#[test]
fn metrics_describe_each_peer() {
    let mut alice = Process::start(&["--bind", "127.0.0.1:0"]);
    let address = alice.address();
    let metrics = ["--metrics", "127.0.0.1:0", "--peer", "unknown.invalid:9000X"];
    let args = [&["--bind", "127.0.0.1:0", "--peer", &address][..], &metrics].concat();
    let mut bob = Process::start(&args);
    let at = metrics_address(&mut bob);
    bob.wait("up");
    bob.command("send 0 hello");
    alice.wait("frame");
    let end = Instant::now() + TIMEOUT;
    let samples = loop {
        // The first acknowledgement gives the round trip.
        let samples = samples(&scrape(&at));
        if samples.contains_key("netmod_inet_peer_round_trip_seconds{peer=\"0\"}") {
            break samples;
        }
        assert!(Instant::now() < end, "{samples:?}");
    };
    let value = |name: &str| samples.get(name).copied();
    assert_eq!(value("netmod_inet_peers{state=\"up\"}"), Some(1.0));
    assert_eq!(value("netmod_inet_peer_up{peer=\"0\"}"), Some(1.0));
    assert_eq!(value("netmod_inet_peer_up{peer=\"1\"}"), Some(0.0));
    assert_eq!(value("netmod_inet_peer_sent_frames_total{peer=\"0\"}"), Some(1.0));
    assert_eq!(value("netmod_inet_peer_links_total{peer=\"0\"}"), Some(1.0));
    assert_eq!(value("netmod_inet_events_total{event=\"up\"}"), Some(1.0));
    assert!(samples.keys().any(|name| name.contains("dial=\"unknown.invalid:9000X\"")));
    assert!(value("netmod_inet_peer_round_trip_seconds{peer=\"1\"}").is_none());
}

#[test]
fn invalid_requests_get_an_error_status() {
    let mut node = Process::start(&["--bind", "127.0.0.1:0", "--metrics", "[::1]:0"]);
    let at = metrics_address(&mut node);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", "405"),
        ("nonsense\r\n\r\n", "400"),
        ("GET /metrics", "400"),
        (&"x".repeat(30_000), "431"),
    ] {
        let answer = ask(&at, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.40}: {answer}");
    }
    samples(&scrape(&at));
}

/// More of them than the server keeps, and they never end by themselves.
#[test]
fn slow_clients_do_not_block_others() {
    let mut node = Process::start(&["--bind", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
    let at = metrics_address(&mut node);
    let slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(&at).expect("a listener");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").expect("a connection");
            stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
            stream
        })
        .collect();
    // If they held it up for the time that each has, this would not be answered in time.
    samples(&scrape(&at));
    for mut stream in slow {
        // It was displaced, or its time ran out.
        match stream.read(&mut [0; 100]) {
            Ok(len) => assert_eq!(len, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn an_address_for_everybody_is_warned_of() {
    let mut node = runner::command(program())
        .args(["--json", "--bind", "127.0.0.1:0", "--metrics", "0.0.0.0:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    node.stdin.take().expect("it is piped").write_all(b"quit\n").expect("a node that listens");
    let output = node.wait_with_output().expect("a child");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("warning") && text.contains("0.0.0.0:0"), "{text}");
    assert_eq!(output.status.code(), Some(0));
}
