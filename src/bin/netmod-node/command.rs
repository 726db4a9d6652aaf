//! Parses the commands of standard input.

use crate::hex;
use netmod_inet::{Frame, FrameError, Id};

/// A parsed command.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Send { target: u64, content: Content },
    Flood(Content),
    Add(String),
    Remove(u64),
    Kick(Option<u64>),
    Peers,
    Help,
    Quit,
}

/// What a frame is built from. It is validated when the frame is sent: invalid content is refused,
/// which is not a syntax error.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    /// The payload of a data frame.
    Text(Vec<u8>),
    /// A whole carrier frame.
    Frame(Vec<u8>),
}

/// The frame mode of a data block.
const DATA: u16 = 8;

impl Content {
    pub(crate) fn into_frame(self, sender: Id) -> Result<Frame, FrameError> {
        match self {
            Content::Text(text) => Frame::builder(DATA, sender).payload(text).build(),
            Content::Frame(bytes) => Frame::parse(bytes),
        }
    }
}

impl Command {
    /// Parses a line without its newline. Returns `None` for a blank line.
    ///
    /// Texts may have any encoding. The error gives the syntax of the command.
    pub(crate) fn parse(line: &[u8]) -> Result<Option<Command>, String> {
        let (name, rest) = split_word(line);
        Ok(Some(match name {
            b"" => return Ok(None),
            b"send" => {
                let (target, content) = parse_targeted("send TARGET TEXT", rest)?;
                Command::Send { target, content: Content::Text(content.to_vec()) }
            }
            b"send-hex" => {
                let (target, digits) = parse_targeted("send-hex TARGET HEX", rest)?;
                Command::Send { target, content: parse_frame("send-hex", digits)? }
            }
            b"flood" => {
                Command::Flood(Content::Text(rest.ok_or_else(|| usage("flood TEXT"))?.to_vec()))
            }
            b"flood-hex" => {
                let digits = rest.ok_or_else(|| usage("flood-hex HEX"))?;
                Command::Flood(parse_frame("flood-hex", digits)?)
            }
            b"add" => Command::Add(parse_addr(rest)?),
            b"remove" => {
                let word = only_word(rest).ok_or_else(|| usage("remove TARGET"))?;
                Command::Remove(parse_target("remove", word)?)
            }
            b"kick" if is_blank(rest) => Command::Kick(None),
            b"kick" => {
                let word = only_word(rest).ok_or_else(|| usage("kick [TARGET]"))?;
                Command::Kick(Some(parse_target("kick", word)?))
            }
            b"peers" if is_blank(rest) => Command::Peers,
            b"help" if is_blank(rest) => Command::Help,
            b"quit" if is_blank(rest) => Command::Quit,
            b"peers" | b"help" | b"quit" => {
                return Err(format!("{} takes no arguments", quoted(name)));
            }
            _ => return Err(format!("unknown command {}; try help", quoted(name))),
        }))
    }
}

/// Splits off the first word and the single blank after it.
fn split_word(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let text = text.trim_ascii_start();
    match text.iter().position(u8::is_ascii_whitespace) {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text, None),
    }
}

fn parse_targeted<'a>(shape: &str, rest: Option<&'a [u8]>) -> Result<(u64, &'a [u8]), String> {
    let name = shape.split(' ').next().unwrap_or(shape);
    let (word, content) = split_word(rest.unwrap_or_default());
    if word.is_empty() {
        return Err(usage(shape));
    }
    let target = parse_target(name, word)?;
    Ok((target, content.ok_or_else(|| usage(shape))?))
}

/// Parses a target. The result is wider than `Target`: a number out of range is an unknown target,
/// not a syntax error.
fn parse_target(command: &str, word: &[u8]) -> Result<u64, String> {
    let number = std::str::from_utf8(word).ok().filter(|text| !text.starts_with('+'));
    number
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{command}: {} is not the number of a target", quoted(word)))
}

fn parse_frame(command: &str, digits: &[u8]) -> Result<Content, String> {
    match hex::parse(digits.trim_ascii()) {
        Ok(bytes) => Ok(Content::Frame(bytes)),
        Err(error) => Err(format!("{command}: {error}")),
    }
}

fn parse_addr(rest: Option<&[u8]>) -> Result<String, String> {
    let word = only_word(rest).ok_or_else(|| usage("add ADDR"))?;
    let text = std::str::from_utf8(word);
    Ok(text.map_err(|_| "add: the address is not UTF-8")?.to_owned())
}

fn only_word(rest: Option<&[u8]>) -> Option<&[u8]> {
    let word = rest?.trim_ascii();
    (!word.is_empty() && !word.iter().any(u8::is_ascii_whitespace)).then_some(word)
}

fn is_blank(rest: Option<&[u8]>) -> bool {
    rest.is_none_or(|rest| rest.trim_ascii().is_empty())
}

fn usage(shape: &str) -> String {
    format!("this command is: {shape}")
}

/// Quotes a word for a message, truncated.
fn quoted(word: &[u8]) -> String {
    const SHOWN: usize = 40;
    let text = String::from_utf8_lossy(&word[..word.len().min(SHOWN)]).into_owned();
    if word.len() > SHOWN { format!("`{text}…`") } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Content {
        Content::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn every_command() {
        let parse = |line: &str| Command::parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!(
            parse("send 3 hi  you "),
            Command::Send { target: 3, content: text("hi  you ") }
        );
        assert_eq!(parse(" send  3  x"), Command::Send { target: 3, content: text(" x") });
        assert_eq!(parse("send 99999 "), Command::Send { target: 99_999, content: text("") });
        let content = Content::Frame(vec![1, 0xab]);
        assert_eq!(parse("send-hex 0 01aB "), Command::Send { target: 0, content });
        assert_eq!(parse("flood a b"), Command::Flood(text("a b")));
        assert_eq!(parse("flood-hex 00"), Command::Flood(Content::Frame(vec![0])));
        assert_eq!(parse("add [::1]:9000X"), Command::Add("[::1]:9000X".to_owned()));
        assert_eq!(parse("remove 2"), Command::Remove(2));
        assert_eq!(parse("kick"), Command::Kick(None));
        assert_eq!(parse("kick 4"), Command::Kick(Some(4)));
        assert_eq!(parse("peers "), Command::Peers);
        assert_eq!(parse("help"), Command::Help);
        assert_eq!(parse("\tquit"), Command::Quit);
    }

    #[test]
    fn bytes_that_are_no_text_are_sent_as_they_are() {
        let content = Content::Text(vec![0xff, 0xfe]);
        assert_eq!(Command::parse(b"flood \xff\xfe"), Ok(Some(Command::Flood(content))));
    }

    #[test]
    fn blank_lines_are_skipped() {
        assert_eq!(Command::parse(b""), Ok(None));
        assert_eq!(Command::parse(b" \t"), Ok(None));
    }

    #[test]
    fn invalid_commands_are_refused() {
        for line in [
            "sned 0 x",
            "send",
            "send 0",
            "send x y",
            "send -1 y",
            "send +1 y",
            "send-hex 0 0",
            "send-hex 0 zz",
            "flood",
            "flood-hex",
            "add",
            "add a b",
            "remove",
            "remove 1 2",
            "kick x",
            "peers 1",
            "quit now",
            "help me",
            "\u{7f}",
        ] {
            assert!(Command::parse(line.as_bytes()).is_err(), "{line:?}");
        }
        let long = Command::parse(&[b'x'; 100_000]).unwrap_err();
        assert!(long.len() < 100, "{long}");
    }
}
