//! Peer addresses as users write them: section 6 of the wire format.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Direction, PeerType};

/// Longest name that the domain name system knows, in bytes.
const MAX_NAME: usize = 253;

/// What some editors put before the first character of a file. It is not seen, nor part of a name.
pub(super) const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// Longest name of an interface on the systems that there are, in bytes.
const MAX_ZONE: usize = 15;

/// The address of a peer to dial, as text: well-formed, but not looked up yet.
///
/// * `host:port`, `a.b.c.d:port` or `[v6]:port`, optionally after `inet:` or `inet#`;
/// * a final `X` asks for a [`PeerType::Cross`] link: `mynas.example:9000X`;
/// * `?limited=send` or `?limited=recv` asks for a [`PeerType::Limited`] link, as seen from here.
///
/// ```
/// use netmod_inet::{PeerAddr, PeerType};
///
/// let addr: PeerAddr = "inet:mynas.example:9000X".parse()?;
/// assert_eq!((addr.host(), addr.port()), ("mynas.example", 9000));
/// assert_eq!(addr.peer_type(), PeerType::Cross);
/// assert_eq!(addr.to_string(), "mynas.example:9000X");
/// # Ok::<(), netmod_inet::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAddr {
    host: Host,
    text: String,
    port: u16,
    peer_type: PeerType,
}

/// What stands before the port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Ip(IpAddr),
    /// A name, or an IPv6 address with a zone, both of which the system has to look up.
    Name(String),
}

impl PeerAddr {
    /// The name or the IP address, without brackets.
    ///
    /// ```
    /// let addr: netmod_inet::PeerAddr = "[2001:db8::1]:9000".parse()?;
    /// assert_eq!(addr.host(), "2001:db8::1");
    /// # Ok::<(), netmod_inet::AddressError>(())
    /// ```
    pub fn host(&self) -> &str {
        &self.text
    }

    /// The port: 1..=65 535.
    ///
    /// ```
    /// let addr: netmod_inet::PeerAddr = "mynas.example:9000X".parse()?;
    /// assert_eq!(addr.port(), 9000);
    /// # Ok::<(), netmod_inet::AddressError>(())
    /// ```
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What kind of peer to ask for.
    ///
    /// ```
    /// use netmod_inet::{PeerAddr, PeerType};
    ///
    /// let addr: PeerAddr = "mynas.example:9000X".parse()?;
    /// assert_eq!(addr.peer_type(), PeerType::Cross);
    /// # Ok::<(), netmod_inet::AddressError>(())
    /// ```
    pub fn peer_type(&self) -> PeerType {
        self.peer_type
    }

    /// The socket address, if it is there in numbers and nothing needs to be looked up.
    ///
    /// ```
    /// use netmod_inet::PeerAddr;
    ///
    /// let literal = |text: &str| text.parse().map(|addr: PeerAddr| addr.literal());
    /// assert_eq!(literal("192.0.2.7:9000")?, Some(([192, 0, 2, 7], 9000).into()));
    /// assert_eq!(literal("mynas.example:9000")?, None);
    /// # Ok::<(), netmod_inet::AddressError>(())
    /// ```
    pub fn literal(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// The socket that it names, whatever kind of peer it asks for.
    pub(crate) fn place(&self) -> Place<'_> {
        match &self.host {
            Host::Ip(ip) => Place::Ip(ip.to_canonical(), self.port),
            Host::Name(name) => Place::Name(name.strip_suffix('.').unwrap_or(name), self.port),
        }
    }
}

/// The socket that an address names. Two that are equal are the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place<'a> {
    Ip(IpAddr, u16),
    Name(&'a str, u16),
}

