//! Xebec's own node: the dataplane as the agent runs it, without an API server. Enters: the Services. Leaves: programs on
//! the client's cgroup and the node's devices, everything under a pin directory that goes when dropped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::{Value, json};
use tempfile::TempDir;
use xebec_dataplane::apply::Applier;
use xebec_dataplane::devices::Devices;
use xebec_dataplane::maps::pinned::PinnedMaps;
use xebec_dataplane::pods::{LocalPod, PodPaths};
use xebec_dataplane::world::World;
use xebec_dataplane::{Capacity, NodePorts, Options, addresses, node};

use crate::rig::{Rig, enter};
use crate::rules::PORT;
use crate::{frames, plan, server};

const NODE_NAME: &str = "bench-node";

/// The running dataplane.
pub(crate) struct Xebec {
    world: World,
    applier: Applier<PinnedMaps>,
    /// Dropped before what it is pinned under.
    devices: Devices,
    options: Options,
    _paths: PodPaths,
    pins: Pins,
    cgroup: Cgroup,
    _bpffs: BpfFs,
}

/// How long the objects of a whole sync or of single changes took.
pub(crate) struct Took {
    /// All Services and slices at once.
    pub(crate) full: Duration,
    /// One endpoint more or less of one Service, each, sorted.
    pub(crate) changes: Vec<Duration>,
}

struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The client that lived there has ended; the kernel lets go of it a little later.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct BpfFs(TempDir);

impl Drop for BpfFs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = xebec_dataplane::detach(&self.0);
    }
}

impl Xebec {
    /// Loads the programs; the calling thread is in the rig's node from then on.
    pub(crate) fn start(rig: &Rig, object: &Path, services: usize, endpoints: u8) -> Result<Self> {
        enter(&rig.node.path())?;
        let root = xebec_dataplane::attach::root_cgroup().context("the root of cgroup2")?;
        let cgroup = Cgroup(root.join(&rig.node.name));
        std::fs::create_dir(&cgroup.0)?;
        let bpffs = BpfFs(tempfile::tempdir()?);
        rustix::mount::mount("bpf", bpffs.0.path(), "bpf", MountFlags::empty(), None).context("mount bpf")?;
        let mut options = Options::new(NODE_NAME);
        options.cgroup_path = Some(cgroup.0.clone());
        options.bpf_object = Some(object.to_owned());
        options.pin_dir = bpffs.0.path().join("xebec");
        options.capacity = capacity(services, endpoints);
        let pins = Pins(options.pin_dir.clone());
        let (applier, mut devices) = xebec_dataplane::install(&options)?;
        let applier = introduced(applier, &mut devices)?;
        let mut paths = PodPaths::install(&options)?;
        for (netns, pod, addresses) in rig.pods(endpoints) {
            let ((device, node_mac), (_, mac)) = (rig.node.device(pod)?, netns.device("eth0")?);
            for address in addresses {
                paths.add(address.parse()?, &LocalPod { device, mac, node_mac })?;
            }
        }
        Ok(Self {
            world: World::default(),
            applier,
            devices,
            options,
            _paths: paths,
            pins,
            cgroup,
            _bpffs: bpffs,
        })
    }

    /// Puts the programs into the drivers, too.
    pub(crate) fn drive(&mut self) -> Result<()> {
        self.options.xdp = true;
        let (applier, mut devices) = xebec_dataplane::install(&self.options)?;
        self.applier = introduced(applier, &mut devices)?;
        self.devices = devices;
        Ok(())
    }

    /// The cgroup whose processes it serves.
    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup.0
    }

    /// Where its programs and maps are pinned.
    pub(crate) fn pins(&self) -> PathBuf {
        self.pins.0.join(format!("v{}", xebec_abi::LAYOUT_VERSION))
    }

    /// Replaces all Services, then changes the endpoints of one, `changes` times.
    pub(crate) fn fill(&mut self, services: usize, endpoints: u8, changes: usize) -> Result<Took> {
        let objects: Vec<Service> =
            (0..=services).map(|index| service(index, services)).collect::<Result<_>>()?;
        let mut slices = Vec::new();
        for index in 0..services {
            let addresses = plan::endpoints(index, services, endpoints);
            slices.push(slice(index, services, &addresses)?);
        }
        slices.push(elsewhere(services)?);
        self.world.service(Event::Init);
        objects.into_iter().for_each(|object| self.world.service(Event::InitApply(object)));
        self.world.service(Event::InitDone);
        self.world.slice(Event::Init);
        slices.into_iter().for_each(|object| self.world.slice(Event::InitApply(object)));
        self.world.slice(Event::InitDone);
        let start = Instant::now();
        self.apply()?;
        let full = start.elapsed();
        self.rest();
        let mut times = Vec::with_capacity(changes);
        // Never one that is called: its clients would see the change.
        let index = services / 3;
        for turn in (0..changes).rev() {
            let addresses = plan::endpoints(index, services, endpoints);
            let some = if turn % 2 == 1 { &addresses[1..] } else { &addresses[..] };
            self.world.slice(Event::Apply(slice(index, services, some)?));
            let start = Instant::now();
            self.apply()?;
            times.push(start.elapsed());
            self.rest();
        }
        times.sort_unstable();
        Ok(Took { full, changes: times })
    }

    fn apply(&mut self) -> Result<()> {
        let applied = self.applier.apply(&mut self.world)?;
        ensure!(applied.full.is_empty(), "full: {:?}", applied.full);
        Ok(())
    }

    /// The grace period after which replaced slots may be used again.
    fn rest(&mut self) {
        if let Some(grace) = self.applier.seal() {
            std::thread::sleep(Duration::from_millis(2));
            self.applier.release(grace);
        }
    }
}

/// Tells the programs the node's addresses and devices, as the agent does when they change.
fn introduced(mut applier: Applier<PinnedMaps>, devices: &mut Devices) -> Result<Applier<PinnedMaps>> {
    let found = addresses::outside_devices()?;
    ensure!(found.len() == 1, "the node has other devices than its wire: {found:?}");
    let own = node::node_addresses(&addresses::local_addresses()?, &NodePorts::Everywhere, &[]);
    applier.maps().set_node_addresses(&own)?;
    applier.maps().tracked().set_devices(&found)?;
    devices.refresh(found)?;
    Ok(applier)
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
