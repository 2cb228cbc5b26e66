//! The tables against the policies read rule by rule, on worlds made at random; and the cases upstream's documentation
//! and e2e suite name.

#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

mod changes;

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use xebec_api::selector::LabelSelector;
use xebec_policy::model::{
    Labels, NamedPort, Network, Peer, Pod, Policy, Port, PortRange, Protocol, Rule, World,
};
use xebec_policy::{ANYONE, Direction, Tables, compile};

/// What the API's documentation says, word by word.
fn allowed(
    world: &World,
    pod: &Pod,
    direction: Direction,
    other: IpAddr,
    protocol: Protocol,
    port: u16,
) -> bool {
    let mut isolated = false;
    for policy in &world.policies {
        if pod.on_host || policy.namespace != pod.namespace || !policy.pods.matches(&pod.labels) {
            continue;
        }
        let rules = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        let Some(rules) = rules else { continue };
        isolated = true;
        if rules.iter().any(|rule| lets(world, policy, rule, pod, direction, other, protocol, port)) {
            return true;
        }
    }
    !isolated
}

#[expect(clippy::too_many_arguments, reason = "a packet and all that judges it")]
fn lets(
    world: &World,
    policy: &Policy,
    rule: &Rule,
    pod: &Pod,
    direction: Direction,
    other: IpAddr,
    protocol: Protocol,
    port: u16,
) -> bool {
    let there: Vec<&Pod> =
        world.pods.iter().filter(|pod| !pod.on_host && pod.addresses.contains(&other)).collect();
    let is_peer = |peer: &Peer| match peer {
        Peer::Pods { namespaces, pods } => {
            !there.is_empty() && there.iter().all(|pod| world.selects(policy, namespaces.as_ref(), pods, pod))
        }
        Peer::Block { network, except } => {
            let other = Network::of(other);
            network.contains(other) && !except.iter().any(|hole| hole.contains(other))
        }
    };
    let fits = |one: &Port| {
        one.protocol == protocol
            && match &one.range {
                PortRange::Any => true,
                PortRange::Numbers(first, last) => (*first..=*last).contains(&port),
                PortRange::Named(name) => match direction {
                    Direction::Ingress => pod.port(name, protocol) == Some(port),
                    Direction::Egress => {
                        !there.is_empty() && there.iter().all(|pod| pod.port(name, protocol) == Some(port))
                    }
                },
            }
    };
    (rule.peers.is_empty() || rule.peers.iter().any(is_peer))
        && (rule.ports.is_empty() || rule.ports.iter().any(fits))
}

/// What the kernel does with the tables.
fn passes(
    tables: &Tables,
    pod: &Pod,
    direction: Direction,
    other: IpAddr,
    protocol: Protocol,
    port: u16,
) -> bool {
    let Some(selected) = tables.selected.get(&(pod.namespace.clone(), pod.name.clone())) else { return true };
    let isolated = match direction {
        Direction::Ingress => selected.ingress,
        Direction::Egress => selected.egress,
    };
    let class = tables.classes.find(other);
    !isolated
        || selected.allows.iter().any(|allow| {
            allow.direction == direction
                && (allow.class == ANYONE || Some(allow.class) == class)
                && allow.protocol.is_none_or(|one| one == protocol)
                && allow.port.contains(port)
        })
}

fn labels() -> impl Strategy<Value = Labels> {
    (0..3_u8, 0..2_u8).prop_map(|(app, tier)| {
        BTreeMap::from([("app".to_owned(), app.to_string()), ("tier".to_owned(), tier.to_string())])
    })
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    prop_oneof![
        Just(LabelSelector::everything()),
        (0..3_u8).prop_map(|app| LabelSelector::parse(&format!("app={app}")).unwrap()),
        (0..2_u8).prop_map(|tier| LabelSelector::parse(&format!("tier!={tier}")).unwrap()),
        (0..3_u8, 0..2_u8)
            .prop_map(|(app, tier)| LabelSelector::parse(&format!("app={app},tier={tier}")).unwrap()),
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..8_u8).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        (0..4_u8).prop_map(|last| IpAddr::from([192, 0, 2, last])),
        (0..4_u16).prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
    ]
}