impl FromStr for PeerAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<PeerAddr, AddressError> {
        let text = text.trim();
        let text = text.strip_prefix("inet:").or(text.strip_prefix("inet#")).unwrap_or(text);
        let (place, options) = match text.split_once('?') {
            Some((place, options)) => (place, Some(options)),
            None => (text, None),
        };
        let (host, port) = split_port(place)?;
        let (port, cross) = match port.strip_suffix('X') {
            Some(port) => (port, true),
            None => (port, false),
        };
        let limited = options.map(parse_options).transpose()?.flatten();
        let peer_type = match (cross, limited) {
            (true, Some(_)) => return Err(AddressError::CrossAndLimited),
            (true, None) => PeerType::Cross,
            (false, Some(direction)) => PeerType::Limited(direction),
            (false, None) => PeerType::Standard,
        };
        let host = parse_host(host)?;
        let text = match &host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        };
        Ok(PeerAddr { host, text, port: parse_port(port)?, peer_type })
    }
}

impl TryFrom<&str> for PeerAddr {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<PeerAddr, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for PeerAddr {
    type Error = AddressError;

    fn try_from(text: String) -> Result<PeerAddr, AddressError> {
        text.parse()
    }
}

impl TryFrom<&String> for PeerAddr {
    type Error = AddressError;

