//! What the cluster looks like to DNS: an index of the fields that names are made of.
//!
//! Enters: objects as they change. Leaves: look-ups by namespace and Service. One copy of a few fields, no whole objects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::RwLock;
use tokio::sync::watch;

/// Namespace and name.
pub type Key = (String, String);

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service, as far as names go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its virtual addresses; empty for a headless one.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None`.
    pub headless: bool,
    /// The target of an ExternalName Service.
    pub external_name: Option<String>,
    /// Names of endpoints that are not ready are published too.
    pub publish_not_ready: bool,
    /// Ports: name, protocol in lower case, number.
    pub ports: Vec<PortEntry>,
}

/// A named port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortEntry {
    /// The port's name; may be empty.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The number.
    pub port: u16,
}

/// An endpoint behind a headless Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointEntry {
    /// Its address.
    pub address: IpAddr,
    /// The pod's hostname, where it has one.
    pub hostname: Option<String>,
    /// Ready to serve (an unknown condition counts as ready).
    pub ready: bool,
}

/// Endpoints of one slice and the ports they share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceEntry {
    /// The endpoints, one entry per address.
    pub endpoints: Vec<EndpointEntry>,
    /// The ports.
    pub ports: Vec<PortEntry>,
}

/// The index.
#[derive(Debug, Default)]
pub struct World {
    /// Namespaces that exist.
    pub namespaces: HashSet<String>,
    /// Services.
    pub services: HashMap<Key, ServiceEntry>,
    /// Slices by their Service, then by their own name (ordered, so that answers are stable before shuffling).
    pub slices: HashMap<Key, BTreeMap<String, SliceEntry>>,
}

impl World {
    /// Adds or replaces a Service.
    pub fn put_service(&mut self, service: &Service) {
        if let Some(key) = key(&service.metadata) {
            self.services.insert(key, entry(service));
        }
    }

    /// Adds or replaces a slice; one without the Service's label is no name.
    pub fn put_slice(&mut self, slice: &EndpointSlice) {
        let Some((owner, name)) = slice_owner(slice) else { return };
        self.slices.entry(owner).or_default().insert(name, slice_entry(slice));
    }

    /// Removes a Service.
    pub fn remove_service(&mut self, service: &Service) {
        key(&service.metadata).map(|key| self.services.remove(&key));
    }

    /// Removes a slice.
    pub fn remove_slice(&mut self, slice: &EndpointSlice) {
        let Some((owner, name)) = slice_owner(slice) else { return };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(&name);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
    }

    /// Endpoints of a Service that are published, each with its slice's ports.
    pub fn published<'a>(
        &'a self,
        key: &Key,
        service: &'a ServiceEntry,
    ) -> impl Iterator<Item = (&'a EndpointEntry, &'a [PortEntry])> {
        let slices = self.slices.get(key).into_iter().flat_map(BTreeMap::values);
        slices.flat_map(move |slice| {
            let shown = slice.endpoints.iter().filter(|endpoint| endpoint.ready || service.publish_not_ready);
            shown.map(|endpoint| (endpoint, slice.ports.as_slice()))
        })
    }
}

fn key(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Option<Key> {
    Some((metadata.namespace.clone()?, metadata.name.clone()?))
}

fn slice_owner(slice: &EndpointSlice) -> Option<(Key, String)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone();
    Some(((slice.metadata.namespace.clone()?, service), slice.metadata.name.clone()?))
}

fn entry(service: &Service) -> ServiceEntry {
    let Some(spec) = &service.spec else { return ServiceEntry::default() };
    let listed = spec.cluster_ips.clone().unwrap_or_else(|| spec.cluster_ip.iter().cloned().collect());
    let ports = spec.ports.iter().flatten().map(|port| PortEntry {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
        port: u16::try_from(port.port).unwrap_or_default(),
    });
    ServiceEntry {
        headless: listed.iter().any(|ip| ip == "None"),
        cluster_ips: listed.iter().filter_map(|ip| ip.parse().ok()).collect(),
        external_name: spec.external_name.clone().filter(|_| spec.type_.as_deref() == Some("ExternalName")),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        ports: ports.collect(),
    }
}

fn slice_entry(slice: &EndpointSlice) -> SliceEntry {
    let endpoints = slice.endpoints.iter().flatten().flat_map(|endpoint| {
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
        let hostname = endpoint.hostname.clone().filter(|name| !name.is_empty());
        let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
        addresses.map(move |address| EndpointEntry { address, hostname: hostname.clone(), ready })
    });
    let ports = slice.ports.iter().flatten().map(|port| PortEntry {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
        port: port.port.and_then(|number| u16::try_from(number).ok()).unwrap_or_default(),
    });
    SliceEntry { endpoints: endpoints.collect(), ports: ports.collect() }
}

/// The index as the watchers write it and the server reads it.
#[derive(Clone)]
pub struct Shared {
    world: Arc<RwLock<World>>,
    synced: watch::Sender<bool>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { world: Arc::default(), synced: watch::Sender::new(false) }
    }
}

impl Shared {
    /// Reads the index; hold it for one answer only.
    pub fn read(&self) -> impl std::ops::Deref<Target = World> + '_ {
        self.world.read()
    }

    /// Changes the index.
    pub fn change(&self, with: impl FnOnce(&mut World)) {
        with(&mut self.world.write());
    }

    /// From now on an absent name is known not to exist.
    pub fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Whether the first listing is complete, waiting for it up to `limit`.
    pub async fn synced_within(&self, limit: std::time::Duration) -> bool {
        let mut receiver = self.synced.subscribe();
        if *receiver.borrow() {
            return true;
        }
        tokio::time::timeout(limit, receiver.wait_for(|synced| *synced))
            .await
            .is_ok_and(|waited| waited.is_ok())
    }
}
