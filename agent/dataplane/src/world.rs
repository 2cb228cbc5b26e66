//! The Services and EndpointSlices as last seen, as facts, and who changed. PURE: the API's events come in, names of
//! Services to compile again go out. Nothing is complete before both first lists are.

mod direct;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::Event;

use crate::compile::balancing::Balancing;
use crate::compile::facts::{self, Owner, ServiceFacts, SliceFacts};
use crate::compile::forwarding::Forwarding;
use crate::compile::local_ready;
use crate::compile::names::Names;
use crate::events::Note;
use crate::health::{Check, Wanted};
use crate::hostports::{AllPorts, PodPorts};
use crate::model::{Family, SourceRange};
use crate::ranges;

/// Facts by name, with what a list that runs has shown so far.
#[derive(Debug)]
struct Listed<T> {
    known: HashMap<Owner, T>,
    listing: Option<HashSet<Owner>>,
    synced: bool,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), listing: None, synced: false }
    }
}

/// The cache.
#[derive(Debug, Default)]
pub struct World {
    services: Listed<Box<ServiceFacts>>,
    slices: Listed<Box<SliceFacts>>,
    /// ClusterIPs that are another's business.
    held: Listed<Vec<IpAddr>>,
    held_changed: bool,
    /// Networks of ClusterIPs, by ServiceCIDR.
    ranges: Listed<BTreeSet<SourceRange>>,
    /// Pods with host ports, under names that no Service has.
    hosts: HashMap<Owner, PodPorts>,
    /// Sorted.
    by_service: HashMap<Owner, Vec<Owner>>,
    /// Addresses of the nodes, the primary first, while some Service needs them.
    nodes: Listed<Vec<IpAddr>>,
    /// Services with direct server return.
    direct: BTreeSet<Owner>,
    direct_changed: bool,
    /// Services with loadBalancerSourceRanges.
    guarded: HashSet<Owner>,
    /// Services that there may be something to tell of (those with a health check, those with SCTP), and their UIDs.
    told: BTreeMap<Owner, Arc<str>>,
    /// What is to be told of Services, by their UIDs.
    notes: Vec<(Owner, String, Note)>,
    dirty: BTreeSet<Owner>,
    changes: Changes,
    names: Names,
}

/// How many changes came, and how many of them are not applied yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Since the process began.
    pub total: u64,
    /// Not applied yet.
    pub pending: u64,
}

/// What came, for the metrics.
#[derive(Debug, Default)]
pub struct Changes {
    /// Of Services.
    pub services: Counted,
    /// Of EndpointSlices.
    pub slices: Counted,
    /// By Service, what set off the changes that are not applied yet.
    triggers: BTreeMap<Owner, Vec<Trigger>>,
}

/// When the change happened that the control plane wrote a slice for, and the slice's family.
pub type Trigger = (Family, Timestamp);

/// Upstream's annotation of that time, RFC 3339; absent or malformed is unknown.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

fn trigger(object: &EndpointSlice) -> Option<Timestamp> {
    object.metadata.annotations.as_ref()?.get(TRIGGER)?.parse().ok()
}

fn name(meta: &kube::api::ObjectMeta, names: &mut Names) -> Owner {
    let namespace = names.share(meta.namespace.as_deref().unwrap_or_default());
    Owner { namespace, name: meta.name.as_deref().unwrap_or_default().into() }
}

impl<T: PartialEq> Listed<T> {
    /// Stores or forgets a fact; returns what was there before if that differs.
    fn put(&mut self, name: &Owner, fact: Option<T>) -> Option<(Option<T>, bool)> {
        if let Some(listing) = &mut self.listing {
            listing.insert(name.clone());
        }
        match fact {
            Some(fact) if self.known.get(name) == Some(&fact) => None,
            Some(fact) => Some((self.known.insert(name.clone(), fact), true)),
            None => self.known.remove(name).map(|old| (Some(old), false)),
        }
    }

    /// The names a finished list no longer has.
    fn gone(&mut self) -> Vec<Owner> {
        self.synced = true;
        let listing = self.listing.take().unwrap_or_default();
        self.known.keys().filter(|name| !listing.contains(name)).cloned().collect()
    }
}

impl World {
    /// Whether both first lists are complete.
    pub fn synced(&self) -> bool {
        self.services.synced && self.slices.synced
    }

