//! Upstream's rules, case by case, and what must hold for any world.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::facts::{EndpointFacts, EndpointPlace, Owner, ServiceFacts, SliceFacts};
use super::names::Names;
use super::*;
use crate::model::{Kind, Protocol, Sets};

fn here() -> Place {
    Place { node: "here".to_owned(), zone: Some("z1".to_owned()) }
}

/// `a` ready, `t` terminating but serving, `n` not ready; then the node, then hints `z:` zone or `n:` node.
fn end(last: u8, state: char, node: &str, hint: &str) -> EndpointFacts {
    let (for_zones, for_nodes) = match hint.split_once(':') {
        Some(("z", zone)) => (vec![zone.into()], vec![]),
        Some(("n", node)) => (vec![], vec![node.into()]),
        _ => (vec![], vec![]),
    };
    EndpointFacts {
        addr: IpAddr::from([10, 0, 0, last]),
        ready: state == 'a',
        serving: state != 'n',
        terminating: state == 't',
        place: EndpointPlace {
            node: Some(node.into()),
            for_zones: for_zones.into(),
            for_nodes: for_nodes.into(),
        }
        .into(),
    }
}

fn slice(endpoints: Vec<EndpointFacts>) -> SliceFacts {
    let ports = Box::new([("".into(), Protocol::Tcp, 8080)]);
    SliceFacts { owner: Owner::new("default", "s"), family: Family::V4, ports, endpoints: endpoints.into() }
}

fn of(endpoints: Vec<EndpointFacts>, publish: bool) -> (Vec<u8>, Vec<u8>) {
    let slices = [slice(endpoints)];
    let Sets { cluster, local, .. } = sets(slices.iter(), Family::V4, "", Protocol::Tcp, publish, &here());
    let last = |list: Vec<SocketAddr>| -> Vec<u8> {
        let last = |a: &SocketAddr| match a.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => panic!("{a}"),
        };
        list.iter().map(last).collect()
    };
    (last(cluster), last(local))
}

#[test]
fn udp_endpoints_that_answer_but_are_not_chosen_are_known() {
    let endpoints = [
        end(1, 'a', "there", "z:z1"),
        end(2, 'a', "there", "z:z2"),
        end(3, 't', "there", ""),
        end(4, 'n', "there", ""),
    ];
    let of = |protocol, count: usize| {
        let mut slice = slice(endpoints[..count].to_vec());
        slice.ports = Box::new([("".into(), protocol, 8080)]);
        sets([slice].iter(), Family::V4, "", protocol, false, &here())
    };
    let address = |last| SocketAddr::from(([10, 0, 0, last], 8080));
    // Another zone's, and one that terminates; not one that is not ready.
    assert_eq!(of(Protocol::Udp, 2).serving, [address(2)]);
    assert_eq!(of(Protocol::Udp, 4).serving, [address(2), address(3)]);
    assert_eq!(of(Protocol::Tcp, 4).serving, []);
    let udp = of(Protocol::Udp, 4);
    assert_eq!(udp.answering().count(), 3);
}

#[test]
fn endpoints_by_condition() {
    let ready = || {
        vec![
            end(1, 'a', "here", ""),
            end(2, 'a', "there", ""),
            end(3, 't', "here", ""),
            end(4, 'n', "here", ""),
        ]
    };
    assert_eq!(of(ready(), false), (vec![1, 2], vec![1]));
    // None ready anywhere: those that still serve while terminating.
    let draining = vec![end(3, 't', "here", ""), end(4, 'n', "here", ""), end(5, 't', "there", "")];
    assert_eq!(of(draining, false), (vec![3, 5], vec![3]));
    // None ready here, some elsewhere: the local set falls back by itself.
    let mixed = vec![end(2, 'a', "there", ""), end(3, 't', "here", "")];
    assert_eq!(of(mixed, false), (vec![2], vec![3]));
    assert_eq!(of(ready(), true), (vec![1, 2, 3, 4], vec![1, 3, 4]));
    assert_eq!(of(vec![end(4, 'n', "here", "")], false), (vec![], vec![]));
}

