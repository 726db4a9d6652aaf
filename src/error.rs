//! What can go wrong, one type per operation.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Target;
use crate::limits::LimitError;
use crate::proto::{
    AddressError, End, Frame, FrameError, HelloError, Id, LONGEST_RETRY_AFTER, OutOfStep, PeerType,
    PublicKey,
};

/// Why an endpoint did not start.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use netmod_inet::{InetEndpoint, StartError};
///
/// match InetEndpoint::start("nowhere").await {
///     Err(StartError::Address(text)) => assert_eq!(text, "nowhere"),
///     _ => panic!(),
/// }
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// This is no socket address to listen on, such as `[::]:9000` or `0.0.0.0:9000`.
    Address(String),
    /// The socket could not be opened: the address is taken, not this machine's, or not allowed.
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener or stream of the caller's could not be used.
    Socket(io::Error),
    /// A limit is too small or too large to work with.
    Limits(LimitError),
    /// The system has no randomness to give for a router id.
    Random(io::Error),
    /// More streams were given than `Limits::peers` allows.
    TooManyStreams,
    /// The spawner dropped every task that it was given: its executor is gone.
    ExecutorGone,
}

impl StartError {
    /// Whether the reason is that this machine has no IPv6 at all.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::InetEndpoint;
    ///
    /// let endpoint = match InetEndpoint::start("[::]:0").await {
    ///     Err(error) if error.is_ipv6_unavailable() => InetEndpoint::start("0.0.0.0:0").await?,
    ///     started => started?,
    /// };
    /// # Ok(()) }) }
    /// ```
    pub fn is_ipv6_unavailable(&self) -> bool {
        match self {
            StartError::Bind { addr, source } => {
                addr.is_ipv6() && addr.ip().is_unspecified() && lacks_family(source)
            }
            _ => false,
        }
    }
}

/// Whether the system lacks the address family, as opposed to the address being taken or refused.
fn lacks_family(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT)
    )
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Address(text) => {
                write!(f, "`{text}` is no address to listen on (write [::]:9000 or 0.0.0.0:9000)")
            }
            StartError::Bind { addr, source } => write!(f, "cannot listen on {addr}: {source}"),
            StartError::Socket(source) => write!(f, "cannot use the socket given: {source}"),
            StartError::Limits(error) => error.fmt(f),
            StartError::Random(source) => write!(f, "cannot make a random router id: {source}"),
            StartError::TooManyStreams => {
                f.write_str("there are more streams than the limit allows")
            }
            StartError::ExecutorGone => f.write_str("the executor is gone"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Bind { source, .. }
            | StartError::Socket(source)
            | StartError::Random(source) => Some(source),
            StartError::Limits(error) => Some(error),
            _ => None,
        }
    }
}

/// Why no peer of a list was added.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::InetEndpoint;
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let error = endpoint.add_peers(["a.example:9000", "b.example"]).await.unwrap_err();
/// assert_eq!(error.to_string(), "entry 2: `b.example`: the port is missing");
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddPeersError {
    /// An entry is malformed.
    Malformed {
        /// Which entry, counted from 1.
        entry: usize,
        /// The entry, cut off if it is long.
        addr: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// An entry is the same place as an earlier one of the list.
    Twice {
        /// Which entry, counted from 1.
        entry: usize,
        /// The entry.
        addr: String,
    },
    /// An entry is a peer already.
    Known {
        /// Which entry, counted from 1.
        entry: usize,
        /// The entry.
        addr: String,
        /// The peer that has the address.
        target: Target,
    },
    /// An entry pins a key, and the endpoint has none of its own to encrypt with.
    NoKey {
        /// Which entry, counted from 1.
        entry: usize,
        /// The entry.
        addr: String,
    },
    /// There would be more peers than `Limits::peers`, or than targets.
    TooMany,
    /// The endpoint is shut down.
    Closed,
}

impl fmt::Display for AddPeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddPeersError::Malformed { entry, addr, source } => {
                write!(f, "entry {entry}: `{addr}`: {source}")
            }
            AddPeersError::Twice { entry, addr } => {
                write!(f, "entry {entry}: `{addr}` is in the list twice")
            }
            AddPeersError::Known { entry, addr, target } => {
                write!(f, "entry {entry}: `{addr}` is peer {target} already")
            }
            AddPeersError::NoKey { entry, addr } => {
                write!(f, "entry {entry}: `{addr}` asks for encryption, and this node has no key")
            }
            AddPeersError::TooMany => f.write_str("there are as many peers as the limit allows"),
            AddPeersError::Closed => Closed.fmt(f),
        }
    }
}

