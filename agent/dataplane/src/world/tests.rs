//! What is told of a world, and when.

use serde_json::{Value, json};

use super::*;

fn slice(name: &str, address: &str, time: &str) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "s"},
            "annotations": {TRIGGER: time},
        },
        "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": [address]}],
    }))
    .unwrap()
}

#[test]
fn a_health_check_of_two_families_counts_each_alone() {
    let service = |families: Value| {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "default", "uid": "1-2"},
            "spec": {
                "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32_000,
                "clusterIPs": families, "ports": [{"port": 80}],
            },
        }))
        .unwrap()
    };
    let of = |name: &str, kind: &str, addresses: &[&str]| -> EndpointSlice {
        let end = |address: &&str| json!({"addresses": [address], "nodeName": "n"});
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "s"},
            },
            "addressType": kind, "ports": [{"port": 80}],
            "endpoints": addresses.iter().map(end).collect::<Vec<_>>(),
        }))
        .unwrap()
    };
    let mut world = World::default();
    // One pod listens on both, one on IPv4 alone.
    world.slice(Event::Apply(of("v4", "IPv4", &["10.0.0.1", "10.0.0.2"])));
    world.slice(Event::Apply(of("v6", "IPv6", &["fd00::1"])));
    let check = |family, endpoints| {
        ((Owner::new("default", "s"), family), Check { uid: "1-2".into(), port: 32_000, endpoints })
    };
    world.service(Event::Apply(service(json!(["fd96::1", "10.96.0.1"]))));
    assert_eq!(world.health_checks("n"), [check(Family::V4, 2), check(Family::V6, 1)].into());
    assert_eq!(world.health_checks("m"), [check(Family::V4, 0), check(Family::V6, 0)].into());
    world.service(Event::Apply(service(json!(["10.96.0.1"]))));
    assert_eq!(world.health_checks("n"), [check(Family::V4, 2)].into(), "not of the other family");
}

#[test]
fn changes_are_counted_until_they_are_applied() {
    let mut world = World::default();
    let time = "2026-01-01T00:00:00.5Z";
    world.slice(Event::Apply(slice("a", "10.0.0.1", time)));
    world.slice(Event::Apply(slice("a", "10.0.0.1", "2026-01-02T00:00:00Z")));
    assert_eq!(world.changes().slices, Counted { total: 2, pending: 1 }, "the second says nothing new");
    world.slice(Event::Apply(slice("a", "10.0.0.2", "not a time")));
    assert_eq!(world.settle(), [(Family::V4, time.parse().unwrap())]);
    assert_eq!(world.changes().slices, Counted { total: 3, pending: 0 });
    assert_eq!(world.settle(), []);
    world.slice(Event::Apply(slice("a", "10.0.0.3", time)));
    world.slice(Event::Delete(slice("a", "10.0.0.3", time)));
    assert_eq!(world.settle(), [], "a removed slice's time is no change's");
    assert_eq!(world.changes().services, Counted::default());
}

#[test]
fn an_unknown_algorithm_is_told_once() {
    let service = |algorithm: Value, port: u16| -> Service {
        serde_json::from_value(json!({
            "metadata": {
                "name": "s", "namespace": "default", "uid": "1-2",
                "annotations": {"network.xebec.dev/load-balancing-algorithm": algorithm},
            },
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]},
        }))
        .unwrap()
    };
    let mut world = World::default();
    let mut told = |algorithm: &str, port| {
        world.service(Event::Apply(service(json!(algorithm), port)));
        world.take_notes()
    };
    assert_eq!(told("maglev", 80), []);
    let notes = told("Maglev", 80);
    let [(owner, uid, note)] = notes.as_slice() else { panic!("{notes:?}") };
    assert_eq!((owner, uid.as_str(), note.kind), (&Owner::new("default", "s"), "1-2", "Warning"));
    assert!(note.message.contains("\"Maglev\"") && note.message.contains("maglev and random"), "{note:?}");
    assert_eq!(told("Maglev", 81), [], "something else changed");
    assert_eq!(told("fair", 81).len(), 1);
    assert_eq!(told("random", 81), []);
}
