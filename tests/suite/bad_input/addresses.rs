//! Addresses that are malformed, given twice, or this node's own.

use std::sync::atomic::{AtomicUsize, Ordering};

use netmod_inet::{
    AddPeersError, AttemptError, HandshakeError, Id, InetEndpoint, PeerAddr, PeerState, Resolve,
    ResolveFuture, Target,
};

use crate::scripted::{PlainListener, STANDARD};
use crate::subject::{Node, quick, within};

const MALFORMED: [&str; 24] = [
    "",
    " ",
    "inet:",
    "host",
    "host:",
    "host:0",
    "host:65536",
    "host:-1",
    "host:+1",
    "host:9000x",
    "host:X",
    ":9000",
    "::1:9000",
    "[::1:9000",
    "[::1]9000",
    "[garbage]:9000",
    "[fe80::1%e th]:9000",
    "[fe80::1%eth\0]:9000",
    "300.1.1.1:9000",
    "ho st:9000",
    "host:9000?",
    "host:9000?speed=9",
    "host:9000?limited=both",
    "host:9000X?limited=send",
];

fn add(node: &Node, peers: &[&str]) -> Result<Vec<Target>, AddPeersError> {
    within("add_peers", node.endpoint.add_peers(peers.iter().copied()))
}

#[test]
fn a_malformed_address_is_named_and_nothing_is_added() {
    let node = Node::dial_only();
    for text in MALFORMED {
        let error = add(&node, &["127.0.0.1:9", text, "127.0.0.1:10"]).expect_err(text);
        match &error {
            AddPeersError::Malformed { entry, .. } => assert_eq!(*entry, 2, "{text}"),
            other => panic!("{text}: {other}"),
        }
        assert!(error.to_string().contains("entry 2"), "{error}");
        assert!(node.endpoint.peers().is_empty(), "{text}: some of the list was added");
    }
}

#[test]
fn a_malformed_line_of_a_peer_file_is_named() {
    for text in MALFORMED.into_iter().filter(|text| !text.trim().is_empty()) {
        let file = format!("# friends\r\n\r\n  mynas.example:9000X  \n{text}\nhost:1\n");
        let error = PeerAddr::parse_list(file.as_bytes()).expect_err(text).to_string();
        let shown = text.replace('\0', "\\u{0}");
        assert!(error.contains("line 4") && error.contains(&shown), "{error}");
    }
}

#[test]
fn a_line_that_is_not_utf8_is_named() {
    for junk in [&b"\xff\xfe"[..], b"host\xc3:1", b"\x80", b"# fine, but \xe2\x28"] {
        let file = [b"host:1\n\n", junk, b"\nhost:2\n"].concat();
        let error = PeerAddr::parse_list(&file).expect_err("not UTF-8").to_string();
        assert!(error.contains("line 3") && error.contains("UTF-8"), "{error}");
    }
}

#[test]
fn a_good_peer_file() {
    let file = b"\n# home\nmynas.example:9000X\n\n  inet:[2001:db8::1]:9000\r\ninet#10.0.0.1:1\n\
        10.0.0.2:65535?limited=send";
    let peers = PeerAddr::parse_list(file).expect("well-formed");
    let texts: Vec<_> = peers.iter().map(PeerAddr::to_string).collect();
    let expected =
        ["mynas.example:9000X", "[2001:db8::1]:9000", "10.0.0.1:1", "10.0.0.2:65535?limited=send"];
    assert_eq!(texts, expected);
    assert_eq!(PeerAddr::parse_list(b"").expect("an empty file"), []);
}

#[test]
fn a_duplicate_is_named_and_nothing_is_added() {
    let node = Node::dial_only();
    for (first, again) in [
        ("127.0.0.1:9", "127.0.0.1:9"),
        ("127.0.0.1:9", "inet:127.0.0.1:9"),
        ("host.example:9", "HOST.example:9X"),
        ("[::1]:9", "[0:0::1]:9?limited=recv"),
        ("host.example:9", "host.example.:9"),
        ("10.0.0.1:9", "[::ffff:10.0.0.1]:9"),
    ] {
        let error = add(&node, &["127.0.0.1:10", first, again]).expect_err(again);
        assert!(matches!(&error, AddPeersError::Twice { entry: 3, .. }), "{again}: {error}");
        assert!(error.to_string().contains("entry 3"), "{error}");
        assert!(node.endpoint.peers().is_empty());
        let file = format!("{first}\n\n{again}");
        let error = PeerAddr::parse_list(file.as_bytes()).expect_err(again).to_string();
        assert!(error.contains("line 3") && error.contains(again), "{error}");
    }
}

