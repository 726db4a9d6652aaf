//! A node that merges with itself, again and again.

use std::net::Ipv4Addr;

use netmod_inet::{Event, InetEndpoint};

use super::stranger::{ID, INSTANCE, Link};
use crate::resume::by_hand::{DUPLICATE, Extension, MERGE, MERGE_ACK, Secret, control, mac};
use crate::subject::{Node, quick};

/// Inbound peers that the node may have: far fewer than there are merges.
const PEERS: usize = 8;

const MERGES: usize = 60;

/// How many targets of merged peers lead to the survivor, as the documentation says.
const ALIASES: usize = 8;

fn name(secret: &Secret) -> Vec<u8> {
    mac(secret, &[b"netmod-inet pair name"])[..8].to_vec()
}

/// Shows over the link of `stays` that the session `goes` has the same ends.
fn duplicate(goes: &Secret, stays: &Secret) -> Extension {
    let shown = mac(goes, &[b"netmod-inet same node", &INSTANCE, &name(stays)]);
    Extension::from([(DUPLICATE, [&name(goes)[..], &shown].concat())])
}

/// Requests the merge of the session `goes`, of which no frame arrived.
fn merge(goes: &Secret, stays: &Secret) -> Extension {
    let count = [0; 8];
    let shown = mac(goes, &[b"netmod-inet merge", &INSTANCE, &name(stays), &count]);
    Extension::from([(MERGE, [&name(goes)[..], &count, &shown].concat())])
}

/// Regression: each alias counted as a stranger, and locked others out for two minutes.
#[test]
fn a_node_that_merges_with_itself_takes_one_place() {
    let mut limits = quick();
    limits.peers = PEERS;
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    let mut node = Node::started(builder);
    let dial = || Link::from(Ipv4Addr::LOCALHOST, node.port(), INSTANCE);
    let mut link = dial();
    // Two connections are served side by side: without this, the request that names the session of
    // the first may be read before its proof, and would not be answered.
    link.wait_processed();
    for _ in 0..MERGES {
        let mut next = dial();
        next.wire.send(&control(ID, &duplicate(&link.session, &next.session)));
        next.wire.send(&control(ID, &merge(&link.session, &next.session)));
        assert_eq!(next.wire.expect_record(MERGE_ACK)[..8], name(&link.session));
        link = next;
    }
    let (mut merged, mut retired) = (Vec::new(), Vec::new());
    while merged.len() < MERGES || retired.len() < MERGES - ALIASES {
        node.wait("events of the merges", |event| {
            match event {
                Event::Merged { retired, .. } => merged.push(*retired),
                Event::Removed { target } => retired.push(*target),
                _ => return None,
            }
            Some(())
        });
    }
    assert_eq!(retired, merged[..MERGES - ALIASES], "the oldest go first");
    assert_eq!(node.endpoint.peers().len(), 1);
    node.serves("merges of one node with itself");
    drop(link);
}