    /// A Service event.
    pub fn service(&mut self, event: Event<Service>) {
        match event {
            Event::Init => {
                self.services.listing = Some(HashSet::new());
                self.held.listing = Some(HashSet::new());
            }
            Event::InitApply(object) | Event::Apply(object) => {
                self.changes.services.total += 1;
                let name = name(&object.metadata, &mut self.names);
                let fact = facts::service(&object);
                self.complain(&name, &object, fact.as_ref());
                self.put_service(&name, fact);
                if let Some(uid) = self.told.get_mut(&name) {
                    *uid = object.metadata.uid.as_deref().unwrap_or_default().into();
                }
                let held = Some(facts::held(&object)).filter(|list| !list.is_empty());
                self.held_changed |= self.held.put(&name, held).is_some();
            }
            Event::Delete(object) => {
                self.changes.services.total += 1;
                let name = name(&object.metadata, &mut self.names);
                self.put_service(&name, None);
                self.held_changed |= self.held.put(&name, None).is_some();
            }
            Event::InitDone => {
                self.held_changed = true;
                for gone in self.held.gone() {
                    self.held.put(&gone, None);
                }
                for gone in self.services.gone() {
                    self.put_service(&gone, None);
                }
            }
        }
    }

    /// The ClusterIPs that are another's business, if they may have changed since the last call.
    pub fn take_held(&mut self) -> Option<BTreeSet<IpAddr>> {
        let held = || self.held.known.values().flatten().copied().collect();
        std::mem::take(&mut self.held_changed).then(held)
    }

    /// All pods with host ports.
    pub fn set_host_ports(&mut self, pods: &AllPorts) {
        // A Service is always in a namespace.
        let wanted: HashMap<_, _> =
            pods.iter().map(|(owner, pod)| (Owner::new("", owner), pod.clone())).collect();
        let differs = |owner: &&Owner| self.hosts.get(owner) != wanted.get(owner);
        self.dirty.extend(self.hosts.keys().chain(wanted.keys()).filter(differs).cloned());
        self.hosts = wanted;
    }

    /// A pod's host ports.
    pub fn host_ports(&self, owner: &Owner) -> Option<&PodPorts> {
        self.hosts.get(owner)
    }

    /// A ServiceCIDR event.
    pub fn service_cidr(&mut self, event: Event<ServiceCIDR>) {
        match event {
            Event::Init => self.ranges.listing = Some(HashSet::new()),
            Event::InitApply(object) | Event::Apply(object) => {
                self.ranges.put(&name(&object.metadata, &mut self.names), Some(ranges::of(&object)));
            }
            Event::Delete(object) => drop(self.ranges.put(&name(&object.metadata, &mut self.names), None)),
            Event::InitDone => {
                for gone in self.ranges.gone() {
                    self.ranges.put(&gone, None);
                }
            }
        }
    }

    /// The API has no ServiceCIDRs: addresses without a Service are like any others.
    pub fn no_service_cidrs(&mut self) {
        self.ranges = Listed { synced: true, ..Listed::default() };
    }

    /// The networks of ClusterIPs, once they are known.
    pub fn ranges(&self) -> Option<BTreeSet<SourceRange>> {
        let all = || self.ranges.known.values().flatten().copied().collect();
        self.ranges.synced.then(all)
    }

    /// Notes what is wrong with a Service's annotations, once for as long as it stays so.
    fn complain(&mut self, name: &Owner, object: &Service, fact: Option<&ServiceFacts>) {
        let known = self.services.known.get(name).map(Box::as_ref);
        let new = |old: Option<Note>, new: Option<Note>| new.filter(|new| old.as_ref() != Some(new));
        let of = |fact: Option<&ServiceFacts>| {
            let (balancing, forwarding) = (fact.map(|f| &f.balancing), fact.map(|f| &f.forwarding));
            (balancing.and_then(Balancing::complaint), forwarding.and_then(Forwarding::complaint))
        };
        let (before, now) = (of(known), of(fact));
        let notes = [new(before.0, now.0), new(before.1, now.1)];
        let uid = object.metadata.uid.clone().unwrap_or_default();
        self.notes.extend(notes.into_iter().flatten().map(|note| (name.clone(), uid.clone(), note)));
    }

    /// Whether some Service has loadBalancerSourceRanges.
    pub fn has_source_ranges(&self) -> bool {
        !self.guarded.is_empty()
    }

    /// What is to be told of Services since the last call: whose, its UID, what.
    pub fn take_notes(&mut self) -> Vec<(Owner, String, Note)> {
        std::mem::take(&mut self.notes)
    }

    /// The copy of a Service's name that what is known of it shares.
    fn shared(&self, name: &Owner) -> Owner {
        let slices = || self.by_service.get_key_value(name).map(|(known, _)| known);
        let known = self.services.known.get_key_value(name).map(|(known, _)| known);
        known.or_else(slices).unwrap_or(name).clone()
    }

    fn put_service(&mut self, name: &Owner, fact: Option<ServiceFacts>) {
        let name = self.shared(name);
        if fact.as_ref().is_some_and(|f| f.health_check_port.is_some() || f.has_sctp()) {
            self.told.entry(name.clone()).or_default();
        } else {
            self.told.remove(&name);
        }
        if fact.as_ref().is_some_and(|f| !f.source_ranges.is_empty()) {
            self.guarded.insert(name.clone());
        } else {
            self.guarded.remove(&name);
        }
        let direct = fact.as_ref().is_some_and(|f| f.forwarding == Forwarding::Direct);
        if self.services.put(&name, fact.map(Box::new)).is_some() {
            self.note_direct(&name, direct);
            self.dirty.insert(name);
            self.changes.services.pending += 1;
        }
    }