impl std::error::Error for AddPeersError {}

/// A frame that was not taken, and why.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{Frame, InetEndpoint};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let frame = Frame::builder(8, endpoint.router_id()).build()?;
/// let error = endpoint.try_send(7, frame.clone()).unwrap_err();
/// assert_eq!(error.to_string(), "there is no peer with this target");
/// assert_eq!(error.into_frame(), frame);
/// # Ok(()) }) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SendError {
    reason: Refusal,
    frame: Frame,
}

impl SendError {
    pub(crate) fn new(reason: Refusal, frame: Frame) -> SendError {
        SendError { reason, frame }
    }

    /// Why the frame was not taken.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint, frame: netmod_inet::Frame) {
    /// if let Err(error) = endpoint.try_send(7, frame) {
    ///     println!("not sent: {}", error.reason());
    /// }
    /// # }
    /// ```
    pub fn reason(&self) -> Refusal {
        self.reason
    }

    /// The frame.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint, frame: netmod_inet::Frame) {
    /// if let Err(error) = endpoint.try_send(7, frame) {
    ///     println!("{} bytes were not sent", error.frame().len());
    /// }
    /// # }
    /// ```
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Gives the frame back.
    ///
    /// ```
    /// use netmod_inet::{Frame, InetEndpoint, SendError};
    ///
    /// /// Sends through the first neighbour that has room.
    /// fn send_by_any(endpoint: &InetEndpoint, mut frame: Frame) -> Result<(), Frame> {
    ///     for peer in endpoint.peers() {
    ///         frame = match endpoint.try_send(peer.target, frame) {
    ///             Ok(()) => return Ok(()),
    ///             Err(error) => error.into_frame(),
    ///         };
    ///     }
    ///     Err(frame)
    /// }
    /// ```
    pub fn into_frame(self) -> Frame {
        self.frame
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for SendError {}

/// Why a frame was not taken for a peer.
///
/// ```
/// use netmod_inet::Refusal;
///
/// /// Whether it makes sense to send the same frame to the same neighbour later.
/// fn may_be_taken_later(reason: Refusal) -> bool {
///     matches!(reason, Refusal::Full | Refusal::TimedOut | Refusal::EndpointFull)
/// }
/// # assert!(may_be_taken_later(Refusal::Full));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such peer, or no longer.
    UnknownTarget,
    /// The peer's queue is full; try again later.
    Full,
    /// The peer's queue stayed full for `Limits::send_timeout`.
    TimedOut,
    /// The queues of all peers together are full.
    EndpointFull,
    /// The frame is over `Limits::frame_bytes`, or over what the peer's queue can ever hold.
    TooLarge,
    /// Modes 32..=63 belong to the netmod.
    Reserved,
    /// The link is limited, and frames go the other way.
    WrongDirection,
    /// The peer's link is down, and a flood goes to peers that are up.
    LinkDown,
    /// The endpoint is shut down.
    Closed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::UnknownTarget => "there is no peer with this target",
            Refusal::Full => "the peer's queue is full",
            Refusal::TimedOut => "the peer's queue stayed full for too long",
            Refusal::EndpointFull => "the queues of all peers together are full",
            Refusal::TooLarge => "the frame is too large",
            Refusal::Reserved => "modes 32 to 63 are reserved for the netmod",
            Refusal::WrongDirection => "the link is limited: frames go the other way only",
            Refusal::LinkDown => "the peer's link is down",
            Refusal::Closed => "the endpoint is closed",
        })
    }
}

impl std::error::Error for Refusal {}

/// There is no peer with this target, or no longer.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{InetEndpoint, UnknownTarget};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// assert_eq!(endpoint.kick(Some(7)), Err(UnknownTarget(7)));
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownTarget(
    /// The target.
    pub Target,
);

impl fmt::Display for UnknownTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no peer with target {}", self.0)
    }
}

impl std::error::Error for UnknownTarget {}

/// The endpoint was given no key to encrypt with.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use netmod_inet::{InetEndpoint, NotEncrypting};
///
/// let plain = InetEndpoint::start("[::1]:0").await?;
/// assert!(matches!(plain.allow_any_key(), Err(NotEncrypting)));
/// # Ok(()) }) }
/// ```
#[cfg(feature = "noise")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotEncrypting;

#[cfg(feature = "noise")]
impl fmt::Display for NotEncrypting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint has no key, and encrypts nothing")
    }
}

#[cfg(feature = "noise")]
impl std::error::Error for NotEncrypting {}

/// The endpoint is shut down, or its executor is gone.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{Closed, InetEndpoint};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// endpoint.shutdown().await;
/// assert_eq!(endpoint.next().await, Err(Closed));
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint is closed")
    }
}

