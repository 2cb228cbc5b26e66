//! What [`compile`](crate::compile) would make of the world, kept while the world changes. PURE.
//!
//! Enters: each pod, namespace and policy that comes, changes or goes. Leaves: [`Tables`], the same as those of the whole
//! compile but for the numbers of classes, and what of them changed. A class keeps its number as long as an address is of
//! it. A pod's change looks at that pod's addresses and the policies of its namespace; a policy's at every pod, once;
//! rules are resolved anew only for selected pods whose policies name a class that came or went.

mod space;
mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use self::space::{Kind, Space};
use self::terms::{Ruled, Terms};
use crate::ANYONE;
use crate::compile::{Direction, Selected, Tables, allows};
use crate::model::{Labels, Network, Pod, Policy};

/// Namespace and name.
pub type Name = (String, String);

/// What changed in the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Networks whose class is another, or that have one or none now.
    pub networks: BTreeSet<Network>,
    /// Selected pods that came, went, or are allowed other things.
    pub selected: BTreeSet<Name>,
}

struct Kept {
    policy: Arc<Policy>,
    /// The pods of this node that it selects.
    pods: BTreeSet<Name>,
    /// Its terms, and its rules by them, if it selects any.
    terms: Range<u32>,
    rules: Vec<Ruled>,
}

/// The world as far as it is known, and its tables.
#[derive(Default)]
pub struct Index {
    policies: BTreeMap<Name, Kept>,
    namespaces: BTreeMap<String, Labels>,
    /// And whether it is this node's.
    pods: BTreeMap<Name, (Arc<Pod>, bool)>,
    /// Those of this node that can be selected.
    local: BTreeSet<Name>,
    /// Who has which address. Two may claim one for a moment.
    claims: BTreeMap<Network, Vec<Arc<Pod>>>,
    terms: Terms,
    /// How many blocks begin or have a hole there.
    boundaries: BTreeMap<Network, usize>,
    space: Space,
    /// Pods of this node whose rules are to be resolved anew.
    stale: BTreeSet<Name>,
    tables: Tables,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl Index {
    /// A pod is so now, and this node's or not; none: it is gone, or has ended.
    pub fn pod(&mut self, name: &Name, pod: Option<(Arc<Pod>, bool)>) {
        if self.pods.get(name) == pod.as_ref() {
            return;
        }
        let before = match &pod {
            Some(pod) => self.pods.insert(name.clone(), pod.clone()),
            None => self.pods.remove(name),
        };
        let mut addresses = BTreeSet::new();
        for (pod, _) in before.iter().filter(|(pod, _)| !pod.on_host) {
            for address in pod.addresses.iter().map(|address| Network::of(*address)) {
                if let Some(all) = self.claims.get_mut(&address) {
                    all.retain(|one| !Arc::ptr_eq(one, pod));
                }
                addresses.insert(address);
            }
        }
        for (pod, _) in pod.iter().filter(|(pod, _)| !pod.on_host) {
            for address in pod.addresses.iter().map(|address| Network::of(*address)) {
                self.claims.entry(address).or_default().push(pod.clone());
                addresses.insert(address);
            }
        }
        addresses.into_iter().for_each(|address| self.place(address));
        let is_local = pod.is_some_and(|(pod, is_local)| is_local && !pod.on_host);
        let was_local = if is_local { !self.local.insert(name.clone()) } else { self.local.remove(name) };
        if is_local || was_local {
            self.select(name);
        }
    }

    /// A namespace has these labels now; none: it is gone.
    pub fn namespace(&mut self, name: &str, labels: Option<Labels>) {
        if self.namespaces.get(name) == labels.as_ref() {
            return;
        }
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
        let there = self.pods.values().filter(|(pod, _)| pod.namespace == name && !pod.on_host);
        let addresses: BTreeSet<Network> =
            there.flat_map(|(pod, _)| pod.addresses.iter().map(|address| Network::of(*address))).collect();
        addresses.into_iter().for_each(|address| self.place(address));
    }

    /// A policy, by its own namespace and name, is so now; none: it is gone.
    pub fn policy(&mut self, name: &Name, policy: Option<Arc<Policy>>) {
        if self.policies.get(name).map(|kept| &kept.policy) == policy.as_ref() {
            return;
        }
        if let Some(kept) = self.policies.remove(name) {
            self.retire(kept.terms);
            self.stale.extend(kept.pods);
        }
        let Some(policy) = policy else { return };
        let selected = self.local.iter().filter(|pod| self.selects(&policy, pod));
        let pods: BTreeSet<Name> = selected.cloned().collect();
        self.stale.extend(pods.iter().cloned());
        self.policies.insert(name.clone(), Kept { policy, pods, terms: 0..0, rules: Vec::new() });
        self.settle(name);
    }

    /// The tables as of the last [`Index::update`].
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Brings the tables in step with what was told; returns what changed in them since the last time.
    pub fn update(&mut self) -> Changed {
        for term in std::mem::take(&mut self.space.stirred) {
            let kept = self.terms.policy(term).and_then(|policy| self.policies.get(policy));
            self.stale.extend(kept.into_iter().flat_map(|kept| kept.pods.iter().cloned()));
        }
        let mut selected = BTreeSet::new();
        for name in std::mem::take(&mut self.stale) {
            let now = self.selected(&name);
            if self.tables.selected.get(&name) != now.as_ref() {
                match now {
                    Some(now) => drop(self.tables.selected.insert(name.clone(), now)),
                    None => drop(self.tables.selected.remove(&name)),
                }
                selected.insert(name);
            }
        }
        Changed { networks: std::mem::take(&mut self.space.changed), selected }
    }

    /// Whether a policy selects a pod of this node.
    fn selects(&self, policy: &Policy, pod: &Name) -> bool {
        let found = self.local.get(pod).and_then(|name| self.pods.get(name));
        found.is_some_and(|(pod, _)| pod.namespace == policy.namespace && policy.pods.matches(&pod.labels))
    }

    /// Gives an address the class that it has by all terms.
    fn place(&mut self, address: Network) {
        let pods = self.claims.get(&address).filter(|pods| !pods.is_empty());
        let marks = pods.map(|pods| self.terms.of_pods(&self.terms.all(), pods, address, &self.namespaces));
        if marks.is_none() {
            self.claims.remove(&address);
        }
        self.space.set(&mut self.tables.classes, Kind::Pods, address, marks);
    }

    /// The policies of a namespace.
    fn policies_of(&self, namespace: &str) -> impl Iterator<Item = (&Name, &Kept)> {
        let from = (namespace.to_owned(), String::new());
        self.policies.range(from..).take_while(move |((of, _), _)| of == namespace)
    }

    /// Finds the policies that select a pod of this node, which changed.
    fn select(&mut self, pod: &Name) {
        self.stale.insert(pod.clone());
        let policies = self.policies_of(&pod.0);
        let policies = policies.map(|(name, kept)| (name.clone(), self.selects(&kept.policy, pod)));
        for (name, selects) in policies.collect::<Vec<_>>() {
            let Some(kept) = self.policies.get_mut(&name) else { continue };
            let changed = if selects { kept.pods.insert(pod.clone()) } else { kept.pods.remove(pod) };
            if changed {
                self.settle(&name);
            }
        }
    }

    /// Takes a policy's terms into use once it selects a pod, and out of it once it selects none: a node knows nothing of
    /// the others' peers.
    fn settle(&mut self, name: &Name) {
        let Some(kept) = self.policies.get_mut(name) else { return };
        match (kept.pods.is_empty(), kept.terms.is_empty() && kept.rules.is_empty()) {
            (true, false) => {
                kept.rules.clear();
                let terms = std::mem::take(&mut kept.terms);
                self.retire(terms);
            }
            (false, true) => {
                let (terms, rules) = self.terms.add(name, &kept.policy);
                (kept.terms, kept.rules) = (terms.clone(), rules);
                self.introduce(&terms);
            }
            _ => {}
        }
    }

    /// Finds who is among new terms.
    fn introduce(&mut self, terms: &Range<u32>) {
        let (classes, known) = (&mut self.tables.classes, &self.terms);
        let of_boundaries =
            self.space.boundaries().map(|network| (network, known.of_network(terms, network)));
        let of_boundaries = of_boundaries.filter(|(_, marks)| !marks.is_empty()).collect();
        let of_pods = self
            .claims
            .iter()
            .map(|(address, pods)| (*address, known.of_pods(terms, pods, *address, &self.namespaces)));
        let of_pods = of_pods.filter(|(_, marks)| !marks.is_empty()).collect();
        self.space.add(classes, Kind::Boundary, of_boundaries);
        self.space.add(classes, Kind::Pods, of_pods);
        for network in known.boundaries(terms) {
            let count = self.boundaries.entry(network).or_default();
            *count += 1;
            if *count == 1 {
                let marks = known.of_network(&known.all(), network);
                self.space.set(classes, Kind::Boundary, network, Some(marks));
            }
        }
    }

    /// Takes terms out of use.
    fn retire(&mut self, terms: Range<u32>) {
        let classes = &mut self.tables.classes;
        for network in self.terms.boundaries(&terms) {
            let count = self.boundaries.entry(network).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.boundaries.remove(&network);
                self.space.set(classes, Kind::Boundary, network, None);
            }
        }
        self.space.remove(classes, &terms);
        self.terms.remove(terms);
    }

