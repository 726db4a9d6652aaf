//! The command line.

use std::time::Duration;

use crate::bench_util::command_line::{self, Opt};

pub(crate) const HELP: &str = "\
Sends many frames from one process to another that is slower: it verifies every
byte, pauses after every few frames, and stops altogether for a while halfway.

Usage: slow_receiver [OPTION]...

Options:
  --frames N       frames to send. Default: 200000
  --payload BYTES  payload of each, from 8 to 65535. Default: 8192
  --pause MICROS   pause of the receiver after every 32 frames. Default: 1000
  --stall MILLIS   stop of the receiver halfway; beyond a second, the time that
                   a send waits, frames are given back. Default: 2500
  --help           show this text

Progress goes to standard error, results to standard output. Memory is resident
memory, program included.

Exit status: 0 if every frame arrived once, intact and in order while memory
stayed flat, 1 if not, 2 for an invalid option.

Examples:
  slow_receiver
  slow_receiver --frames 1000000 --payload 64 --pause 100
";

/// Beyond this the pattern of payloads repeats.
const MAX_FRAMES: u64 = 1 << 50;

/// The longest pause, in the unit of its option.
const MAX_PAUSE: u64 = u32::MAX as u64;

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) frames: u64,
    pub(crate) payload: usize,
    pub(crate) pause: Duration,
    pub(crate) stall: Duration,
}

#[derive(Clone, Copy)]
pub(crate) enum Role {
    Receiver,
    /// With the port of the receiver.
    Sender(u16),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            frames: 200_000,
            payload: 8192,
            pause: Duration::from_millis(1),
            stall: Duration::from_millis(2500),
        }
    }
}

impl command_line::Options for Options {
    type Role = Role;

    fn take(&mut self, option: &mut Opt<'_>) -> Result<bool, String> {
        match option.name {
            "frames" => self.frames = option.number(1..=MAX_FRAMES)?,
            // Holds at least the frame number.
            "payload" => self.payload = option.number(8..=65_535)? as usize,
            "pause" => self.pause = Duration::from_micros(option.number(0..=MAX_PAUSE)?),
            "stall" => self.stall = Duration::from_millis(option.number(0..=MAX_PAUSE)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn role(name: &str) -> Option<Role> {
        match name.split_once(':') {
            None if name == "receiver" => Some(Role::Receiver),
            Some(("sender", port)) => Some(Role::Sender(port.parse().ok()?)),
            _ => None,
        }
    }
}

impl Options {
    /// The arguments that start one of the two processes.
    pub(crate) fn member_args(&self, role: &str) -> Vec<String> {
        vec![
            format!("--member={role}"),
            format!("--frames={}", self.frames),
            format!("--payload={}", self.payload),
            format!("--pause={}", self.pause.as_micros()),
            format!("--stall={}", self.stall.as_millis()),
        ]
    }
}
