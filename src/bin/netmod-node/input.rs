//! Reads the lines of standard input, bounded in length.

use crate::command::Command;
use std::io::{self, BufRead};

/// The longest line, newline included. The largest carrier frame has 131 536 hex digits.
pub(crate) const MAX_LINE: usize = 256 * 1024;

/// Bytes per read, and the capacity that the line buffer keeps.
pub(crate) const BLOCK: usize = 64 * 1024;

/// What a read of standard input returned.
pub(crate) enum Input {
    Command(Command),
    /// A line that is not a command, and why.
    Invalid(String),
    /// The end of input. An error ends it as well, since the next read would repeat it.
    End(io::Result<()>),
}

/// Reads the next line that is not blank. `line` is a buffer to reuse.
pub(crate) fn next(reader: &mut impl BufRead, line: &mut Vec<u8>) -> Input {
    loop {
        // Release the memory of a large frame.
        line.shrink_to(BLOCK);
        match read_line(reader, line) {
            Ok(Line::Whole) => match Command::parse(line) {
                Ok(Some(command)) => return Input::Command(command),
                Ok(None) => {}
                Err(message) => return Input::Invalid(message),
            },
            Ok(Line::TooLong) => {
                return Input::Invalid(format!("a line is longer than {MAX_LINE} bytes"));
            }
            Ok(Line::End) => return Input::End(Ok(())),
            Err(error) => return Input::End(Err(error)),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads one line into `line`, without its newline. A line that is too long is skipped.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let mut too_long = false;
    loop {
        let block = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            block => block?,
        };
        let at_end = block.is_empty();
        if at_end && line.is_empty() && !too_long {
            return Ok(Line::End);
        }
        let newline = block.iter().position(|byte| *byte == b'\n');
        let part = &block[..newline.unwrap_or(block.len())];
        too_long |= line.len() + part.len() >= MAX_LINE;
        if too_long {
            line.clear();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(newline.is_some());
        reader.consume(used);
        if newline.is_some() || at_end {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(if too_long { Line::TooLong } else { Line::Whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn lines(input: &[u8], block: usize) -> Vec<(Line, Vec<u8>)> {
        let mut reader = BufReader::with_capacity(block, input);
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            match read_line(&mut reader, &mut line).unwrap() {
                Line::End => return lines,
                kind => lines.push((kind, line)),
            }
        }
    }

    #[test]
    fn lines_across_blocks() {
        for block in 1..9 {
            let expected = [&b"quit"[..], b"", b"a\rb", b"last"];
            let expected: Vec<_> = expected.map(|line| (Line::Whole, line.to_vec())).into();
            assert_eq!(lines(b"quit\r\n\na\rb\nlast", block), expected, "block {block}");
        }
    }

    #[test]
    fn a_long_line_is_skipped_whole() {
        let mut input = vec![b'x'; 3 * MAX_LINE];
        input.extend_from_slice(b"\nquit\n");
        input.extend(vec![b'y'; MAX_LINE - 1]);
        input.push(b'\n');
        input.extend(vec![b'z'; MAX_LINE]);
        let lines = lines(&input, BLOCK);
        assert_eq!(lines[0], (Line::TooLong, Vec::new()));
        assert_eq!(lines[1], (Line::Whole, b"quit".to_vec()));
        assert_eq!((&lines[2].0, lines[2].1.len()), (&Line::Whole, MAX_LINE - 1));
        assert_eq!(lines[3], (Line::TooLong, Vec::new()));
        assert_eq!(lines.len(), 4);
    }
}
