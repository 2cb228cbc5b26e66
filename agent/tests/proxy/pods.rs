//! Pods of other nodes by the program itself: `xebec-agent cni` follows the cluster's Nodes and keeps the routes to their pods.

use std::process::Command;

use serde_json::json;

use crate::stage::Stage;
use crate::until;

fn ip(stage: &Stage, words: &str) -> String {
    let output = Command::new("ip").args(["-n", &stage.rig.server_ns.name]).args(words.split(' ')).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

fn node(stage: &Stage, name: &str, address: &str, pods: &[&str]) {
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"podCIDR": pods[0], "podCIDRs": pods},
    }));
    stage.apply_status(&json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }));
}

#[test]
fn routes_to_other_nodes_pods_follow_the_clusters_nodes() {
    let Some(mut stage) = Stage::new() else { return };
    let node = |stage: &Stage, name: &str, address: &str, pods: &str| node(stage, name, address, &[pods]);
    node(&stage, "node-a", "10.199.0.2", "10.244.101.0/24");
    node(&stage, "node-b", "10.199.0.1", "10.244.102.0/24");
    node(&stage, "node-c", "10.198.0.9", "10.244.103.0/24");
    // It cannot have this node's own.
    node(&stage, "node-d", "10.199.0.4", "10.244.101.128/25");
    let mut network = stage.pod_network(&["--pod-vxlan-port=8475"]);
    let routes = |stage: &Stage| ip(stage, "route show proto 88");
    let all = until("routes", || routes(&stage), |routes| routes.lines().count() == 2);
    assert!(all.contains("10.244.102.0/24 via 10.199.0.1 dev wire"), "{all}");
    assert!(all.contains("10.244.103.0/24  encap ip id 1") && all.contains(" dst 10.198.0.9 "), "{all}");
    assert!(ip(&stage, "-d link show xebec-pods").contains("dstport 8475"));
    let refusal = "node node-d: 10.244.101.128/25 has addresses of this node's own pods";
    until("the reason", || network.log(), |log| log.contains(refusal));

    node(&stage, "node-c", "10.198.0.10", "10.244.103.0/24");
    until("another address", || routes(&stage), |routes| routes.contains(" dst 10.198.0.10 "));
    stage.api("DELETE", "/api/v1/nodes/node-c");
    let left = until("a node less", || routes(&stage), |routes| routes.lines().count() == 1);
    assert!(left.contains("10.244.102.0/24"), "{left}");
    until("no tunnel", || ip(&stage, "-br link"), |links| !links.contains("xebec-pods"));
    assert_eq!(network.log().matches(refusal).count(), 1, "{}", network.log());

    // Neither an outage of the API server nor the end of the program takes a route away.
    stage.kill_control();
    until("the outage", || network.log(), |log| log.contains("routes to other nodes' pods stay as they are"));
    assert_eq!(routes(&stage), left);
    assert_eq!(network.terminate(), Some(0), "{}", network.log());
    assert_eq!(routes(&stage), left);
    // It starts without the API server, with what it remembers, and removes nothing; who left meanwhile goes afterwards.
    let mut network = stage.pod_network(&["--pod-routing=vxlan"]);
    until("pods' network", || network.log(), |log| log.contains("pod network ready"));
    assert_eq!(routes(&stage), left);
    stage.start_control();
    until("by the tunnel", || routes(&stage), |routes| routes.contains(" dst 10.199.0.1 "));
    stage.api("DELETE", "/api/v1/nodes/node-b");
    until("no node", || routes(&stage), String::is_empty);
    assert_eq!(network.terminate(), Some(0), "{}", network.log());
}

#[test]
fn a_node_of_both_families_has_pods_and_routes_of_both() {
    let Some(mut stage) = Stage::new() else { return };
    node(&stage, "node-a", "10.199.0.2", &["fd00:10:244:101::/64", "10.244.101.0/24"]);
    node(&stage, "node-b", "10.199.0.1", &["10.244.102.0/24", "fd00:10:244:102::/64"]);
    let cluster = "--cluster-cidr=fd00:10:244::/48,10.244.0.0/16";
    let mut network = stage.pod_network(&[cluster]);
    let routes = |stage: &Stage| ip(stage, "route show proto 88") + &ip(stage, "-6 route show proto 88");
    let both = |routes: &String| routes.lines().count() == 2;
    let all = until("routes of both families", || routes(&stage), both);
    assert!(all.contains("10.244.102.0/24 via 10.199.0.1 dev wire"), "{all}");
    // The other node has no IPv6 address.
    assert!(all.contains("fd00:10:244:102::/64  encap ip id 1"), "{all}");
    assert_eq!(network.terminate(), Some(0), "{}", network.log());
    // What it remembers while the API server is away is both.
    stage.kill_control();
    let mut network = stage.pod_network(&[cluster]);
    let log = until("pods' network", || network.log(), |log| log.contains("pod network ready"));
    assert!(log.contains("cidrs=[fd00:10:244:101::/64, 10.244.101.0/24]"), "{log}");
    assert_eq!(network.terminate(), Some(0), "{}", network.log());
    for (cluster, said) in [
        (
            "10.244.0.0/16",
            "the node's pods have fd00:10:244:101::/64, and the cluster's pods no network of that family",
        ),
        (
            "10.0.0.0/8,11.0.0.0/8",
            "--cluster-cidr: \"10.0.0.0/8,11.0.0.0/8\": give one network, or one of IPv4 and",
        ),
        (
            "10.244.0.0/16,fd00",
            "--cluster-cidr: \"fd00\" is not a network such as 10.244.0.0/24 or fd00:10:244::/64",
        ),
    ] {
        let mut refused = stage.pod_network(&[&format!("--cluster-cidr={cluster}")]);
        assert_ne!(refused.wait(), Some(0));
        assert!(refused.log().contains(said), "{}", refused.log());
    }
}

#[test]
fn a_way_to_pods_that_is_not_known_is_refused() {
    let Some(stage) = Stage::new() else { return };
    for (word, said) in
        [("--pod-routing=bgp", "give auto, native or vxlan"), ("--pod-vxlan-port=0", "0 is not in 1..")]
    {
        let mut refused = stage.pod_network(&[word]);
        assert_eq!(refused.wait(), Some(2));
        assert!(refused.log().contains(said), "{}", refused.log());
    }
}
