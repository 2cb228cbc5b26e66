//! Xebec's own node: the dataplane as the agent runs it, without an API server. Enters: the Services. Leaves: programs on
//! the client's cgroup and the node's devices, everything under a pin directory that goes when dropped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use xebec_dataplane::Capacity;
use xebec_dataplane::pods::{LocalPod, PodPaths};
use xebec_rig::objects::Agent;
use xebec_rig::{Place, enter};

use crate::latencies::Latencies;
use crate::rig::Rig;
use crate::rules::PORT;
use crate::{frames, plan, server};

const NODE_NAME: &str = "bench-node";

/// The running dataplane.
pub(crate) struct Xebec {
    /// Dropped before what it is pinned under.
    agent: Agent,
    paths: PodPaths,
    place: Place,
}

/// How long the objects of a whole sync or of single changes took.
pub(crate) struct Took {
    /// All Services and slices at once.
    pub(crate) full: Duration,
    /// One endpoint more or less of one Service, each.
    pub(crate) changes: Latencies,
}

impl Xebec {
    /// Loads the programs; the calling thread is in the rig's node from then on.
    pub(crate) fn start(rig: &Rig, object: &Path, services: usize, endpoints: u8) -> Result<Self> {
        enter(&rig.node.path());
        let mut place = Place::new(&rig.node.name, NODE_NAME, object.to_owned());
        place.options.devices = None;
        place.options.capacity = capacity(services, endpoints);
        let mut agent = Agent::new(&place.options);
        let devices = agent.refresh();
        ensure!(devices == ["wire"], "the node has other devices than its wire: {devices:?}");
        let paths = PodPaths::install(&place.options)?;
        let mut xebec = Self { agent, paths, place };
        xebec.lead_past_the_stack(rig, endpoints, true)?;
        Ok(xebec)
    }

    /// Gives the pods their way past the node's IP stack, or takes it; the calling thread is in the rig's node.
    pub(crate) fn lead_past_the_stack(&mut self, rig: &Rig, endpoints: u8, past: bool) -> Result<()> {
        if !past {
            self.paths.remove_all()?;
            return Ok(());
        }
        for (netns, pod, addresses) in rig.pods(endpoints) {
            let ((device, node_mac), (_, mac)) = (rig.node.device(pod), netns.device("eth0"));
            for address in addresses {
                self.paths.add(address.parse()?, &LocalPod { device, mac, node_mac })?;
            }
        }
        Ok(())
    }

    /// Puts the programs into the drivers, too; the calling thread is in the rig's node.
    pub(crate) fn drive(&mut self) {
        self.place.options.xdp = true;
        self.agent = Agent::new(&self.place.options);
        self.agent.refresh();
    }

    /// The cgroup whose processes it serves.
    pub(crate) fn cgroup(&self) -> &Path {
        self.place.cgroup()
    }

    /// Where its programs and maps are pinned.
    pub(crate) fn pins(&self) -> PathBuf {
        self.place.pins()
    }

    /// Replaces all Services, then changes the endpoints of one, `changes` times.
    pub(crate) fn fill(&mut self, services: usize, endpoints: u8, changes: usize) -> Result<Took> {
        self.learn(services, endpoints)?;
        let start = Instant::now();
        self.apply()?;
        let full = start.elapsed();
        self.rest();
        let mut times = Latencies::new()?;
        // Never one that is called: its clients would see the change.
        let index = services / 3;
        for turn in (0..changes).rev() {
            let addresses = plan::endpoints(index, services, endpoints);
            let some = if turn % 2 == 1 { &addresses[1..] } else { &addresses[..] };
            self.agent.world.slice(Event::Apply(slice(index, services, some)?));
            let start = Instant::now();
            self.apply()?;
            times.record(start.elapsed());
            self.rest();
        }
        Ok(Took { full, changes: times })
    }

    /// Hears of all Services, as from the API's first lists.
    pub(crate) fn learn(&mut self, services: usize, endpoints: u8) -> Result<()> {
        let world = &mut self.agent.world;
        world.service(Event::Init);
        for index in 0..=services {
            world.service(Event::InitApply(service(index, services)?));
        }
        world.service(Event::InitDone);
        world.slice(Event::Init);
        for index in 0..services {
            let addresses = plan::endpoints(index, services, endpoints);
            world.slice(Event::InitApply(slice(index, services, &addresses)?));
        }
        world.slice(Event::InitApply(elsewhere(services)?));
        world.slice(Event::InitDone);
        Ok(())
    }

    /// Brings the maps up to date.
    pub(crate) fn apply(&mut self) -> Result<()> {
        let applied = self.agent.applier.apply(&mut self.agent.world)?;
        ensure!(applied.full.is_empty(), "full: {:?}", applied.full);
        Ok(())
    }

    /// The grace period after which replaced slots may be used again.
    fn rest(&mut self) {
        if let Some(grace) = self.agent.applier.seal() {
            std::thread::sleep(Duration::from_millis(2));
            self.agent.applier.release(grace);
        }
    }
}

/// What the Services need, the default at least.
fn capacity(services: usize, endpoints: u8) -> Capacity {
    let all = u32::try_from(services * usize::from(endpoints)).unwrap_or(u32::MAX);
    Capacity::of_endpoints(all.max(Capacity::ENDPOINTS))
}

fn service(index: usize, services: usize) -> Result<Service> {
    let mut ports = vec![json!({"name": "tcp", "port": PORT, "targetPort": server::PORT, "protocol": "TCP"})];
    if index + 1 == services {
        ports.push(json!({"name": "udp", "port": PORT, "targetPort": server::PORT, "protocol": "UDP"}));
    }
    let mut node_port = plan::node_port(index, services);
    if index == services {
        node_port = Some(frames::PORT);
        ports[0]["protocol"] = json!("UDP");
    }
    if let Some(number) = node_port {
        ports[0]["nodePort"] = json!(number);
    }
    let ip = plan::virtual_ip(index);
    object(json!({
        "metadata": {"name": format!("s{index}"), "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "type": if node_port.is_some() { "NodePort" } else { "ClusterIP" },
            "clusterIP": ip, "clusterIPs": [ip], "ports": ports,
        },
    }))
}

fn slice(index: usize, services: usize, addresses: &[String]) -> Result<EndpointSlice> {
    let mut ports = vec![json!({"name": "tcp", "port": server::PORT, "protocol": "TCP"})];
    if index + 1 == services {
        ports.push(json!({"name": "udp", "port": server::PORT, "protocol": "UDP"}));
    }
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "nodeName": NODE_NAME, "conditions": {"ready": true}}))
        .collect();
    object(json!({
        "metadata": {
            "name": format!("s{index}-a"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("s{index}")},
        },
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    }))
}

/// The slice of the one Service beyond `services`, whose endpoint is on another node.
fn elsewhere(services: usize) -> Result<EndpointSlice> {
    object(json!({
        "metadata": {
            "name": "elsewhere", "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("s{services}")},
        },
        "addressType": "IPv4",
        "ports": [{"name": "tcp", "port": server::PORT, "protocol": "UDP"}],
        "endpoints": [{"addresses": [frames::FAR], "nodeName": "another", "conditions": {"ready": true}}],
    }))
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}
