//! Characters that a terminal does not show as themselves, in text from outside.
//!
//! A terminal obeys control characters, and shows text in another order after some of Unicode. So
//! the library escapes them where such text enters an error, and refuses them in host names: no
//! error, event or address has any. The program `netmod-node`, which takes in this file as well,
//! replaces them once more where it prints.

use std::fmt::{self, Write};

/// Whether a character is a control character, sets the direction of text, separates lines or is
/// invisible.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A writer that escapes hidden characters, as `\u{1b}`.
pub(crate) struct EscapeHidden<'a>(pub(crate) &'a mut dyn Write);

impl Write for EscapeHidden<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match is_hidden(c) {
            true => write!(self.0, "\\u{{{:x}}}", u32::from(c)),
            false => self.0.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped() {
        let mut shown = String::new();
        let text = "a\u{1b}[2J\u{202e}é\u{9b}\n\u{1f980}";
        write!(EscapeHidden(&mut shown), "{text}").unwrap();
        assert_eq!(shown, "a\\u{1b}[2J\\u{202e}é\\u{9b}\\u{a}\u{1f980}");
    }
}
