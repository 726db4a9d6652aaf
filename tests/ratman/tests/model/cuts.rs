//! Streams over a path that is cut time and again.

use crate::process::Node;
use crate::proxy::{Path, Proxy};
use crate::scale::MB;
use crate::transfers::{Stream, assert_clean, exchange, pair};

const CUTS: u32 = 10;

/// A path on which a stream of 8 MB is cut ten times on its way.
fn cut_path() -> Option<Path> {
    Some(Path::cut(CUTS, 8 * MB / u64::from(CUTS + 1)))
}

#[test]
fn a_stream_from_the_dialer_arrives_across_ten_cuts() {
    let (mut dialer, mut listener, proxy) = pair(Node::start(1), Node::start(2), cut_path());
    Stream::start(&mut dialer, &listener, 0, 8 * MB).wait(&mut dialer, &mut listener);
    assert_eq!(proxy.map(|proxy| proxy.cuts_left()), Some(0));
    assert_clean([&mut dialer, &mut listener]);
}

#[test]
fn a_stream_from_the_listener_arrives_across_ten_cuts() {
    let (mut dialer, mut listener, proxy) = pair(Node::start(1), Node::start(2), cut_path());
    Stream::start(&mut listener, &dialer, 0, 8 * MB).wait(&mut listener, &mut dialer);
    assert_eq!(proxy.map(|proxy| proxy.cuts_left()), Some(0));
    assert_clean([&mut dialer, &mut listener]);
}

#[test]
fn streams_both_ways_at_once_arrive_across_ten_cuts() {
    let (mut dialer, mut listener, proxy) = pair(Node::start(1), Node::start(2), cut_path());
    exchange(&mut dialer, &mut listener, 0, 8 * MB);
    assert_eq!(proxy.map(|proxy| proxy.cuts_left()), Some(0));
    assert_clean([&mut dialer, &mut listener]);
}

/// The middle node forwards to a neighbour whose link is being restored.
#[test]
fn streams_cross_on_a_line_whose_second_link_is_cut() {
    for middle_dials in [true, false] {
        let mut nodes: Vec<_> = (1..=3).map(Node::start).collect();
        let [first, middle, last] = &mut nodes[..] else { unreachable!() };
        let (dialer, listener) = match middle_dials {
            true => (&mut *middle, &*last),
            false => (&mut *last, &*middle),
        };
        let proxy = Proxy::start(&listener.addr, Path::cut(CUTS, 16 * MB / u64::from(CUTS + 1)));
        dialer.command(&format!("peer {}", proxy.addr));
        first.peer(middle);
        first.wait_for_route(last);
        last.wait_for_route(first);
        exchange(first, last, 0, 8 * MB);
        assert_eq!(proxy.cuts_left(), 0);
        assert_clean(&mut nodes);
    }
}
