//! Textual peer addresses: `host:port`, and what may follow it.

mod error;
mod parse;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::proto::{Direction, PeerType, PublicKey};

pub use error::AddressError;
pub(crate) use parse::shorten;

/// The Unicode byte order mark, which some editors put at the start of a file. It is invisible and
/// never part of a name.
pub(crate) const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// The textual address of a peer to dial: well-formed, but not yet resolved.
///
/// * `host:port`, `a.b.c.d:port` or `[v6]:port`, optionally after `inet:` or `inet#`;
/// * a final `X` requests a [`PeerType::Cross`] link: `mynas.example:9000X`;
/// * `?limited=send` or `?limited=recv` requests a [`PeerType::Limited`] link, as seen locally;
/// * `?key=` and 64 hexadecimal digits, with the feature `noise`, requires an encrypted link to the
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

/// The host part of an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Ip(IpAddr),
    /// A name, or an IPv6 address with a zone, whose interface the system has to find.
    Name(String),
}

impl PeerAddr {
    /// The host name or IP address, without brackets.
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

    /// The peer type to request.
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

    /// The accepted keys, of which the remote must prove one. Empty: any key or none will do.
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

    /// The socket address, if the host is an IP address and needs no lookup.
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

    /// The zone of an IPv6 address that has one: the name of an interface.
    pub(crate) fn zone(&self) -> Option<&str> {
        match &self.host {
            Host::Ip(_) => None,
            // No name has a `%`.
            Host::Name(name) => name.split_once('%').map(|(_, zone)| zone),
        }
    }

    /// The socket that the address names, regardless of peer type and keys.
    pub(crate) fn addr_key(&self) -> AddrKey<'_> {
        match &self.host {
            Host::Ip(ip) => AddrKey::Ip(ip.to_canonical(), self.port),
            Host::Name(name) => AddrKey::Name(name.strip_suffix('.').unwrap_or(name), self.port),
        }
    }
}

/// The socket that an address names, in canonical form, so that equal sockets compare equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AddrKey<'a> {
    Ip(IpAddr, u16),
    Name(&'a str, u16),
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
        match self.text.as_bytes().contains(&b':') {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PeerAddr, AddressError> {
        text.parse()
    }

    #[test]
    fn every_notation_is_parsed_and_shown_in_canonical_form() {
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
        let zoned = parse("[fe80::1%eth0]:9").unwrap();
        assert_eq!((zoned.literal(), zoned.zone()), (None, Some("eth0")));
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
        assert_eq!(parse("host:1?key=12"), Err(AddressError::Key(crate::ParseKeyError::Length(2))));
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
    fn errors_name_the_fault() {
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
            ("[fe80::77]:9000", NoZone("fe80::77".parse().unwrap())),
            ("[fe80::1%eth\0]:1", Ipv6("fe80::1%eth\\u{0}".into())),
            ("ho\u{202e}st:9000", Host("ho\\u{202e}st".into())),
            ("host:\u{1b}[2J", Port("\\u{1b}[2J".into())),
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

    #[test]
    fn no_error_quotes_what_may_be_a_key() {
        let key = "0a".repeat(32);
        let quoted = |text: &str| match parse(text).unwrap_err() {
            AddressError::Option(quoted) | AddressError::Port(quoted) => quoted,
            AddressError::Host(quoted) => quoted,
            error => panic!("{error}"),
        };
        assert_eq!(quoted(&format!("host:1?Key={key}")), "Key=…");
        assert_eq!(quoted(&format!("host:1?{key}x")), "…");
        assert_eq!(quoted(&format!("host:{key}")), "…");
        assert_eq!(quoted("host:1234567890123456789"), "1234567890123456789");
        assert_eq!(quoted("my.nas,my.example:1"), "my.nas,my.example");
        assert_eq!(quoted(&format!("{}:1", "ü,".repeat(100))), format!("{}…", "ü,".repeat(40)));
    }
}
