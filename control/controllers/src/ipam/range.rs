//! One of the cluster's networks in equal parts. Pure.
//!
//! Enters: what nodes have. Leaves: the next part that nobody has. Called by [`super::plan`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// Hands out equal parts of a network.
#[derive(Debug)]
pub struct Range {
    cluster: IpNet,
    part: u8,
    excluded: Vec<RangeInclusive<u128>>,
    taken: BTreeSet<u128>,
    next: u128,
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(four.to_bits()),
        IpAddr::V6(six) => six.to_bits(),
    }
}

impl Range {
    /// A network in parts of a prefix length, at least the network's own; parts that share an address with one of
    /// `excluded` are never handed out.
    pub fn new(cluster: IpNet, part: u8, excluded: &[IpNet]) -> Self {
        let mut range = Self { cluster, part, excluded: Vec::new(), taken: BTreeSet::new(), next: 0 };
        range.excluded = excluded.iter().filter_map(|network| range.indexes(network)).collect();
        range
    }

    fn part_bits(&self) -> u32 {
        u32::from(self.cluster.max_prefix_len() - self.part)
    }

    fn count(&self) -> u128 {
        1u128.checked_shl(u32::from(self.part - self.cluster.prefix_len())).unwrap_or(u128::MAX)
    }

    fn at(&self, index: u128) -> Option<IpNet> {
        let base = number(self.cluster.network()) + index.checked_shl(self.part_bits()).unwrap_or(0);
        let address = match self.cluster {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(base).ok()?)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(base)),
        };
        IpNet::new(address, self.part).ok()
    }

    /// Which parts share an address with a network, if any does.
    fn indexes(&self, network: &IpNet) -> Option<RangeInclusive<u128>> {
        if !self.cluster.contains(network) && !network.contains(&self.cluster) {
            return None;
        }
        let (first, last) = (number(self.cluster.network()), number(self.cluster.broadcast()));
        let index = |address: u128| (address - first).checked_shr(self.part_bits()).unwrap_or(0);
        let (from, to) = (number(network.network()), number(network.broadcast()));
        Some(index(from.max(first))..=index(to.min(last)))
    }

    /// Marks what a node has as taken.
    pub fn occupy(&mut self, network: &IpNet) {
        self.taken.extend(self.indexes(network).into_iter().flatten());
    }

    /// Gives back what a node had.
    pub fn release(&mut self, network: &IpNet) {
        for index in self.indexes(network).into_iter().flatten() {
            self.taken.remove(&index);
        }
    }

    /// The next free part; freed ones come last, so that addresses are not reused at once. None when all are taken.
    pub fn allocate(&mut self) -> Option<IpNet> {
        let index = self.free_from(self.next).or_else(|| self.free_from(0))?;
        self.taken.insert(index);
        self.next = index + 1;
        self.at(index)
    }

    fn free_from(&self, mut index: u128) -> Option<u128> {
        while index < self.count() {
            if let Some(excluded) = self.excluded.iter().find(|range| range.contains(&index)) {
                index = excluded.end() + 1;
            } else if self.taken.contains(&index) {
                index += 1;
            } else {
                return Some(index);
            }
        }
        None
    }
}