#[test]
fn a_peer_that_is_there_already_is_named() {
    let node = Node::dial_only();
    let listener = PlainListener::bind();
    let addr = listener.addr("");
    let target = node.add(&addr);
    let error = add(&node, &["127.0.0.1:10", &addr]).expect_err("it is there");
    assert!(error.to_string().contains(&addr), "{error}");
    assert_eq!(error, AddPeersError::Known { entry: 2, addr, target });
    assert_eq!(node.endpoint.peers().len(), 1);
    let name = within("add_peers", node.endpoint.add_peers(["mynas.example:9"])).expect("new");
    for again in ["MYNAS.example:9X", "mynas.example.:9"] {
        let error = add(&node, &["127.0.0.1:10", again]).expect_err("it is there");
        let target = name[0];
        assert!(matches!(error, AddPeersError::Known { entry: 2, target: of, .. } if of == target));
    }
}

/// The node detects it by the router id, reports it, and keeps trying: the address may later be
/// another node's.
#[test]
fn its_own_address_is_reported_as_own_self() {
    let mut node = Node::listening();
    for _ in 0..3 {
        let target = node.add(&format!("127.0.0.1:{}", node.port()));
        let reason = node.attempt(target);
        assert!(matches!(reason, AttemptError::Handshake(HandshakeError::OwnSelf)), "{reason}");
        assert!(reason.to_string().contains("self"), "{reason}");
        assert_ne!(node.info(target).state, PeerState::Up);
        node.serves("a self connection");
        node.remove(target);
        assert!(node.endpoint.peers().is_empty());
    }
    assert!(node.endpoint.try_next().expect("a running endpoint").is_none());
}

/// Another process with the same id is the same case, seen from each end.
#[test]
fn a_copy_of_this_node_is_reported_as_own_self() {
    let id = Id::from_bytes([7; 32]);
    let builder = || InetEndpoint::builder().router_id(id).bind("127.0.0.1:0").limits(quick());
    let (mut one, mut two) = (Node::built(builder()), Node::built(builder()));
    let target = one.add(&format!("127.0.0.1:{}", two.port()));
    let reason = one.attempt(target).to_string();
    assert!(reason.contains("self"), "{reason}");
    let reason = two.wait("dropped event", |event| match event {
        netmod_inet::Event::Dropped { reason, .. } => Some(reason.to_string()),
        _ => None,
    });
    assert!(reason.contains("self"), "{reason}");
    two.serves("a copy of it");
}

/// A name server that knows a name only when it is asked the third time.
struct SlowToLearn {
    asked: AtomicUsize,
}

impl Resolve for SlowToLearn {
    fn resolve(&self, host: &str, port: u16) -> ResolveFuture {
        assert_eq!(host, "mynas.example");
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match asked {
                0 => Err(std::io::ErrorKind::NotFound.into()),
                1 => Ok(Vec::new()),
                _ => Ok(vec![([127, 0, 0, 1], port).into()]),
            }
        })
    }
}

#[test]
fn a_name_that_does_not_resolve_yet_is_no_error() {
    let resolver = SlowToLearn { asked: AtomicUsize::new(0) };
    let mut node = Node::built(InetEndpoint::builder().limits(quick()).resolver(resolver));
    let listener = PlainListener::bind();
    let target = node.add(&format!("mynas.example:{}", listener.port()));
    let reason = node.attempt(target);
    assert!(matches!(reason, AttemptError::Resolve(_)), "{reason}");
    let reason = node.attempt(target);
    assert!(matches!(reason, AttemptError::NoAddress), "{reason}");
    let _peer = listener.answer(STANDARD, 7);
    assert_eq!(node.up().0, target);
}
