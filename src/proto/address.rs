//! Peer addresses as users write them: section 6 of the wire format.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Direction, PeerType};

/// Longest name that the domain name system knows, in bytes.
const MAX_NAME: usize = 253;

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
    pub fn host(&self) -> &str {
        &self.text
    }

    /// The port: 1..=65 535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What kind of peer to ask for.
    pub fn peer_type(&self) -> PeerType {
        self.peer_type
    }

    /// The socket address, if it is there in numbers and nothing needs to be looked up.
    pub fn literal(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// Whether `other` names the same socket, whatever kind of peer it asks for.
    pub(crate) fn is_same_place(&self, other: &PeerAddr) -> bool {
        let canonical = |host: &Host| match host {
            Host::Ip(ip) => Host::Ip(ip.to_canonical()),
            Host::Name(name) => Host::Name(name.clone()),
        };
        self.port == other.port && canonical(&self.host) == canonical(&other.host)
    }

    /// Reads a peer file: one address per line. Blank lines and lines that begin with `#` are
    /// skipped, and so is white space around an address.
    ///
    /// ```
    /// use netmod_inet::PeerAddr;
    ///
    /// let peers = PeerAddr::parse_list(b"# home\nmynas.example:9000X\n\n[2001:db8::1]:9000\n")?;
    /// assert_eq!(peers.len(), 2);
    /// let error = PeerAddr::parse_list(b"ok.example:1\nno-port").unwrap_err();
    /// assert_eq!(error.to_string(), "line 2: `no-port`: the port is missing");
    /// # Ok::<(), netmod_inet::PeerListError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Names the first line that is not UTF-8, malformed, or the same place as an earlier one.
    pub fn parse_list(text: &[u8]) -> Result<Vec<PeerAddr>, PeerListError> {
        let mut found: Vec<(usize, PeerAddr)> = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line_error = |entry: &str, fault| PeerListError {
                line: index + 1,
                entry: shorten(entry),
                fault,
            };
            let entry = std::str::from_utf8(line)
                .map_err(|_| line_error(&String::from_utf8_lossy(line), ListFault::NotUtf8))?
                .trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let addr: PeerAddr =
                entry.parse().map_err(|error| line_error(entry, ListFault::Malformed(error)))?;
            if let Some((line, _)) = found.iter().find(|(_, other)| other.is_same_place(&addr)) {
                return Err(line_error(entry, ListFault::Duplicate(*line)));
            }
            found.push((index + 1, addr));
        }
        Ok(found.into_iter().map(|(_, addr)| addr).collect())
    }
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
        let bare = inner.split_once('%').map_or(inner, |(address, _zone)| address);
        return match bare.parse::<Ipv6Addr>() {
            Ok(ip) if bare.len() == inner.len() => Ok(Host::Ip(IpAddr::V6(ip))),
            Ok(_) if inner.len() > bare.len() + 1 => Ok(Host::Name(inner.to_owned())),
            _ => Err(AddressError::Ipv6(shorten(inner))),
        };
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "[]/\\?#@%,;\"'<>".contains(c);
    if text.is_empty() || text.len() > MAX_NAME || numeric || text.contains(forbidden) {
        return Err(AddressError::Host(shorten(text)));
    }
    // Names are the same in either case, and duplicates are told by comparing.
    Ok(Host::Name(text.to_lowercase()))
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

/// Why a peer file was refused: which line, what stands there, what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerListError {
    line: usize,
    entry: String,
    fault: ListFault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ListFault {
    NotUtf8,
    Malformed(AddressError),
    Duplicate(usize),
}

impl PeerListError {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// What stands there.
    pub fn entry(&self) -> &str {
        &self.entry
    }
}

impl fmt::Display for PeerListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: `{}`: ", self.line, self.entry)?;
        match &self.fault {
            ListFault::NotUtf8 => f.write_str("not UTF-8 text"),
            ListFault::Malformed(error) => error.fmt(f),
            ListFault::Duplicate(line) => write!(f, "the same place as in line {line}"),
        }
    }
}

impl std::error::Error for PeerListError {}

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
            ("[host]:1", Ipv6("host".into())),
            ("host:1?speed=9", Option("speed=9".into())),
            ("host:1?limited=send&limited=recv", OptionTwice("limited")),
            ("host:1X?limited=send", CrossAndLimited),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_list_names_the_line() {
        let list = |text: &[u8]| PeerAddr::parse_list(text).map_err(|error| error.to_string());
        assert_eq!(list(b"# none\r\n\r\n \n").unwrap(), []);
        assert_eq!(list(b"a:1\n  b:2X\r\n").unwrap().len(), 2);
        let error = list(b"a:1\n\n# c\nA:1X").unwrap_err();
        assert_eq!(error, "line 4: `A:1X`: the same place as in line 1");
        let error = list(b"a:1\n\xFFb:1").unwrap_err();
        assert_eq!(error, "line 2: `\u{FFFD}b:1`: not UTF-8 text");
        assert!(list("x".repeat(100_000).as_bytes()).unwrap_err().len() < 200);
    }
}
