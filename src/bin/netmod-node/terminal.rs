//! The terminal that shows a screen, and what is typed there.

use crate::output::Output;
use crate::screen::Screen;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use std::io::{self, IsTerminal, Read};
use std::sync::Arc;

/// A screen of its own, without a cursor, where a line that is too long is cut.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";

/// Back to what was there before.
pub(crate) const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// A terminal in use. It is as it was before when this is dropped.
pub(crate) struct Terminal {
    output: Arc<Output>,
    /// How the keyboard was, if standard input is one.
    before: Option<Termios>,
}

impl Terminal {
    pub(crate) fn enter(output: &Arc<Output>) -> Terminal {
        let terminal = Terminal { output: output.clone(), before: take_keys().ok() };
        output.draw(ENTER);
        terminal
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.output.leave_now();
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Has keys come at once, and not be shown. Ctrl-C still ends the node; stopping it with Ctrl-Z would
/// leave the terminal as it is, and so would holding the output with Ctrl-S.
fn take_keys() -> io::Result<Termios> {
    let before = tcgetattr(io::stdin())?;
    let mut keys = before.clone();
    keys.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
    keys.input_modes &= !InputModes::IXON;
    keys.special_codes[SpecialCodeIndex::VSUSP] = 0;
    keys.special_codes[SpecialCodeIndex::VMIN] = 1;
    keys.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(io::stdin(), OptionalActions::Now, &keys)?;
    Ok(before)
}

/// Columns and rows; those of old if the terminal does not tell.
pub(crate) fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// Whether keys can be typed.
pub(crate) fn has_keys() -> bool {
    io::stdin().is_terminal()
}

/// Reads keys until the one that ends the node. `false` if none can come any more.
pub(crate) fn read_keys(screen: &Screen) -> bool {
    let (mut stdin, mut keys) = (io::stdin().lock(), [0; 16]);
    loop {
        let len = match stdin.read(&mut keys) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) | Ok(0) => return false,
            Ok(len) => len,
        };
        for key in &keys[..len] {
            match key {
                b'q' | b'Q' => return true,
                // A and B end what the arrow keys send.
                b'j' | b'B' => screen.scroll(true, false),
                b'k' | b'A' => screen.scroll(false, false),
                b' ' => screen.scroll(true, true),
                b'b' => screen.scroll(false, true),
                _ => {}
            }
        }
    }
}
