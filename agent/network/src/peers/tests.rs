use proptest::prelude::*;

use super::*;

fn cidr(text: &str) -> IpNet {
    network(text).unwrap()
}

fn own(device: u32, text: &str) -> OwnAddress {
    let address = text.split('/').next().unwrap().parse().unwrap();
    OwnAddress { device, address, network: cidr(text) }
}

fn peer(address: &str, pods: &str) -> Peer {
    let pod_cidrs = pods.split_whitespace().map(str::to_owned).collect();
    let addresses = address.split_whitespace().map(|address| address.parse().unwrap()).collect();
    Peer { created: 0, addresses, pod_cidrs }
}

fn decide(routing: Routing, own: &[OwnAddress], peers: &[(&str, Peer)], before: &Plan) -> Plan {
    let peers = peers.iter().map(|(name, peer)| ((*name).to_owned(), peer.clone())).collect();
    plan(routing, &[cidr("10.244.1.0/24"), cidr("fd44:1::/64")], own, &peers, before)
}

fn ways(plan: &Plan) -> Vec<(String, &str, Way)> {
    plan.ways.iter().map(|(cidr, to)| (cidr.to_string(), to.node.as_str(), to.way)).collect()
}

fn refused(plan: &Plan) -> Vec<String> {
    plan.refused.iter().map(|(node, why)| format!("{node}: {why}")).collect()
}

fn native(via: &str, device: u32) -> Way {
    Way::Native { via: via.parse().unwrap(), device }
}

fn tunnel(remote: &str) -> Way {
    Way::Tunnel { remote: remote.parse().unwrap() }
}

#[test]
fn a_node_beside_us_is_the_next_hop_and_others_are_behind_the_tunnel() {
    let own = [own(2, "192.0.2.1/24"), own(3, "192.0.0.1/16"), own(4, "198.51.100.1/24")];
    let peers = [
        ("beside", peer("192.0.2.2", "10.244.2.0/24")),
        ("wider", peer("192.0.9.2", "10.244.3.0/24")),
        // Its second address is on one of our networks.
        ("second", peer("203.0.113.4 fd00::4 198.51.100.4", "10.244.4.0/24 fd44:4::/64")),
        ("far", peer("fd00::5 203.0.113.5", "10.244.5.0/24")),
        ("new", peer("192.0.2.6", "")),
    ];
    let auto = decide(Routing::Auto, &own, &peers, &Plan::default());
    assert_eq!(
        ways(&auto),
        [
            ("10.244.2.0/24".to_owned(), "beside", native("192.0.2.2", 2)),
            ("10.244.3.0/24".to_owned(), "wider", native("192.0.9.2", 3)),
            ("10.244.4.0/24".to_owned(), "second", native("198.51.100.4", 4)),
            ("10.244.5.0/24".to_owned(), "far", tunnel("203.0.113.5")),
            ("fd44:4::/64".to_owned(), "second", tunnel("203.0.113.4")),
        ]
    );
    assert!(auto.refused.is_empty());
    let routes = decide(Routing::Native, &own, &peers, &Plan::default());
    assert_eq!(routes.ways.len(), 3);
    let why = |family: &str| {
        format!("the node has no {family} address on a network of this node, and --pod-routing is native")
    };
    let expected =
        [format!("far: 10.244.5.0/24: {}", why("IPv4")), format!("second: fd44:4::/64: {}", why("IPv6"))];
    assert_eq!(refused(&routes), expected);
    let tunnels = decide(Routing::Vxlan, &own, &peers, &Plan::default());
    assert!(tunnels.ways.values().all(|to| matches!(to.way, Way::Tunnel { .. })));
    assert_eq!(tunnels.ways.len(), 5);
}

#[test]
fn each_family_has_its_own_next_hop_and_the_tunnel_takes_both() {
    let own = [own(2, "fd00::1/64"), own(2, "192.0.2.1/24"), own(3, "fd01::1/64")];
    let peers = [
        ("beside", peer("192.0.2.2 fd01::2", "10.244.2.0/24 fd44:2::/64")),
        ("far", peer("fd02::3 203.0.113.3", "fd44:3::/64 10.244.3.0/24")),
        ("half", peer("fd00::4 203.0.113.4", "10.244.4.0/24 fd44:4::/64")),
    ];
    let auto = decide(Routing::Auto, &own, &peers, &Plan::default());
    let expected = [
        ("10.244.2.0/24", "beside", native("192.0.2.2", 2)),
        ("10.244.3.0/24", "far", tunnel("fd02::3")),
        ("10.244.4.0/24", "half", tunnel("fd00::4")),
        ("fd44:2::/64", "beside", native("fd01::2", 3)),
        ("fd44:3::/64", "far", tunnel("fd02::3")),
        ("fd44:4::/64", "half", native("fd00::4", 2)),
    ];
    assert_eq!(ways(&auto), expected.map(|(cidr, node, way)| (cidr.to_owned(), node, way)));
    // By the first one of them a node's end of the tunnel is known, whichever of them is asked for.
    let firsts: Vec<_> = auto.ways.values().map(|to| to.first.to_string()).collect();
    assert_eq!(firsts[1..4], ["fd44:3::/64", "10.244.4.0/24", "10.244.2.0/24"]);
}

