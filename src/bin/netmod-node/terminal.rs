//! The terminal of the screen, and its keys.

use crate::output::Output;
use crate::screen::Screen;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use std::io::{self, IsTerminal, Read};
use std::sync::Arc;

/// Switches to the alternate screen, hides the cursor, turns off wrapping.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";

/// Undoes `ENTER`.
pub(crate) const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// A terminal in use. Dropping it restores the terminal.
pub(crate) struct Terminal {
    output: Arc<Output>,
    /// The settings of standard input to restore, if it is a terminal.
    saved: Option<Termios>,
}

impl Terminal {
    pub(crate) fn enter(output: &Arc<Output>) -> Terminal {
        let terminal = Terminal { output: output.clone(), saved: enter_raw_mode().ok() };
        output.draw(ENTER);
        terminal
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.output.try_restore();
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, saved);
        }
    }
}

/// Turns off line buffering and echo. Ctrl-C still works. Ctrl-Z and Ctrl-S are turned off: they
/// would leave the terminal in this mode.
fn enter_raw_mode() -> io::Result<Termios> {
    let saved = tcgetattr(io::stdin())?;
    let mut raw = saved.clone();
    raw.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
    raw.input_modes &= !InputModes::IXON;
    raw.special_codes[SpecialCodeIndex::VSUSP] = 0;
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
    Ok(saved)
}

/// Columns and rows; 80 by 24 if the terminal does not report them.
pub(crate) fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// Whether standard input is a terminal.
pub(crate) fn has_keys() -> bool {
    io::stdin().is_terminal()
}

/// Handles keys until `q`, for which it returns `true`, or the end of input.
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
                // The last byte of the sequence of an arrow key is A or B.
                b'j' | b'B' => screen.scroll(true, false),
                b'k' | b'A' => screen.scroll(false, false),
                b' ' => screen.scroll(true, true),
                b'b' => screen.scroll(false, true),
                _ => {}
            }
        }
    }
}
