//! The limits of an endpoint.

use std::fmt;
use std::time::Duration;

use crate::primitives::clock::whole_millis;
use crate::proto::{Frame, shorten};

/// Defines [`Limits`] from one table: defaults, bounds, and the names by which text sets them.
macro_rules! limits {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $kind:ty = $default:expr, $text:literal, $least:literal..=$most:literal;
    )+) => {
        /// The limits of an endpoint.
        ///
        /// The defaults suit a router with several hundred neighbours. Sizes are in bytes. An
        /// endpoint with a limit outside its valid range does not start.
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
            /// Sets the named limit from text: a number, for sizes with an optional `k` or `m`
            /// (1024, 1024²), or a duration such as `250ms`, `5s`, `2m` or `1h`.
            ///
            /// # Errors
            ///
            /// [`LimitError`] if there is no such limit, or if the value cannot be parsed. The
            /// range is checked when the endpoint starts.
            ///
            /// ```
            /// let mut limits = netmod_inet::Limits::default();
            /// limits.set("queue_bytes", "512k")?;
            /// assert_eq!(limits.queue_bytes, 512 * 1024);
            /// # Ok::<(), netmod_inet::LimitError>(())
            /// ```
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), LimitError> {
                let field: &mut dyn Field = match name {
                    $(stringify!($name) => &mut self.$name,)+
                    _ => return Err(LimitError::Name(shorten(name))),
                };
                match field.set(value) {
                    true => Ok(()),
                    false => {
                        Err(LimitError::Value { name: name.to_owned(), value: shorten(value) })
                    }
                }
            }

            /// Returns the name, default and description of each limit, with its range, for a help
            /// text.
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

            /// Checks that each limit is within its range.
            pub(crate) fn check(&self) -> Result<(), LimitError> {
                $(check(stringify!($name), self.$name, $least, $most)?;)+
                Ok(())
            }
        }
    };
}

