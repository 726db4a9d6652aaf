//! Two routers that hold each other up.

use netmod_inet::{InetEndpoint, SendErrorKind, Target};

use super::figures::number;
use crate::scripted::numbered;
use crate::subject::{Node, TIMEOUT, parsed, quick, within};

/// More than the queues of both nodes and the system's buffers between them hold together.
const SIZE: usize = 32_000;

/// A router that is badly made: it waits in `send`, and only when that fails looks at what came.
async fn send_first(endpoint: InetEndpoint, target: Target, frames: u32) -> usize {
    let (mut got, mut timeouts) = (0, 0);
    for sent in 0..frames {
        let mut frame = parsed(&numbered(sent, SIZE));
        while let Err(error) = endpoint.send(target, frame).await {
            assert_eq!(error.reason(), SendErrorKind::TimedOut);
            frame = error.into_frame();
            assert_eq!(frame.as_bytes(), numbered(sent, SIZE), "not the frame that was sent");
            timeouts += 1;
            while let Some((_, frame)) = endpoint.try_next().expect("open") {
                assert_eq!(frame.as_bytes(), numbered(got, SIZE));
                got += 1;
            }
        }
    }
    while got < frames {
        let (_, frame) = endpoint.next().await.expect("open");
        assert_eq!(frame.as_bytes(), numbered(got, SIZE));
        got += 1;
    }
    timeouts
}

/// `FRAMES` frames go each way.
#[test]
fn two_routers_that_send_first_time_out_and_go_on() {
    let frames = number("FRAMES", 200) as u32;
    let mut limits = quick();
    // One may be done long before the other has read what it sent.
    limits.drain_timeout = TIMEOUT;
    let builder = || InetEndpoint::builder().limits(limits.clone());
    let (mut a, mut b) = (Node::built(builder().bind("127.0.0.1:0")), Node::built(builder()));
    let to_a = b.add(&format!("127.0.0.1:{}", a.port()));
    b.up();
    let (to_b, _, _) = a.up();
    let [a, b] = [(a, to_b), (b, to_a)].map(|(node, target)| {
        std::thread::spawn(move || {
            let timeouts = smol::block_on(send_first(node.endpoint.clone(), target, frames));
            // The remote may still wait for what is in flight.
            within("shutdown", node.endpoint.shutdown());
            timeouts
        })
    });
    let timeouts = a.join().expect("router a") + b.join().expect("router b");
    assert!(timeouts > 0, "they never waited for each other, so this shows nothing");
    println!("two routers that send first: {frames} frames each way, {timeouts} sends timed out");
}