    fn try_from(text: &String) -> Result<PeerAddr, AddressError> {
        text.parse()
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.contains(':') {
            true => write!(f, "[{}]:{}", self.text, self.port)?,
            false => write!(f, "{}:{}", self.text, self.port)?,
        }
        f.write_str(match self.peer_type {
            PeerType::Standard => "",
            PeerType::Cross => "X",
            PeerType::Limited(Direction::Sending) => "?limited=send",
            PeerType::Limited(Direction::Receiving) => "?limited=recv",
        })
    }
}

/// Host and port, which still are text; brackets around the host stay.
fn split_port(place: &str) -> Result<(&str, &str), AddressError> {
    if place.is_empty() {
        return Err(AddressError::Empty);
    }
    if place.starts_with('[') {
        let close = place.find(']').ok_or(AddressError::OpenBracket)?;
        let (host, rest) = place.split_at(close + 1);
        let port = rest.strip_prefix(':').ok_or(AddressError::NoPort)?;
        return Ok((host, port));
    }
    let (host, port) = place.rsplit_once(':').ok_or(AddressError::NoPort)?;
    match host.contains(':') {
        true => Err(AddressError::NoBrackets),
        false => Ok((host, port)),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() {
        return Err(AddressError::NoPort);
    }
    // `u16::from_str` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if port > 0 && digits => Ok(port),
        _ => Err(AddressError::Port(shorten(text))),
    }
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let (bare, zone) = match inner.split_once('%') {
            Some((bare, zone)) => (bare, Some(zone)),
            None => (inner, None),
        };
        return match (bare.parse::<Ipv6Addr>(), zone) {
            (Ok(ip), None) => Ok(Host::Ip(IpAddr::V6(ip))),
            (Ok(ip), Some(zone)) if is_zone(zone) => Ok(Host::Name(format!("{ip}%{zone}"))),
            _ => Err(AddressError::Ipv6(shorten(inner))),
        };
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if text.is_empty() || text.len() > MAX_NAME || numeric || text.contains(is_forbidden) {
        return Err(AddressError::Host(shorten(text)));
    }
    // Names are the same in either case, and duplicates are told by comparing.
    Ok(Host::Name(text.to_ascii_lowercase()))
}

/// Whether this can be an interface, which is what a zone names.
fn is_zone(text: &str) -> bool {
    (1..=MAX_ZONE).contains(&text.len()) && !text.contains(is_forbidden)
}

/// Characters that are in no name.
fn is_forbidden(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == BYTE_ORDER_MARK || "[]/\\?#@%,;\"'<>".contains(c)
}

/// The options behind `?`, joined by `&`.
fn parse_options(text: &str) -> Result<Option<Direction>, AddressError> {
    let mut limited = None;
    for option in text.split('&') {
        let direction = match option {
            "limited=send" => Direction::Sending,
            "limited=recv" => Direction::Receiving,
            _ => return Err(AddressError::Option(shorten(option))),
        };
        if limited.replace(direction).is_some() {
            return Err(AddressError::OptionTwice("limited"));
        }
    }
    Ok(limited)
}

/// What an error quotes of its input: enough to find it by, never a whole file.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why a text is no peer address.
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
    /// There is nothing.
    Empty,
    /// A `[` without its `]`.
    OpenBracket,
    /// An IPv6 address must stand in brackets, or its port cannot be told.
    NoBrackets,
    /// There is no port.
    NoPort,
    /// This is no port: 1..=65535.
    Port(String),
    /// This is no IPv6 address.
    Ipv6(String),
    /// This is neither a host name nor an IPv4 address.
    Host(String),
    /// An option that does not exist.
    Option(String),
    /// An option that may be given once.
    OptionTwice(&'static str),
    /// A link is Cross or Limited, not both.
    CrossAndLimited,
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
            AddressError::Host(text) => write!(f, "`{text}` is neither a name nor an address"),
            AddressError::Option(text) => {
                write!(f, "unknown option `{text}` (there are limited=send and limited=recv)")
            }
            AddressError::OptionTwice(name) => write!(f, "option `{name}` is given twice"),
            AddressError::CrossAndLimited => f.write_str("a link is either cross or limited"),
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PeerAddr, AddressError> {
        text.parse()
    }

    #[test]
    fn all_the_ways_to_write_one() {
        for (text, canonical) in [
            ("host:9000", "host:9000"),
            (" Host.Example:1 ", "host.example:1"),
            ("inet:host:9000X", "host:9000X"),
            ("inet#10.0.0.1:9000", "10.0.0.1:9000"),
            ("[::1]:9000X", "[::1]:9000X"),
            ("inet:[2001:DB8::1]:65535?limited=send", "[2001:db8::1]:65535?limited=send"),
            ("host:9000?limited=recv", "host:9000?limited=recv"),
            ("[fe80::1%eth0]:9000", "[fe80::1%eth0]:9000"),
            ("[FE80:0::1%br-lan.7]:9000", "[fe80::1%br-lan.7]:9000"),
            ("host.example.:9000", "host.example.:9000"),
        ] {
            let addr = parse(text).unwrap();
            assert_eq!(addr.to_string(), canonical);
            assert_eq!(parse(canonical).as_ref(), Ok(&addr));
        }
        assert_eq!(parse("[::1]:9").unwrap().literal(), "[::1]:9".parse().ok());
        assert_eq!(parse("[fe80::1%eth0]:9").unwrap().literal(), None);
    }

    #[test]
    fn says_what_is_wrong() {
        use AddressError::*;
        for (text, error) in [
            ("", Empty),
            ("inet:", Empty),
            ("host", NoPort),
            ("inet:9000", NoPort), // the prefix without a host, not a host called inet
            ("host:", NoPort),
            ("host:X", NoPort),
            ("host:0", Port("0".into())),
            ("host:+1", Port("+1".into())),
            ("host:65536", Port("65536".into())),
            ("host:9000x", Port("9000x".into())),
            (":9000", Host("".into())),
            ("ho st:9000", Host("ho st".into())),
            ("300.1.1.1:9000", Host("300.1.1.1".into())),
            ("::1:9000", NoBrackets),
            ("[::1:9000", OpenBracket),
            ("[::1]", NoPort),
            ("[::1%]:1", Ipv6("::1%".into())),
            ("[fe80::1%eth\0]:1", Ipv6("fe80::1%eth\0".into())),
            ("[fe80::1%e h]:1", Ipv6("fe80::1%e h".into())),
            ("[fe80::1%a%b]:1", Ipv6("fe80::1%a%b".into())),
            ("[fe80::1%sixteen-bytes-it]:1", Ipv6("fe80::1%sixteen-bytes-it".into())),
            ("[host]:1", Ipv6("host".into())),
            ("host:1?speed=9", Option("speed=9".into())),
            ("host:1?limited=send&limited=recv", OptionTwice("limited")),
            ("host:1X?limited=send", CrossAndLimited),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
