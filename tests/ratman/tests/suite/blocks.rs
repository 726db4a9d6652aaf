//! Blocks of a stream, of which a neighbour sends a frame twice.

use libratman::types::{Ident32, InMemoryEnvelope, Neighbour};
use netmod_inet::{Frame, Id, Recipient, SequenceId};
use netmod_inet_ratman::to_envelope;

use crate::node::{Node, within};

/// The address of a client of the receiving router.
const CLIENT: Id = Id::from_bytes([0xC1; 32]);

/// The frame `num` of the three of a block.
fn data(block: u8, num: u8) -> InMemoryEnvelope {
    let place = SequenceId { hash: [block; 32], num, last: 2 };
    let frame = Frame::builder(8, Id::from_bytes([0xC2; 32]));
    let frame = frame.recipient(Recipient::Address(CLIENT)).sequence_id(place);
    to_envelope(frame.payload(vec![block, num]).build().unwrap()).unwrap()
}

fn announcement() -> InMemoryEnvelope {
    to_envelope(Frame::builder(4, CLIENT).payload("announcement").build().unwrap()).unwrap()
}

/// What the router is handed of `sent`, as block and number.
async fn received(sender: &Node, receiver: &Node, to: Ident32, sent: &[(u8, u8)]) -> Vec<(u8, u8)> {
    for (block, num) in sent.iter().chain(&[(0, 0)]) {
        sender.driver.send(data(*block, *num), Neighbour::Single(to), None).await.unwrap();
    }
    let mut received = Vec::new();
    loop {
        let (envelope, _) = within("frame", receiver.driver.next()).await.unwrap();
        match envelope.buffer[..] {
            [.., 0, 0] => return received,
            [.., block, num] => received.push((block, num)),
            _ => panic!("a frame of another kind"),
        }
    }
}

/// Regression: a router counts the frames of a block, so one that arrived twice spoiled it.
#[test]
fn a_frame_of_an_incomplete_block_is_handed_out_once() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(1).await, Node::new(2).await);
        let (_, to) = b.join(&mut a).await;
        // The address is not known to be of this router: the frames may be in transit.
        assert_eq!(received(&a, &b, to, &[(1, 0), (1, 0)]).await, [(1, 0), (1, 0)]);
        b.driver.send(announcement(), Neighbour::Flood, None).await.unwrap();
        within("announcement", a.driver.next()).await.unwrap();
        let sent = [(2, 0), (2, 0), (3, 1), (2, 1), (2, 0), (3, 1), (2, 2), (2, 0)];
        let expected = [(2, 0), (3, 1), (2, 1), (2, 2), (2, 0)];
        assert_eq!(received(&a, &b, to, &sent).await, expected);
    });
}
