//! Fair shares among address blocks: which are evicted if something is used up.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peer::Peer;
use crate::primitives::clock;
use crate::proto::AddrBlock;

/// What one entry takes of a shared thing.
pub(super) struct Holding {
    pub(super) block: AddrBlock,
    pub(super) amount: usize,
    /// When it was taken. Of blocks that hold the same, the one with the oldest entry is evicted first.
    pub(super) since: Instant,
}

/// The block that holds most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Largest {
    pub(super) block: AddrBlock,
    /// What its whole network holds.
    pub(super) of_network: usize,
    pub(super) of_host: usize,
}

/// What a network or a host holds, with the time of its oldest entry.
type Sum = (usize, Reverse<Instant>);

/// Returns the host that holds most in the network that holds most. `holdings` must be sorted by
/// block. `None` if they are empty.
pub(super) fn largest_block(holdings: &mut dyn Iterator<Item = Holding>) -> Option<Largest> {
    let mut largest: Option<(AddrBlock, Sum, Sum)> = None;
    // The network and the host at hand, and the host that holds most so far in that network.
    let mut present: Option<(AddrBlock, Sum, Sum)> = None;
    let mut top: Option<(AddrBlock, Sum)> = None;
    for Holding { block, amount, since } in holdings {
        let since = Reverse(since);
        let add = |(sum, oldest): Sum| (sum + amount, oldest.max(since));
        let new = (amount, since);
        let (network, host) = match present {
            Some((last, network, host)) if last == block => (add(network), add(host)),
            Some((last, network, _)) if last.is_same_network(block) => (add(network), new),
            _ => {
                top = None;
                (new, new)
            }
        };
        present = Some((block, network, host));
        let best = top.filter(|(top, sum)| *top != block && *sum >= host).unwrap_or((block, host));
        top = Some(best);
        if largest.is_none_or(|(of, sum, _)| of.is_same_network(block) || network > sum) {
            largest = Some((best.0, network, best.1));
        }
    }
    let (block, (of_network, _), (of_host, _)) = largest?;
    Some(Largest { block, of_network, of_host })
}

/// Finds the peer to evict: of the block that holds most, one without a link before others,
/// one that was hardly used before others, and then the newest or the oldest. Returns its position.
/// `peers` must be sorted by block; those with an amount of 0 are not candidates.
pub(super) fn find_victim(
    peers: &[(AddrBlock, Arc<Peer>)],
    amount: &dyn Fn(&Peer) -> usize,
    is_newest: bool,
) -> Option<(Largest, usize)> {
    let holding = |(block, peer): &(AddrBlock, Arc<Peer>)| {
        let holding = Holding { block: *block, amount: amount(peer), since: peer.since() };
        (holding.amount > 0).then_some(holding)
    };
    let largest = largest_block(&mut peers.iter().filter_map(holding))?;
    let mut victim: Option<((bool, bool, Duration), usize)> = None;
    // One time for all, so that their order does not depend on how long this takes.
    let now = clock::now();
    for (at, (block, peer)) in peers.iter().enumerate() {
        if *block == largest.block && amount(peer) > 0 {
            let age = now.saturating_duration_since(peer.since());
            let order = if is_newest { age } else { Duration::MAX - age };
            let rank = (peer.queue.is_up(), peer.was_used(), order);
            if victim.is_none_or(|(best, _)| rank < best) {
                victim = Some((rank, at));
            }
        }
    }
    victim.map(|(_, at)| (largest, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn block(ip: &str) -> AddrBlock {
        ip.parse::<IpAddr>().unwrap().into()
    }

    /// The block that holds most of these, each with its age in seconds.
    fn largest(holdings: &[(&str, usize, u64)]) -> Option<Largest> {
        let now = Instant::now() + Duration::from_secs(100);
        let holding = |&(ip, amount, age): &(&str, usize, u64)| Holding {
            block: block(ip),
            amount,
            since: now - Duration::from_secs(age),
        };
        let mut holdings: Vec<_> = holdings.iter().map(holding).collect();
        holdings.sort_by_key(|holding| holding.block);
        largest_block(&mut holdings.into_iter())
    }

    #[test]
    fn the_network_counts_first_and_then_the_host() {
        let found = |holdings: &[_]| largest(holdings).map(|found| found.block);
        assert_eq!(largest(&[]), None);
        let spread = [("10.0.0.1", 3, 9), ("10.0.1.1", 2, 1), ("10.0.1.2", 2, 1)];
        assert_eq!(found(&spread), Some(block("10.0.1.1")));
        let hosts = [("10.0.0.1", 1, 9), ("10.0.0.2", 2, 1), ("10.0.0.3", 1, 1)];
        let of_host = Largest { block: block("10.0.0.2"), of_network: 4, of_host: 2 };
        assert_eq!(largest(&hosts), Some(of_host));
        let v6 = [("2001:db8:1:1::1", 1, 1), ("2001:db8:1:2::1", 1, 2), ("2001:db8:2::1", 1, 9)];
        assert_eq!(found(&v6), Some(block("2001:db8:1:2::1")));
        let entries = [("10.0.0.1", 1, 1), ("10.0.0.1", 1, 1), ("::1", 1, 9)];
        assert_eq!(found(&entries), Some(block("10.0.0.1")));
    }

    #[test]
    fn of_equals_the_oldest_gives_way() {
        for oldest in 0..4 {
            let ips = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.1.2"];
            let age = |at| if at == oldest { 9 } else { 1 };
            let holdings: Vec<_> = (0..4).map(|at| (ips[at], 1, age(at))).collect();
            assert_eq!(largest(&holdings).map(|found| found.block), Some(block(ips[oldest])));
        }
    }

    /// Against a search over all pairs.
    #[test]
    fn every_choice_is_a_largest_one() {
        let mut random = fastrand::Rng::with_seed(13);
        for _ in 0..2_000 {
            let mut holdings = Vec::new();
            for _ in 0..random.usize(1..12) {
                let ip = format!("10.0.{}.{}", random.u8(0..3), random.u8(0..3));
                holdings.push((ip, random.usize(0..3), random.u64(0..4)));
            }
            let holdings: Vec<_> = holdings.iter().map(|(ip, n, age)| (&**ip, *n, *age)).collect();
            let found = largest(&holdings).unwrap();
            let sum = |is_in: &dyn Fn(AddrBlock) -> bool| -> usize {
                let of = holdings.iter().filter(|(ip, _, _)| is_in(block(ip)));
                of.map(|(_, amount, _)| amount).sum()
            };
            assert_eq!(found.of_network, sum(&|other| other.is_same_network(found.block)));
            assert_eq!(found.of_host, sum(&|other| other == found.block));
            for (ip, _, _) in &holdings {
                let other = block(ip);
                let network = sum(&|block| block.is_same_network(other));
                assert!(network <= found.of_network, "{holdings:?}");
                let host = sum(&|block| block == other);
                assert!(host <= found.of_host || !other.is_same_network(found.block));
            }
        }
    }
}
