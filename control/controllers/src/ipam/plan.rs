//! Which part of the cluster's range each node gets. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: its first address as a number, and its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    prefix: u8,
    six: bool,
}

impl Network {
    /// Reads `address/prefix`; the address must be the network's first.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix: u8 = prefix.parse().ok()?;
        let (base, six) = match address.parse().ok()? {
            IpAddr::V4(four) => (u128::from(u32::from(four)), false),
            IpAddr::V6(six) => (u128::from(six), true),
        };
        let network = Self { base, prefix, six };
        (prefix <= network.width() && base & (network.size() - 1) == 0).then_some(network)
    }

    fn width(&self) -> u8 {
        if self.six { 128 } else { 32 }
    }

    fn size(&self) -> u128 {
        1u128.checked_shl(u32::from(self.width() - self.prefix)).unwrap_or(u128::MAX)
    }

    /// Whether two networks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        let last = |n: &Self| n.base.saturating_add(n.size() - 1);
        self.six == other.six && self.base <= last(other) && other.base <= last(self)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.six {
            write!(f, "{}/{}", Ipv6Addr::from(self.base), self.prefix)
        } else {
            let four = u32::try_from(self.base).unwrap_or_default();
            write!(f, "{}/{}", Ipv4Addr::from(four), self.prefix)
        }
    }
}

/// Hands out equal parts of a range.
#[derive(Debug)]
pub struct Ranges {
    cluster: Network,
    part: u8,
    excluded: Option<Network>,
    taken: BTreeSet<u128>,
    next: u128,
}

impl Ranges {
    /// A range in parts of a prefix length; parts that overlap `excluded` are never handed out.
    pub fn new(cluster: Network, part: u8, excluded: Option<Network>) -> Option<Self> {
        let fits = part >= cluster.prefix && part <= cluster.width() && part - cluster.prefix <= 16;
        fits.then(|| Self { cluster, part, excluded, taken: BTreeSet::new(), next: 0 })
    }

    fn at(&self, index: u128) -> Network {
        let size = 1u128 << (self.cluster.width() - self.part);
        Network { base: self.cluster.base + index * size, prefix: self.part, six: self.cluster.six }
    }

    fn count(&self) -> u128 {
        1u128 << (self.part - self.cluster.prefix)
    }

    fn indexes(&self, network: &Network) -> Vec<u128> {
        (0..self.count()).filter(|i| self.at(*i).overlaps(network)).collect()
    }

    /// Marks what a node has as taken.
    pub fn occupy(&mut self, network: &Network) {
        let indexes = self.indexes(network);
        self.taken.extend(indexes);
    }

    /// Gives back what a node had.
    pub fn release(&mut self, network: &Network) {
        for index in self.indexes(network) {
            self.taken.remove(&index);
        }
    }

    /// The next free part; freed ones come last, so that addresses are not reused at once. None when all are taken.
    pub fn allocate(&mut self) -> Option<Network> {
        for step in 0..self.count() {
            let index = (self.next + step) % self.count();
            let network = self.at(index);
            if self.taken.contains(&index) || self.excluded.is_some_and(|e| e.overlaps(&network)) {
                continue;
            }
            self.taken.insert(index);
            self.next = (index + 1) % self.count();
            return Some(network);
        }
        None
    }
}
