//! Endpoints on a node that is behind the pod network's own tunnel.

use serde_json::json;
use xebec_dataplane::Options;
use xebec_dataplane::addresses::{POD_TUNNEL, network_devices};
use xebec_network::TUNNEL_DEVICE;
use xebec_network::peers::{Peer, Plan, Routing, plan};
use xebec_network::routes::{apply, own_addresses};
use xebec_rig::ask::{ask_tcp, ask_udp, exchange};
use xebec_rig::cluster::{Cluster, Node};
use xebec_rig::objects::{Agent, service, slice};
use xebec_rig::within;

use super::{FIRST, SECOND, agents, all_checksum_errors, objects, returned, returning, servers};
use crate::packet::{node_port, path_mtu, unfragmented};

/// Puts the pod network's tunnel in the place of the rig's routes between pods.
pub fn dig(node: &Node, other: &Node) {
    let share = |node: &Node| format!("10.244.{}.0/24", node.number);
    node.netns.ip(&format!("route del {}", share(other)));
    let addresses = vec![format!("10.198.0.10{}", other.number).parse().unwrap()];
    let peer = Peer { created: 0, addresses, pod_cidrs: vec![share(other)] };
    let (peers, own) = ([(other.name().to_owned(), peer)].into(), [share(node).parse().unwrap()]);
    let work = async {
        let plan = plan(Routing::Vxlan, &own, &own_addresses().await.unwrap(), &peers, &Plan::default());
        apply(&plan, &own, 8472).await.unwrap()
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let applied = within(&node.netns, || runtime().block_on(work));
    assert_eq!((applied.added, applied.failed.len()), (1, 0), "{applied:?}");
}

#[test]
fn a_node_port_leads_through_the_pods_tunnel() {
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    let _bulk = returning(&pod, "10.244.2.1:9090");
    let (mut services, mut slices) = objects(json!({}), &["10.244.2.1@node-2"], &[]);
    let bulk = json!([{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30090}]);
    services.push(service("bulk", &["10.196.77.2", "fd96::78"], bulk, node_port(json!({}))));
    slices.push(slice("bulk", 9090, "TCP", &["10.244.2.1@node-2"]));
    let mut agents = agents(&cluster, &(services, slices));
    for (at, agent) in agents.iter_mut().enumerate() {
        let node = &cluster.nodes[at];
        dig(node, &cluster.nodes[1 - at]);
        let devices = within(&node.netns, || agent.refresh());
        assert_eq!(devices, ["back", "wire", TUNNEL_DEVICE]);
    }
    // The pod sees the node by the address of its tunnel, which leads back through it.
    let outside = &cluster.outside[0];
    for _ in 0..5 {
        assert_eq!(ask_tcp(outside, FIRST), "B 10.244.1.0");
        assert_eq!(ask_udp(outside, FIRST, 10), "B 10.244.1.0 10");
    }
    assert_eq!(ask_udp(outside, FIRST, 4000), "B 10.244.1.0 4000", "in fragments");
    assert!(returned(outside, "10.199.0.101:30090"));
    let mtu = within(outside, || {
        let socket = unfragmented(FIRST);
        assert_eq!(exchange(&socket, 100), "B 10.244.1.0 100");
        path_mtu(&socket, false, 1472)
    });
    assert_eq!(mtu, 1450, "the client is told of the tunnel's width");
    // A pod's own calls are translated once, at the socket, and the endpoint sees the pod; but for another node's address, which
    // its packets go to by the nodes' network: that node answers the pod by the tunnel, and is who it called.
    let caller = cluster.nodes[0].pod(1);
    let mut client = cluster.nodes[0].client(&caller);
    for to in [FIRST, SECOND, "10.196.77.1:80"] {
        assert_eq!(client.ask(&format!("tcp {to}")), format!("B 10.244.1.1 {to}"), "{to}");
    }
    assert_eq!(all_checksum_errors(&cluster, &[&pod, &caller]), 0);
}

#[test]
fn whoever_names_devices_means_those_that_traffic_enters_by() {
    assert_eq!(POD_TUNNEL, TUNNEL_DEVICE);
    let Some(cluster) = Cluster::new(2, 1, 1500) else { return };
    let pod = cluster.nodes[1].pod(1);
    let _servers = servers(&pod, "B", "10.244.2.1", "fd44:2::1");
    dig(&cluster.nodes[0], &cluster.nodes[1]);
    dig(&cluster.nodes[1], &cluster.nodes[0]);
    let node = &cluster.nodes[0];
    let options = Options { devices: Some(vec!["wire".to_owned()]), ..node.place().options.clone() };
    let (services, slices) = objects(json!({}), &["10.244.2.1@node-2"], &[]);
    let _agent = within(&node.netns, || {
        let mut agent = Agent::new(&options);
        assert_eq!(agent.refresh(), ["wire", TUNNEL_DEVICE]);
        agent.sync(services, slices);
        agent
    });
    // By a program on one device in, by one on the tunnel out, and back by both.
    assert_eq!(ask_tcp(&cluster.outside[0], FIRST), "B 10.244.1.0");
    // Other nodes, and whoever asks for an address, are elsewhere.
    let networks = within(&node.netns, || network_devices().unwrap());
    let mut names: Vec<String> = networks.into_values().map(|device| device.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["back", "wire"]);
}
