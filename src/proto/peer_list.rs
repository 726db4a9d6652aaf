//! Peer lists and peer files.

use std::collections::BTreeMap;
use std::fmt;

use crate::proto::address::BYTE_ORDER_MARK;
use crate::proto::{AddressError, PeerAddr, shorten};

impl PeerAddr {
    /// Parses a peer file: one address per line. Blank lines and lines that start with `#` are
    /// skipped; white space around an address and a byte order mark are ignored.
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
    /// Reports the first line that is not UTF-8, is malformed, or names the same socket as an
    /// earlier one.
    pub fn parse_list(text: &[u8]) -> Result<Vec<PeerAddr>, PeerListError> {
        let mark = BYTE_ORDER_MARK.to_string();
        let text = text.strip_prefix(mark.as_bytes()).unwrap_or(text);
        let (mut lines, mut addrs) = (Vec::new(), Vec::new());
        let mut faulty = Ok(());
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            match parse_line(line) {
                Ok(None) => {}
                Ok(Some((entry, addr))) => {
                    lines.push((index + 1, entry));
                    addrs.push(addr);
                }
                Err((entry, fault)) => {
                    faulty = Err(PeerListError { line: index + 1, entry, fault });
                    break;
                }
            }
        }
        // Duplicates are in lines before the faulty one, so they are reported first.
        if let Some((later, earlier)) = first_duplicate(&addrs) {
            let (line, entry) = lines[later];
            let fault = ListFault::Duplicate(lines[earlier].0);
            return Err(PeerListError { line, entry: shorten(entry), fault });
        }
        faulty.map(|()| addrs)
    }
}

/// Finds the first of `addrs` that names the same socket as an earlier one. Returns the positions
/// of both.
pub(crate) fn first_duplicate(addrs: &[PeerAddr]) -> Option<(usize, usize)> {
    let mut first = BTreeMap::new();
    let mut keys = addrs.iter().map(PeerAddr::addr_key).enumerate();
    keys.find_map(|(at, key)| first.insert(key, at).map(|earlier| (at, earlier)))
}

/// Parses a line of a peer file into its text and address. `None` if the line has no entry.
fn parse_line(line: &[u8]) -> Result<Option<(&str, PeerAddr)>, (String, ListFault)> {
    let fault = |entry: &str, fault| (shorten(entry), fault);
    let entry = std::str::from_utf8(line)
        .map_err(|_| fault(&String::from_utf8_lossy(line), ListFault::NotUtf8))?
        .trim();
    if entry.is_empty() || entry.starts_with('#') {
        return Ok(None);
    }
    let addr = entry.parse().map_err(|error| fault(entry, ListFault::Malformed(error)))?;
    Ok(Some((entry, addr)))
}

/// Why a peer file was rejected: the line, its text, and the fault.
///
/// ```
/// let error = netmod_inet::PeerAddr::parse_list(b"# home\nno-port\n").unwrap_err();
/// assert_eq!((error.line(), error.entry()), (2, "no-port"));
/// ```
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
    /// The number of the line, counted from 1.
    ///
    /// ```
    /// let error = netmod_inet::PeerAddr::parse_list(b"a.example:1\nno-port\n").unwrap_err();
    /// assert_eq!(error.line(), 2);
    /// ```
    pub fn line(&self) -> usize {
        self.line
    }

    /// The text of the entry, shortened if it is long. Control characters and others that a terminal
    /// does not show as themselves are escaped, as `\u{1b}`.
    ///
    /// ```
    /// let error = netmod_inet::PeerAddr::parse_list(b"a.example:1\nno-port\n").unwrap_err();
    /// assert_eq!(error.entry(), "no-port");
    /// ```
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
    use crate::primitives::hidden::is_hidden;

    fn parse(text: &str) -> Result<PeerAddr, AddressError> {
        text.parse()
    }

    #[test]
    fn errors_name_the_line() {
        let list = |text: &[u8]| PeerAddr::parse_list(text).map_err(|error| error.to_string());
        assert_eq!(list(b"# none\r\n\r\n \n").unwrap(), []);
        assert_eq!(list(b"a:1\n  b:2X\r\n").unwrap().len(), 2);
        let error = list(b"a:1\n\n# c\nA:1X").unwrap_err();
        assert_eq!(error, "line 4: `A:1X`: the same place as in line 1");
        let error = list(b"a:1\n\xFFb:1").unwrap_err();
        assert_eq!(error, "line 2: `\u{FFFD}b:1`: not UTF-8 text");
        let error = list(b"\x1b]0;owned\x07\xc2\x9b\xe2\x80\xae:1").unwrap_err();
        assert!(!error.contains(is_hidden) && error.contains("\\u{1b}]0;owned\\u{7}"), "{error}");
        assert!(list("x".repeat(100_000).as_bytes()).unwrap_err().len() < 200);
        assert_eq!(list(b"\xEF\xBB\xBFa:1\n").unwrap(), [parse("a:1").unwrap()]);
        assert!(list(b"a:1\n\xEF\xBB\xBFb:1").is_err(), "in the middle it is junk");
        let error = list(b"a:1\na:1\nwrong").unwrap_err();
        assert_eq!(error, "line 2: `a:1`: the same place as in line 1");
        let error = list(b"a:1\nwrong\na:1").unwrap_err();
        assert_eq!(error, "line 2: `wrong`: the port is missing");
    }

    #[test]
    fn notations_of_one_address_are_duplicates() {
        for (one, other) in [
            ("host:9", "HOST:9X"),
            ("host.example:9", "host.example.:9"),
            ("10.0.0.1:9", "[::ffff:10.0.0.1]:9?limited=send"),
            ("[::1]:9", "inet:[0:0::1]:9"),
            ("[fe80::1%eth0]:9", "[fe80:0::1%eth0]:9"),
        ] {
            let addrs = [one, other].map(|text| parse(text).unwrap());
            assert_eq!(first_duplicate(&addrs), Some((1, 0)), "{one} {other}");
        }
        for (one, other) in
            [("host:9", "host:10"), ("host:9", "hosts:9"), ("[fe80::1%a]:9", "[fe80::1%b]:9")]
        {
            let addrs = [one, other].map(|text| parse(text).unwrap());
            assert_eq!(first_duplicate(&addrs), None, "{one} {other}");
        }
    }

    #[test]
    fn a_long_list() {
        let text: String = (0..100_000).map(|n| format!("node{n}.example:9000\n")).collect();
        assert_eq!(PeerAddr::parse_list(text.as_bytes()).unwrap().len(), 100_000);
        let error = PeerAddr::parse_list((text + "node0.example:9000").as_bytes()).unwrap_err();
        assert_eq!(error.line(), 100_001);
    }
}
