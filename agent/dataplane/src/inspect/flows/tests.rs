//! Events made by hand: what is said of them, and who is shown them.

use std::collections::{BTreeSet, HashMap};

use xebec_abi::event::{Event, Hook, Reason, Verdict};
use xebec_abi::flow::NO_SERVICE;
use xebec_abi::{Be16, Ip6, PROTO_TCP, PROTO_UDP};

use super::*;
use crate::maps::wide;

fn names() -> Names {
    let pod = |address: &str, name: &str| (address.parse().unwrap(), name.to_owned());
    Names {
        pods: HashMap::from([pod("10.244.0.5", "x/a"), pod("10.244.0.6", "x/b"), pod("fd44::5", "x/a")]),
        nodes: HashMap::from([pod("10.99.0.2", "node-a")]),
        services: HashMap::from([(7, "shop/web:http".to_owned())]),
        namespaces: HashMap::from([(
            9,
            BTreeSet::from(["10.244.0.5".parse().unwrap(), "fd44::5".parse().unwrap()]),
        )]),
        host: 1,
    }
}

fn ip(text: &str) -> Ip6 {
    wide(&text.parse().unwrap())
}

fn event(verdict: Verdict, reason: Reason, hook: Hook) -> Event {
    Event {
        time: 1_500_000_000,
        dst: ip("10.96.0.1"),
        dport: Be16::new(80),
        index: 7,
        proto: PROTO_TCP,
        hook: hook as u8,
        verdict: verdict as u8,
        reason: reason as u8,
        ..Event::default()
    }
}

/// Of a pod's socket to the Service.
fn translated() -> Event {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    let to = (ip("10.244.0.6"), Be16::new(8080));
    Event {
        netns: 9,
        pid: 42,
        comm,
        to: to.0,
        tport: to.1,
        ..event(Verdict::Translated, Reason::None, Hook::Connect)
    }
}

/// Of a client outside, to a pod.
fn dropped() -> Event {
    Event {
        src: ip("192.0.2.1"),
        sport: Be16::new(5000),
        dst: ip("10.244.0.5"),
        proto: PROTO_UDP,
        index: NO_SERVICE,
        ..event(Verdict::Dropped, Reason::Policy, Hook::ToPod)
    }
}

#[test]
fn a_flow_is_said_in_one_line() {
    let refused = event(Verdict::Refused, Reason::NoEndpoints, Hook::Connect);
    for (event, expected) in [
        (
            translated(),
            "translated  tcp   x/a (curl 42) -> 10.96.0.1:80 -> x/b:8080  Service shop/web:http  connect",
        ),
        (
            Event { netns: 1, ..refused },
            "refused     tcp   this node -> 10.96.0.1:80  Service shop/web:http  connect: the Service has no endpoints",
        ),
        (
            Event { index: 8, netns: 5, ..refused },
            "refused     tcp   ? -> 10.96.0.1:80  Service index 8  connect: the Service has no endpoints",
        ),
        (
            dropped(),
            "dropped     udp   192.0.2.1:5000 -> x/a:80  policy (ingress of x/a): policies isolate ingress of x/a: \
             no rule allows it",
        ),
        (
            Event { src: ip("10.99.0.2"), proto: 47, dport: Be16(0), verdict: 3, reason: 8, ..dropped() },
            "allowed     47    node node-a:5000 -> x/a  policy (ingress of x/a): the node itself began it",
        ),
        (
            Event {
                src: ip("fd99::1"),
                sport: Be16::new(1),
                ..event(Verdict::Dropped, Reason::SourceRanges, Hook::Ingress)
            },
            "dropped     tcp   [fd99::1]:1 -> 10.96.0.1:80  Service shop/web:http  from outside: the client is not in \
             loadBalancerSourceRanges",
        ),
    ] {
        let flow = Flow::new(&event, &names(), 0);
        assert_eq!(flow.to_string(), format!("1970-01-01T00:00:01.5Z  {expected}"));
    }
}

#[test]
fn the_sockets_address_is_of_the_family_it_asks_for() {
    let to6 = Event { dst: ip("fd96::1"), ..translated() };
    for (event, address) in [(translated(), "10.244.0.5"), (to6, "fd44::5")] {
        assert_eq!(Flow::new(&event, &names(), 0).source.address, Some(address.parse().unwrap()));
    }
    // Without names there are addresses.
    let bare = Names { namespaces: names().namespaces, ..Names::default() };
    let flow = Flow::new(&dropped(), &bare, 0);
    assert_eq!(flow.policy, Some(("10.244.0.5".to_owned(), "ingress")));
    assert_eq!((flow.destination.name, flow.service), (None, None));
    let json = serde_json::to_value(Flow::new(&translated(), &bare, 0)).unwrap();
    assert_eq!(json["endpoint"]["address"], "10.244.0.6");
    assert_eq!(json["process"]["name"], "curl");
}

#[test]
fn all_that_is_asked_for_must_hold_and_any_value_of_it() {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let none = Filter::default;
    let networks = |text| vec![network(text).unwrap()];
    for (filter, of_service, of_policy) in [
        (none(), true, true),
        (Filter { pods: list(&["x/b"]), ..none() }, true, false),
        (Filter { pods: list(&["y/none", "x/a"]), ..none() }, true, true),
        (Filter { namespaces: list(&["shop"]), ..none() }, true, false),
        (Filter { namespaces: list(&["x"]), ..none() }, true, true),
        (Filter { services: list(&["shop/web"]), ..none() }, true, false),
        (Filter { services: list(&["shop/web:http"]), ..none() }, true, false),
        (Filter { services: list(&["shop/we"]), ..none() }, false, false),
        (Filter { networks: networks("192.0.2.0/24"), ..none() }, false, true),
        (Filter { networks: networks("10.244.0.6"), ..none() }, true, false),
        (Filter { ports: vec![8080], ..none() }, true, false),
        (Filter { ports: vec![80], ..none() }, true, true),
        (Filter { protocols: list(&["udp"]), ..none() }, false, true),
        (Filter { protocols: list(&["udp"]), ports: vec![8080], ..none() }, false, false),
    ] {
        let shown = [translated(), dropped()].map(|event| filter.accepts(&Flow::new(&event, &names(), 0)));
        assert_eq!(shown, [of_service, of_policy], "{filter:?}");
    }
}

#[test]
fn what_is_not_understood_is_said() {
    assert_eq!(verdict("dropped"), Ok(4));
    assert!(verdict("drop").unwrap_err().contains("translated, refused, dropped"));
    assert!(network("10.0.0.0/33").is_err() && network("pod").is_err());
    assert_eq!(namespaced("x/a"), Ok("x/a".to_owned()));
    for bad in ["a", "/a", "x/", "x/a/b"] {
        assert!(namespaced(bad).is_err(), "{bad}");
    }
    assert_eq!(NEW_FLOWS, 0b101_1111);
}
