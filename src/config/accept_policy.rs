//! The policy for inbound connections.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use crate::proto::{Id, PeerType, PublicKey, shorten};

/// Decides which inbound connections are accepted.
///
/// The most specific range that contains the address decides; if an allowed and a denied range are
/// equal, the denied one wins. An address in no range is decided by the base
/// ([`all`](AcceptPolicy::all), [`known`](AcceptPolicy::known) or [`none`](AcceptPolicy::none)),
/// but with `all`, any allowed range turns the policy into "only those". A node that passes is then
/// checked by the callback, once its handshake has named its router id.
///
/// ```
/// use netmod_inet::AcceptPolicy;
///
/// let policy = AcceptPolicy::all()
///     .deny("192.0.2.0/24".parse()?)
///     .callback(|incoming| incoming.listening_port != 0);
/// # Ok::<(), netmod_inet::ParseIpRangeError>(())
/// ```
#[derive(Clone)]
pub struct AcceptPolicy {
    base: Base,
    allow: Vec<IpRange>,
    deny: Vec<IpRange>,
    callback: Option<Callback>,
}

type Callback = Arc<dyn Fn(&Incoming) -> bool + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    All,
    Known,
    None,
}

/// An inbound node whose handshake has named its router id, for [`AcceptPolicy::callback`].
///
/// ```
/// use netmod_inet::{AcceptPolicy, PeerType};
///
/// let policy = AcceptPolicy::all().callback(|incoming| {
///     incoming.addr.is_ipv6() && incoming.peer_type == PeerType::Standard
/// });
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Incoming {
    /// The remote address of its connection.
    pub addr: SocketAddr,
    /// The router id that it claims. Unproven on a plain link.
    pub id: Id,
    /// The type of peer that it would be, as seen by this node.
    pub peer_type: PeerType,
    /// The port that it claims to listen on; 0 if it does not listen.
    pub listening_port: u16,
    /// The key that it authenticated with; `None` on a plain link.
    pub key: Option<PublicKey>,
}

impl AcceptPolicy {
    /// Accepts every connection. The default, and the behaviour of a Ratman node.
    ///
    /// ```
    /// let policy = netmod_inet::AcceptPolicy::all();
    /// # drop(netmod_inet::InetEndpoint::builder().accept(policy));
    /// ```
    pub fn all() -> AcceptPolicy {
        AcceptPolicy::new(Base::All)
    }

    /// Accepts connections from the addresses of peers that this node dials. This is Ratman's
    /// `accept_unknown_peers = false`.
    ///
    /// A peer that is configured by name is known once its name has been resolved.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{AcceptPolicy, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// endpoint.set_accept_policy(AcceptPolicy::known());
    /// endpoint.add_peers(["192.0.2.7:9000"]).await?; // 192.0.2.7 may dial, too
    /// # Ok(()) }) }
    /// ```
    pub fn known() -> AcceptPolicy {
        AcceptPolicy::new(Base::Known)
    }

    /// Accepts connections from the allowed ranges only.
    ///
    /// ```
    /// use netmod_inet::AcceptPolicy;
    ///
    /// let policy = AcceptPolicy::none().allow("10.0.0.0/8".parse()?);
    /// # Ok::<(), netmod_inet::ParseIpRangeError>(())
    /// ```
    pub fn none() -> AcceptPolicy {
        AcceptPolicy::new(Base::None)
    }

    fn new(base: Base) -> AcceptPolicy {
        AcceptPolicy { base, allow: Vec::new(), deny: Vec::new(), callback: None }
    }

    /// Adds an allowed range.
    ///
    /// ```
    /// use netmod_inet::AcceptPolicy;
    ///
    /// // These ranges only.
    /// let policy = AcceptPolicy::all().allow("10.0.0.0/8".parse()?).allow("fe80::/10".parse()?);
    /// # Ok::<(), netmod_inet::ParseIpRangeError>(())
    /// ```
    #[must_use]
    pub fn allow(mut self, range: IpRange) -> AcceptPolicy {
        self.allow.push(range);
        self
    }

