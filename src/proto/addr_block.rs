//! Address blocks: what one operator is likely to control.

use std::net::{IpAddr, SocketAddr};

/// The block of a remote address, in two steps: a network, and a host within it.
///
/// An IPv4 address counts by its /24 and then by itself, an IPv6 address by its /48 and then by its
/// /64, which is what one household or server has. IPv4-mapped addresses count as IPv4. All streams
/// without an address are one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct AddrBlock {
    /// The first bits of the address. The highest bit tells IPv6 (set) from IPv4.
    network: u64,
    host: u64,
}

impl AddrBlock {
    /// Marks the networks of IPv6.
    const V6: u64 = 1 << 63;
    /// Marks the networks of IPv4, so that none equals the block of streams without an address.
    const V4: u64 = 1 << 62;

    /// Whether both addresses are in the same network: an IPv4 /24, or an IPv6 /48.
    pub(crate) fn is_same_network(self, other: AddrBlock) -> bool {
        self.network == other.network
    }
}

impl From<IpAddr> for AddrBlock {
    fn from(ip: IpAddr) -> AddrBlock {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let bits = u64::from(ip.to_bits());
                AddrBlock { network: AddrBlock::V4 | bits >> 8, host: bits & 0xFF }
            }
            IpAddr::V6(ip) => {
                let bits = (ip.to_bits() >> 64) as u64;
                AddrBlock { network: AddrBlock::V6 | bits >> 16, host: bits & 0xFFFF }
            }
        }
    }
}

impl From<Option<SocketAddr>> for AddrBlock {
    fn from(addr: Option<SocketAddr>) -> AddrBlock {
        addr.map_or_else(AddrBlock::default, |addr| addr.ip().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_grouped_by_network_and_then_by_host() {
        let block = |ip: &str| AddrBlock::from(ip.parse::<IpAddr>().unwrap());
        for (one, other, same_network, same_host) in [
            ("10.0.0.1", "10.0.0.1", true, true),
            ("10.0.0.1", "::ffff:10.0.0.1", true, true),
            ("10.0.0.1", "10.0.0.2", true, false),
            ("10.0.0.1", "10.0.1.1", false, false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", true, true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", true, false),
            ("2001:db8:1:2::1", "2001:db8:2:2::1", false, false),
            ("::", "0.0.0.0", false, false),
        ] {
            let (one, other) = (block(one), block(other));
            assert_eq!((one.is_same_network(other), one == other), (same_network, same_host));
        }
        assert!(!block("0.0.0.0").is_same_network(None.into()));
    }
}
