//! Services of SCTP: raw sockets through a node's tables, from outside (with the rig of the packet tests), from pods and from
//! the node itself. What an endpoint saw is read from its answer, which comes back by the address that was asked.

mod life;
mod pods;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use xebec_abi::flow::PacketStat;
use xebec_dataplane::hostports::AllPorts;
use xebec_dataplane::{HostPort, PodPorts, Protocol};
use xebec_rig::ask::{REFUSED, SILENCE, ask_tcp};
use xebec_rig::objects::{Agent, service, slice};
use xebec_rig::sctp::ask_sctp;
use xebec_rig::server::Server;

use crate::packet::net::Outside;

const VIP: &str = "10.196.77.1";
/// Externally: an external IP, a load balancer's address, a node port.
const EXTERNAL: [&str; 3] = ["198.51.100.7:80", "198.51.100.8:80", "10.199.0.2:30080"];
const HERE: &str = "10.244.0.5@node-a";
const THERE: &str = "10.244.1.5@node-b";
/// EPERM: what the node's own packet filter says to a raw socket, beside the error that a socket of SCTP would hear.
const FILTERED: &str = "error 1";
const PODS: &str = "10.244.0.0/16";

fn web(extra: Value) -> Service {
    let ports = json!([{"name": "sctp", "port": 80, "protocol": "SCTP", "nodePort": 30080}]);
    let mut spec = json!({"type": "LoadBalancer", "externalIPs": ["198.51.100.7"]});
    spec.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap());
    let mut web = service("a", &[VIP], ports, spec);
    let ingress = json!([{"ip": "198.51.100.8"}, {"ip": "198.51.100.9", "ipMode": "Proxy"}]);
    web.status = serde_json::from_value(json!({"loadBalancer": {"ingress": ingress}})).unwrap();
    web
}

fn ends(endpoints: &[&str]) -> EndpointSlice {
    slice("a", 8080, "SCTP", endpoints)
}

/// Endpoints in the pod of the node and in the one behind the machine beside it.
struct Net {
    // Dropped in this order.
    servers: Vec<Server>,
    outside: Outside,
}

impl Net {
    fn new(pods: &[&str]) -> Option<Self> {
        let mut outside = Outside::new()?;
        let options = outside.rig.options.clone();
        outside.agent.serve_sctp(&options, pods);
        // As any node's default route would; not back to the client, whom the kernel would send a redirect.
        outside.rig.server_ns.ip("route add 10.196.0.0/16 via 10.198.0.3");
        outside.rig.server_ns.ip("route add 198.51.100.0/24 via 10.198.0.3");
        // The second last is where the node's first address lies, by which pods see it: their devices have none there.
        for range in ["10.196.0.0/16", "198.51.100.0/24", "10.199.1.0/24", "10.244.1.0/24"] {
            outside.pod.ip(&format!("route add {range} via 10.199.0.2 dev eth0 onlink"));
        }
        let node = &outside.rig.server_ns;
        outside.pod.neighbour("eth0", "10.199.0.2", node, "xebpod");
        outside.far.ip("route add 10.244.0.0/24 via 10.198.0.2");
        let servers = vec![
            Server::sctp(&outside.pod, "10.244.0.5:8080", "POD"),
            Server::sctp(&outside.far, "10.244.1.5:8080", "FAR"),
        ];
        Some(Self { servers, outside })
    }

    fn agent(&mut self) -> &mut Agent {
        &mut self.outside.agent
    }

    fn set(&mut self, web: Service, endpoints: &[&str]) {
        self.agent().sync(vec![web], vec![ends(endpoints)]);
    }

    fn client(&self, to: &str) -> String {
        ask_sctp(&self.outside.rig.client_ns, to)
    }

    fn node(&self, to: &str) -> String {
        ask_sctp(&self.outside.rig.server_ns, to)
    }

    fn pod(&self, to: &str) -> String {
        ask_sctp(&self.outside.pod, to)
    }
}

fn cluster_ip() -> String {
    format!("{VIP}:80")
}

#[test]
fn every_kind_of_address_leads_to_an_endpoint() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    for (endpoint, name) in [(HERE, "POD"), (THERE, "FAR")] {
        net.set(web(json!({})), &[endpoint]);
        // Who comes from outside is hidden behind the node, which is what brings the answer back to it.
        for to in [cluster_ip().as_str()].into_iter().chain(EXTERNAL) {
            let seen = net.client(to);
            let (who, from) = seen.split_once(' ').unwrap_or_else(|| panic!("{to}: {seen}"));
            assert_eq!(who, name, "{to}");
            assert_eq!(from, if name == "POD" { "10.199.1.1" } else { "10.198.0.2" }, "{to}");
            assert_eq!(net.node(to).split(' ').next(), Some(name), "{to} from the node");
        }
        assert_eq!(net.client("198.51.100.9:80"), SILENCE, "a proxying load balancer's address is not ours");
    }
    // Pods are no outsiders.
    assert_eq!(net.pod(&cluster_ip()), "FAR 10.244.0.5");
    assert_eq!(net.pod("198.51.100.8:80"), "FAR 10.198.0.2", "externalTrafficPolicy Cluster hides them, too");
    // Neither the programs of the devices nor their maps had anything to do with it.
    assert_eq!(net.outside.count(PacketStat::Flows), 0);
    assert_eq!(net.outside.count(PacketStat::Translated), 0);
}

