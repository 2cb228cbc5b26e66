//! Tables of the zones' shares, and of what is said and planned again when.

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use super::*;
use crate::endpointslice::hints::ledger::{Ledger, Notice};
use crate::endpointslice::hints::nodes::{self, Weight};
use crate::machinery::Key;

fn node(zone: &str, cpu: &str, ready: &str, labels: Value) -> Arc<Node> {
    let mut value = json!({"metadata": {"name": "n", "labels": labels}, "status": {
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]}});
    if !zone.is_empty() {
        value["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone);
    }
    if !cpu.is_empty() {
        value["status"]["allocatable"] = json!({"cpu": cpu, "memory": "1Gi"});
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn shares_of_cpu() {
    let ready = |zone, cpu| node(zone, cpu, "True", json!({}));
    let control = |zone, label: &str| node(zone, "8", "True", json!({label: ""}));
    let none: Option<&[(&str, f64)]> = None;
    let cases = [
        (vec![], none),
        (vec![ready("a", "1"), ready("a", "2")], none),
        (vec![ready("a", "1"), ready("b", "1000m")], Some(&[("a", 0.5), ("b", 0.5)][..])),
        (
            vec![
                ready("a", "2"),
                ready("b", "3"),
                ready("a", "1500m"),
                ready("a", "1.5"),
                ready("b", "1500m"),
                ready("c", "500m"),
            ],
            Some(&[("a", 0.5), ("b", 0.45), ("c", 0.05)]),
        ),
        (
            vec![ready("a", "1"), ready("b", "1"), node("b", "1", "False", json!({}))],
            Some(&[("a", 0.5), ("b", 0.5)]),
        ),
        (vec![node("a", "1", "Unknown", json!({})), ready("b", "1")], none),
        (vec![ready("a", "1"), control("b", "node-role.kubernetes.io/control-plane")], none),
        (
            vec![
                ready("a", "1"),
                ready("b", "3"),
                control("b", "node-role.kubernetes.io/master"),
                control("", "node-role.kubernetes.io/master"),
            ],
            Some(&[("a", 0.25), ("b", 0.75)]),
        ),
        // One ready node of which it cannot be said is enough; one that is not ready does not matter.
        (vec![ready("a", "1"), ready("b", "1"), ready("", "1")], none),
        (vec![ready("a", "1"), ready("b", "1"), ready("b", "0")], none),
        (vec![ready("a", "1"), ready("b", "1"), ready("b", "")], none),
        (
            vec![ready("a", "1"), ready("b", "1"), node("", "", "False", json!({}))],
            Some(&[("a", 0.5), ("b", 0.5)]),
        ),
    ];
    for (list, expected) in cases {
        assert_eq!(nodes::shares(&list), expected.map(shares_of), "{list:?}");
    }
}

#[test]
fn a_heartbeat_weighs_nothing() {
    let before = node("a", "2", "True", json!({}));
    let mut beat = (*before).clone();
    beat.metadata.resource_version = Some("7".to_owned());
    beat.metadata.labels.as_mut().unwrap().insert("team".to_owned(), "x".to_owned());
    for condition in beat.status.as_mut().unwrap().conditions.iter_mut().flatten() {
        condition.last_heartbeat_time =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    }
    assert_eq!(nodes::weight(&beat), nodes::weight(&before));
    let control = json!({"node-role.kubernetes.io/control-plane": ""});
    let same = [node("a", "2000m", "True", json!({}))];
    let others = [
        node("b", "2", "True", json!({})),
        node("a", "3", "True", json!({})),
        node("a", "2", "False", json!({})),
        node("a", "2", "True", control),
        node("", "2", "True", json!({})),
    ];
    assert!(same.iter().all(|n| nodes::weight(n) == nodes::weight(&before)));
    assert!(others.iter().all(|n| nodes::weight(n) != nodes::weight(&before)));
    assert_eq!(nodes::weight(&others[2]), Weight::Nothing);
    assert_eq!(nodes::weight(&others[4]), Weight::Unknown);
}

#[test]
fn what_is_said_and_when() {
    let ledger = Ledger::default();
    let key = Key::new("d", "web");
    let settle = |outcomes: &[(&str, Outcome)], writes| {
        let outcomes: Vec<_> = outcomes.iter().map(|(f, o)| ((*f).to_owned(), o.clone())).collect();
        ledger.settle(&key, &ledger.shares(), &outcomes, writes).notices
    };
    let four = |outcome| [("IPv4", outcome)];
    let even = || Outcome::Allocated(zones(&[("a", 2), ("b", 2)]));
    let few = || Outcome::Refused("Too few".to_owned());
    let enabled = || Notice::Enabled("Topology Aware Hints has been enabled, addressType: IPv4".to_owned());
    let refused = || Notice::Disabled("Too few, addressType: IPv4".to_owned());
    assert_eq!(settle(&four(Outcome::Off), true), []);
    assert_eq!(settle(&four(even()), true), [enabled()]);
    assert_eq!(settle(&four(even()), true), []);
    assert_eq!(settle(&four(few()), true), [refused()]);
    // Looking at one's own write is no news, the next write is.
    assert_eq!(settle(&four(few()), false), []);
    assert_eq!(settle(&four(few()), true), [refused()]);
    assert_eq!(settle(&four(even()), true), [enabled()]);
    let off = "Topology Aware Hints has been disabled, addressType: IPv4";
    assert_eq!(settle(&four(Outcome::Off), true), [Notice::Disabled(off.to_owned())]);
    assert_eq!(settle(&four(Outcome::Off), true), []);
    // Both families: hints are said to be there once.
    assert_eq!(settle(&[("IPv4", even()), ("IPv6", even())], true), [enabled()]);
    assert_eq!(
        settle(&[("IPv4", Outcome::Off), ("IPv6", Outcome::Off)], true),
        [Notice::Disabled(off.to_owned())]
    );
}

#[test]
fn who_must_be_planned_again() {
    let ledger = Ledger::default();
    let halves = shares_of(&[("a", 0.5), ("b", 0.5)]);
    assert_eq!(ledger.set_shares(Some(halves.clone())), []);
    let plan = |name: &str, outcome| {
        let shares = ledger.shares();
        assert!(!ledger.settle(&Key::new("d", name), &shares, &[("IPv4".to_owned(), outcome)], true).again);
    };
    plan("even", Outcome::Allocated(zones(&[("a", 10), ("b", 10)])));
    plan("small", Outcome::Allocated(zones(&[("a", 1), ("b", 1)])));
    plan("none", Outcome::Refused("Insufficient".to_owned()));
    plan("plain", Outcome::Off);
    plan("gone", Outcome::Refused("Insufficient".to_owned()));
    ledger.forget(&Key::new("d", "gone"));
    let stale = |shares: Option<Shares>| {
        let mut names: Vec<_> = ledger.set_shares(shares).into_iter().map(|key| key.name).collect();
        names.sort();
        names
    };
    assert_eq!(stale(Some(halves.clone())), texts(&[]));
    // A little more CPU in one zone leaves alone what is still balanced.
    assert_eq!(stale(Some(shares_of(&[("a", 0.55), ("b", 0.45)]))), ["none"]);
    assert_eq!(stale(Some(shares_of(&[("a", 0.65), ("b", 0.35)]))), ["even", "none", "small"]);
    assert_eq!(stale(Some(shares_of(&[("a", 0.5), ("b", 0.4), ("c", 0.1)]))), ["even", "none", "small"]);
    assert_eq!(stale(None), ["even", "none", "small"]);
}

#[test]
fn shares_that_change_while_a_service_is_planned() {
    let ledger = Ledger::default();
    let shares = ledger.shares();
    ledger.set_shares(Some(shares_of(&[("a", 0.5), ("b", 0.5)])));
    let again =
        |outcome| ledger.settle(&Key::new("d", "web"), &shares, &[("IPv4".to_owned(), outcome)], true).again;
    assert!(again(Outcome::Refused("Insufficient".to_owned())));
    assert!(!again(Outcome::Off));
}
