//! Reading an address from text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::proto::address::{AddressError, BYTE_ORDER_MARK, Host, PeerAddr};
use crate::proto::{Direction, PeerType, PublicKey};

/// Longest name that the domain name system knows, in bytes.
const MAX_NAME: usize = 253;

/// Longest name of an interface on the systems that there are, in bytes.
const MAX_ZONE: usize = 15;

/// Keys that one address may have: an old one, a new one, and more than anybody needs.
pub(crate) const MOST_KEYS: usize = 16;

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

/// What an error quotes of its input: enough to find it by, never a whole file, and no key, which
/// may be a secret that somebody took for one.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    let end = text.char_indices().nth(MOST).map_or(text.len(), |(end, _)| end);
    let end = key_at(text).map_or(end, |at| at.min(end));
    match end < text.len() {
        true => format!("{}…", &text[..end]),
        false => text.to_owned(),
    }
}

/// Where something begins that may be meant as a key, whatever stands in front of it.
fn key_at(text: &str) -> Option<usize> {
    const KEY: &str = "key=";
    /// Digits that hardly anything else has in a row.
    const DIGITS: usize = 16;
    let is_part = |run: &[u8]| {
        run.iter().all(u8::is_ascii_hexdigit) && run.iter().any(u8::is_ascii_alphabetic)
    };
    let named = text.find(KEY).map(|at| at + KEY.len());
    named.into_iter().chain(text.as_bytes().windows(DIGITS).position(is_part)).min()
}
