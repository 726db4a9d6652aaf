//! Decoding: takes whole frames from the read buffer, and handles the control frames among them.

use std::sync::Arc;
use std::time::Duration;

use crate::error::DownReason;
use crate::peer::merge_state::{MergeMessage, OnMergeMessage};
use crate::peer::recv::batch::Batch;
use crate::peer::recv::classify::{FrameClass, LinkRules, Run, classify_run};
use crate::peer::{Peer, PeerClass};
use crate::primitives::buffer_pool::BufferPool;
use crate::proto::{Extension, Frame, InvalidAck, LENGTH_PREFIX};
use crate::transport::{Link, ReadBuffer};

/// What was taken from the buffer.
#[derive(Debug)]
pub(crate) enum Taken {
    Frames(Batch),
    /// Frames that were handled here, and are not for the router.
    Consumed,
    /// Frames for nobody.
    Ignored,
}

/// Decodes the run of whole frames at the front of the buffer. `None` if there is none.
pub(crate) fn decode_run(
    peer: &Peer,
    link: &Link,
    read_buffer: &mut ReadBuffer,
    buffers: &Arc<BufferPool>,
    class: PeerClass,
    on_merge: OnMergeMessage<'_>,
) -> Result<Option<Taken>, DownReason> {
    let rules = LinkRules { peer_type: peer.peer_type(), is_extended: link.is_extended() };
    let run = classify_run(read_buffer.unread(), rules)?;
    match run.class {
        _ if run.frames == 0 => Ok(None),
        FrameClass::Ignored => {
            peer.count_ignored(run.frames);
            read_buffer.skip(run.len);
            Ok(Some(Taken::Ignored))
        }
        FrameClass::Control => {
            let frame = &read_buffer.unread()[LENGTH_PREFIX..run.len];
            let handled = handle_control(peer, frame, on_merge);
            read_buffer.skip(run.len);
            handled.map(|()| Some(Taken::Consumed))
        }
        FrameClass::Router => {
            let (messages, pinned) = read_buffer.split_front(run.len, buffers);
            let Run { frames, no_trailing, .. } = run;
            let is_stranger = class == PeerClass::Stranger;
            Ok(Some(Taken::Frames(Batch { messages, frames, pinned, no_trailing, is_stranger })))
        }
    }
}

/// Handles the extensions in a control frame.
fn handle_control(
    peer: &Peer,
    frame: &[u8],
    on_merge: OnMergeMessage<'_>,
) -> Result<(), DownReason> {
    let control = Frame::parse(frame.to_vec()).ok();
    let Some(extension) = control.and_then(|frame| Extension::decode(frame.payload())) else {
        peer.count_ignored(1);
        return Ok(());
    };
    if let Some(count) = extension.ack {
        let ack_delay = extension.ack_delay.map(|micros| Duration::from_micros(micros.into()));
        let done = peer.queue.acknowledge(count, ack_delay);
        done.map_err(|InvalidAck| DownReason::InvalidAck(count))?;
        peer.count_ack();
    }
    if let Some(credit) = extension.credit {
        peer.queue.add_credit(credit);
    }
    if let Some((name, proof)) = extension.duplicate {
        on_merge(MergeMessage::Duplicate { name, proof });
    }
    if let Some((name, (received, proof))) = extension.merge {
        on_merge(MergeMessage::Request { name, received, proof });
    }
    if let Some((name, received)) = extension.merge_ack {
        on_merge(MergeMessage::Ack { name, received });
    }
    if extension.ping.is_some() {
        peer.queue.queue_ack();
    }
    if let Some(close) = extension.close {
        peer.on_remote_close(close.into());
    }
    Ok(())
}
