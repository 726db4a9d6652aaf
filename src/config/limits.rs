use std::fmt;
use std::time::Duration;

use crate::primitives::clock::whole_millis;
use crate::proto::Frame;

/// Writes [`Limits`] with its defaults, bounds, and the names by which text sets them, from one
/// table.
macro_rules! limits {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $kind:ty = $default:expr, $text:literal, $least:literal..=$most:literal;
    )+) => {
        /// Every bound that an endpoint keeps.
        ///
        /// The defaults suit a router with some hundred neighbours. Sizes are in bytes. An endpoint
        /// with a limit outside its own bounds does not start.
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
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: ", $text, ", from ", $least, " to ", $most, ".")]
                pub $name: $kind,
            )+
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Sets the limit with this name from text: a number, of bytes with an optional `k`
            /// or `m` (1024, 1024²), or a duration such as `250ms`, `5s`, `2m` or `1h`.
            ///
            /// # Errors
            ///
            /// Names a limit that does not exist, and a value that cannot be read.
            ///
            /// ```
            /// let mut limits = netmod_inet::Limits::default();
            /// limits.set("queue_bytes", "512k")?;
            /// assert_eq!(limits.queue_bytes, 512 * 1024);
            /// # Ok::<(), netmod_inet::LimitError>(())
            /// ```
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), LimitError> {
                let bad = || LimitError::Value { name: name.to_owned(), value: value.to_owned() };
                match name {
                    $(stringify!($name) => self.$name = Value::read(value).ok_or_else(bad)?,)+
                    _ => return Err(LimitError::Name(name.to_owned())),
                }
                Ok(())
            }

            /// Name, default and meaning of each limit with its bounds, for a help text.
            ///
            /// ```
            /// for (name, default, meaning) in netmod_inet::Limits::describe() {
            ///     println!("{name} ({default}): {meaning}");
            /// }
            /// ```
            pub fn describe() -> &'static [(&'static str, &'static str, &'static str)] {
                &[$((
                    stringify!($name),
                    $text,
                    concat!($($doc,)+ " From ", $least, " to ", $most, "."),
                ),)+]
            }

            /// Whether each limit is within its bounds.
            pub(crate) fn check(&self) -> Result<(), LimitError> {
                $(check(stringify!($name), self.$name, $least, $most)?;)+
                Ok(())
            }
        }
    };
}

