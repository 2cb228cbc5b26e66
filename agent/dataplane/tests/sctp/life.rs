//! When there are tables and when not, and what nft itself says of them.

use serde_json::json;
use xebec_dataplane::compile::Place;
use xebec_dataplane::compile::facts::{self, Owner, SliceFacts};
use xebec_dataplane::compile::names::Names;
use xebec_dataplane::model::{Family, ServicePort, SourceRange};
use xebec_dataplane::sctp::{Addresses, Held, TABLE, live, rules};
use xebec_rig::netns::unique;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::{NetNs, run};

use super::{HERE, Net, PODS, THERE, VIP, cluster_ip, ends, web};

/// Whether there is a table of a family.
fn tables() -> [bool; 2] {
    ["ip", "ip6"].map(|family| xebec_nft::table(family, TABLE, true).unwrap().is_some())
}

#[test]
fn tables_are_there_while_services_are() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    let tcp = || service("tcp", &["10.196.77.9"], tcp_udp(80), json!({}));
    let none = vec![];
    net.agent().sync(vec![tcp()], none.clone());
    assert_eq!(tables(), [false; 2]);
    net.agent().sync(vec![tcp(), web(json!({}))], vec![ends(&[HERE])]);
    assert_eq!(tables(), [true, false]);
    assert!(net.client(&cluster_ip()).starts_with("POD"));

    // Without an agent; with the next one, before it knows of anything.
    let options = net.outside.rig.options.clone();
    net.outside.agent = Agent::new(&options);
    net.agent().serve_sctp(&options, &[PODS]);
    net.agent().apply();
    assert!(net.client(&cluster_ip()).starts_with("POD"));
    // While no agent ran, the endpoint changed.
    net.agent().sync(vec![web(json!({}))], vec![ends(&[THERE])]);
    assert!(net.client(&cluster_ip()).starts_with("FAR"));
    let found = live().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].name.as_str(), found[0].frontends[0].1.as_str()), ("default/a:sctp", "ClusterIP"));
    assert_eq!(
        (found[0].frontends.len(), &*found[0].cluster),
        (4, &["10.244.1.5:8080".parse().unwrap()][..])
    );
    assert!(
        found[0].answers(VIP.parse().unwrap(), 80) && found[0].answers("10.199.0.2".parse().unwrap(), 30080)
    );

    // Somebody reloads the node's own packet filter.
    run("nft flush ruleset");
    let sctp = net.agent().sctp.as_mut().unwrap();
    assert!(!sctp.table.check().unwrap());
    assert!(sctp.table.sync(&sctp.wanted).unwrap() && sctp.table.check().unwrap());
    assert!(net.client(&cluster_ip()).starts_with("FAR"));

    // A change that the kernel cannot carry out as it was meant, since the tables are others than they were.
    run("nft flush ruleset");
    let sctp = net.agent().sctp.as_mut().unwrap();
    sctp.wanted.addresses.own.insert("192.0.2.77".parse().unwrap());
    assert!(sctp.table.sync(&sctp.wanted).is_err());
    assert!(sctp.table.sync(&sctp.wanted).unwrap());
    assert!(net.client(&cluster_ip()).starts_with("FAR"));

    net.agent().sync(vec![tcp()], none);
    assert_eq!(tables(), [false; 2]);
    net.agent().sync(vec![web(json!({}))], vec![ends(&[HERE])]);
    xebec_dataplane::detach(&options.pin_dir).unwrap();
    assert_eq!((tables(), options.pin_dir.exists()), ([false; 2], false));
}

#[test]
fn associations_stay_when_their_endpoint_leaves() {
    let Some(mut net) = Net::new(&[PODS]) else { return };
    net.set(web(json!({})), &[HERE]);
    assert!(net.client(&cluster_ip()).starts_with("POD"));
    let tracked = || std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default();
    let of = |text: &str| text.lines().filter(|line| line.contains("sctp") && line.contains(VIP)).count();
    if of(&tracked()) == 0 {
        return eprintln!("SKIPPED: this kernel does not show what it tracks");
    }
    net.agent().set_slice(ends(&[THERE]));
    assert_eq!(of(&tracked()), 1);
    net.agent().sync(vec![], vec![]);
    assert_eq!(of(&tracked()), 1);
}