#[test]
fn hints_narrow_only_when_complete() {
    let zone =
        |third: &str| vec![end(1, 'a', "x", "z:z1"), end(2, 'a', "y", "z:z2"), end(3, 'a', "here", third)];
    assert_eq!(of(zone("z:z2"), false), (vec![1], vec![3]), "the local set is not narrowed");
    assert_eq!(of(zone(""), false), (vec![1, 2, 3], vec![3]), "one endpoint without a hint turns them off");
    let elsewhere = vec![end(1, 'a', "x", "z:z2"), end(2, 'a', "y", "z:z3")];
    assert_eq!(of(elsewhere, false).0, vec![1, 2], "none for this zone");
    let nodes = vec![end(1, 'a', "here", "n:here"), end(2, 'a', "y", "n:y")];
    assert_eq!(of(nodes, false).0, vec![1]);
    // A terminating endpoint's missing hint does not count: only ready ones are asked.
    let draining = vec![end(1, 'a', "x", "z:z1"), end(2, 'a', "x", "z:z2"), end(3, 't', "x", "")];
    assert_eq!(of(draining, false).0, vec![1]);
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_by_its_better_condition() {
    let slices = [slice(vec![end(1, 'n', "here", "")]), slice(vec![end(1, 'a', "here", "")])];
    let sets = sets(slices.iter().rev(), Family::V4, "", Protocol::Tcp, false, &here());
    assert_eq!(sets.cluster, vec!["10.0.0.1:8080".parse().unwrap()]);
}

fn service(spec: Value, labels: Value) -> Option<ServiceFacts> {
    let object: Service = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "default", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}, {"ip": "192.0.2.11", "ipMode": "Proxy"}]}},
    }))
    .unwrap();
    facts::service(&object)
}

#[test]
fn services_without_a_vip_or_of_another_proxy_are_not_ours() {
    let spec = |ip: &str| json!({"clusterIP": ip, "ports": [{"port": 80}]});
    assert!(service(spec("10.96.0.5"), json!({})).is_some());
    assert_eq!(service(spec("None"), json!({})), None);
    assert_eq!(service(json!({"type": "ExternalName", "externalName": "x"}), json!({})), None);
    assert_eq!(service(spec("10.96.0.5"), json!({facts::LABEL_PROXY_NAME: "other"})), None);
    assert_eq!(service(spec(""), json!({})), None, "not allocated yet");
}

#[test]
fn a_service_has_a_port_per_family_and_all_its_frontends() {
    let facts = service(
        json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd96::5"],
            "externalIPs": ["198.51.100.7", "10.96.0.5"], "sessionAffinity": "ClientIP",
            "internalTrafficPolicy": "Local",
            "ports": [
                {"name": "web", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "sctp", "port": 99, "protocol": "SCTP"},
            ],
        }),
        json!({}),
    )
    .unwrap();
    assert_eq!(facts.affinity, Some(10_800));
    let ports = compile(&Owner::new("default", "s"), &facts, &[], &here());
    let primaries: Vec<String> = ports.iter().map(|p| p.primary.to_string()).collect();
    let wanted = [
        "10.96.0.5:80/TCP",
        "10.96.0.5:53/UDP",
        "10.96.0.5:99/SCTP",
        "[fd96::5]:80/TCP",
        "[fd96::5]:53/UDP",
        "[fd96::5]:99/SCTP",
    ];
    assert_eq!(primaries, wanted);
    let aliases: Vec<String> = ports[0].aliases.iter().map(|(key, kind)| format!("{key} {kind}")).collect();
    // The proxied load balancer address is not ours (KEP-1860), nor is an external IP equal to the ClusterIP.
    let wanted = [
        "192.0.2.10:80/TCP load balancer IP",
        "198.51.100.7:80/TCP external IP",
        "<node>:30080/TCP NodePort",
    ];
    assert_eq!(aliases, wanted);
    assert_eq!(ports[3].aliases.len(), 1, "the IPv6 half has the node port only");
    assert!(ports.iter().all(|p| p.internal_local && p.affinity == Some(10_800)));
    assert_eq!(ports[1].name, "default/s:dns");
}

