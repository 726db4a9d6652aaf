use std::fmt;
use std::time::Duration;

use crate::proto::Frame;

/// Writes [`Limits`] with its defaults and the names by which text sets them, from one table.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr, $text:literal;)+) => {
        /// Every bound that an endpoint keeps.
        ///
        /// The defaults suit a router with some hundred neighbours. Sizes are in bytes.
        ///
        /// ```
        /// use std::time::Duration;
        /// use netmod_inet::Limits;
        ///
        /// let mut limits = Limits::default();
        /// limits.peers = 64;
        /// limits.set("send_timeout", "250ms")?;
        /// assert_eq!(limits.send_timeout, Duration::from_millis(250));
        /// # Ok::<(), netmod_inet::LimitError>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[doc = $doc])+ #[doc = ""] #[doc = concat!("Default: ", $text, ".")] pub $name: $kind,)+
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Sets the limit with this name from text: a number, of bytes with an optional `k`
            /// or `m` (1024, 1024²), or a duration such as `250ms`, `5s` or `2m`.
            ///
            /// # Errors
            ///
            /// Names a limit that does not exist, and a value that cannot be read.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), LimitError> {
                let bad = || LimitError::Value { name: name.to_owned(), value: value.to_owned() };
                match name {
                    $(stringify!($name) => self.$name = Value::read(value).ok_or_else(bad)?,)+
                    _ => return Err(LimitError::Name(name.to_owned())),
                }
                Ok(())
            }

            /// Name, default and meaning of each limit, for a help text.
            pub fn describe() -> &'static [(&'static str, &'static str, &'static str)] {
                &[$((stringify!($name), $text, concat!($($doc,)+)),)+]
            }
        }
    };
}

limits! {
    /// Time that a whole handshake may take. Yggdrasil allows 6 s and zenoh 10 s; bytes that
    /// trickle in do not stretch it.
    handshake_timeout: Duration = Duration::from_secs(5), "5s";
    /// Largest handshake message, its length included, and the most that is read before the other
    /// side has said a whole one. A Ratman node's has 99 bytes at most.
    handshake_bytes: usize = 512, "512";
    /// Handshakes of strangers that may be pending at once. A newcomer displaces the oldest, so
    /// silent connections cannot shut others out.
    pending: usize = 2048, "2048";
    /// The same for one IPv4 address, or one IPv6 network of 64 bits.
    pending_per_addr: usize = 1024, "1024";
    /// Peers in all, dialed and accepted. There are no more than 65 535 targets.
    peers: usize = 4096, "4096";
    /// Largest frame that this node sends.
    frame_bytes: usize = Frame::MAX_LEN, "65768";
    /// What may wait in one peer's outbound queue. Each frame counts 128 bytes more than it has,
    /// for what the queue itself takes.
    queue_bytes: usize = 1 << 20, "1m";
    /// Frames that may wait in one peer's outbound queue.
    queue_frames: usize = 8192, "8192";
    /// What may wait in all outbound queues together. A flooded frame counts once.
    total_queue_bytes: usize = 64 << 20, "64m";
    /// What may have arrived and wait for the router. Reading pauses at this bound, and TCP then
    /// holds the senders back. The part of a frame that has arrived, at most 64 KiB for each peer,
    /// counts from the moment that the frame is whole. Up to a quarter of the bound is kept as
    /// buffers to read into, once there was much to read. At least 72k.
    inbound_bytes: usize = 4 << 20, "4m";
    /// Frames that may have arrived and wait for the router.
    inbound_frames: usize = 65_536, "65536";
    /// What `take_unconfirmed` keeps of all peers together, counted like a queue; the oldest frames
    /// are given up first, those of peers that dialed this node before others. As much as the queues may hold, so that nothing is lost at a shutdown.
    unconfirmed_bytes: usize = 64 << 20, "64m";
    /// Time that a peer which dialed this node, and shares records with it, keeps its target and its
    /// queue after its link ended. Long enough for a router to change its network.
    resume_window: Duration = Duration::from_secs(120), "120s";
    /// Such peers that may be without a link at once; the oldest is ended first.
    resume_peers: usize = 256, "256";
    /// What may wait for such peers together, counted like a queue.
    resume_bytes: usize = 16 << 20, "16m";
    /// Time that `send` waits for room. Long enough to ride out a burst, short enough that a
    /// router notices.
    send_timeout: Duration = Duration::from_secs(1), "1s";
    /// Time that a closing link has to send what is queued, and to read to its end.
    drain_timeout: Duration = Duration::from_secs(2), "2s";
    /// Time that a connection may take to open, all addresses of the peer together.
    connect_timeout: Duration = Duration::from_secs(10), "10s";
    /// Time that looking up a name may take.
    resolve_timeout: Duration = Duration::from_secs(5), "5s";
    /// Delay before the next address of a peer is tried beside those before it (RFC 8305).
    connect_stagger: Duration = Duration::from_millis(250), "250ms";
    /// Most that the first retry waits. The bound doubles with every failure, and the delay is
    /// drawn evenly from nothing to the bound, so that many dialers do not come at once.
    redial_first: Duration = Duration::from_millis(100), "100ms";
    /// Most that any retry waits.
    redial_cap: Duration = Duration::from_secs(60), "60s";
    /// A link that stood this long, or over which a frame arrived, starts the retries anew.
    redial_reset: Duration = Duration::from_secs(10), "10s";
    /// Quiet time after which the kernel probes a link. It costs this node no wake-up.
    keepalive: Duration = Duration::from_secs(30), "30s";
    /// Time after which the kernel gives a link up on which sent bytes are not taken. Linux counts
    /// a receiver that lives but does not read, so this is how long a router may pause.
    user_timeout: Duration = Duration::from_secs(180), "180s";
    /// Events that wait for each listener; a slower one is told how many it missed.
    events: usize = 1024, "1024";
    /// Events per second about strangers that were dropped; the others are counted.
    stranger_events: usize = 50, "50";
}