    /// What the policies make of a pod; none if none selects it.
    fn selected(&self, name: &Name) -> Option<Selected> {
        let (pod, _) = self.local.get(name).and_then(|name| self.pods.get(name))?;
        let mut found: Option<Selected> = None;
        for (_, kept) in self.policies_of(&name.0).filter(|(_, kept)| kept.pods.contains(name)) {
            let selected = found.get_or_insert_default();
            selected.ingress |= kept.policy.ingress.is_some();
            selected.egress |= kept.policy.egress.is_some();
            for Ruled { direction, at, peers, named } in &kept.rules {
                let rules = match direction {
                    Direction::Ingress => &kept.policy.ingress,
                    Direction::Egress => &kept.policy.egress,
                };
                let Some(rule) = rules.as_ref().and_then(|rules| rules.get(*at)) else { continue };
                let others: BTreeSet<u32> = match peers {
                    None => BTreeSet::from([ANYONE]),
                    Some(peers) => self.space.among(peers).map(|(_, class)| class).collect(),
                };
                let named = self.space.among(named);
                let named = named.filter_map(|((_, port), class)| {
                    port.map(|(protocol, number)| (class, protocol, number))
                });
                selected.allows.extend(allows(
                    rule,
                    *direction,
                    pod,
                    &others.into_iter().collect::<Vec<_>>(),
                    named,
                ));
            }
        }
        found
    }
}