#[test]
fn without_known_pods_nobody_asks_a_cluster_ip_from_outside() {
    let Some(mut net) = Net::new(&[]) else { return };
    net.set(web(json!({})), &[HERE]);
    assert_eq!(net.client(&cluster_ip()), "POD 10.199.0.1");
}

#[test]
fn endpoints_share_by_chance_and_a_pod_reaches_itself() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    net.set(web(json!({})), &[HERE, THERE]);
    let mut seen = std::collections::BTreeSet::new();
    // 2 of 2 in 64 draws: the odds against are 1 to 2^63.
    seen.extend((0..64).map(|_| net.pod(&cluster_ip())));
    // A pod that is its own client sees the node.
    assert_eq!(seen, ["FAR 10.244.0.5".to_owned(), "POD 10.199.1.1".to_owned()].into());
}

#[test]
fn traffic_policies() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    let local = json!({"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"});
    net.set(web(local.clone()), &[HERE, THERE]);
    for _ in 0..8 {
        assert_eq!(net.client(EXTERNAL[1]), "POD 10.199.0.1", "as it is");
        assert!(net.client(&cluster_ip()).starts_with("POD"));
    }
    net.set(web(local), &[THERE]);
    for to in [cluster_ip().as_str()].into_iter().chain(EXTERNAL) {
        assert_eq!(net.client(to), SILENCE, "{to}");
    }
    // The cluster's own are not kept from what is elsewhere, but for the ClusterIP.
    for to in EXTERNAL {
        assert_eq!(net.node(to).split(' ').next(), Some("FAR"), "{to} from the node");
        assert_eq!(net.pod(to), "FAR 10.244.0.5", "{to} from a pod");
    }
    assert_eq!((net.node(&cluster_ip()), net.pod(&cluster_ip())), (FILTERED.to_owned(), SILENCE.to_owned()));
}

#[test]
fn no_endpoints_and_wrong_ports_are_refused() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    net.set(web(json!({})), &[]);
    for to in [cluster_ip().as_str()].into_iter().chain(EXTERNAL) {
        assert_eq!(net.client(to), REFUSED, "{to}");
        assert_eq!(net.pod(to), REFUSED, "{to} from a pod");
        assert_eq!(net.node(to), FILTERED, "{to} from the node");
    }
    net.set(web(json!({})), &[HERE]);
    assert_eq!(net.client(&format!("{VIP}:81")), REFUSED);
    assert_eq!(net.node(&format!("{VIP}:81")), FILTERED);
    // A port of TCP that the Service does not have.
    assert_eq!(ask_tcp(&net.outside.rig.client_ns, &cluster_ip()), REFUSED);
    assert!(net.client(&cluster_ip()).starts_with("POD"));
}

#[test]
fn a_client_keeps_its_endpoint_while_others_come_and_go() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    let affinity = json!({"sessionAffinity": "ClientIP"});
    net.set(web(affinity), &[HERE, THERE]);
    let first = net.client(EXTERNAL[0]);
    for to in EXTERNAL.into_iter().cycle().take(24) {
        assert_eq!(net.client(to)[..3], first[..3], "{to}");
    }
    // Another endpoint, which answers nobody, changes nothing for who has one.
    net.agent().set_slice(ends(&[HERE, THERE, "10.244.1.99@node-b"]));
    for _ in 0..12 {
        assert_eq!(net.client(EXTERNAL[0])[..3], first[..3]);
    }
    // Nor does another agent.
    let options = net.outside.rig.options.clone();
    net.outside.agent = Agent::new(&options);
    net.outside.refresh();
    net.agent().serve_sctp(&options, &[PODS]);
    net.set(web(json!({"sessionAffinity": "ClientIP"})), &[HERE, THERE, "10.244.1.99@node-b"]);
    for _ in 0..12 {
        assert_eq!(net.client(EXTERNAL[0])[..3], first[..3]);
    }
    // Its endpoint goes.
    let left = if first.starts_with("POD") { THERE } else { HERE };
    net.agent().set_slice(ends(&[left]));
    assert_ne!(net.client(EXTERNAL[0])[..3], first[..3]);
    // For a second.
    let short =
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}});
    net.set(web(short), &[HERE, THERE]);
    let first = net.client(EXTERNAL[0]);
    while net.client(EXTERNAL[0])[..3] == first[..3] {
        std::thread::sleep(std::time::Duration::from_millis(1200));
    }
}

