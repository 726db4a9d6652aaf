//! The work of the two processes of a round.

use std::fmt;
use std::str::FromStr;

use netmod_inet::{Frame, FrameError, Id};

/// Payload of the frames that load the other link during round trips.
const LOAD: usize = 4096;

/// A traffic pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The dialer sends on every link as fast as possible.
    Stream,
    /// The same with one call per frame.
    Singles,
    /// Both processes send.
    Both,
    /// The dialer sends a frame and waits for its echo.
    Trip,
    /// The same while another link carries frames as fast as possible.
    BusyTrip,
    /// The listener sends a frame to every link, and waits until the dialer has all of them.
    Flood,
    /// As `Stream`, over encrypted links and plain ones.
    Encrypted,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    /// Payload bytes per frame.
    pub(crate) payload: usize,
    pub(crate) links: usize,
}

/// An implementation that carries the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Blocking `std::net` TCP.
    Plain,
    /// tokio with `LengthDelimitedCodec` and a channel.
    Codec,
    /// An endpoint on the default executor.
    Endpoint,
    /// An endpoint on an executor that the caller drives.
    EndpointOwn,
    /// No link: frames are encrypted and discarded.
    Cipher,
    /// An endpoint that encrypts, on the default executor.
    Encrypted,
    /// An endpoint that encrypts, on an executor that the caller drives.
    EncryptedOwn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Listener,
    Dialer,
}

/// The work of one process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) job: Job,
    pub(crate) with: Contender,
    pub(crate) side: Side,
    /// The port of the listener.
    pub(crate) port: u16,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Stream,
        Kind::Singles,
        Kind::Both,
        Kind::Trip,
        Kind::BusyTrip,
        Kind::Flood,
        Kind::Encrypted,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::Stream => "stream",
            Kind::Singles => "singles",
            Kind::Both => "both",
            Kind::Trip => "trip",
            Kind::BusyTrip => "busy-trip",
            Kind::Flood => "flood",
            Kind::Encrypted => "encrypted",
        }
    }

    /// Whether it measures a rate rather than a time.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Kind::Stream | Kind::Singles | Kind::Both | Kind::Encrypted)
    }
}

impl Contender {
    const ALL: [Contender; 7] = [
        Contender::Plain,
        Contender::Codec,
        Contender::Endpoint,
        Contender::EndpointOwn,
        Contender::Cipher,
        Contender::Encrypted,
        Contender::EncryptedOwn,
    ];

    /// The name in JSON and in arguments.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Plain => "plain",
            Contender::Codec => "codec",
            Contender::Endpoint => "endpoint",
            Contender::EndpointOwn => "endpoint-own",
            Contender::Cipher => "cipher",
            Contender::Encrypted => "encrypted",
            Contender::EncryptedOwn => "encrypted-own",
        }
    }

    /// The name in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Contender::Plain => "plain TCP",
            Contender::Codec => "tokio codec",
            Contender::Endpoint => "endpoint, default executor",
            Contender::EndpointOwn => "endpoint, own executor",
            Contender::Cipher => "cipher alone",
            Contender::Encrypted => "encrypted, default executor",
            Contender::EncryptedOwn => "encrypted, own executor",
        }
    }

    /// Whether it is an endpoint on an executor that the caller drives.
    pub(crate) fn is_on_own_executor(self) -> bool {
        matches!(self, Contender::EndpointOwn | Contender::EncryptedOwn)
    }
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Listener => "listener",
            Side::Dialer => "dialer",
        }
    }
}

impl Job {
    /// The contenders that support it.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        use Contender::{Cipher, Codec, Encrypted, EncryptedOwn, Plain};
        let can = |with: &Contender| match (self.kind, with) {
            (Kind::Encrypted, with) => !matches!(with, Plain | Codec),
            (_, Cipher | Encrypted | EncryptedOwn) | (Kind::Flood, Codec) => false,
            _ => true,
        };
        Contender::ALL.into_iter().filter(can).collect()
    }

    pub(crate) fn frame(&self) -> Result<Frame, FrameError> {
        frame(self.payload)
    }

    /// A frame of the loaded link.
    pub(crate) fn load(&self) -> Result<Frame, FrameError> {
        frame(LOAD)
    }

    /// Whether frames of this length are echoed.
    pub(crate) fn is_echoed(&self, frame: usize) -> bool {
        matches!(self.kind, Kind::Trip | Kind::BusyTrip) && frame < LOAD
    }
}

fn frame(payload: usize) -> Result<Frame, FrameError> {
    Frame::builder(8, Id::from_bytes([0x7A; 32])).payload(vec![7; payload]).build()
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part { job: Job { kind, payload, links }, with, side, port } = self;
        let (kind, with, side) = (kind.name(), with.name(), side.name());
        write!(f, "{kind}:{with}:{side}:{payload}:{links}:{port}")
    }
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Part, &'static str> {
        let [kind, with, side, payload, links, port] =
            text.split(':').collect::<Vec<_>>().try_into().map_err(|_| "it has six words")?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
        let with = Contender::ALL.into_iter().find(|known| known.name() == with);
        let side = [Side::Listener, Side::Dialer].into_iter().find(|known| known.name() == side);
        let number = |text: &str| text.parse::<usize>().map_err(|_| "no such number");
        let job = Job {
            kind: kind.ok_or("no such kind")?,
            payload: number(payload)?,
            links: number(links)?,
        };
        Ok(Part {
            job,
            with: with.ok_or("no such contender")?,
            side: side.ok_or("no such side")?,
            port: port.parse().map_err(|_| "no such port")?,
        })
    }
}