#[test]
fn what_cannot_be_a_nodes_share_is_refused_by_name() {
    let own = [own(2, "192.0.2.1/24")];
    let peers = [
        ("all", peer("192.0.2.9", "0.0.0.0/0")),
        ("bad", peer("192.0.2.2", "10.244.2.0/33 10.244.2.0")),
        ("good", peer("192.0.2.3", "10.244.3.0/24")),
        ("itself", peer("203.0.113.4", "203.0.113.0/24")),
        ("me", peer("192.0.2.1", "10.244.6.0/24")),
        ("nodes", peer("203.0.113.5", "192.0.2.0/25")),
        ("nowhere", peer("fd00::5", "10.244.5.0/24")),
        ("ours", peer("192.0.2.6", "10.244.1.128/25")),
        ("thief", peer("192.0.2.7", "10.244.3.0/24 10.244.0.0/22 10.244.3.64/26")),
    ];
    let plan = decide(Routing::Auto, &own, &peers, &Plan::default());
    assert_eq!(ways(&plan), [("10.244.3.0/24".to_owned(), "good", native("192.0.2.3", 2))]);
    assert_eq!(
        refused(&plan),
        [
            "all: 0.0.0.0/0 has addresses of this node's own pods",
            "bad: \"10.244.2.0\" is no network such as 10.244.1.0/24 or fd00:10:244:1::/64",
            "bad: \"10.244.2.0/33\" is no network such as 10.244.1.0/24 or fd00:10:244:1::/64",
            "itself: 203.0.113.0/24 holds the node address 203.0.113.4",
            "me: its address 192.0.2.1 is this node's own",
            "nodes: 192.0.2.0/25 holds the node address 192.0.2.1",
            "nowhere: the node has no address (InternalIP) of a family that this node has",
            "ours: 10.244.1.128/25 has addresses of this node's own pods",
            "thief: 10.244.0.0/22 has addresses of this node's own pods",
            "thief: 10.244.3.0/24 has addresses of pods of node good",
            "thief: 10.244.3.64/26 has addresses of pods of node good",
        ]
    );
}

#[test]
fn who_has_a_network_keeps_it_and_else_the_older_node_has_it() {
    let own = [own(2, "192.0.2.1/24")];
    let (mut old, mut young) = (peer("192.0.2.2", "10.244.2.0/24"), peer("192.0.2.3", "10.244.2.0/24"));
    (old.created, young.created) = (1, 2);
    let both = [("z-old", old), ("a-young", young.clone())];
    let first = decide(Routing::Auto, &own, &both, &Plan::default());
    assert_eq!(ways(&first)[0].1, "z-old");
    // The younger had it alone: the older one, which comes back with the same, takes nothing away.
    let alone = decide(Routing::Auto, &own, &[("a-young", young)], &first);
    assert_eq!(ways(&alone)[0].1, "a-young");
    let again = decide(Routing::Auto, &own, &both, &alone);
    assert_eq!(ways(&again)[0].1, "a-young");
    assert_eq!(refused(&again), ["z-old: 10.244.2.0/24 has addresses of pods of node a-young"]);
}

/// Networks that meet often.
fn networks() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0_u8..=255, 24_u8..=32), 0..24)
}

fn cluster(networks: &[(u8, u8)]) -> BTreeMap<String, Peer> {
    let node = |(n, (last, length)): (usize, &(u8, u8))| {
        let pods = format!("10.9.0.{last}/{length}");
        (format!("n{n}"), Peer { created: n as i64 % 3, ..peer(&format!("192.0.2.{}", n + 2), &pods) })
    };
    networks.iter().enumerate().map(node).collect()
}

proptest! {
    /// No two ways meet, each network has a way or a reason, a reason is true, and a plan made again is the same.
    #[test]
    fn ways_never_meet_and_stay(first in networks(), second in networks()) {
        let own = [own(2, "192.0.2.1/24")];
        let pods = [cidr("10.9.0.0/28")];
        let before = plan(Routing::Auto, &pods, &own, &cluster(&first), &Plan::default());
        let peers = cluster(&second);
        let after = plan(Routing::Auto, &pods, &own, &peers, &before);
        let all: Vec<IpNet> = after.ways.keys().copied().collect();
        for (at, one) in all.iter().enumerate() {
            prop_assert!(!overlap(one, &pods[0]));
            prop_assert!(all[at + 1..].iter().all(|other| !overlap(one, other)));
        }
        for (name, peer) in &peers {
            let wanted = cidr(&peer.pod_cidrs[0]);
            let given = after.ways.get(&wanted).is_some_and(|to| to.node == *name);
            let why = after.refused.iter().find(|(node, _)| node == name).map(|(_, why)| why);
            match why {
                None => prop_assert!(given),
                Some(Refusal::Own(_)) => prop_assert!(!given && overlap(&wanted, &pods[0])),
                Some(Refusal::Taken(_, by)) => {
                    let taken = after.ways.iter().any(|(c, to)| to.node == *by && overlap(c, &wanted));
                    prop_assert!(!given && taken);
                }
                Some(why) => prop_assert!(false, "{why}"),
            }
            let held = before.ways.get(&wanted).is_some_and(|to| to.node == *name);
            prop_assert!(!held || given, "a good route was taken away");
        }
        prop_assert_eq!(plan(Routing::Auto, &pods, &own, &peers, &after).ways, after.ways);
    }
}