fn network() -> impl Strategy<Value = Network> {
    (address(), prop::sample::select(vec![0_u8, 8, 24, 29, 30, 31, 32])).prop_map(|(address, bits)| {
        let bits = if address.is_ipv6() && bits > 24 { bits + 96 } else { bits };
        Network::new(address, bits).unwrap()
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (prop::option::of(selector()), selector())
            .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        (network(), prop::collection::vec(network(), 0..3))
            .prop_map(|(network, except)| Peer::Block { network, except }),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn port() -> impl Strategy<Value = Port> {
    let range = prop_oneof![
        Just(PortRange::Any),
        (0..6_u16, 0..4_u16).prop_map(|(first, more)| PortRange::Numbers(first, first + more)),
        prop::sample::select(vec!["web", "dns"]).prop_map(|name| PortRange::Named(name.to_owned())),
    ];
    (protocol(), range).prop_map(|(protocol, range)| Port { protocol, range })
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let rule = (prop::collection::vec(peer(), 0..3), prop::collection::vec(port(), 0..3))
        .prop_map(|(peers, ports)| Rule { peers, ports });
    prop::option::of(prop::collection::vec(rule, 0..3))
}

fn policy() -> impl Strategy<Value = Policy> {
    (0..2_u8, selector(), rules(), rules()).prop_map(|(namespace, pods, ingress, egress)| Policy {
        namespace: namespace.to_string(),
        name: String::new(),
        pods,
        ingress,
        egress,
    })
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    prop::collection::vec(address(), 0..3)
}

fn pod() -> impl Strategy<Value = Pod> {
    let named = (prop::sample::select(vec!["web", "dns"]), protocol(), 0..6_u16)
        .prop_map(|(name, protocol, number)| NamedPort { name: name.to_owned(), protocol, number });
    let pod = (0..2_u8, labels(), addresses(), prop::collection::vec(named, 0..3), 0..8_u8);
    pod.prop_map(|(namespace, labels, addresses, ports, host)| Pod {
        namespace: namespace.to_string(),
        name: String::new(),
        labels,
        addresses,
        ports,
        on_host: host == 0,
    })
}

fn world() -> impl Strategy<Value = World> {
    let pods = prop::collection::vec(pod(), 1..6).prop_map(|mut pods| {
        for (at, pod) in pods.iter_mut().enumerate() {
            pod.name = format!("p{at}");
        }
        pods
    });
    let namespaces = prop::collection::vec(labels(), 2).prop_map(|all| {
        all.into_iter().enumerate().map(|(at, labels)| (at.to_string(), labels)).collect::<BTreeMap<_, _>>()
    });
    (prop::collection::vec(policy(), 0..4), namespaces, pods).prop_map(|(policies, namespaces, pods)| World {
        policies,
        namespaces,
        pods,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_tables_are_the_policies(world in world(), other in address(), protocol in protocol(), port in 0..9_u16) {
        let tables = compile(&world, |_| true);
        for pod in &world.pods {
            for direction in [Direction::Ingress, Direction::Egress] {
                let want = allowed(&world, pod, direction, other, protocol, port);
                let got = passes(&tables, pod, direction, other, protocol, port);
                prop_assert_eq!(got, want, "{:?} {} {} {:?} {}", direction, pod.name, other, protocol, port);
            }
        }
    }

    #[test]
    fn other_nodes_pods_change_only_classes(world in world()) {
        let (all, one) = (compile(&world, |_| true), compile(&world, |pod| pod.name == "p0"));
        let key = |name: &str| {
            world.pods.iter().find(|pod| pod.name == name).map(|pod| (pod.namespace.clone(), name.to_owned()))
        };
        let directions = |tables: &Tables| {
            key("p0").and_then(|key| tables.selected.get(&key).map(|found| (found.ingress, found.egress)))
        };
        prop_assert_eq!(directions(&all), directions(&one));
        prop_assert!(one.selected.len() <= 1);
    }
}