limits! {
    /// Maximum duration of a whole handshake. Bytes that trickle in do not extend it. Yggdrasil
    /// allows 6 s and zenoh 10 s.
    handshake_timeout: Duration = Duration::from_secs(5), "5s", "1ms"..="1h";
    /// Maximum length of a handshake message, including its length prefix, and the most that is
    /// read before the first message is complete. Messages of a Ratman node have at most 99 bytes,
    /// those of this crate 172.
    handshake_bytes: usize = 512, "512", "256"..="128k";
    /// Maximum number of inbound handshakes in progress. A new one evicts the oldest of the network
    /// (IPv4 /24, IPv6 /48) and then the host that hold most, so silent connections cannot lock
    /// others out. Capped at a quarter of the limit on open files when the endpoint starts.
    max_handshakes: usize = 2048, "2048", "1"..="64k";
    /// The same for one IPv4 address or one IPv6 /64 network. Capped at an eighth of the limit on
    /// open files.
    max_handshakes_per_addr: usize = 1024, "1024", "1"..="64k";
    /// CPU time per second, of one core, for key exchanges with unknown nodes, if this node
    /// encrypts (feature `noise`). Beyond that they are delayed. A key exchange takes less than a
    /// millisecond on a large machine, and some ten milliseconds on a small one.
    handshake_cpu: Duration = Duration::from_millis(250), "250ms", "1ms"..="1s";
    /// Maximum number of inbound peers; an eighth is reserved for nodes with a listed or pinned key.
    /// Beyond that, a newcomer whose network (IPv4 /24, IPv6 /48) and then host hold less than those
    /// that hold most takes the place of their newest unknown peer; others are refused. Capped at
    /// half of the limit on open files when the endpoint starts; a quarter is left for dialing.
    /// Configured peers, which this node dials, have a separate limit of the same size, and may also
    /// dial this node.
    peers: usize = 4096, "4096", "1"..="20000";
    /// Maximum length of a frame that this node sends.
    frame_bytes: usize = Frame::MAX_LEN, "65768", "41"..="65768";
    /// Maximum size of one peer's outbound queue. Each frame counts 128 bytes more than its length,
    /// for the overhead of the queue. For a peer that runs this crate, frames stay in the queue
    /// until they are acknowledged: after 256 KiB or 50 ms, and when half of a smaller queue is
    /// unacknowledged. Floods are accepted beyond this and `queue_frames` while the floods in the
    /// queue take less than an eighth of each.
    queue_bytes: usize = 1 << 20, "1m", "1k"..="2047m";
    /// Maximum number of frames in one peer's outbound queue.
    queue_frames: usize = 8192, "8192", "1"..="1m";
    /// Maximum size of all outbound queues together. A flooded frame counts once, plus 96 bytes for
    /// each further queue that it is in. A quarter is reserved for peers that are dialed or whose
    /// keys are listed; frames of strangers are returned before one for these is refused. Up to a
    /// 64th of the limit is kept as a buffer pool for coalescing small frames, once much has been
    /// sent.
    total_queue_bytes: usize = 64 << 20, "64m", "1k"..="2047m";
    /// Size of the receive windows of all peers together: the received frames that await the router,
    /// each counted with its length prefix and 64 bytes, and forwarded frames that were not
    /// delivered yet. Half of it is for dialed and trusted peers, the other half for strangers. A
    /// peer begins with a window of 256 KiB, which grows to 1 MiB with use; it has 2 KiB at least,
    /// however many peers there are. A frame may exceed the window in which it begins. The buffers
    /// behind the frames may take twice as much. Up to a quarter of the limit is kept as a pool of
    /// read buffers, once much has been received. Routers in a ring may lock up if they send frames
    /// that cost more than half of a window.
    inbound_bytes: usize = 4 << 20, "4m", "256k"..="2047m";
    /// Maximum size of the frames kept for `take_unconfirmed`, of all peers together, counted as in
    /// a queue. The oldest frames are dropped first, those of strangers before others. The default
    /// equals that of all queues, so that a shutdown loses nothing.
    unconfirmed_bytes: usize = 64 << 20, "64m", "0"..="2047m";
    /// Time for which an inbound peer that runs this crate keeps its target and queue after its
    /// link ended. Long enough for a router to change its network.
    resume_window: Duration = Duration::from_secs(120), "120s", "0s"..="8760h";
    /// Maximum number of such peers without a link; beyond that, one of the network and then the
    /// host that hold most is ended: an unknown node before one with a listed or pinned key, one
    /// whose links carried no frame or ended within a second before others, and then the oldest.
    resume_peers: usize = 256, "256", "0"..="20000";
    /// Maximum size of the queues of such peers together, counted as in a queue.
    resume_bytes: usize = 16 << 20, "16m", "0"..="2047m";
    /// Maximum time that `send` waits for queue space, whether the peer's link is up or being
    /// restored, and the time for which a peer that is down still accepts forwarded frames. Long
    /// enough to redial a link, short enough for a router to notice.
    send_timeout: Duration = Duration::from_secs(10), "10s", "0s"..="8760h";
    /// Maximum time for a closing link to send what is queued and to read to the end.
    drain_timeout: Duration = Duration::from_secs(2), "2s", "0s"..="8760h";
    /// Maximum time to open a connection, over all addresses of the peer together.
    connect_timeout: Duration = Duration::from_secs(10), "10s", "1ms"..="8760h";
    /// Maximum time for a name lookup.
    resolve_timeout: Duration = Duration::from_secs(5), "5s", "1ms"..="8760h";
    /// Delay between attempts to connect to the addresses of a peer in parallel (Happy Eyeballs,
    /// RFC 8305).
    connect_stagger: Duration = Duration::from_millis(250), "250ms", "0s"..="8760h";
    /// Upper bound of the first redial delay. The bound doubles with every failure, and each delay
    /// is drawn uniformly between zero and the bound (full jitter), so that many dialers do not
    /// return at the same time.
    redial_first: Duration = Duration::from_millis(100), "100ms", "1ms"..="8760h";
    /// Upper bound of any redial delay.
    redial_cap: Duration = Duration::from_secs(60), "60s", "10ms"..="8760h";
    /// A link that was up this long resets the redial back-off. So does one that carried 64 KiB of
    /// frames: what arrived here and what the remote acknowledged, added up. A plain node
    /// acknowledges nothing. A link that was up for a second, or carried frames both ways, lowers
    /// the bound to two seconds, or to as long as it was up.
    redial_reset: Duration = Duration::from_secs(10), "10s", "0s"..="8760h";
    /// Idle time after which the kernel probes a link (TCP keepalive), then every 10 s. This costs
    /// no wake-up of the process. An unresponsive link is ended by `user_timeout`: where that is
    /// set, Linux waits for it and ignores the number of probes.
    keepalive: Duration = Duration::from_secs(30), "30s", "1s"..="9h";
    /// Time after which the kernel ends a link if sent bytes are not accepted or probes are not
    /// answered (TCP_USER_TIMEOUT). On Linux this includes a live receiver that does not read, so
    /// it bounds how long a router may pause.
    user_timeout: Duration = Duration::from_secs(180), "180s", "1s"..="500h";
    /// Maximum number of buffered events for each subscription. A slower reader is notified of how
    /// many it missed.
    events: usize = 1024, "1024", "1"..="1m";
    /// Maximum rate of events about dropped inbound streams, per second; the rest is only counted.
    drop_events_per_sec: usize = 50, "50", "1"..="1m";
    /// Maximum rate at which links of unknown nodes come up with an event, per second. All events
    /// about a link beyond it are only counted, by `Event::Missed` within a second. Enough for the
    /// neighbours of a large router to return at the same time.
    stranger_events_per_sec: usize = 200, "200", "1"..="1m";
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

/// A type of limit with a textual form.
trait Value: PartialOrd + Sized {
    fn read(text: &str) -> Option<Self>;
    fn show(&self) -> String;
}

/// A field of [`Limits`].
trait Field {
    /// Sets it from text. Returns whether the text is a value.
    fn set(&mut self, text: &str) -> bool;
}

impl<V: Value> Field for V {
    fn set(&mut self, text: &str) -> bool {
        V::read(text).map(|value| *self = value).is_some()
    }
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

/// Why a limit cannot be used.
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
    /// The value of a limit cannot be parsed.
    Value {
        /// The name of the limit.
        name: String,
        /// The rejected text.
        value: String,
    },
    /// A limit is outside its valid range.
    OutOfBounds {
        /// The name of the limit.
        name: &'static str,
        /// The rejected value.
        value: String,
        /// The minimum.
        least: &'static str,
        /// The maximum.
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
                    "`{value}` is not a value of the limit {name} (write 500ms, 30s or 5m for a "
                )?;
                f.write_str("time, 4096, 64k or 1m for a number)")
            }
            LimitError::OutOfBounds { name, value, least, most } => {
                write!(f, "the limit {name} is {value}: it must be {least} to {most}")
            }
        }
    }
}

