//! The terminal of standard input and output.

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use std::io::{self, IsTerminal};

/// Switches to the alternate screen, hides the cursor, turns off wrapping.
pub(crate) const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";

/// Undoes `ENTER`.
pub(crate) const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Raw mode of standard input. Dropping it restores the previous settings.
pub(crate) struct RawMode {
    saved: Termios,
}

impl RawMode {
    /// Turns off line buffering and echo. Ctrl-C still works. Ctrl-Z and Ctrl-S are turned off:
    /// they would leave the terminal in this mode.
    pub(crate) fn enter() -> io::Result<RawMode> {
        let saved = tcgetattr(io::stdin())?;
        let mut raw = saved.clone();
        raw.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
        raw.input_modes &= !InputModes::IXON;
        raw.special_codes[SpecialCodeIndex::VSUSP] = 0;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(RawMode { saved })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.saved);
    }
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