/// A Service with everything, of both families.
fn compiled(name: &str, at: u32, endpoints: u32) -> Vec<ServicePort> {
    let (x, y) = (at / 250, at % 250 + 1);
    let mut object = service(
        name,
        &[&format!("10.196.{x}.{y}"), &format!("fd96::{x}:{y}")],
        json!([{"name": "sctp", "port": 80, "protocol": "SCTP", "nodePort": 20_000 + at}]),
        json!({
            "type": "LoadBalancer", "externalIPs": [format!("198.51.{x}.{y}")], "sessionAffinity": "ClientIP",
            "loadBalancerSourceRanges": ["192.0.2.0/24", "192.0.2.8/29", "fd00::/8"],
            "externalTrafficPolicy": if at.is_multiple_of(2) { "Local" } else { "Cluster" },
        }),
    );
    object.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": format!("198.50.{x}.{y}")}]}}))
            .unwrap();
    let at_node = |end: u32| if end.is_multiple_of(2) { "node-a" } else { "node-b" };
    let of = |address: &dyn Fn(u32) -> String| -> SliceFacts {
        let list: Vec<String> =
            (0..endpoints).map(|end| format!("{}@{}", address(end), at_node(end))).collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        facts::slice(&slice(name, 8080, "SCTP", &list), &mut Names::default()).unwrap()
    };
    let slices = [of(&|end| format!("10.{end}.{x}.{y}")), of(&|end| format!("fd00::{end}:{x}:{y}"))];
    let place = Place { node: "node-a".to_owned(), zone: None };
    let owner = Owner::new("default", name);
    let slices: Vec<&SliceFacts> = slices.iter().filter(|s| !s.endpoints.is_empty()).collect();
    xebec_dataplane::compile::compile(&owner, &facts::service(&object).unwrap(), &slices, &place)
}

#[test]
fn nft_takes_many_services_and_long_names() {
    if let Err(reason) = xebec_rig::object() {
        return eprintln!("SKIPPED: {reason}");
    }
    let netns = NetNs::new(unique());
    let addresses = Addresses {
        own: ["192.0.2.1".parse().unwrap(), "fd99::1".parse().unwrap()].into(),
        node_ports: ["192.0.2.1".parse().unwrap(), "fd99::1".parse().unwrap()].into(),
        pods: ["10.0.0.0/8", "10.1.0.0/16", "fd00::/16"]
            .map(|range| SourceRange::parse(range).unwrap())
            .into(),
    };
    let long = "x".repeat(63);
    let world = |services: u32| -> Vec<ServicePort> {
        let many = (0..services).flat_map(|at| compiled(&format!("s{at}"), at, 3 - at % 4 % 3));
        many.chain(compiled(&long, 10_000, 2)).chain(compiled("none", 10_001, 0)).collect()
    };
    for family in [Family::V4, Family::V6] {
        let (small, large) = (world(1), world(500));
        let [small, large] = [small, large].map(|ports| rules(family, &ports, &addresses).unwrap());
        // What every packet passes does not grow.
        for name in ["services", "endpoints-check", "firewall-check", "cluster-ips-check", "masquerading"] {
            assert_eq!(small.chains[name], large.chains[name], "{name}");
        }
        assert!(large.chains.len() > small.chains.len() + 2000);
        netns.feed("nft -c -f -", &Held::Absent.script(family, Some(&large)));
        // From the one to the other and back, for the kernel.
        netns.feed("nft -f -", &Held::Absent.script(family, Some(&small)));
        netns.feed("nft -f -", &Held::Written(small.clone()).script(family, Some(&large)));
        netns.feed("nft -f -", &Held::Written(large.clone()).script(family, Some(&small)));
        netns.feed("nft -f -", &xebec_dataplane::sctp::sweep(family, &Held::Written(large).emptied(&small)));
        netns.feed("nft -f -", &Held::Written(small).script(family, None));
    }
}
