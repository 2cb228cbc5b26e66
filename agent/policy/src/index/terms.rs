//! The terms of the policies in use, numbered, and which of them an address is among. PURE.
//!
//! Unlike the terms of the whole compile, one here has a mark for each number that a named port has: so the pods that
//! come and go make no terms.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::Name;
use crate::compile::Direction;
use crate::model::{Labels, Network, Peer, Pod, Policy, Port, PortRange, Protocol, Rule, selects};

/// That an address is among a term; with the port that it has there by name, if the term asks for one.
pub(super) type Mark = (u32, Option<(Protocol, u16)>);

/// All that an address is among.
pub(super) type Marks = BTreeSet<Mark>;

/// The marks of some terms.
pub(super) fn marks_of(terms: &Range<u32>) -> Range<Mark> {
    (terms.start, None)..(terms.end, None)
}

/// A peer of a rule.
struct Term {
    policy: Name,
    /// None: everybody.
    peer: Option<Peer>,
    /// Only who has a port of one of these names; none in the list: no matter.
    names: Vec<(Protocol, String)>,
}

impl Term {
    fn block(&self) -> Option<(&Network, &Vec<Network>)> {
        match &self.peer {
            Some(Peer::Block { network, except }) => Some((network, except)),
            _ => None,
        }
    }

    fn in_block(&self, address: Network) -> bool {
        self.block().is_none_or(|(network, except)| {
            network.contains(address) && !except.iter().any(|hole| hole.contains(address))
        })
    }

    fn has(&self, pod: &Pod, address: Network, namespaces: &BTreeMap<String, Labels>) -> bool {
        match &self.peer {
            Some(Peer::Pods { namespaces: of, pods }) => {
                selects(namespaces, &self.policy.0, of.as_ref(), pods, pod)
            }
            _ => self.in_block(address),
        }
    }
}

/// A rule with its terms in place of its peers.
pub(super) struct Ruled {
    pub(super) direction: Direction,
    /// Its place among the policy's of that direction.
    pub(super) at: usize,
    /// A term for each peer; none for everybody.
    pub(super) peers: Option<Range<u32>>,
    /// The same for destinations of egress at a named port.
    pub(super) named: Range<u32>,
}

/// The terms in use.
#[derive(Default)]
pub(super) struct Terms {
    all: BTreeMap<u32, Term>,
    next: u32,
}

impl Terms {
    /// Adds a policy's; returns all of them, and what its rules have of them.
    pub(super) fn add(&mut self, name: &Name, policy: &Policy) -> (Range<u32>, Vec<Ruled>) {
        let first = self.next;
        let mut ruled = Vec::new();
        for (direction, rules) in [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)]
        {
            for (at, rule) in rules.iter().flatten().enumerate() {
                let mut named = self.next..self.next;
                let names = names(rule);
                if direction == Direction::Egress && !names.is_empty() {
                    let everybody = rule.peers.is_empty().then_some(None);
                    let peers = rule.peers.iter().cloned().map(Some).chain(everybody);
                    named = self.extend(name, peers, &names);
                }
                let peers = (!rule.peers.is_empty())
                    .then(|| self.extend(name, rule.peers.iter().cloned().map(Some), &[]));
                ruled.push(Ruled { direction, at, peers, named });
            }
        }
        (first..self.next, ruled)
    }

    fn extend(
        &mut self,
        policy: &Name,
        peers: impl Iterator<Item = Option<Peer>>,
        names: &[(Protocol, String)],
    ) -> Range<u32> {
        let first = self.next;
        for peer in peers {
            self.all.insert(self.next, Term { policy: policy.clone(), peer, names: names.to_vec() });
            self.next += 1;
        }
        first..self.next
    }

    /// Removes terms.
    pub(super) fn remove(&mut self, terms: Range<u32>) {
        terms.for_each(|term| drop(self.all.remove(&term)));
    }

    /// Every number.
    pub(super) fn all(&self) -> Range<u32> {
        0..self.next
    }

    /// Whose a term is, if it is in use.
    pub(super) fn policy(&self, term: u32) -> Option<&Name> {
        self.all.get(&term).map(|term| &term.policy)
    }

    /// Which of some terms an address is among that these pods have: what it is of all of them.
    pub(super) fn of_pods(
        &self,
        terms: &Range<u32>,
        pods: &[Arc<Pod>],
        address: Network,
        namespaces: &BTreeMap<String, Labels>,
    ) -> Marks {
        let of = |pod: &Pod| {
            let mut marks = Marks::new();
            for (number, term) in self.all.range(terms.clone()) {
                if !term.has(pod, address, namespaces) {
                    continue;
                }
                if term.names.is_empty() {
                    marks.insert((*number, None));
                }
                let ports = term.names.iter().filter_map(|(protocol, name)| {
                    Some((*number, Some((*protocol, pod.port(name, *protocol)?))))
                });
                marks.extend(ports);
            }
            marks
        };
        let all = pods.iter().map(|pod| of(pod));
        all.reduce(|some, more| some.intersection(&more).copied().collect()).unwrap_or_default()
    }

    /// Which of some terms the addresses of a network are among that are no pods'.
    pub(super) fn of_network(&self, terms: &Range<u32>, network: Network) -> Marks {
        let blocks = self.all.range(terms.clone()).filter(|(_, term)| term.block().is_some());
        let blocks = blocks.filter(|(_, term)| term.names.is_empty() && term.in_block(network));
        blocks.map(|(number, _)| (*number, None)).collect()
    }

    /// Where blocks of some terms begin and have holes; what several have comes several times.
    pub(super) fn boundaries(&self, terms: &Range<u32>) -> Vec<Network> {
        let blocks = self.all.range(terms.clone()).filter_map(|(_, term)| term.block());
        blocks.flat_map(|(network, except)| std::iter::once(network).chain(except)).copied().collect()
    }
}

fn names(rule: &Rule) -> Vec<(Protocol, String)> {
    let named = rule.ports.iter().filter_map(|Port { protocol, range }| match range {
        PortRange::Named(name) => Some((*protocol, name.clone())),
        _ => None,
    });
    named.collect()
}
