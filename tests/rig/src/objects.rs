//! API objects and the events that carry them, as the API server would send them.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use xebec_dataplane::apply::Applier;
use xebec_dataplane::devices::Devices;
use xebec_dataplane::maps::pinned::PinnedMaps;
use xebec_dataplane::maps::tracked::DeviceAddresses;
use xebec_dataplane::node::node_addresses;
use xebec_dataplane::sctp::{Addresses, Kernel, Table, Wanted};
use xebec_dataplane::tunnel::Tunnel;
use xebec_dataplane::world::World;
use xebec_dataplane::{NodePorts, PacketPod, SourceRange, addresses, packet_pods};

use crate::netns::NetNs;

/// A ClusterIP Service with some more of a spec.
pub fn service(name: &str, ips: &[&str], ports: Value, extra: Value) -> Service {
    let mut spec = json!({"type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": ips, "ports": ports});
    spec.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    }))
    .unwrap()
}

/// A slice of one port; `endpoints` are addresses, a trailing `@node` names the node.
pub fn slice(service: &str, port: u16, protocol: &str, endpoints: &[&str]) -> EndpointSlice {
    let v6 = endpoints.first().is_some_and(|e| e.contains(':'));
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|e| {
            let (address, node) = e.split_once('@').unwrap_or((e, "node-b"));
            json!({"addresses": [address], "nodeName": node, "conditions": {"ready": true}})
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("{service}-{protocol}-{v6}").to_lowercase(), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "ports": [{"name": protocol.to_lowercase(), "port": port, "protocol": protocol}],
        "endpoints": endpoints,
    }))
    .unwrap()
}

/// The agent's loop without the API server: objects in, maps out.
#[derive(Debug)]
pub struct Agent {
    /// Its maps.
    pub applier: Applier<PinnedMaps>,
    /// Its programs on devices.
    pub devices: Devices,
    /// What it knows of the API.
    pub world: World,
    /// The tables of SCTP, if it is to serve that: see [`Agent::serve_sctp`].
    pub sctp: Option<Sctp>,
}

/// The tables of SCTP, and what there is to be.
#[derive(Debug)]
pub struct Sctp {
    /// The tables.
    pub table: Table<Kernel>,
    /// What there is to be.
    pub wanted: Wanted,
}

impl Agent {
    /// Installs the dataplane; the calling thread is in the node's namespace.
    pub fn new(options: &xebec_dataplane::Options) -> Self {
        let (applier, devices) = xebec_dataplane::install(options).unwrap();
        Self { applier, devices, world: World::default(), sctp: None }
    }

    /// Serves SCTP from now on, in the network namespace of whoever calls this and [`Agent::apply`]; `pods` are the networks
    /// of the cluster's pods, as far as they are known.
    pub fn serve_sctp(&mut self, options: &xebec_dataplane::Options, pods: &[&str]) {
        let pods = pods.iter().map(|range| SourceRange::parse(range).unwrap()).collect();
        let own = node_addresses(&addresses::local_addresses().unwrap(), &options.node_ports, &[]);
        let wanted = Wanted { addresses: Addresses::new(&own, pods), ..Wanted::default() };
        self.sctp = Some(Sctp { table: Table::new(Kernel, &options.pin_dir), wanted });
    }

    /// Tells the programs the addresses and devices of the node, whose namespace the calling thread is in, as the agent
    /// does when they change; returns the names of the devices they are on.
    pub fn refresh(&mut self) -> Vec<String> {
        let found = addresses::outside_devices().unwrap();
        let own = node_addresses(&addresses::local_addresses().unwrap(), &NodePorts::Everywhere, &[]);
        self.applier.maps().set_node_addresses(&own).unwrap();
        let mut addresses: Vec<IpAddr> = found.values().flat_map(|d| d.addresses.clone()).collect();
        addresses.sort_unstable();
        let pods =
            packet_pods::present(self.applier.maps(), &DeviceAddresses { addresses, ..Default::default() })
                .unwrap();
        let all = found.iter().chain(&pods).map(|(index, device)| (*index, device.clone())).collect();
        self.applier.maps().tracked().set_devices(&all).unwrap();
        self.devices.serve_pods(&pods).unwrap();
        let on = self.devices.refresh(found).unwrap();
        let mut names: Vec<String> = on.into_values().map(|device| device.name).collect();
        names.sort_unstable();
        names
    }