impl std::error::Error for Closed {}

/// Why a handshake failed.
///
/// ```
/// use netmod_inet::HandshakeError;
///
/// let error = HandshakeError::TooLong(4_000);
/// assert_eq!(error.to_string(), "handshake message of 4000 bytes");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It took longer than `Limits::handshake_timeout`.
    TimedOut,
    /// The other side closed before it was complete.
    Closed,
    /// The connection failed.
    Io(Arc<io::Error>),
    /// The other side sent a message of this many bytes, over `Limits::handshake_bytes`.
    TooLong(usize),
    /// What the other side sent is no carrier frame.
    OutOfStep(OutOfStep),
    /// What the other side sent is no carrier frame, or one of another version.
    Frame(FrameError),
    /// What the other side sent is not the Hello or the Ack that is due.
    Unexpected(HelloError),
    /// The listener echoed another peer type than it was asked for.
    PeerType {
        /// What this node asked for.
        asked: PeerType,
        /// What the listener echoed.
        echoed: PeerType,
    },
    /// The other side has this node's own router id: it is this node, or a copy of it.
    OwnSelf,
    /// The other side names a pair with this node, and could not prove that it is one of it.
    NotProved,
    /// The other side said why it does not want to.
    Refused(Farewell),
    /// The other side does not encrypt, or not in a way that this node knows, and this node wants
    /// it to. Or somebody on the way keeps the two from it.
    NotEncrypted,
    /// One side has a network secret and the other has none.
    NetworkSecret {
        /// Whether it is this node that has one.
        here: bool,
    },
    /// The exchange of keys failed: both have another network secret, or somebody changed something
    /// on the way.
    NotAuthentic,
    /// The other side has this key, and others are pinned for its address.
    WrongKey(PublicKey),
    /// The key of the other side is not allowed in.
    KeyNotAllowed(PublicKey),
    /// The router id that the other side claims belongs to another key.
    IdTaken {
        /// The router id.
        id: Id,
        /// The key of the other side; `None` on a plain link.
        key: Option<PublicKey>,
        /// The key of the peer that has the id; `None` if other keys are pinned for it.
        holder: Option<PublicKey>,
    },
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::TimedOut => f.write_str("handshake timed out"),
            HandshakeError::Closed => f.write_str("closed by the other side during the handshake"),
            HandshakeError::Io(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::TooLong(len) => write!(f, "handshake message of {len} bytes"),
            HandshakeError::OutOfStep(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::Frame(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::Unexpected(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::PeerType { asked, echoed } => {
                write!(f, "asked for a {asked} link, the other side answered {echoed}")
            }
            HandshakeError::OwnSelf => {
                f.write_str("own self: the other side has this node's router id")
            }
            HandshakeError::NotProved => {
                f.write_str("the other side could not prove to be whom it said it was")
            }
            HandshakeError::Refused(farewell) => write!(f, "refused: {farewell}"),
            HandshakeError::NotEncrypted => {
                f.write_str("the other side does not encrypt, as this node wants it to")
            }
            HandshakeError::NetworkSecret { here: true } => {
                f.write_str("this node has a network secret, and the other side has none")
            }
            HandshakeError::NetworkSecret { here: false } => {
                f.write_str("the other side has a network secret, and this node has none")
            }
            HandshakeError::NotAuthentic => f.write_str(
                "the exchange of keys failed: another network secret, or changed on the way",
            ),
            HandshakeError::WrongKey(key) => {
                write!(f, "the other side has the key {key}, which is not pinned for its address")
            }
            HandshakeError::KeyNotAllowed(key) => write!(f, "the key {key} is not allowed in"),
            HandshakeError::IdTaken { id, key, holder } => {
                write!(f, "router id {id} was claimed by {}", Holder(key))?;
                match holder {
                    Some(holder) => write!(f, ", and belongs to the peer with the key {holder}"),
                    None => f.write_str(", and other keys are pinned for it"),
                }
            }
        }
    }
}

impl std::error::Error for HandshakeError {}

/// Who has a key, or none.
struct Holder<'a>(&'a Option<PublicKey>);

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "a node with the key {key}"),
            None => f.write_str("a node on a plain link"),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        #[cfg(feature = "noise")]
        match crate::link::Fault::of(&error) {
            Some(crate::link::Fault::Changed) => return HandshakeError::NotAuthentic,
            Some(crate::link::Fault::Cut) => return HandshakeError::Closed,
            None => {}
        }
        HandshakeError::Io(Arc::new(error))
    }
}