limits! {
    /// Time that a whole handshake may take. Yggdrasil allows 6 s and zenoh 10 s; bytes that
    /// trickle in do not stretch it.
    handshake_timeout: Duration = Duration::from_secs(5), "5s", "1ms"..="1h";
    /// Largest handshake message, its length included, and the most that is read before the other
    /// side has said a whole one. A Ratman node's has 99 bytes at most, one of this crate's 162.
    handshake_bytes: usize = 512, "512", "256"..="128k";
    /// Handshakes of strangers that may be pending at once. A newcomer displaces the oldest, so
    /// silent connections cannot shut others out. No more than half of the files that the process
    /// may have open when the endpoint starts.
    max_handshakes: usize = 2048, "2048", "1"..="64k";
    /// The same for one IPv4 address, or one IPv6 network of 64 bits. No more than a quarter of the
    /// files.
    max_handshakes_per_addr: usize = 1024, "1024", "1"..="64k";
    /// Time of every second, of one core, that exchanging keys with strangers may take, if this node
    /// encrypts (feature `noise`). Beyond that they wait for their turn. An exchange takes less than
    /// a millisecond on a large machine, and some ten on a small one.
    handshake_cpu: Duration = Duration::from_millis(250), "250ms", "1ms"..="1s";
    /// Peers that dialed this node; a stranger beyond that is refused. Peers that this node is told
    /// to dial have as much room again, which no stranger can take, and may dial this node too.
    peers: usize = 4096, "4096", "1"..="20000";
    /// Largest frame that this node sends.
    frame_bytes: usize = Frame::MAX_LEN, "65768", "41"..="65768";
    /// What may wait in one peer's outbound queue. Each frame counts 128 bytes more than it has,
    /// for what the queue itself takes. Frames wait until a peer that shares records has acknowledged
    /// them: it does so after 256 KiB or 50 ms, and when half of a smaller queue waits for it.
    queue_bytes: usize = 1 << 20, "1m", "1k"..="2047m";
    /// Frames that may wait in one peer's outbound queue.
    queue_frames: usize = 8192, "8192", "1"..="1m";
    /// What may wait in all outbound queues together. A flooded frame counts once, and 96 bytes for
    /// its place in each queue beside the first. A 64th of it is kept as buffers to copy small frames
    /// to, once there was much to send.
    total_queue_bytes: usize = 64 << 20, "64m", "1k"..="2047m";
    /// What may have arrived and wait for the router. Reading pauses at this bound, and TCP then
    /// holds the senders back. Frames of which a part was read are read to their ends, up to a
    /// quarter beyond the bound. What else has arrived of a frame, at most 64 KiB for each peer, counts
    /// from the moment that the frame is whole. Up to a quarter of the bound is kept as
    /// buffers to read into, once there was much to read. The least lets the largest frame through.
    inbound_bytes: usize = 4 << 20, "4m", "72k"..="2047m";
    /// Frames that may have arrived and wait for the router.
    inbound_frames: usize = 65_536, "65536", "1"..="1m";
    /// What `take_unconfirmed` keeps of all peers together, counted like a queue; the oldest frames
    /// are given up first, those of peers that dialed this node before others. As much as the queues
    /// may hold, so that nothing is lost at a shutdown.
    unconfirmed_bytes: usize = 64 << 20, "64m", "0"..="2047m";
    /// Time that a peer which dialed this node, and shares records with it, keeps its target and its
    /// queue after its link ended. Long enough for a router to change its network.
    resume_window: Duration = Duration::from_secs(120), "120s", "0s"..="8760h";
    /// Such peers that may be without a link at once; the oldest is ended first.
    resume_peers: usize = 256, "256", "0"..="20000";
    /// What may wait for such peers together, counted like a queue.
    resume_bytes: usize = 16 << 20, "16m", "0"..="2047m";
    /// Time that `send` waits for room, whether the peer's link is up or being restored, and time for
    /// which a peer that is down still takes frames that are forwarded. Long enough for a link to be
    /// dialed anew, short enough that a router notices.
    send_timeout: Duration = Duration::from_secs(10), "10s", "0s"..="8760h";
    /// Time that a closing link has to send what is queued, and to read to its end.
    drain_timeout: Duration = Duration::from_secs(2), "2s", "0s"..="8760h";
    /// Time that a connection may take to open, all addresses of the peer together.
    connect_timeout: Duration = Duration::from_secs(10), "10s", "1ms"..="8760h";
    /// Time that looking up a name may take.
    resolve_timeout: Duration = Duration::from_secs(5), "5s", "1ms"..="8760h";
    /// Delay before the next address of a peer is tried beside those before it (RFC 8305).
    connect_stagger: Duration = Duration::from_millis(250), "250ms", "0s"..="8760h";
    /// Most that the first retry waits. The bound doubles with every failure, and the delay is
    /// drawn evenly from nothing to the bound, so that many dialers do not come at once.
    redial_first: Duration = Duration::from_millis(100), "100ms", "1ms"..="8760h";
    /// Most that any retry waits.
    redial_cap: Duration = Duration::from_secs(60), "60s", "10ms"..="8760h";
    /// A link that stood this long, or over which a frame arrived, starts the retries anew.
    redial_reset: Duration = Duration::from_secs(10), "10s", "0s"..="8760h";
    /// Quiet time after which the kernel probes a link, then every 10 s. It costs this node no
    /// wake-up. What ends a link that does not answer is `user_timeout`: where one is set, Linux
    /// waits for that and does not count its probes.
    keepalive: Duration = Duration::from_secs(30), "30s", "1s"..="9h";
    /// Time after which the kernel gives a link up on which sent bytes are not taken, or probes are
    /// not answered. Linux counts a receiver that lives but does not read, so this is how long a
    /// router may pause.
    user_timeout: Duration = Duration::from_secs(180), "180s", "1s"..="500h";
    /// Events that wait for each listener; a slower one is told how many it missed.
    events: usize = 1024, "1024", "1"..="1m";
    /// Events per second about strangers that were dropped; the others are counted.
    drop_events_per_sec: usize = 50, "50", "1"..="1m";
}