    /// Serves a pod of the node packet by packet, by its device; the calling thread is in the node's namespace.
    pub fn serve_packets(&mut self, device: u32, pod: &NetNs) {
        let netns = packet_pods::netns_cookie(&pod.path()).unwrap();
        let own = DeviceAddresses::default();
        packet_pods::serve(self.applier.maps(), &mut self.devices, PacketPod { device, netns }, &own)
            .unwrap();
        self.refresh();
    }

    /// The first lists.
    pub fn sync(&mut self, services: Vec<Service>, slices: Vec<EndpointSlice>) {
        self.list(services, slices);
        self.apply();
    }

    /// The first lists, not applied yet.
    pub fn list(&mut self, services: Vec<Service>, slices: Vec<EndpointSlice>) {
        self.world.service(Event::Init);
        services.into_iter().for_each(|s| self.world.service(Event::InitApply(s)));
        self.world.service(Event::InitDone);
        self.world.slice(Event::Init);
        slices.into_iter().for_each(|s| self.world.slice(Event::InitApply(s)));
        self.world.slice(Event::InitDone);
    }

    /// Brings the maps up to date; the calling thread is in the node's namespace if programs of another layout serve until then.
    pub fn apply(&mut self) {
        let applied = self.applier.apply(&mut self.world).unwrap();
        assert_eq!(applied.full, []);
        if self.devices.waits() && self.applier.is_complete() {
            self.devices.go_live().unwrap();
        }
        if let Some(sctp) = &mut self.sctp {
            if let Some(ports) = self.applier.take_sctp() {
                sctp.wanted.ports = Some(ports);
            }
            sctp.table.sync(&sctp.wanted).unwrap();
        }
        // The grace period: a real one costs milliseconds, which these tests can afford.
        if let Some(grace) = self.applier.seal() {
            std::thread::sleep(std::time::Duration::from_millis(2));
            self.applier.release(grace);
        }
        if let Some(ranges) = self.world.ranges() {
            assert_eq!(self.applier.maps().set_cluster_ranges(&ranges).unwrap(), []);
        }
    }

    /// The list of ServiceCIDRs, one for each text of networks.
    pub fn set_cidrs(&mut self, objects: &[&[&str]]) {
        self.world.service_cidr(Event::Init);
        for (i, cidrs) in objects.iter().enumerate() {
            let object = json!({"metadata": {"name": format!("c{i}")}, "spec": {"cidrs": cidrs}});
            self.world.service_cidr(Event::InitApply(serde_json::from_value(object).unwrap()));
        }
        self.world.service_cidr(Event::InitDone);
        self.apply();
    }

    /// The first list of Nodes, and direct server return through them, as the agent does before it applies Services. `own` are
    /// this node's addresses; the calling thread is in its namespace.
    pub fn follow_nodes(
        &mut self,
        options: &xebec_dataplane::Options,
        nodes: &[(&str, &[&str])],
        own: &[&str],
    ) {
        self.world.node(Event::Init);
        for (name, addresses) in nodes {
            let addresses: Vec<Value> =
                addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
            let node = json!({"metadata": {"name": name}, "status": {"addresses": addresses}});
            self.world.node(Event::InitApply(serde_json::from_value(node).unwrap()));
        }
        self.world.node(Event::InitDone);
        let own: Vec<IpAddr> = own.iter().map(|a| a.parse().unwrap()).collect();
        let mut tunnel = Tunnel::open(&options.pin_dir).unwrap();
        let outside = addresses::network_devices().unwrap().into_keys().collect();
        tunnel.up(&mut self.devices, options.tunnel_port, &outside, &own).unwrap();
        let wanted = self.world.take_direct(&options.node_name, &own).unwrap();
        tunnel.widen(&wanted).unwrap();
        tunnel.narrow(&wanted).unwrap();
    }

    /// One slice is there or changed.
    pub fn set_slice(&mut self, slice: EndpointSlice) {
        self.world.slice(Event::Apply(slice));
        self.apply();
    }
}

/// One port, for TCP and for UDP.
pub fn tcp_udp(port: u16) -> Value {
    json!([
        {"name": "tcp", "port": port, "protocol": "TCP"},
        {"name": "udp", "port": port, "protocol": "UDP"},
    ])
}
