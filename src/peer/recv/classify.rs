//! Classification of received frames.

use crate::error::DownReason;
use crate::proto::{
    CONTROL, FramingError, Header, LENGTH_PREFIX, PeerType, VERSION, is_peering, peek_len,
};

/// What the remote may send on a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkRules {
    pub(crate) peer_type: PeerType,
    pub(crate) is_extended: bool,
}

/// The destination of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameClass {
    /// The router.
    Router,
    /// This crate: a control frame with extensions.
    Control,
    /// None: the frame has an unknown version, or modes that are reserved for netmods.
    Ignored,
}

/// A run of messages of one class at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) class: FrameClass,
    pub(crate) len: usize,
    pub(crate) frames: usize,
    /// Whether in each message the frame fills its length, with no bytes after the payload.
    pub(crate) no_trailing: bool,
}

/// Finds the run at the start of `buffer`.
///
/// Invalid data after valid frames is left for the next call, so that those are delivered first.
pub(crate) fn classify_run(buffer: &[u8], rules: LinkRules) -> Result<Run, DownReason> {
    let mut run = Run { class: FrameClass::Router, len: 0, frames: 0, no_trailing: true };
    loop {
        match parse_first(&buffer[run.len..], rules) {
            // Control frames are handled one by one.
            Ok(Some(_)) if run.frames > 0 && run.class == FrameClass::Control => break,
            Ok(Some(message)) if run.frames == 0 || run.class == message.class => {
                run.class = message.class;
                run.len += message.len;
                run.frames += 1;
                run.no_trailing &= message.no_trailing;
            }
            Err(reason) if run.len == 0 => return Err(reason),
            _ => break,
        }
    }
    Ok(run)
}

/// A whole message: a length prefix and a frame.
struct Message {
    class: FrameClass,
    len: usize,
    /// Whether nothing follows the payload.
    no_trailing: bool,
}

/// Parses the first message of `bytes`. `None` if it is incomplete.
fn parse_first(bytes: &[u8], rules: LinkRules) -> Result<Option<Message>, DownReason> {
    let Some(len) = peek_len(bytes).map_err(DownReason::Framing)? else { return Ok(None) };
    let Some(frame) = bytes.get(LENGTH_PREFIX..len) else { return Ok(None) };
    let header = Header::parse(frame);
    let header = header.map_err(|error| DownReason::Framing(FramingError::Frame(error)))?;
    let modes = u16::from_be_bytes([frame[1], frame[2]]);
    let class = match frame[0] == VERSION {
        true if modes == CONTROL && rules.is_extended => FrameClass::Control,
        true if !is_peering(modes) => FrameClass::Router,
        _ => FrameClass::Ignored,
    };
    match class == FrameClass::Router && !rules.peer_type.may_receive() {
        true => Err(DownReason::WrongDirection),
        false => Ok(Some(Message { class, len, no_trailing: header.frame_len() == frame.len() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::recv::test_support::message;
    use crate::proto::{Direction, FrameError};

    fn run(len: usize, frames: usize, ignored: usize) -> Run {
        match ignored {
            0 => Run { class: FrameClass::Router, len, frames, no_trailing: true },
            frames => Run { class: FrameClass::Ignored, len, frames, no_trailing: true },
        }
    }

    fn plain(peer_type: PeerType) -> LinkRules {
        LinkRules { peer_type, is_extended: false }
    }

    #[test]
    fn a_run_ends_where_the_frame_class_changes() {
        let buffer = [message(8, 5), message(9, 0), message(33, 2), message(8, 0)].concat();
        let classify = |at: usize| classify_run(&buffer[at..], plain(PeerType::Standard)).unwrap();
        assert_eq!(classify(0), run(50 + 45, 2, 0));
        assert_eq!(classify(95), run(47, 0, 1));
        assert_eq!(classify(142), run(45, 1, 0));
        assert_eq!(classify(187), run(0, 0, 0));
    }

    #[test]
    fn trailing_bytes_clear_the_flag_of_the_run() {
        let mut trailing = message(8, 5);
        trailing.push(0xEE);
        trailing[LENGTH_PREFIX - 1] += 1;
        for (buffer, no_trailing) in [(message(8, 1), true), (trailing, false)] {
            let buffer = [message(8, 0), buffer, message(8, 2)].concat();
            let run = classify_run(&buffer, plain(PeerType::Standard)).unwrap();
            assert_eq!((run.frames, run.no_trailing), (3, no_trailing));
        }
    }

    #[test]
    fn a_truncated_buffer_yields_the_whole_frames() {
        let buffer = [message(8, 5), message(8, 6)].concat();
        for len in 0..buffer.len() {
            let frames = usize::from(len >= 50);
            let found = classify_run(&buffer[..len], plain(PeerType::Standard)).unwrap();
            assert_eq!(found, run(50 * frames, frames, 0), "cut at {len}");
        }
    }

    #[test]
    fn valid_frames_are_returned_before_the_error_behind_them() {
        let mut bad = message(8, 5);
        bad[LENGTH_PREFIX + 35] = 9;
        let buffer = [message(8, 0), bad].concat();
        assert_eq!(classify_run(&buffer, plain(PeerType::Standard)).unwrap(), run(45, 1, 0));
        let reason = classify_run(&buffer[45..], plain(PeerType::Standard)).unwrap_err();
        let FramingError::Frame(FrameError::RecipientTag(9)) = out_of_step(reason) else {
            panic!()
        };
    }

    fn out_of_step(reason: DownReason) -> FramingError {
        match reason {
            DownReason::Framing(why) => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_wrong_direction_ends_a_limited_link_but_netmod_modes_do_not() {
        let sending = plain(PeerType::Limited(Direction::Sending));
        assert!(matches!(classify_run(&message(8, 0), sending), Err(DownReason::WrongDirection)));
        assert_eq!(classify_run(&message(40, 0), sending).unwrap(), run(45, 0, 1));
        let receiving = plain(PeerType::Limited(Direction::Receiving));
        assert_eq!(classify_run(&message(8, 0), receiving).unwrap(), run(45, 1, 0));
    }

    #[test]
    fn control_frames_are_classified_one_by_one_on_extended_links_only() {
        let buffer = [message(40, 0), message(40, 0), message(41, 0)].concat();
        let agreed = LinkRules { peer_type: PeerType::Standard, is_extended: true };
        let control = Run { class: FrameClass::Control, len: 45, frames: 1, no_trailing: true };
        assert_eq!(classify_run(&buffer, agreed).unwrap(), control);
        assert_eq!(classify_run(&buffer[90..], agreed).unwrap(), run(45, 0, 1));
        assert_eq!(classify_run(&buffer, plain(PeerType::Standard)).unwrap(), run(135, 0, 3));
    }

    #[test]
    fn an_unknown_version_is_ignored_only_if_it_is_well_formed() {
        let mut other = message(8, 3);
        other[LENGTH_PREFIX] = 2;
        assert_eq!(classify_run(&other, plain(PeerType::Standard)).unwrap(), run(48, 0, 1));
        other[LENGTH_PREFIX + 40] = 200;
        assert!(classify_run(&other, plain(PeerType::Standard)).is_err());
    }
}