/// Smallest inbound bound that lets the largest frame through.
const MIN_INBOUND: usize = 72 << 10;
/// Smallest handshake message bound that lets every Ratman node in.
const MIN_HANDSHAKE: usize = 128;

impl Limits {
    /// Bounds every time to a year, so that adding it to the present never overflows.
    pub(crate) fn bound_times(&mut self) {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        for time in [
            &mut self.handshake_timeout,
            &mut self.resume_window,
            &mut self.send_timeout,
            &mut self.drain_timeout,
            &mut self.connect_timeout,
            &mut self.resolve_timeout,
            &mut self.connect_stagger,
            &mut self.redial_first,
            &mut self.redial_cap,
            &mut self.redial_reset,
            &mut self.keepalive,
            &mut self.user_timeout,
        ] {
            *time = YEAR.min(*time);
        }
    }

    /// Checks what cannot be checked one by one.
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        let too_small = |name, least| Err(LimitError::TooSmall { name, least });
        if self.inbound_bytes < MIN_INBOUND {
            return too_small("inbound_bytes", MIN_INBOUND);
        }
        if self.handshake_bytes < MIN_HANDSHAKE {
            return too_small("handshake_bytes", MIN_HANDSHAKE);
        }
        let at_least_one = [
            ("pending", self.pending),
            ("pending_per_addr", self.pending_per_addr),
            ("inbound_frames", self.inbound_frames),
            ("events", self.events),
            ("stranger_events", self.stranger_events),
        ];
        match at_least_one.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => too_small(name, 1),
            None => Ok(()),
        }
    }
}

/// A limit that can be written as text.
trait Value: Sized {
    fn read(text: &str) -> Option<Self>;
}

impl Value for usize {
    fn read(text: &str) -> Option<usize> {
        let (digits, unit) = split_unit(text);
        let factor = match unit {
            "" => 1,
            "k" | "K" => 1 << 10,
            "m" | "M" => 1 << 20,
            _ => return None,
        };
        digits.parse::<usize>().ok()?.checked_mul(factor)
    }
}

impl Value for Duration {
    fn read(text: &str) -> Option<Duration> {
        let (digits, unit) = split_unit(text);
        let number: u32 = digits.parse().ok()?;
        match unit {
            "ms" => Some(Duration::from_millis(number.into())),
            "s" => Some(Duration::from_secs(number.into())),
            "m" => Some(Duration::from_secs(u64::from(number) * 60)),
            _ => None,
        }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Why limits cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitError {
    /// There is no limit with this name.
    Name(String),
    /// The value of a limit cannot be read.
    Value {
        /// The limit.
        name: String,
        /// The text that is no value of it.
        value: String,
    },
    /// A limit is too small to work with.
    TooSmall {
        /// The limit.
        name: &'static str,
        /// The least that it can be.
        least: usize,
    },
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitError::Name(name) => write!(f, "there is no limit `{name}`"),
            LimitError::Value { name, value } => {
                write!(f, "`{value}` is no value of the limit {name}")
            }
            LimitError::TooSmall { name, least } => {
                write!(f, "the limit {name} must be {least} at least")
            }
        }
    }
}

impl std::error::Error for LimitError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_what_the_text_says() {
        let mut read = Limits::default();
        for (name, default, _) in Limits::describe() {
            read.set(name, default).unwrap();
        }
        assert_eq!(read, Limits::default());
        assert_eq!(read.check(), Ok(()));
    }

    #[test]
    fn names_what_is_wrong() {
        let mut limits = Limits::default();
        let mut error = |name, value| limits.set(name, value).unwrap_err().to_string();
        assert_eq!(error("speed", "1"), "there is no limit `speed`");
        for (name, value) in
            [("peers", "-1"), ("peers", "1s"), ("send_timeout", "1"), ("send_timeout", "")]
        {
            assert_eq!(error(name, value), format!("`{value}` is no value of the limit {name}"));
        }
        limits.set("inbound_bytes", "71k").unwrap();
        assert!(limits.check().unwrap_err().to_string().contains("inbound_bytes must be 73728"));
    }
}
