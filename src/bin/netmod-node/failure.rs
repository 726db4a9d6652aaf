//! Why the program failed, and its exit status.

use crate::hidden::EscapeHidden;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// A failure that ends the program.
pub(crate) struct Failure {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl Failure {
    /// A failure at run time.
    pub(crate) fn runtime(message: String) -> Failure {
        Failure { status: 1, message }
    }

    /// An option or a peer file is invalid. A restart does not help.
    pub(crate) fn option(message: String) -> Failure {
        Failure { status: 2, message }
    }

    /// The node cannot listen. A later start may succeed.
    pub(crate) fn listen(message: String) -> Failure {
        Failure { status: 3, message }
    }

    /// A second signal interrupted the shutdown.
    pub(crate) fn interrupted() -> Failure {
        let message = "stopped by a second signal, before everything was delivered".to_owned();
        Failure { status: 4, message }
    }

    /// Whether the command line has to be changed.
    pub(crate) fn is_option(&self) -> bool {
        self.status == 2
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::runtime(error.to_string())
    }
}

/// Prints a message to standard error. It may quote a file, so hidden characters are escaped.
pub(crate) fn print(message: &str) {
    let mut line = String::from("netmod-node: ");
    // Writing into memory cannot fail.
    let _ = EscapeHidden(&mut line).write_str(message);
    line.push('\n');
    // `eprintln` panics if standard error is closed.
    let _ = io::stderr().write_all(line.as_bytes());
}
