//! Nodes that agree: whichever of them a client's packet comes in through, it is for the same endpoint. The nodes are two
//! rigs that know the same objects, each with other endpoints of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use xebec_abi::service::{client_hash, row_entry};
use xebec_abi::{Be16, Be32, Ip6, PROTO_UDP};
use xebec_dataplane::diff::maglev;

use super::frame::udp;
use super::net::Outside;
use super::table::run;
use super::{node_port, ports};
use xebec_rig::objects::{service, slice};

const FIVE: [&str; 5] =
    ["10.244.0.5@node-a", "10.244.1.5@node-b", "10.244.0.7@node-a", "10.244.1.8@node-b", "10.244.2.9@node-c"];
const SIX: [&str; 4] = ["fd44::5@node-a", "fd45::5@node-b", "fd44::7@node-a", "fd46::9@node-c"];

/// A load balancer with its addresses, and an annotation.
fn exposed(algorithm: Option<&str>, extra: Value) -> Service {
    let mut a = service("a", &["10.196.77.1", "fd96::77"], ports(), node_port(extra));
    let ingress = json!([{"ip": "198.51.100.8"}, {"ip": "fd96::8"}]);
    a.status = serde_json::from_value(json!({"loadBalancer": {"ingress": ingress}})).unwrap();
    a.metadata.annotations = algorithm
        .map(|value| [("network.xebec.dev/load-balancing-algorithm".to_owned(), value.to_owned())].into());
    a
}

/// One state of the world, and whom clients ask in it.
#[derive(Clone)]
struct Ask {
    service: Service,
    endpoints: Vec<&'static str>,
    to: &'static str,
}