/// Why an attempt to dial a peer failed.
///
/// ```
/// use netmod_inet::{AttemptError, HandshakeError};
///
/// let error = AttemptError::Handshake(HandshakeError::TimedOut);
/// assert_eq!(error.to_string(), "handshake timed out");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AttemptError {
    /// The name could not be looked up.
    Resolve(Arc<io::Error>),
    /// The name was looked up, and has no address.
    NoAddress,
    /// The connection could not be opened.
    Connect(Arc<io::Error>),
    /// Both sides did not come to terms.
    Handshake(HandshakeError),
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttemptError::Resolve(error) => write!(f, "cannot look up the name: {error}"),
            AttemptError::NoAddress => f.write_str("the name has no address"),
            AttemptError::Connect(error) => write!(f, "cannot connect: {error}"),
            AttemptError::Handshake(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AttemptError {}

/// Why a link ended.
///
/// ```
/// use netmod_inet::{DownReason, Event};
///
/// fn tell(event: &Event) {
///     match event {
///         Event::Down { reason: DownReason::Farewell(farewell), .. } => println!("bye: {farewell}"),
///         Event::Down { reason, .. } => println!("lost: {reason}"),
///         _ => {}
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DownReason {
    /// The other side closed, between two frames.
    Closed,
    /// The other side closed inside a frame.
    ClosedInsideFrame,
    /// The connection failed.
    Io(Arc<io::Error>),
    /// What arrived is no carrier frame: the sender tore one, or speaks something else.
    OutOfStep(OutOfStep),
    /// The link is limited, and a frame came the wrong way.
    WrongDirection,
    /// The other side gave no sign of life for so long, though it owed one.
    Silent(Duration),
    /// The other side told that it received a number of frames which it cannot have.
    ImpossibleCount(u64),
    /// The other side said goodbye, and why.
    Farewell(Farewell),
    /// On an encrypted link arrived what the other side did not send: it was changed, left out or
    /// repeated on the way.
    NotAuthentic,
    /// The key of the peer, or with `None` a plain link, is not allowed in any more.
    NotAllowed(Option<PublicKey>),
    /// The router id of the peer belongs to this key, which is trusted more or came first.
    IdTaken(PublicKey),
    /// The same peer has a new link.
    Replaced,
    /// This node removed the peer.
    Removed,
    /// This node shuts down.
    ShuttingDown,
    /// The task that served the link stopped without a word: a bug, please report it.
    Failed,
}

impl DownReason {
    pub(crate) fn io(error: io::Error) -> DownReason {
        #[cfg(feature = "noise")]
        match crate::link::Fault::of(&error) {
            Some(crate::link::Fault::Changed) => return DownReason::NotAuthentic,
            Some(crate::link::Fault::Cut) => return DownReason::ClosedInsideFrame,
            None => {}
        }
        DownReason::Io(Arc::new(error))
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Closed => f.write_str("closed by the other side"),
            DownReason::ClosedInsideFrame => f.write_str("closed by the other side inside a frame"),
            DownReason::Io(error) => write!(f, "connection lost: {error}"),
            DownReason::OutOfStep(error) => error.fmt(f),
            DownReason::WrongDirection => {
                f.write_str("a frame came the wrong way on a limited link")
            }
            DownReason::Silent(silence) => {
                write!(f, "no sign of life for {} s", silence.as_secs())
            }
            DownReason::ImpossibleCount(count) => {
                write!(f, "the other side told an impossible count of frames, {count}")
            }
            DownReason::Farewell(farewell) => write!(f, "the other side said goodbye: {farewell}"),
            DownReason::NotAuthentic => {
                f.write_str("what arrived is not what the other side sent: changed on the way")
            }
            DownReason::NotAllowed(Some(key)) => {
                write!(f, "the key {key} is not allowed in any more")
            }
            DownReason::NotAllowed(None) => f.write_str("plain links are not let in any more"),
            DownReason::IdTaken(key) => write!(f, "its router id belongs to the key {key}"),
            DownReason::Replaced => f.write_str("replaced by a new link"),
            DownReason::Removed => f.write_str("removed"),
            DownReason::ShuttingDown => f.write_str("shutting down"),
            DownReason::Failed => f.write_str("internal failure"),
        }
    }
}

impl std::error::Error for DownReason {}

