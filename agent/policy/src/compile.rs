//! From the world to what the kernel holds. PURE.
//!
//! Enters: the [`World`], and which pods are this node's. Leaves: [`Tables`]: the class of each address, and for each
//! selected pod what it may be reached by and may reach. Only policies that select a pod of this node count: a node
//! knows nothing of the others' peers.

use std::collections::{BTreeMap, BTreeSet};

use crate::ANYONE;
use crate::class::{Classes, Term, classes};
use crate::model::{Peer, Pod, Policy, Port, PortRange, Protocol, Rule, World};
use crate::ports::{PortPrefix, prefixes};

/// Seen from the selected pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

/// Something that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Allow {
    /// In which direction.
    pub direction: Direction,
    /// The class of the other end, or [`ANYONE`].
    pub class: u32,
    /// The protocol; none: all, those without ports included.
    pub protocol: Option<Protocol>,
    /// The destination's port.
    pub port: PortPrefix,
}

/// A pod that policies select.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Whether only what is allowed may come in.
    pub ingress: bool,
    /// Whether only what is allowed may go out.
    pub egress: bool,
    /// What is allowed in those directions.
    pub allows: BTreeSet<Allow>,
}

/// What the kernel holds. No pod is allowed anything of a class that no address is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The class of each address.
    pub classes: Classes,
    /// The selected pods of this node, by namespace and name. All others are not isolated.
    pub selected: BTreeMap<(String, String), Selected>,
}

/// A rule with its terms in place of its peers.
struct Compiled<'a> {
    rule: &'a Rule,
    direction: Direction,
    /// A term for each peer; none for everybody.
    peers: Option<Vec<usize>>,
    /// Destinations of egress at a named port: term, protocol, number.
    named: Vec<(usize, Protocol, u16)>,
}

/// Compiles; `is_local` says whether a pod is this node's.
#[must_use]
pub fn compile(world: &World, is_local: impl Fn(&Pod) -> bool) -> Tables {
    let local: Vec<&Pod> = world.pods.iter().filter(|pod| !pod.on_host && is_local(pod)).collect();
    let mut terms = Vec::new();
    let mut selecting = Vec::new();
    for policy in &world.policies {
        let isolates = |pod: &&&Pod| pod.namespace == policy.namespace && policy.pods.matches(&pod.labels);
        let pods: Vec<&Pod> = local.iter().filter(isolates).copied().collect();
        if !pods.is_empty() {
            selecting.push((policy, pods, rules(world, policy, &mut terms)));
        }
    }
    let (classes, meant) = classes(&terms, &world.pods);
    let mut selected: BTreeMap<(String, String), Selected> = BTreeMap::new();
    for (policy, pods, rules) in selecting {
        for pod in pods {
            let entry = selected.entry((pod.namespace.clone(), pod.name.clone())).or_default();
            entry.ingress |= policy.ingress.is_some();
            entry.egress |= policy.egress.is_some();
            entry.allows.extend(rules.iter().flat_map(|rule| rule.allows(pod, &meant)));
        }
    }
    Tables { classes, selected }
}

fn rules<'a>(world: &World, policy: &'a Policy, terms: &mut Vec<Term>) -> Vec<Compiled<'a>> {
    let directions = [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)];
    let rules = directions
        .into_iter()
        .flat_map(|(direction, rules)| rules.iter().flatten().map(move |rule| (direction, rule)));
    let mut add = |term: Term| {
        terms.push(term);
        terms.len() - 1
    };
    let mut compiled = Vec::new();
    for (direction, rule) in rules {
        let peers: Vec<Term> = rule.peers.iter().map(|peer| term(world, policy, peer)).collect();
        let mut named = Vec::new();
        if direction == Direction::Egress {
            let everybody = [Term::default()];
            for peer in if peers.is_empty() { &everybody[..] } else { &peers } {
                let of_peer = with_named_port(world, rule, peer);
                named.extend(of_peer.into_iter().map(|((protocol, port), term)| (add(term), protocol, port)));
            }
        }
        let peers = (!peers.is_empty()).then(|| peers.into_iter().map(&mut add).collect());
        compiled.push(Compiled { rule, direction, peers, named });
    }
    compiled
}

