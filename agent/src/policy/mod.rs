//! NetworkPolicy on this node. Enters: NetworkPolicies, Namespaces and all Pods of the API; pods that the network is about
//! to connect. Leaves: the kernel's tables (`xebec_dataplane::policy`), and pods let through the gate once theirs are there.
//!
//! A change elsewhere in the cluster costs what depends on it: the index keeps the tables, and devices are looked at only when
//! one of this node's pods, or what selects them, changed.
//!
//! Until everything was listed once, and whenever the API server is away, what is in the kernel stays.

mod gate;
mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};
use xebec_dataplane::policy::Policies;
use xebec_dataplane::policy::plan::PodName;
use xebec_dataplane::{MoreMetrics, Options, addresses};
use xebec_policy::Index;
use xebec_program::Failure;

use self::gate::Place;
pub(crate) use self::gate::PolicyGate;
use self::known::Known;

/// Between two looks at what can be removed, or tried again.
const TICK: Duration = Duration::from_secs(1);

/// Policies in the kernel, and who waits for them.
pub(crate) struct Enforcer {
    policies: Arc<Mutex<Policies>>,
    gate: Arc<PolicyGate>,
    node: String,
    known: Known,
    index: Index,
    /// Where this node's pods are, and the devices of those that are selected, as of the last look.
    places: BTreeMap<PodName, Place>,
    devices: BTreeMap<PodName, u32>,
    /// What the index told last has not all come to the kernel: a step from there would miss it.
    missed: bool,
    /// Pods already complained of.
    homeless: BTreeSet<PodName>,
}

impl Enforcer {
    /// Loads the programs; pods that were isolated stay so. `dns`: the addresses of the cluster DNS if this agent serves it.
    pub(crate) fn new(options: &Options, dns: &[IpAddr]) -> Result<Self, Failure> {
        let policies =
            Policies::install(options).map_err(|error| Failure::part("network policies")(&error))?;
        let mut index = Index::default();
        if !dns.is_empty() {
            // No pod of the API is without a namespace.
            let pod = known::dns(dns);
            index.pod(&(String::new(), pod.name.clone()), Some((Arc::new(pod), false)));
        }
        Ok(Self {
            policies: Arc::new(Mutex::new(policies)),
            gate: Arc::default(),
            node: options.node_name.clone(),
            known: Known::default(),
            index,
            places: BTreeMap::new(),
            devices: BTreeMap::new(),
            missed: false,
            homeless: BTreeSet::new(),
        })
    }

    /// Where the pod network asks.
    pub(crate) fn gate(&self) -> Arc<PolicyGate> {
        self.gate.clone()
    }

    /// For the metrics.
    pub(crate) fn policies(&self) -> Arc<Mutex<Policies>> {
        self.policies.clone()
    }

    /// Follows the API until `stop`; everything stays in the kernel.
    pub(crate) async fn follow(mut self, client: Client, stop: CancellationToken) {
        let config = watcher::Config::default;
        let mut policies =
            pin!(watcher(Api::<NetworkPolicy>::all(client.clone()), config()).default_backoff());
        let mut namespaces = pin!(watcher(Api::<Namespace>::all(client.clone()), config()).default_backoff());
        let mut pods = pin!(watcher(Api::<Pod>::all(client), config()).default_backoff());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let gate = self.gate.clone();
        // Whether the node's devices are to be looked at: at first, when a pod came, and after a failure.
        let mut look = true;
        loop {
            let mut changed = tokio::select! {
                () = stop.cancelled() => return,
                event = policies.next() => self.policy(event),
                event = namespaces.next() => take(event, "namespaces", |event| self.known.namespace(event)),
                event = pods.next() => take(event, "pods", |event| self.known.pod(event)),
                () = gate.arrival() => {
                    look = true;
                    true
                }
                _ = tick.tick() => {
                    self.collect();
                    false
                }
            };
            // Everything that has already arrived is applied together.
            changed |= drain(&mut policies, |event| self.policy(event));
            changed |= drain(&mut namespaces, |event| {
                take(event, "namespaces", |event| self.known.namespace(event))
            });
            changed |= drain(&mut pods, |event| take(event, "pods", |event| self.known.pod(event)));
            if self.known.is_synced() && (changed || look) {
                look = !self.apply(look);
            }
        }
    }

    fn policy(&mut self, event: Option<Result<Event<NetworkPolicy>, watcher::Error>>) -> bool {
        let tell =
            |error| warn!(%error, "a policy cannot be read: its pods are isolated and it allows nothing");
        take(event, "networkpolicies", |event| self.known.policy(event, tell))
    }

    /// Removes from the kernel what was taken out of use.
    fn collect(&self) {
        if let Err(error) = self.policies.lock().collect() {
            warn!(error = %xebec_program::chain(&error), "cannot remove old rules; will try again");
        }
    }