#[test]
fn a_load_balancer_lets_in_whom_it_is_told_to() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    let mut answers = |ranges: &[&str]| {
        net.set(web(json!({"loadBalancerSourceRanges": ranges})), &[HERE]);
        EXTERNAL.map(|to| net.client(to).starts_with("POD"))
    };
    assert_eq!(answers(&["10.199.0.0/29", "10.199.0.0/28", "192.0.2.0/24"]), [true; 3]);
    assert_eq!(answers(&["192.0.2.0/24"]), [true, false, true], "as upstream, of its own address alone");
    assert_eq!(answers(&["192.0.2.0/24", "0.0.0.0/0"]), [true; 3]);
}

#[test]
fn ipv6() {
    let Some(mut net) = Net::new(&["fd44::/16"]) else { return };
    let _servers = [
        Server::sctp(&net.outside.pod, "[fd44::5]:8080", "POD"),
        Server::sctp(&net.outside.far, "[fd45::5]:8080", "FAR"),
    ];
    // By whichever of its addresses the node hides a client: no kernel says which.
    for range in ["fd96::/64", "fd98::/64", "fd99:1::/64"] {
        net.outside.pod.ip(&format!("route add {range} via fd99::2 dev eth0 onlink"));
    }
    net.outside.pod.neighbour("eth0", "fd99::2", &net.outside.rig.server_ns, "xebpod");
    net.outside.rig.server_ns.ip("route add fd96::/64 via fd98::3");
    let both = |web: Service| {
        let mut web = web;
        let spec = web.spec.as_mut().unwrap();
        spec.cluster_ips.as_mut().unwrap().push("fd96::77".to_owned());
        spec.external_ips.as_mut().unwrap().push("fd96::78".to_owned());
        web
    };
    for (endpoint, name) in [("fd44::5@node-a", "POD"), ("fd45::5@node-b", "FAR")] {
        net.agent().sync(vec![both(web(json!({})))], vec![ends(&[HERE]), ends(&[endpoint])]);
        for to in ["[fd96::77]:80", "[fd96::78]:80", "[fd99::2]:30080"] {
            let seen = net.client(to);
            let (who, from) = seen.split_once(' ').unwrap_or_else(|| panic!("{to}: {seen}"));
            let own = if name == "POD" { &["fd99::2", "fd98::2", "fd99:1::1"][..] } else { &["fd98::2"] };
            assert!(who == name && own.contains(&from), "{to}: {seen}");
            assert_eq!(net.node(to).split(' ').next(), Some(name), "{to} from the node");
        }
        assert!(net.client(&cluster_ip()).starts_with("POD"), "the other family's");
    }
    net.agent()
        .sync(vec![both(web(json!({"externalTrafficPolicy": "Local"})))], vec![ends(&["fd44::5@node-a"])]);
    assert_eq!(net.client("[fd99::2]:30080"), "POD fd99::1");
    assert_eq!(net.client(&cluster_ip()), REFUSED);
    assert!(net.pod("[fd96::77]:80").starts_with("POD"), "itself");
    net.agent().sync(vec![both(web(json!({})))], vec![]);
    for to in ["[fd96::77]:80", "[fd96::77]:81", "[fd99::2]:30080"] {
        assert_eq!(net.client(to), REFUSED, "{to}");
    }
}

#[test]
fn host_ports() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    let port = |host: Option<&str>, port| HostPort {
        host: host.map(|host| host.parse().unwrap()),
        port,
        protocol: Protocol::Sctp,
        endpoint: "10.244.0.5:8080".parse().unwrap(),
    };
    // The last is a Service's node port, too, which goes first.
    let ports = vec![port(None, 8081), port(Some("10.198.0.2"), 8082), port(None, 30080)];
    let pod = PodPorts { pod: "default/a".to_owned(), created: 1, ports };
    net.agent().world.set_host_ports(&AllPorts::from([("c".to_owned(), pod)]));
    net.set(web(json!({})), &[THERE]);
    assert_eq!(net.client("10.199.0.2:8081"), "POD 10.199.0.1");
    assert_eq!(net.node("10.199.0.2:8081").split(' ').next(), Some("POD"));
    assert_eq!(net.client("10.198.0.2:8082"), "error 101", "no way there");
    assert_eq!(ask_sctp(&net.outside.far, "10.198.0.2:8082"), "POD 10.198.0.3");
    assert!(net.client("10.199.0.2:30080").starts_with("FAR"));
    net.agent().world.set_host_ports(&AllPorts::new());
    net.agent().apply();
    assert_ne!(net.client("10.199.0.2:8081"), "POD 10.199.0.1");
    assert_eq!(net.servers[0].served(), 3);
}