    /// An EndpointSlice event.
    pub fn slice(&mut self, event: Event<EndpointSlice>) {
        match event {
            Event::Init => self.slices.listing = Some(HashSet::new()),
            Event::InitApply(object) | Event::Apply(object) => {
                self.changes.slices.total += 1;
                let fact = facts::slice(&object, &mut self.names);
                let name = name(&object.metadata, &mut self.names);
                self.put_slice(&name, fact, trigger(&object));
            }
            Event::Delete(object) => {
                self.changes.slices.total += 1;
                let name = name(&object.metadata, &mut self.names);
                self.put_slice(&name, None, None);
            }
            Event::InitDone => {
                for gone in self.slices.gone() {
                    self.put_slice(&gone, None, None);
                }
            }
        }
    }

    fn put_slice(&mut self, name: &Owner, mut fact: Option<SliceFacts>, trigger: Option<Timestamp>) {
        if let Some(fact) = &mut fact {
            fact.owner = self.shared(&fact.owner);
        }
        let service = fact.as_ref().map(|f| f.owner.clone());
        let family = fact.as_ref().map(|f| f.family);
        let Some((old, _)) = self.slices.put(name, fact.map(Box::new)) else { return };
        self.changes.slices.pending += 1;
        let of = service.iter().chain(old.iter().map(|old| &old.owner));
        self.direct_changed |= of.into_iter().any(|owner| self.direct.contains(owner));
        match (&service, &old) {
            (Some(service), _) => {
                let triggers = self.changes.triggers.entry(service.clone()).or_default();
                triggers.extend(family.zip(trigger));
            }
            // A removed slice's time is that of an earlier change.
            (None, Some(old)) => drop(self.changes.triggers.remove(&old.owner)),
            (None, None) => {}
        }
        if let Some(old) = old {
            if let Some(slices) = self.by_service.get_mut(&old.owner) {
                slices.retain(|slice| slice != name);
                if slices.is_empty() {
                    self.by_service.remove(&old.owner);
                }
            }
            self.dirty.insert(old.owner);
        }
        if let Some(service) = service {
            let slices = self.by_service.entry(service.clone()).or_default();
            if let Err(at) = slices.binary_search(name) {
                // Most have one slice for as long as they are.
                slices.reserve_exact(1);
                slices.insert(at, name.clone());
            }
            self.dirty.insert(service);
        }
    }

    /// Every Service is to be compiled again: something all of them depend on changed.
    pub fn touch_all(&mut self) {
        self.dirty.extend(self.services.known.keys().cloned());
    }

    /// What came so far.
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Everything that came is applied; returns what set it off.
    pub fn settle(&mut self) -> Vec<Trigger> {
        (self.changes.services.pending, self.changes.slices.pending) = (0, 0);
        std::mem::take(&mut self.changes.triggers).into_values().flatten().collect()
    }

    /// The Services that changed since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<Owner> {
        std::mem::take(&mut self.dirty)
    }

    /// The health checks of Services, one for each family of a Service, with its endpoints of that family on a node.
    pub fn health_checks(&self, node: &str) -> Wanted {
        let checks = |(owner, uid): (&Owner, &Arc<str>)| {
            let (service, slices) = self.get(owner)?;
            let port = service.health_check_port?;
            let families: BTreeSet<Family> = service.cluster_ips.iter().map(Family::of).collect();
            let check = |family| {
                let endpoints = local_ready(slices.iter().copied(), family, node);
                ((owner.clone(), family), Check { uid: Arc::clone(uid), port, endpoints })
            };
            Some(families.into_iter().map(check).collect::<Vec<_>>())
        };
        self.told.iter().filter_map(checks).flatten().collect()
    }

    /// The Services with SCTP ports, and their UIDs.
    pub fn sctp_services(&self) -> BTreeMap<Owner, Arc<str>> {
        let has = |owner: &Owner| self.services.known.get(owner).is_some_and(|service| service.has_sctp());
        self.told
            .iter()
            .filter(|(owner, _)| has(owner))
            .map(|(owner, uid)| (owner.clone(), uid.clone()))
            .collect()
    }

    /// A Service's facts and its slices, in the order of their names.
    pub fn get(&self, owner: &Owner) -> Option<(&ServiceFacts, Vec<&SliceFacts>)> {
        let service = self.services.known.get(owner)?;
        let names = self.by_service.get(owner).into_iter().flatten();
        Some((service, names.filter_map(|name| self.slices.known.get(name).map(Box::as_ref)).collect()))
    }
}
