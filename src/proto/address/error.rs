use std::fmt;
use std::net::Ipv6Addr;

use crate::proto::ParseKeyError;

/// Maximum number of keys of one address. A key rotation needs two.
pub(crate) const MAX_KEYS: usize = 16;

/// Why a text is not a peer address.
///
/// ```
/// use netmod_inet::PeerAddr;
///
/// let error = "mynas.example".parse::<PeerAddr>().unwrap_err();
/// assert_eq!(error.to_string(), "the port is missing");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is empty.
    Empty,
    /// A `[` without its `]`.
    OpenBracket,
    /// An IPv6 address without brackets, so that its port is ambiguous.
    NoBrackets,
    /// The port is missing.
    NoPort,
    /// Not a port, which is 1..=65535.
    Port(String),
    /// Not an IPv6 address.
    Ipv6(String),
    /// A link-local IPv6 address, which needs the interface that it is on: `[fe80::1%eth0]:9000`.
    NoZone(Ipv6Addr),
    /// Neither a host name nor an IPv4 address.
    Host(String),
    /// An unknown option.
    Option(String),
    /// An option that may be given only once.
    OptionTwice(&'static str),
    /// A link cannot be both Cross and Limited.
    CrossAndLimited,
    /// Not a key.
    Key(ParseKeyError),
    /// More than 16 keys.
    TooManyKeys,
    /// The address requires encryption, which is not compiled in (feature `noise`).
    NoEncryption,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::Empty => f.write_str("the address is empty"),
            AddressError::OpenBracket => f.write_str("`[` without `]`"),
            AddressError::NoBrackets => {
                f.write_str("an IPv6 address must stand in brackets: `[2001:db8::1]:9000`")
            }
            AddressError::NoPort => f.write_str("the port is missing"),
            AddressError::Port(text) => write!(f, "`{text}` is no port (1 to 65535)"),
            AddressError::Ipv6(text) => write!(f, "`{text}` is no IPv6 address"),
            AddressError::NoZone(ip) => {
                write!(f, "a link-local address needs its interface: `[{ip}%eth0]`")
            }
            AddressError::Host(text) => write!(f, "`{text}` is neither a name nor an address"),
            AddressError::Option(text) => {
                let known = "limited=send, limited=recv and key=";
                write!(f, "unknown option `{text}` (there are {known})")
            }
            AddressError::OptionTwice(name) => write!(f, "option `{name}` is given twice"),
            AddressError::CrossAndLimited => f.write_str("a link is either cross or limited"),
            AddressError::Key(error) => error.fmt(f),
            AddressError::TooManyKeys => write!(f, "more than {MAX_KEYS} keys"),
            AddressError::NoEncryption => {
                f.write_str("key= asks for encryption, which is not built in (feature `noise`)")
            }
        }
    }
}

impl std::error::Error for AddressError {}