fn term(world: &World, policy: &Policy, peer: &Peer) -> Term {
    match peer {
        Peer::Block { network, except } => Term { pods: None, block: Some((*network, except.clone())) },
        Peer::Pods { namespaces, pods } => {
            let selected = world.pods.iter().enumerate();
            let selected = selected.filter(|(_, pod)| world.selects(policy, namespaces.as_ref(), pods, pod));
            Term { pods: Some(selected.map(|(at, _)| at).collect()), block: None }
        }
    }
}

/// What is left of a peer with one of the rule's named ports: a term for each number that the names have.
fn with_named_port(world: &World, rule: &Rule, peer: &Term) -> BTreeMap<(Protocol, u16), Term> {
    let is_peer = |at: usize| peer.pods.as_ref().is_none_or(|pods| pods.contains(&at));
    let mut found: BTreeMap<(Protocol, u16), Term> = BTreeMap::new();
    for Port { protocol, range } in &rule.ports {
        let PortRange::Named(name) = range else { continue };
        for (at, pod) in world.pods.iter().enumerate().filter(|(at, pod)| !pod.on_host && is_peer(*at)) {
            if let Some(number) = pod.port(name, *protocol) {
                let term = found.entry((*protocol, number));
                let term =
                    term.or_insert_with(|| Term { pods: Some(BTreeSet::new()), block: peer.block.clone() });
                term.pods.get_or_insert_default().insert(at);
            }
        }
    }
    found
}

impl Compiled<'_> {
    /// `meant`: the terms of class 1, 2, ...
    fn allows(&self, pod: &Pod, meant: &[BTreeSet<usize>]) -> BTreeSet<Allow> {
        let among = |term: usize| {
            (1..).zip(meant).filter(move |(_, terms)| terms.contains(&term)).map(|(class, _)| class)
        };
        let others: Vec<u32> = match &self.peers {
            None => vec![ANYONE],
            Some(peers) => peers.iter().flat_map(|term| among(*term)).collect(),
        };
        let named = self
            .named
            .iter()
            .flat_map(|(term, protocol, number)| among(*term).map(move |class| (class, *protocol, *number)));
        allows(self.rule, self.direction, pod, &others, named)
    }
}

/// What a rule allows a pod: `others` are the classes among its peers, and `named` those that have a port by one of its
/// names, with the port, if it is the others that are asked for it.
pub(crate) fn allows(
    rule: &Rule,
    direction: Direction,
    pod: &Pod,
    others: &[u32],
    named: impl Iterator<Item = (u32, Protocol, u16)>,
) -> BTreeSet<Allow> {
    let mut ports = Vec::new();
    if rule.ports.is_empty() {
        ports.push((None, PortPrefix::ANY));
    }
    for Port { protocol, range } in &rule.ports {
        let numbers = match range {
            PortRange::Any => vec![PortPrefix::ANY],
            PortRange::Numbers(first, last) => prefixes(*first, *last),
            PortRange::Named(name) if direction == Direction::Ingress => {
                pod.port(name, *protocol).map(|number| prefixes(number, number)).unwrap_or_default()
            }
            // In `named`: each destination has its own number.
            PortRange::Named(_) => Vec::new(),
        };
        ports.extend(numbers.into_iter().map(|prefix| (Some(*protocol), prefix)));
    }
    let allow = |class, protocol, port| Allow { direction, class, protocol, port };
    let numbered =
        others.iter().flat_map(|class| ports.iter().map(|(protocol, port)| allow(*class, *protocol, *port)));
    let named = named.map(|(class, protocol, number)| {
        allow(class, Some(protocol), PortPrefix { first: number, bits: 16 })
    });
    numbered.chain(named).collect()
}