/// Why the stream of a stranger was dropped before it became a peer.
///
/// ```
/// use netmod_inet::DropReason;
///
/// assert_eq!(DropReason::NotAllowed.to_string(), "not allowed by the accept policy");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DropReason {
    /// The accept policy does not let it in.
    NotAllowed,
    /// There are as many peers as the limit allows.
    TooManyPeers,
    /// Too many handshakes were pending, and this was the oldest.
    Displaced,
    /// This node dials the same peer itself just now, and its link goes first.
    Duplicate,
    /// This node shuts down.
    ShuttingDown,
    /// Both sides did not come to terms.
    Handshake(HandshakeError),
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::NotAllowed => f.write_str("not allowed by the accept policy"),
            DropReason::TooManyPeers => f.write_str("there are as many peers as the limit allows"),
            DropReason::Displaced => {
                f.write_str("too many handshakes were pending, and this was the oldest")
            }
            DropReason::Duplicate => f.write_str("this node dials the same peer just now"),
            DropReason::ShuttingDown => f.write_str("shutting down"),
            DropReason::Handshake(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DropReason {}

/// Why the other side closes or refuses a link, and when to come back. Only nodes of this crate
/// say so.
///
/// ```
/// use netmod_inet::{DownReason, Event};
///
/// fn is_back_soon(event: &Event) -> bool {
///     matches!(event, Event::Down { reason: DownReason::Farewell(farewell), .. }
///         if farewell.retry_after.is_some_and(|time| time.as_secs() < 10))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Farewell {
    /// Why.
    pub reason: FarewellReason,
    /// How long to stay away, if it said so. It is obeyed up to ten minutes.
    pub retry_after: Option<Duration>,
}

/// Why the other side closes or refuses a link.
///
/// ```
/// use netmod_inet::{Farewell, FarewellReason};
///
/// fn wants_us(farewell: &Farewell) -> bool {
///     !matches!(farewell.reason, FarewellReason::NotAllowed | FarewellReason::Removed)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FarewellReason {
    /// It has as many peers as it may.
    Busy,
    /// Its accept policy does not let this node in.
    NotAllowed,
    /// It shuts down.
    ShuttingDown,
    /// It removed this node from its peers.
    Removed,
    /// The two nodes have another link, or are about to.
    Duplicate,
    /// It closes because this node said goodbye.
    Answered,
    /// It has encrypted links only.
    NotEncrypted,
    /// Something that this version does not know.
    Other(u8),
}

impl FarewellReason {
    fn code(self) -> u8 {
        match self {
            FarewellReason::Busy => 1,
            FarewellReason::NotAllowed => 2,
            FarewellReason::ShuttingDown => 3,
            FarewellReason::Removed => 4,
            FarewellReason::Duplicate => 5,
            FarewellReason::Answered => 6,
            FarewellReason::NotEncrypted => 7,
            FarewellReason::Other(code) => code,
        }
    }
}

impl Farewell {
    pub(crate) fn new(reason: FarewellReason) -> Farewell {
        Farewell { reason, retry_after: None }
    }
}

impl From<End> for Farewell {
    fn from(end: End) -> Farewell {
        let reason = match end.reason {
            1 => FarewellReason::Busy,
            2 => FarewellReason::NotAllowed,
            3 => FarewellReason::ShuttingDown,
            4 => FarewellReason::Removed,
            5 => FarewellReason::Duplicate,
            6 => FarewellReason::Answered,
            7 => FarewellReason::NotEncrypted,
            code => FarewellReason::Other(code),
        };
        let retry_after = Duration::from_millis(end.retry_after_ms.into()).min(LONGEST_RETRY_AFTER);
        Farewell { reason, retry_after: Some(retry_after).filter(|time| !time.is_zero()) }
    }
}

impl From<Farewell> for End {
    fn from(farewell: Farewell) -> End {
        let millis = farewell.retry_after.map_or(0, whole_millis);
        let retry_after_ms = u32::try_from(millis).unwrap_or(u32::MAX);
        End { reason: farewell.reason.code(), retry_after_ms }
    }
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            FarewellReason::Busy => f.write_str("it has as many peers as it may")?,
            FarewellReason::NotAllowed => f.write_str("it does not let this node in")?,
            FarewellReason::ShuttingDown => f.write_str("it shuts down")?,
            FarewellReason::Removed => f.write_str("it removed this node from its peers")?,
            FarewellReason::Duplicate => f.write_str("the two nodes have another link")?,
            FarewellReason::Answered => f.write_str("this node said so first")?,
            FarewellReason::NotEncrypted => f.write_str("it has encrypted links only")?,
            FarewellReason::Other(code) => write!(f, "reason {code}")?,
        }
        match self.retry_after {
            Some(time) => write!(f, ", back in {} ms", whole_millis(time)),
            None => Ok(()),
        }
    }
}

/// A time in milliseconds. In 64 bits: to show 128 takes a kilobyte of code.
pub(crate) fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