impl std::error::Error for LimitError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_equal_their_text() {
        let mut read = Limits::default();
        for (name, default, _) in Limits::describe() {
            read.set(name, default).unwrap();
        }
        assert_eq!(read, Limits::default());
        assert_eq!(read.check(), Ok(()));
    }

    #[test]
    fn errors_name_the_limit_and_the_value() {
        let mut limits = Limits::default();
        let mut error = |name, value| limits.set(name, value).unwrap_err().to_string();
        assert_eq!(error("speed", "1"), "there is no limit `speed`");
        for (name, value) in
            [("peers", "-1"), ("peers", "1s"), ("send_timeout", "1"), ("send_timeout", "")]
        {
            let error = error(name, value);
            assert!(error.starts_with(&format!("`{value}` is not a value of the limit {name} (")));
        }
    }

    #[test]
    fn errors_name_the_bounds() {
        for (name, value, message) in [
            (
                "inbound_bytes",
                "255k",
                "the limit inbound_bytes is 261120: it must be 256k to 2047m",
            ),
            ("handshake_bytes", "255", "the limit handshake_bytes is 255: it must be 256 to 128k"),
            ("peers", "0", "the limit peers is 0: it must be 1 to 20000"),
            ("user_timeout", "501h", "the limit user_timeout is 1803600s: it must be 1s to 500h"),
            ("redial_first", "0s", "the limit redial_first is 0s: it must be 1ms to 8760h"),
        ] {
            let mut limits = Limits::default();
            limits.set(name, value).unwrap();
            assert_eq!(limits.check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn bounds_are_inclusive() {
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