fn ask(service: Service, endpoints: &[&'static str], to: &'static str) -> Ask {
    Ask { service, endpoints: endpoints.to_vec(), to }
}

/// The clients' ports of each round.
const CLIENTS: std::ops::Range<u16> = 20_000..20_300;

/// The client that asks an address.
fn client(to: &str, port: u16) -> SocketAddr {
    let v6 = to.starts_with('[');
    let addr: IpAddr = if v6 { "fd99::1".parse() } else { "10.199.0.1".parse() }.unwrap();
    SocketAddr::new(addr, port)
}

/// Where a frame goes.
fn destination(frame: &[u8]) -> SocketAddr {
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    match frame[14] >> 4 {
        4 => SocketAddr::from((Ipv4Addr::from(<[u8; 4]>::try_from(&frame[30..34]).unwrap()), port(36))),
        _ => SocketAddr::from((Ipv6Addr::from(<[u8; 16]>::try_from(&frame[38..54]).unwrap()), port(56))),
    }
}

/// The endpoint that each client gets on a node, in each state of the world; `None` where the machine cannot run this.
fn given(node: &'static str, asks: &[Ask]) -> Option<Vec<Vec<SocketAddr>>> {
    let asks = asks.to_vec();
    // A thread is in one namespace.
    let rounds = move || {
        let mut outside = Outside::with(|options| options.node_name = node.to_owned())?;
        outside.agent.sync(vec![], vec![]);
        let mut round = |ask: Ask| -> Vec<SocketAddr> {
            outside.agent.world.service(Event::Apply(ask.service));
            outside.agent.set_slice(slice("a", 8080, "UDP", &ask.endpoints));
            // Nobody remembers a flow of the round before.
            outside.agent.applier.maps().tracked().collect(u64::MAX, |_, _| false).unwrap();
            let mut endpoint = |port| {
                let packet = udp(&client(ask.to, port).to_string(), ask.to);
                destination(&run(&mut outside, "tcx_ingress", &packet).1)
            };
            CLIENTS.map(&mut endpoint).collect()
        };
        Some(asks.into_iter().map(&mut round).collect())
    };
    std::thread::spawn(rounds).join().unwrap()
}

/// What each node has to choose, by the decision's own words.
fn expected(ask: &Ask, affinity: bool) -> Vec<SocketAddr> {
    let endpoint = |text: &&str| SocketAddr::new(text.split_once('@').unwrap().0.parse().unwrap(), 8080);
    let endpoints: Vec<SocketAddr> = ask.endpoints.iter().map(endpoint).collect();
    let row = maglev::row(&endpoints).unwrap();
    let choose = |port| {
        let addr = match client(ask.to, port).ip() {
            IpAddr::V4(addr) => Ip6::mapped(Be32::new(addr.to_bits())),
            IpAddr::V6(addr) => Ip6::from_octets(addr.octets()),
        };
        let port = Be16::new(if affinity { 0 } else { port });
        let entry = row_entry(client_hash(&addr, port, PROTO_UDP), row.len() as u32);
        endpoints[usize::from(row[entry as usize])]
    };
    CLIENTS.map(choose).collect()
}

#[test]
fn every_node_gives_a_flow_the_same_endpoint() {
    let (plain, four) = (|| exposed(None, json!({})), &FIVE[..4]);
    let affinity = || exposed(None, json!({"sessionAffinity": "ClientIP"}));
    let asks = [
        ask(plain(), &FIVE, "198.51.100.8:80"),
        ask(plain(), four, "198.51.100.8:80"),
        // Its node port and its other family have the same.
        ask(plain(), &FIVE, "10.199.0.2:30080"),
        ask(plain(), &SIX, "[fd96::8]:80"),
        ask(affinity(), &FIVE, "198.51.100.8:80"),
    ];
    let (Some(here), Some(there)) = (given("node-a", &asks), given("node-b", &asks)) else { return };
    for (at, ask) in asks.iter().enumerate() {
        let wanted = expected(ask, at == 4);
        assert_eq!(here[at], wanted, "round {at}, first node");
        assert_eq!(there[at], wanted, "round {at}, second node");
    }
    let (before, after) = (&here[0], &here[1]);
    let used: std::collections::BTreeSet<_> = before.iter().collect();
    assert_eq!(used.len(), FIVE.len(), "all endpoints are used");
    // Of the clients whose endpoint stays, nearly all stay with it.
    let left = SocketAddr::from(([10, 244, 2, 9], 8080));
    let kept: Vec<_> = before.iter().zip(after).filter(|(old, _)| **old != left).collect();
    let moved = kept.iter().filter(|(old, new)| old != new).count();
    assert!(kept.len() > 200 && moved * 20 < kept.len(), "{moved} of {}", kept.len());
    assert!(after.iter().all(|endpoint| *endpoint != left));
}

#[test]
fn a_service_may_choose_how() {
    // Only a node port: at random, unless it asks; and a load balancer that asks for random.
    let only_node_port = |algorithm| Service { status: None, ..exposed(algorithm, json!({})) };
    let asks = [
        ask(only_node_port(Some("maglev")), &FIVE, "10.199.0.2:30080"),
        ask(only_node_port(None), &FIVE, "10.199.0.2:30080"),
        ask(exposed(Some("random"), json!({})), &FIVE, "198.51.100.8:80"),
        // A ClusterIP is entered where a client's route leads, at random.
        ask(exposed(Some("maglev"), json!({})), &FIVE, "10.196.77.1:80"),
        ask(exposed(Some("nonsense"), json!({})), &FIVE, "198.51.100.8:80"),
    ];
    let Some(given) = given("node-a", &asks) else { return };
    let by_row: Vec<bool> =
        asks.iter().zip(&given).map(|(ask, given)| *given == expected(ask, false)).collect();
    assert_eq!(by_row, [true, false, false, false, true]);
}

#[test]
fn what_is_in_the_kernel_says_so() {
    let Some(mut outside) = Outside::new() else { return };
    outside.agent.sync(
        vec![exposed(None, json!({}))],
        vec![slice("a", 8080, "UDP", &FIVE), slice("a", 8080, "UDP", &SIX)],
    );
    let explain = |to: &str| {
        let protocol = xebec_dataplane::Protocol::Udp;
        xebec_dataplane::explain(outside.rig.pin_dir(), to.parse().unwrap(), 80, protocol)
            .unwrap()
            .to_string()
    };
    for to in ["198.51.100.8", "fd96::8"] {
        let text = explain(to);
        assert!(text.contains("selects cluster endpoints, maglev row of 2503\n"), "{text}");
    }
    assert!(!explain("10.196.77.1").contains("maglev"), "a ClusterIP has none");
    let rows = xebec_dataplane::inspect::services(outside.rig.pin_dir(), None).unwrap();
    let with =
        |row: &&xebec_dataplane::inspect::ServiceRow| row.flags.contains(&"maglev row of 2503".to_owned());
    assert_eq!(rows.iter().filter(with).count(), 2, "UDP of both families; TCP has no endpoints: {rows:?}");
    let status = xebec_dataplane::inspect::status(outside.rig.pin_dir(), None).unwrap();
    let used = status.maps.iter().find(|map| map.name == "LUT").map(|map| map.entries);
    assert_eq!(used, Some(Some(2 * 626)), "{status}");
}