    /// Adds a denied range.
    ///
    /// ```
    /// use netmod_inet::AcceptPolicy;
    ///
    /// let policy = AcceptPolicy::all().deny("192.0.2.0/24".parse()?);
    /// # Ok::<(), netmod_inet::ParseIpRangeError>(())
    /// ```
    #[must_use]
    pub fn deny(mut self, range: IpRange) -> AcceptPolicy {
        self.deny.push(range);
        self
    }

    /// Sets a callback that makes the final decision about nodes that pass all other checks. It is
    /// called once for each: on an encrypted link when the key is known and allowed, on a plain one
    /// after its Hello. It runs in the endpoint's tasks, so it must not block. If it panics, the node
    /// is not accepted.
    ///
    /// The endpoint owns the callback, so a handle of the same endpoint inside it keeps the
    /// endpoint open until [`shutdown`](crate::InetEndpoint::shutdown) is called.
    ///
    /// ```
    /// use netmod_inet::{AcceptPolicy, Id};
    ///
    /// let banned = Id::from_bytes([7; 32]);
    /// let policy = AcceptPolicy::all().callback(move |incoming| incoming.id != banned);
    /// ```
    #[must_use]
    pub fn callback(mut self, f: impl Fn(&Incoming) -> bool + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(f));
        self
    }

    /// Returns whether a connection from this address may start a handshake. `known` tests for
    /// configured addresses.
    pub(crate) fn admits_addr(&self, ip: IpAddr, known: impl FnOnce(IpAddr) -> bool) -> bool {
        let ip = ip.to_canonical();
        let longest = |ranges: &[IpRange]| {
            ranges.iter().filter(|range| range.contains(ip)).map(|range| range.bits).max()
        };
        match (longest(&self.allow), longest(&self.deny)) {
            (Some(allow), Some(deny)) => allow > deny,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => match self.base {
                Base::All => self.allow.is_empty(),
                Base::Known => known(ip),
                Base::None => false,
            },
        }
    }

    /// Returns whether the callback accepts an inbound node.
    pub(crate) fn admits(&self, incoming: &Incoming) -> bool {
        self.callback.as_ref().is_none_or(|callback| callback(incoming))
    }
}

impl Default for AcceptPolicy {
    fn default() -> AcceptPolicy {
        AcceptPolicy::all()
    }
}

impl fmt::Debug for AcceptPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptPolicy")
            .field("base", &self.base)
            .field("allow", &self.allow)
            .field("deny", &self.deny)
            .field("callback", &self.callback.is_some())
            .finish()
    }
}

/// A range of IP addresses, such as `10.0.0.0/8`, `fe80::/10`, or a single address.
///
/// A range of IPv4-mapped IPv6 addresses, such as `::ffff:10.0.0.0/104`, equals the IPv4 range.
///
/// ```
/// let range: netmod_inet::IpRange = "::ffff:10.0.0.0/104".parse()?;
/// assert_eq!(range.to_string(), "10.0.0.0/8");
/// # Ok::<(), netmod_inet::ParseIpRangeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpRange {
    // Invariant: `addr` is not an IPv4-mapped IPv6 address; `bits` is at most 32 for IPv4 and at
    // most 128 for IPv6.
    addr: IpAddr,
    bits: u32,
}

/// Length of the prefix of an IPv4-mapped IPv6 address, in bits.
const MAPPED_BITS: u32 = Ipv6Addr::BITS - Ipv4Addr::BITS;

