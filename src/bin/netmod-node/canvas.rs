//! Draws lines of text within the width and height of a terminal.

use crate::hidden::is_hidden;

/// How a line is shown.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    /// Reverse video over the whole width.
    Bar,
}

impl Style {
    /// The escape sequence that turns it on.
    fn code(self) -> &'static [u8] {
        match self {
            Style::Plain => b"",
            Style::Bold => b"\x1b[1m",
            Style::Dim => b"\x1b[2m",
            Style::Bar => b"\x1b[7m",
        }
    }
}

/// A page being drawn, line by line.
pub(crate) struct Canvas<'a> {
    out: &'a mut Vec<u8>,
    columns: usize,
    /// Lines left. Further lines are not drawn: the terminal would scroll.
    left: usize,
}

impl<'a> Canvas<'a> {
    /// Begins a page over the previous one. Appends to `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>, columns: usize, lines: usize) -> Canvas<'a> {
        out.extend_from_slice(b"\x1b[H");
        Canvas { out, columns, left: lines }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Lines that are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Draws a line, truncated to the width.
    pub(crate) fn line(&mut self, style: Style, text: &str) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.out.extend_from_slice(style.code());
        let mut room = self.columns;
        if width(text) > room {
            room = room.saturating_sub(1);
        }
        let mut used = 0;
        for character in text.chars() {
            let shown = if is_hidden(character) { '\u{fffd}' } else { character };
            if used + char_width(shown) > room {
                self.out.extend_from_slice("…".as_bytes());
                used += 1;
                break;
            }
            used += char_width(shown);
            self.out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if let Style::Bar = style {
            self.out.resize(self.out.len() + self.columns.saturating_sub(used), b' ');
        }
        if !style.code().is_empty() {
            self.out.extend_from_slice(b"\x1b[0m");
        }
        // After the last column the cursor still is on it, and this would erase the character.
        if used < self.columns {
            self.out.extend_from_slice(b"\x1b[K");
        }
        if self.left > 0 {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    /// Draws a text aligned left and, if it fits, another aligned right.
    pub(crate) fn justified(&mut self, left: &str, right: &str) {
        let used = width(left) + width(right);
        let text = match self.columns.checked_sub(used) {
            Some(gap) if gap > 0 => format!("{left}{:gap$}{right}", ""),
            _ => left.to_owned(),
        };
        self.line(Style::Plain, &text);
    }

    /// Erases what is below the last line.
    pub(crate) fn finish(self) {
        self.out.extend_from_slice(b"\x1b[J");
    }
}

/// The columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The width of a character. East Asian characters take two columns; a few narrow ones are
/// overestimated, which is harmless.
pub(crate) fn char_width(character: char) -> usize {
    if ('\u{1100}'..'\u{fff0}').contains(&character)
        && !('\u{2000}'..'\u{2e80}').contains(&character)
        || character > '\u{ffff}'
    {
        2
    } else {
        1
    }
}

/// Shortens a text to `columns` characters by eliding its middle, since addresses differ at both
/// ends. Wide characters count as one; the line truncates the rest.
pub(crate) fn elide_middle(text: &str, columns: usize) -> String {
    let characters = text.chars().count();
    if characters <= columns {
        return text.to_owned();
    }
    let kept = columns.saturating_sub(1);
    let end = kept.div_ceil(2);
    let mut cut: String = text.chars().take(end).collect();
    cut.push('…');
    cut.extend(text.chars().skip(characters + end - kept));
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_an_address_are_kept() {
        assert_eq!(elide_middle("mynas.example:9000X", 19), "mynas.example:9000X");
        assert_eq!(elide_middle("mynas.example:9000X", 11), "mynas…9000X");
        assert_eq!(elide_middle("mynas.example:9000X", 0), "…");
    }
}