#[test]
fn nodes_agree_on_what_is_exposed_on_purpose_or_asks() {
    let facts = |spec: Value, lb: bool, algorithm: Option<&str>| {
        let mut whole = json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        let ingress = if lb { json!([{"ip": "192.0.2.10"}]) } else { json!([]) };
        let annotations = algorithm.map(|value| json!({balancing::ANNOTATION: value}));
        let object: Service = serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "default", "annotations": annotations}, "spec": whole,
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap();
        facts::service(&object).unwrap()
    };
    let compiled = |facts: &ServiceFacts| compile(&Owner::new("default", "s"), facts, &[], &here()).remove(0);
    let consistent = |spec, lb, algorithm| compiled(&facts(spec, lb, algorithm)).consistent;
    let node_port = || json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_080}]});
    let external = || json!({"externalIPs": ["198.51.100.7"]});
    assert!(consistent(json!({}), true, None) && consistent(external(), false, None));
    assert!(!consistent(json!({}), false, None) && !consistent(node_port(), false, None));
    // Asked for: by a node port only, too; nobody comes from outside to a ClusterIP alone.
    assert!(consistent(node_port(), false, Some("maglev")) && !consistent(json!({}), false, Some("maglev")));
    assert!(!consistent(json!({}), true, Some("random")));
    // What is not known counts as absent.
    assert!(consistent(json!({}), true, Some("Random")) && !consistent(node_port(), false, Some("x")));
    // What was sent on to another node may have to be found again.
    let direct = |algorithm| {
        let port = compiled(&ServiceFacts {
            forwarding: forwarding::Forwarding::Direct,
            ..facts(node_port(), false, algorithm)
        });
        (port.direct, port.consistent)
    };
    assert_eq!([direct(None), direct(Some("random"))], [(true, true), (true, false)]);
    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    assert!(!consistent(local.clone(), true, None) && !consistent(local, true, Some("maglev")));
}

#[test]
fn only_load_balancers_of_local_traffic_have_a_health_check() {
    let port = |kind: &str, policy: &str, number: u16| {
        let spec = json!({
            "type": kind, "clusterIP": "10.96.0.5", "ports": [{"port": 80}], "externalTrafficPolicy": policy,
            "healthCheckNodePort": number,
        });
        service(spec, json!({})).unwrap().health_check_port
    };
    assert_eq!(port("LoadBalancer", "Local", 32_000), Some(32_000));
    assert_eq!(port("LoadBalancer", "Local", 0), None);
    assert_eq!(port("LoadBalancer", "Cluster", 32_000), None);
    assert_eq!(port("NodePort", "Local", 32_000), None);
}

#[test]
fn ready_endpoints_here_count_once_for_each_address() {
    let ends = || vec![end(1, 'a', "here", ""), end(2, 'a', "there", ""), end(3, 't', "here", "")];
    let mut two_ports = slice(ends());
    two_ports.ports = Box::new([("".into(), Protocol::Tcp, 8080), ("web".into(), Protocol::Tcp, 80)]);
    let no_port = SliceFacts { ports: Box::new([]), ..slice(vec![end(4, 'a', "here", "")]) };
    let slices = [two_ports, slice(vec![end(1, 'a', "here", ""), end(5, 'a', "here", "")]), no_port];
    assert_eq!(local_ready(slices.iter(), Family::V4, "here"), 2);
    assert_eq!(local_ready(slices.iter(), Family::V6, "here"), 0);
    assert_eq!(local_ready(slices.iter(), Family::V4, "elsewhere"), 0);
}

#[test]
fn slices_of_others_are_not_ours() {
    let slice = |labels: Value, kind: &str, address: &str| {
        let object: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "s-1", "namespace": "default", "labels": labels}, "addressType": kind,
            "ports": [{"port": 8080}, {"name": "none"}], "endpoints": [{"addresses": [address]}, {"addresses": ["fd00::1"]}],
        }))
        .unwrap();
        facts::slice(&object, &mut Names::default())
    };
    let name = facts::LABEL_SERVICE_NAME;
    let facts = slice(json!({name: "s"}), "IPv4", "10.0.0.1").unwrap();
    assert_eq!(*facts.ports, [("".into(), Protocol::Tcp, 8080)]);
    assert_eq!(facts.endpoints.len(), 1, "an address of the other family is dropped");
    assert!(facts.endpoints[0].ready && facts.endpoints[0].serving, "absent conditions mean ready");
    assert_eq!(slice(json!({}), "IPv4", "10.0.0.1"), None);
    assert_eq!(slice(json!({name: "s", facts::LABEL_HEADLESS: ""}), "IPv4", "10.0.0.1"), None);
    assert_eq!(slice(json!({name: "s", facts::LABEL_PROXY_NAME: "x"}), "IPv4", "10.0.0.1"), None);
    assert_eq!(slice(json!({name: "s"}), "FQDN", "example.org"), None);
}

