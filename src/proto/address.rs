//! Peer addresses as users write them: section 6 of the wire format.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Direction, ParseKeyError, PeerType, PublicKey};

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
/// * `?limited=send` or `?limited=recv` asks for a [`PeerType::Limited`] link, as seen from here;
/// * `?key=` and 64 hexadecimal digits, with the feature `noise`, asks for an encrypted link to the
///   node that has this [`PublicKey`], and no other. It may be repeated, for a node whose key is
///   about to change. Options are joined by `&`.
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
    keys: Vec<PublicKey>,
}

/// Keys that one address may have: an old one, a new one, and more than anybody needs.
const MOST_KEYS: usize = 16;

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

    /// The keys of which the other side must have one. Empty: any, or none.
    ///
    /// ```
    /// use netmod_inet::{PeerAddr, PublicKey};
    ///
    /// assert!("mynas.example:9000".parse::<PeerAddr>()?.keys().is_empty());
    /// # if cfg!(feature = "noise") {
    /// let addr: PeerAddr = format!("mynas.example:9000?key={}", "0a".repeat(32)).parse()?;
    /// assert_eq!(addr.keys(), [PublicKey::from_bytes([10; 32])]);
    /// # }
    /// # Ok::<(), netmod_inet::AddressError>(())
    /// ```
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
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
        let Options { limited, keys } = options.map(parse_options).transpose()?.unwrap_or_default();
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
        Ok(PeerAddr { host, text, port: parse_port(port)?, peer_type, keys })
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
        })?;
        let is_limited = matches!(self.peer_type, PeerType::Limited(_));
        self.keys.iter().enumerate().try_for_each(|(at, key)| {
            let joint = if at == 0 && !is_limited { '?' } else { '&' };
            write!(f, "{joint}key={key}")
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

/// What stands behind `?`.
#[derive(Debug, Default)]
struct Options {
    limited: Option<Direction>,
    keys: Vec<PublicKey>,
}

impl Options {
    fn limit(&mut self, direction: Direction) -> Result<(), AddressError> {
        match self.limited.replace(direction) {
            None => Ok(()),
            Some(_) => Err(AddressError::OptionTwice("limited")),
        }
    }

    /// Once more is the same key, and no error: lists are put together by programs.
    fn pin(&mut self, text: &str) -> Result<(), AddressError> {
        if !cfg!(feature = "noise") {
            return Err(AddressError::NoEncryption);
        }
        let key = text.parse().map_err(AddressError::Key)?;
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
        match self.keys.len() <= MOST_KEYS {
            true => Ok(()),
            false => Err(AddressError::TooManyKeys),
        }
    }
}

/// The options behind `?`, joined by `&`.
fn parse_options(text: &str) -> Result<Options, AddressError> {
    let mut options = Options::default();
    for option in text.split('&') {
        match (option, option.strip_prefix("key=")) {
            ("limited=send", _) => options.limit(Direction::Sending)?,
            ("limited=recv", _) => options.limit(Direction::Receiving)?,
            (_, Some(key)) => options.pin(key)?,
            _ => return Err(AddressError::Option(shorten(option))),
        }
    }
    Ok(options)
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
    /// This is no key.
    Key(ParseKeyError),
    /// There are more keys than 16.
    TooManyKeys,
    /// The address asks for encryption, which is not built in (feature `noise`).
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
            AddressError::Host(text) => write!(f, "`{text}` is neither a name nor an address"),
            AddressError::Option(text) => {
                let known = "limited=send, limited=recv and key=";
                write!(f, "unknown option `{text}` (there are {known})")
            }
            AddressError::OptionTwice(name) => write!(f, "option `{name}` is given twice"),
            AddressError::CrossAndLimited => f.write_str("a link is either cross or limited"),
            AddressError::Key(error) => error.fmt(f),
            AddressError::TooManyKeys => write!(f, "more than {MOST_KEYS} keys"),
            AddressError::NoEncryption => {
                f.write_str("key= asks for encryption, which is not built in (feature `noise`)")
            }
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
    #[cfg(feature = "noise")]
    fn keys_are_read_and_written() {
        let [old, new] = [1, 2].map(|byte| PublicKey::from_bytes([byte; 32]));
        for (text, keys) in [
            (format!("host:1X?key={old}"), vec![old]),
            (format!("host:1?key={old}&key={new}&key={old}"), vec![old, new]),
            (format!("host:1?key={new}&limited=send&key={old}"), vec![new, old]),
        ] {
            let addr = parse(&text).unwrap();
            assert_eq!(addr.keys(), keys);
            assert_eq!(parse(&addr.to_string()).as_ref(), Ok(&addr), "{addr}");
        }
        assert_eq!(parse("host:1?key=12"), Err(AddressError::Key(ParseKeyError::Length(2))));
        let many: String =
            (0..17).map(|byte| format!("&key={}", PublicKey::from_bytes([byte; 32]))).collect();
        assert_eq!(parse(&format!("host:1?{}", &many[1..])), Err(AddressError::TooManyKeys));
    }

    #[test]
    #[cfg(not(feature = "noise"))]
    fn a_key_is_never_passed_over() {
        let text = format!("host:1?key={}", "0a".repeat(32));
        assert_eq!(parse(&text), Err(AddressError::NoEncryption));
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