fn check<V: Value>(
    name: &'static str,
    value: V,
    least: &'static str,
    most: &'static str,
) -> Result<(), LimitError> {
    let is_too_small = V::read(least).is_some_and(|least| value < least);
    let is_too_large = V::read(most).is_some_and(|most| value > most);
    match is_too_small || is_too_large {
        true => Err(LimitError::OutOfBounds { name, value: value.show(), least, most }),
        false => Ok(()),
    }
}

/// A limit that can be written as text.
trait Value: PartialOrd + Sized {
    fn read(text: &str) -> Option<Self>;
    fn show(&self) -> String;
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

    fn show(&self) -> String {
        self.to_string()
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
            "h" => Some(Duration::from_secs(u64::from(number) * 3600)),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match whole_millis(*self) {
            millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
            millis => format!("{millis}ms"),
        }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Why limits cannot be used.
///
/// ```
/// let error = netmod_inet::Limits::default().set("speed", "9").unwrap_err();
/// assert!(error.to_string().contains("speed"), "{error}");
/// ```
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
    /// A limit is too small or too large to work with.
    OutOfBounds {
        /// The limit.
        name: &'static str,
        /// Its value.
        value: String,
        /// The least that it can be.
        least: &'static str,
        /// The most that it can be.
        most: &'static str,
    },
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitError::Name(name) => write!(f, "there is no limit `{name}`"),
            LimitError::Value { name, value } => {
                write!(
                    f,
                    "`{value}` is no value of the limit {name} (write 500ms, 30s or 5m for a "
                )?;
                f.write_str("time, 4096, 64k or 1m for a number)")
            }
            LimitError::OutOfBounds { name, value, least, most } => {
                write!(f, "the limit {name} is {value}: it can be {least} to {most}")
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
            let error = error(name, value);
            assert!(error.starts_with(&format!("`{value}` is no value of the limit {name} (")));
        }
    }

    #[test]
    fn names_what_is_out_of_bounds() {
        for (name, value, told) in [
            ("inbound_bytes", "71k", "the limit inbound_bytes is 72704: it can be 72k to 2047m"),
            ("handshake_bytes", "255", "the limit handshake_bytes is 255: it can be 256 to 128k"),
            ("peers", "0", "the limit peers is 0: it can be 1 to 20000"),
            ("user_timeout", "501h", "the limit user_timeout is 1803600s: it can be 1s to 500h"),
            ("redial_first", "0s", "the limit redial_first is 0s: it can be 1ms to 8760h"),
        ] {
            let mut limits = Limits::default();
            limits.set(name, value).unwrap();
            assert_eq!(limits.check().unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn every_bound_can_be_set_and_is_the_last_that_works() {
        for (name, _, meaning) in Limits::describe() {
            let (_, bounds) = meaning.rsplit_once(" From ").unwrap();
            let (least, most) = bounds.strip_suffix('.').unwrap().split_once(" to ").unwrap();
            for bound in [least, most] {
                let mut limits = Limits::default();
                limits.set(name, bound).unwrap();
                assert_eq!(limits.check(), Ok(()), "{name}={bound}");
            }
        }
        let huge = Limits { handshake_bytes: usize::MAX, ..Limits::default() };
        let endless = Limits { redial_cap: Duration::MAX, ..Limits::default() };
        assert!(huge.check().is_err() && endless.check().is_err());
    }
}