impl IpRange {
    /// Returns whether the range contains this address. An IPv4-mapped IPv6 address counts as IPv4.
    ///
    /// ```
    /// let range: netmod_inet::IpRange = "10.0.0.0/8".parse()?;
    /// assert!(range.contains([10, 1, 2, 3].into()));
    /// assert!(!range.contains([11, 1, 2, 3].into()));
    /// # Ok::<(), netmod_inet::ParseIpRangeError>(())
    /// ```
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                (own.to_bits() ^ ip.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                (own.to_bits() ^ ip.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for IpRange {
    type Err = ParseIpRangeError;

    fn from_str(text: &str) -> Result<IpRange, ParseIpRangeError> {
        let error = || ParseIpRangeError::new(text, "is not a range of addresses");
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| error())?;
        let max_bits = if addr.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let bits: u32 = match bits {
            None => max_bits,
            Some(bits) if bits.starts_with('+') => return Err(error()),
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= max_bits).ok_or_else(error)?,
        };
        match addr.to_canonical() {
            canonical if canonical.is_ipv4() == addr.is_ipv4() => Ok(IpRange { addr, bits }),
            addr => {
                let mixed = || ParseIpRangeError::new(text, "spans both address families");
                let bits = bits.checked_sub(MAPPED_BITS).ok_or_else(mixed)?;
                Ok(IpRange { addr, bits })
            }
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.bits)
    }
}

/// The error of parsing an [`IpRange`].
///
/// ```
/// let error = "10.0.0.0/33".parse::<netmod_inet::IpRange>().unwrap_err();
/// assert!(error.to_string().starts_with("`10.0.0.0/33` is not a range of addresses"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIpRangeError {
    text: String,
    fault: &'static str,
}

impl ParseIpRangeError {
    fn new(text: &str, fault: &'static str) -> ParseIpRangeError {
        ParseIpRangeError { text: shorten(text), fault }
    }
}

impl fmt::Display for ParseIpRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {} (write 10.0.0.0/8 or fe80::/10)", self.text, self.fault)
    }
}

impl std::error::Error for ParseIpRangeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpRange {
        text.parse().unwrap()
    }

    #[test]
    fn ranges() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
            ("0.0.0.0/0", "255.1.1.1", "::1"),
            ("fe80::/10", "febf::1", "fec0::1"),
            ("::/0", "2001:db8::1", "1.1.1.1"),
            ("::1/128", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "11.0.0.1"),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.1.1", "::10.1.1.1"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("::ffff:0:0/96", "255.1.1.1", "::1"),
        ] {
            assert!(range(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!range(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "10.0.0/8", "10.0.0.0/", "a/8"] {
            let error = text.parse::<IpRange>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a range of addresses")), "{error}");
        }
        let error = "::ffff:10.0.0.0/95".parse::<IpRange>().unwrap_err().to_string();
        assert!(error.contains("both address families"), "{error}");
        assert_eq!(range("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn the_most_specific_range_decides() {
        let admits = |policy: &AcceptPolicy, ip: &str| {
            policy.admits_addr(ip.parse().unwrap(), |ip| ip.is_loopback())
        };
        let mapped = AcceptPolicy::all().deny(range("::ffff:10.0.0.0/104"));
        assert!(!admits(&mapped, "10.1.2.3") && admits(&mapped, "11.1.2.3"));
        let inner = AcceptPolicy::all().deny(range("10.0.0.0/8")).allow(range("10.1.0.0/16"));
        assert!(admits(&inner, "10.1.2.3"));
        assert!(admits(&inner, "::ffff:10.1.2.3"));
        assert!(!admits(&inner, "10.2.2.3"));
        assert!(!admits(&inner, "1.1.1.1"), "an allow list means: only those");
        let known = AcceptPolicy::known().allow(range("10.0.0.0/8"));
        assert!(admits(&known, "127.0.0.1") && admits(&known, "10.0.0.1"));
        assert!(!admits(&known, "1.1.1.1"));
        let tie = AcceptPolicy::all().deny(range("10.0.0.0/8")).allow(range("10.0.0.0/8"));
        assert!(!admits(&tie, "10.0.0.1"));
        assert!(!admits(&AcceptPolicy::none(), "127.0.0.1"));
    }
}
