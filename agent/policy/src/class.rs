//! Classes of addresses: what is among the same peers is of one class. PURE.
//!
//! Enters: the terms of all rules (sets of pods, blocks of addresses) and the pods' addresses. Leaves: for every prefix
//! where something changes, the class of the addresses whose longest prefix it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{Network, Pod};

/// Addresses that a rule names: those of pods, of a block, or of pods as far as they lie in a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// Only the addresses of these pods, by their place in the world.
    pub pods: Option<BTreeSet<usize>>,
    /// Only what lies in the first and in none of the others.
    pub block: Option<(Network, Vec<Network>)>,
}

impl Term {
    /// Whether `network`, which no boundary of a block divides, is meant: that of a pod, or of no pod.
    #[must_use]
    pub fn covers(&self, network: Network, pod: Option<usize>) -> bool {
        let of_pods = self.pods.as_ref().is_none_or(|pods| pod.is_some_and(|pod| pods.contains(&pod)));
        let in_block = self.block.as_ref().is_none_or(|(all, except)| {
            all.contains(network) && !except.iter().any(|hole| hole.contains(network))
        });
        of_pods && in_block
    }
}

/// Which class an address is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// By longest prefix. An address that is in none is of no class.
    pub of: BTreeMap<Network, u32>,
}

impl Classes {
    /// The class of an address, as the kernel finds it.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        let whole = Network::of(address);
        (0..=whole.bits()).rev().find_map(|bits| self.of.get(&Network::new(address, bits)?)).copied()
    }
}

/// Classes of all addresses that any term knows; the second are the terms of class 1, 2, ...
#[must_use]
pub fn classes(terms: &[Term], pods: &[Pod]) -> (Classes, Vec<BTreeSet<usize>>) {
    let covering = |network, pod| -> BTreeSet<usize> {
        (0..terms.len()).filter(|term| terms[*term].covers(network, pod)).collect()
    };
    let blocks = terms.iter().filter_map(|term| term.block.as_ref());
    let boundaries = blocks.flat_map(|(all, except)| std::iter::once(all).chain(except));
    let mut found: BTreeMap<Network, BTreeSet<usize>> =
        boundaries.map(|boundary| (*boundary, covering(*boundary, None))).collect();
    // An address that two pods claim for a moment is only what it is of both.
    let mut of_pods: BTreeMap<Network, BTreeSet<usize>> = BTreeMap::new();
    for (at, pod) in pods.iter().enumerate().filter(|(_, pod)| !pod.on_host) {
        for address in pod.addresses.iter().map(|address| Network::of(*address)) {
            let terms = covering(address, Some(at));
            of_pods
                .entry(address)
                .and_modify(|known| known.retain(|term| terms.contains(term)))
                .or_insert(terms);
        }
    }
    // A pod that is among nothing but what its block is needs no entry: most of a large cluster's pods.
    let none = BTreeSet::new();
    of_pods.retain(|address, terms| {
        let around = found.iter().filter(|(block, _)| block.contains(*address));
        let around = around.max_by_key(|(block, _)| block.bits()).map_or(&none, |(_, terms)| terms);
        terms != around
    });
    found.extend(of_pods);
    let (mut classes, mut meant) = (Classes::default(), Vec::new());
    let mut known: BTreeMap<BTreeSet<usize>, u32> = BTreeMap::new();
    for (network, set) in found {
        let class = *known.entry(set).or_insert_with_key(|set| {
            meant.push(set.clone());
            u32::try_from(meant.len()).unwrap_or(u32::MAX)
        });
        classes.of.insert(network, class);
    }
    (classes, meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_overlap_and_have_holes() {
        let network = |text: &str| Network::parse(text).unwrap();
        let block = |all: &str, except: &[&str]| Term {
            block: Some((network(all), except.iter().map(|text| network(text)).collect())),
            ..Term::default()
        };
        let terms = [
            block("10.0.0.0/8", &["10.1.0.0/16"]),
            block("10.1.2.0/24", &[]),
            block("0.0.0.0/0", &["10.0.0.0/8"]),
        ];
        let (classes, meant) = classes(&terms, &[]);
        let among = |address: &str| {
            let class = classes.find(address.parse().unwrap());
            class.map(|class| meant[class as usize - 1].iter().copied().collect::<Vec<_>>())
        };
        assert_eq!(among("10.2.0.1"), Some(vec![0]));
        assert_eq!(among("10.1.0.1"), Some(vec![]));
        assert_eq!(among("10.1.2.3"), Some(vec![1]));
        assert_eq!(among("11.0.0.1"), Some(vec![2]));
        assert_eq!(among("2001:db8::1"), None);
    }
}