    /// Brings the kernel in step; false if that is to be tried again.
    fn apply(&mut self, look: bool) -> bool {
        let mut devices = None;
        if look || self.known.has_news_of(&self.node) {
            let Some(found) = list_devices() else { return false };
            self.places = self.gate.places(|index| found.iter().any(|device| device.index == index));
            devices = Some(found);
        }
        let attached =
            self.places.iter().map(|(pod, Place { addresses, .. })| (pod.clone(), addresses.clone()));
        self.known.tell(&mut self.index, &self.node, attached.collect());
        let changed = self.index.update();
        let missed = std::mem::replace(&mut self.missed, true);
        let is_found = |pod| self.devices.contains_key(pod);
        if devices.is_some() || !self.index.tables().selected.keys().all(is_found) {
            let Some(devices) = devices.or_else(list_devices) else { return false };
            self.find(&devices);
        }
        let (mut policies, tables) = (self.policies.lock(), self.index.tables());
        let result = if missed {
            policies.apply(tables, &self.devices)
        } else {
            policies.step(tables, &self.devices, &changed)
        };
        match result {
            Ok(0) => {}
            Ok(writes) => debug!(writes, selected = self.devices.len(), "applied network policies"),
            Err(error) => {
                error!(error = %xebec_program::chain(&error), "cannot apply network policies; will try again");
                return false;
            }
        }
        self.missed = false;
        self.gate.open(&self.places, |pod| self.known.has_pod(pod));
        true
    }

    /// Finds the devices of selected pods.
    fn find(&mut self, devices: &[addresses::Ethernet]) {
        let by_name: BTreeMap<&str, u32> =
            devices.iter().map(|device| (device.name.as_str(), device.index)).collect();
        let read =
            |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        let mut routes = host_routes(&read("route"));
        routes.extend(host_routes6(&read("ipv6_route")));
        let selected = &self.index.tables().selected;
        self.devices.clear();
        for pod in selected.keys() {
            // A pod of an earlier agent: its address leads to its device.
            let addresses = self.known.addresses(pod);
            let routed = || {
                let routes = addresses.iter().filter_map(|address| routes.get(address));
                routes.filter_map(|device| by_name.get(device.as_str())).copied().next()
            };
            if let Some(index) = self.places.get(pod).map(|place| place.index).or_else(routed) {
                self.devices.insert(pod.clone(), index);
                self.homeless.remove(pod);
            } else if !addresses.is_empty() && self.homeless.insert(pod.clone()) {
                warn!(
                    namespace = pod.0,
                    name = pod.1,
                    "no route leads to a device of this pod; its policies wait"
                );
            }
        }
        self.homeless.retain(|pod| selected.contains_key(pod));
    }
}

/// The node's devices; none, and the reason in the log, if they cannot be listed.
fn list_devices() -> Option<Vec<addresses::Ethernet>> {
    let devices = addresses::ethernet_devices();
    devices.inspect_err(|error| error!(%error, "cannot list the node's devices")).ok()
}

/// Adds the policies' metrics to others.
pub(crate) fn metrics(MoreMetrics(others): MoreMetrics, policies: Arc<Mutex<Policies>>) -> MoreMetrics {
    MoreMetrics(Arc::new(move |text| {
        others(text);
        policies.lock().write_metrics(text);
    }))
}

/// Takes an event of a watch; true if it changed something. Errors are logged: the watch takes itself up again.
fn take<T>(
    event: Option<Result<Event<T>, watcher::Error>>,
    what: &str,
    apply: impl FnOnce(Event<T>) -> bool,
) -> bool {
    match event {
        Some(Ok(event)) => apply(event),
        Some(Err(error)) => {
            warn!(error = %xebec_program::chain(&error), what, "cannot watch, taking it up again");
            false
        }
        None => false,
    }
}

/// Takes the events that are there already; true if they changed something.
fn drain<T>(events: &mut (impl Stream<Item = T> + Unpin), mut apply: impl FnMut(Option<T>) -> bool) -> bool {
    let mut changed = false;
    while let Some(Some(event)) = events.next().now_or_never() {
        changed |= apply(Some(event));
    }
    changed
}

/// The devices that single addresses are routed to, from the text of /proc/net/route. PURE.
fn host_routes(text: &str) -> BTreeMap<IpAddr, String> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (device, address, mask) = (fields.first()?, fields.get(1)?, fields.get(7)?);
        let number = u32::from_str_radix(address, 16).ok()?;
        // The kernel prints the word as it lies in memory.
        (*mask == "FFFFFFFF")
            .then(|| (IpAddr::V4(Ipv4Addr::from(number.to_ne_bytes())), (*device).to_owned()))
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// The same of IPv6, from the text of /proc/net/ipv6_route: address and prefix length first, the device last. PURE.
fn host_routes6(text: &str) -> BTreeMap<IpAddr, String> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, length, device) = (fields.first()?, fields.get(1)?, fields.last()?);
        let number = u128::from_str_radix(address, 16).ok()?;
        (*length == "80" && *device != "lo")
            .then(|| (IpAddr::from(number.to_be_bytes()), (*device).to_owned()))
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_addresses_lead_to_their_devices() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                    xeb0123456789ab\t0500F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";
        let found = host_routes(text);
        let expected = (IpAddr::from([10, 244, 0, 5]), "xeb0123456789ab".to_owned());
        assert_eq!(found, BTreeMap::from([expected]));
        assert!(host_routes("").is_empty());
        let zero = "00000000000000000000000000000000";
        let line = |address: &str, length: &str, device: &str| {
            format!("{address} {length} {zero} 00 {zero} 00000400 00000001 00000000 00000001 {device:>8}\n")
        };
        let pod = "fd000010024400000000000000000005";
        let all = [line(pod, "80", "xeb0123456789ab"), line(pod, "40", "eth0"), line(zero, "80", "lo")];
        let expected = ("fd00:10:244::5".parse().unwrap(), "xeb0123456789ab".to_owned());
        assert_eq!(host_routes6(&all.concat()), BTreeMap::from([expected]));
    }
}
