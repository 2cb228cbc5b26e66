//! Which parts of the cluster's networks each node gets. Pure.
//!
//! Enters: what nodes are seen to have, and which are gone. Leaves: a node's share, one part of each network. A share
//! is promised to a node by name before it is written, and stays promised until the node is seen with it or is gone: a
//! write whose answer is lost may have been carried out, and its share must not go to another node.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::range::Range;

/// The books of who has what.
#[derive(Debug)]
pub struct Shares {
    ranges: Vec<Range>,
    promised: BTreeMap<String, Vec<IpNet>>,
}

impl Shares {
    /// Books over the cluster's networks, the primary family's first.
    pub fn new(ranges: Vec<Range>) -> Self {
        Self { ranges, promised: BTreeMap::new() }
    }

    /// Takes in what a node has; with nothing, what was promised to it stays.
    pub fn seen(&mut self, node: &str, has: &[IpNet]) {
        if has.is_empty() {
            return;
        }
        self.withdraw(node);
        for range in &mut self.ranges {
            has.iter().for_each(|network| range.occupy(network));
        }
    }

    /// Gives back what a node had that is gone, and what was promised to it.
    pub fn gone(&mut self, node: &str, had: &[IpNet]) {
        self.withdraw(node);
        self.release(had);
    }

    /// Gives back what was promised to a node.
    pub fn withdraw(&mut self, node: &str) {
        if let Some(networks) = self.promised.remove(node) {
            self.release(&networks);
        }
    }

    fn release(&mut self, networks: &[IpNet]) {
        for range in &mut self.ranges {
            networks.iter().for_each(|network| range.release(network));
        }
    }

    /// One part of every network for a node that has none, the same ones when asked again; None, and nothing taken,
    /// when one of the networks is used up.
    pub fn promise(&mut self, node: &str) -> Option<Vec<IpNet>> {
        if let Some(networks) = self.promised.get(node) {
            return Some(networks.clone());
        }
        let parts: Vec<IpNet> = self.ranges.iter_mut().filter_map(Range::allocate).collect();
        if parts.len() < self.ranges.len() {
            self.release(&parts);
            return None;
        }
        self.promised.insert(node.to_owned(), parts.clone());
        Some(parts)
    }
}