#[test]
fn the_older_service_has_a_frontend_both_claim() {
    let facts = |ip: &str| {
        service(json!({"clusterIP": ip, "externalIPs": ["198.51.100.7"], "ports": [{"port": 80}]}), json!({}))
    };
    let (old, new) = (Owner::new("default", "old"), Owner::new("default", "new"));
    let ports = |owner: &Owner, ip: &str| compile(owner, &facts(ip).unwrap(), &[], &here());
    let external = FrontKey::at("198.51.100.7".parse().unwrap(), 80, Protocol::Tcp);
    let has = |tables: &Tables, ip: &str| {
        let key = FrontKey::at(ip.parse().unwrap(), 80, Protocol::Tcp);
        tables.effective(&key).map(|p| p.aliases.contains(&(external, Kind::ExternalIp)))
    };
    let mut tables = Tables::default();
    tables.set(&new, 200, ports(&new, "10.96.0.2"));
    assert_eq!(has(&tables, "10.96.0.2"), Some(true));
    let dirty = tables.set(&old, 100, ports(&old, "10.96.0.1"));
    assert_eq!(dirty.len(), 2, "the loser is looked at again, too");
    assert_eq!((has(&tables, "10.96.0.1"), has(&tables, "10.96.0.2")), (Some(true), Some(false)));
    let dirty = tables.set(&old, 100, vec![]);
    assert_eq!(dirty.len(), 2);
    assert_eq!((has(&tables, "10.96.0.1"), has(&tables, "10.96.0.2")), (None, Some(true)));
    assert_eq!(tables.primaries().len(), 1);
}

fn any_endpoint() -> impl Strategy<Value = EndpointFacts> {
    let node = prop_oneof![Just("here"), Just("there")];
    let hint = prop_oneof![Just(""), Just("z:z1"), Just("z:z2"), Just("n:here")];
    (1_u8..12, prop_oneof![Just('a'), Just('t'), Just('n')], node, hint)
        .prop_map(|(l, s, n, h)| end(l, s, n, h))
}

proptest! {
    #[test]
    fn sets_hold_for_any_world(ends in proptest::collection::vec(any_endpoint(), 0..16), cut in 0_usize..16) {
        let cut = cut.min(ends.len());
        let slices = [slice(ends[..cut].to_vec()), slice(ends[cut..].to_vec())];
        let here = here();
        let got = sets(slices.iter(), Family::V4, "", Protocol::Tcp, false, &here);
        let sorted = |list: &[SocketAddr]| list.windows(2).all(|w| w[0] < w[1]);
        prop_assert!(sorted(&got.cluster) && sorted(&got.local));
        let matching = |f: &dyn Fn(&EndpointFacts) -> bool| -> BTreeSet<SocketAddr> {
            ends.iter().filter(|e| f(e)).map(|e| SocketAddr::new(e.addr, 8080)).collect()
        };
        let ready = matching(&|e| e.ready);
        let serving = matching(&|e| e.ready || (e.serving && e.terminating));
        // A service with a usable endpoint is never refused, and one that is not usable never chosen.
        prop_assert_eq!(got.cluster.is_empty(), serving.is_empty());
        prop_assert!(got.cluster.iter().all(|a| serving.contains(a)));
        prop_assert!(ready.is_empty() || got.cluster.iter().all(|a| ready.contains(a)));
        prop_assert!(got.local.iter().all(|a| serving.contains(a)));
        // The order of slices does not matter while no address is described twice differently.
        let addresses: BTreeSet<IpAddr> = ends.iter().map(|e| e.addr).collect();
        if addresses.len() == ends.len() {
            prop_assert_eq!(sets(slices.iter().rev(), Family::V4, "", Protocol::Tcp, false, &here), got);
        }
    }
}
