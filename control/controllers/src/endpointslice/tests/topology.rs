//! Hints through the whole plan: with slices that stay, change, come and go.

use super::*;
use crate::endpointslice::hints::Outcome;

/// A ready pod on a node.
fn on(n: usize, node: &str) -> Arc<Pod> {
    pod(n, json!({"spec": {"nodeName": node}}))
}

fn prefer(distribution: &str) -> Service {
    service(json!({"spec": {"trafficDistribution": distribution}}))
}

fn auto(change: Value) -> Service {
    let mut value = json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}});
    xebec_api::patch::merge_patch(&mut value, &change);
    service(value)
}

fn even(zones: usize) -> Shares {
    (1..=zones).map(|n| (format!("z{n}"), 1.0 / zones as f64)).collect()
}

/// The hints of all endpoints, `-` for none.
fn hints<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Vec<String> {
    let one = |hints: &Value| {
        let names = |key: &str| {
            let list = hints[key].as_array().cloned().unwrap_or_default();
            list.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        [names("forZones"), names("forNodes")].concat().join("+")
    };
    let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let shown = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        endpoint.hints.as_ref().map_or("-".to_owned(), |hints| one(&serde_json::to_value(hints).unwrap()))
    };
    endpoints.map(shown).collect()
}

/// The slices after a plan that only updates, in the order of their names.
fn after(existing: &[Arc<EndpointSlice>], plan: &Plan) -> Vec<Arc<EndpointSlice>> {
    assert!(plan.create.is_empty() && plan.delete.is_empty());
    let new = |old: &Arc<EndpointSlice>| {
        let changed = plan.update.iter().find(|slice| slice.metadata.name == old.metadata.name);
        changed.map_or(old.clone(), |slice| Arc::new(slice.clone()))
    };
    existing.iter().map(new).collect()
}

#[test]
fn the_field_comes_changes_and_goes() {
    let gone = pod(3, json!({"spec": {"nodeName": "n1"}, "status": {"conditions": []}}));
    let pods = [on(1, "n1"), on(2, "n2"), gone, on(4, "x")];
    let plain = stored(run(&service(json!({})), &pods, &[]));
    let mut existing = plain.clone();
    let steps = [
        ("PreferClose", vec!["z1", "z2", "-", "-"]),
        ("PreferSameNode", vec!["z1+n1", "z2+n2", "-", "x"]),
        ("PreferSameZone", vec!["z1", "z2", "-", "-"]),
    ];
    for (distribution, expected) in steps {
        let wanted = prefer(distribution);
        let plan = run(&wanted, &pods, &existing);
        assert_eq!(counts(&plan), (0, 1, 0), "{distribution}");
        assert_eq!(hints(&plan.update), expected, "{distribution}");
        existing = after(&existing, &plan);
        assert_eq!(counts(&run(&wanted, &pods, &existing)), (0, 0, 0), "{distribution}");
        // New slices have the same.
        assert_eq!(hints(&run(&wanted, &pods, &[]).create), expected);
    }
    let plan = run(&service(json!({})), &pods, &existing);
    assert_eq!((counts(&plan), hints(&plan.update)), ((0, 1, 0), vec!["-".to_owned(); 4]));
    assert_eq!(after(&existing, &plan), plain);
}

#[test]
fn a_pod_or_zone_that_changes_changes_its_hint() {
    let near = prefer("PreferSameZone");
    let pods: Vec<_> = (1..=150).map(|n| on(n, "n1")).collect();
    let existing = stored(run(&near, &pods, &[]));
    assert_eq!(existing.len(), 2);
    let mut other = pods.clone();
    other[149] = pod(150, json!({"status": {"conditions": []}}));
    let plan = run(&near, &other, &existing);
    assert_eq!(counts(&plan), (0, 1, 0));
    assert_eq!(hints(&plan.update).iter().filter(|hint| *hint == "-").count(), 1);
    let existing = after(&existing, &plan);
    // Its slice, which has room, takes another one.
    other.push(on(200, "n2"));
    let plan = run(&near, &other, &existing);
    assert_eq!(counts(&plan), (0, 1, 0));
    assert_eq!(hints(&plan.update).iter().filter(|hint| *hint == "z1").count(), 49);
    // The node's zone changes.
    let moved = |node: &str| (node == "n1").then(|| "z9".to_owned());
    let topology = Topology { zone: moved, shares: None };
    let plan = super::plan(&near, &pods, &stored(run(&near, &pods, &[])), &topology, Timestamp::UNIX_EPOCH);
    assert_eq!(counts(&plan), (0, 2, 0));
    let zones = plan.update.iter().flat_map(|s| s.endpoints.iter().flatten()).map(|e| e.zone.clone());
    assert!(zones.eq(std::iter::repeat_n(Some("z9".to_owned()), 150)));
    assert_eq!(hints(&plan.update), vec!["z9"; 150]);
}

#[test]
fn all_slices_of_a_family_share_the_zones() {
    // Two groups of ports, so two slices; all pods are in one zone.
    let port = json!([{"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}]);
    let other = |n| pod(n, json!({"spec": {"nodeName": "n1", "containers": port}}));
    let pods = [on(1, "n1"), on(2, "n1"), other(3), other(4)];
    let svc = auto(json!({}));
    let shares = even(2);
    let made = run_with(&svc, &pods, &[], Some(&shares));
    let zones = [("z1".to_owned(), 2), ("z2".to_owned(), 2)].into();
    assert_eq!(made.outcomes, [("IPv4".to_owned(), Outcome::Allocated(zones))]);
    assert_eq!(hints(&made.create), ["z2", "z2", "z1", "z1"]);
    let existing = stored(made);
    assert_eq!(counts(&run_with(&svc, &pods, &existing, Some(&shares))), (0, 0, 0));
    // A pod more in the second group: the first one's slice is left alone.
    let more = [&pods[..], &[other(5), other(6)]].concat();
    let plan = run_with(&svc, &more, &existing, Some(&shares));
    assert_eq!(
        (counts(&plan), hints(&plan.update)),
        ((0, 1, 0), ["z2", "z1", "z1", "z1"].map(str::to_owned).to_vec())
    );
    assert_eq!(plan.update[0].metadata.name, existing[1].metadata.name);
    // Too few endpoints are left: the slice that is otherwise unchanged loses its hints, too.
    let plan = run_with(&svc, &pods[..1], &existing[..1], Some(&shares));
    let reason = "Insufficient number of endpoints (1 endpoints, 2 zones)".to_owned();
    assert_eq!(plan.outcomes, [("IPv4".to_owned(), Outcome::Refused(reason))]);
    assert_eq!((counts(&plan), hints(&plan.update)), ((0, 1, 0), vec!["-".to_owned()]));
    let plan = run_with(&svc, &pods, &existing, None);
    assert_eq!((counts(&plan), hints(&plan.update)), ((0, 2, 0), vec!["-".to_owned(); 4]));
}

#[test]
fn three_zones_of_unequal_cpu() {
    let svc = auto(json!({}));
    let shares = [("z1".to_owned(), 0.5), ("z2".to_owned(), 0.45), ("z3".to_owned(), 0.05)].into();
    let pods: Vec<_> = (1..=200).map(|n| on(n, &format!("n{}", n % 2 + 1))).collect();
    let made = run_with(&svc, &pods, &[], Some(&shares));
    let sums = hints(&made.create).iter().fold(std::collections::BTreeMap::new(), |mut sums, zone| {
        *sums.entry(zone.clone()).or_default() += 1_usize;
        sums
    });
    // 100 are at home in each of two zones; the small one has none of its own.
    let expected = [("z1", 100), ("z2", 90), ("z3", 10)].map(|(zone, n)| (zone.to_owned(), n));
    assert_eq!(sums, expected.into());
    assert_eq!(made.outcomes, [("IPv4".to_owned(), Outcome::Allocated(sums))]);
    let existing = stored(made);
    assert_eq!(counts(&run_with(&svc, &pods, &existing, Some(&shares))), (0, 0, 0));
    // A little less CPU in a zone moves nothing, a zone that vanishes does.
    let near = [("z1".to_owned(), 0.48), ("z2".to_owned(), 0.46), ("z3".to_owned(), 0.06)].into();
    assert_eq!(counts(&run_with(&svc, &pods, &existing, Some(&near))), (0, 0, 0));
    let plan = run_with(&svc, &pods, &existing, Some(&even(2)));
    assert_eq!(plan.create.len() + plan.delete.len(), 0);
    let left = after(&existing, &plan);
    let found = hints(left.iter().map(|slice| &**slice));
    assert_eq!(["z1", "z2"].map(|zone| found.iter().filter(|hint| *hint == zone).count()), [100, 100]);
}

#[test]
fn families_are_judged_each_for_itself() {
    let svc = auto(json!({"spec": {"ipFamilies": ["IPv4", "IPv6"]}}));
    let two = |n: usize, node: &str| {
        let ips = json!([{"ip": format!("10.244.0.{n}")}, {"ip": format!("fd00::{n}")}]);
        pod(n, json!({"spec": {"nodeName": node}, "status": {"podIPs": ips}}))
    };
    let pods = [two(1, "n1"), on(2, "n2")];
    let made = run_with(&svc, &pods, &[], Some(&even(2)));
    assert_eq!(hints(&made.create), ["z1", "z2", "-"]);
    let reason = "Insufficient number of endpoints (1 endpoints, 2 zones)".to_owned();
    let zones = [("z1".to_owned(), 1), ("z2".to_owned(), 1)].into();
    assert_eq!(
        made.outcomes,
        [("IPv4".to_owned(), Outcome::Allocated(zones)), ("IPv6".to_owned(), Outcome::Refused(reason))]
    );
}

#[test]
fn the_annotation_wins_and_leaves_to_the_field() {
    let both = auto(json!({"spec": {"trafficDistribution": "PreferSameNode"}}));
    let pods = [on(1, "n1"), on(2, "n1")];
    let made = run_with(&both, &pods, &[], Some(&even(2)));
    assert_eq!(hints(&made.create), ["z2", "z1"]);
    let existing = stored(made);
    let plan = run_with(&prefer("PreferSameNode"), &pods, &existing, Some(&even(2)));
    assert_eq!(plan.outcomes, [("IPv4".to_owned(), Outcome::Off)]);
    assert_eq!((counts(&plan), hints(&plan.update)), ((0, 1, 0), vec!["z1+n1".to_owned(); 2]));
    // Refused hints do not fall back to the field.
    assert_eq!(hints(&run_with(&both, &pods, &[], None).create), ["-", "-"]);
}

#[test]
fn an_endpoint_in_a_zone_without_a_share_is_no_cause_for_writes() {
    // Its zone has no ready node, so its hint is given anew each time, and is the same.
    let pods = [on(1, "n1"), on(2, "n2"), on(3, "n3"), on(4, "n1")];
    let made = run_with(&auto(json!({})), &pods, &[], Some(&even(2)));
    assert_eq!(hints(&made.create), ["z1", "z2", "z3", "z1"]);
    let existing = stored(made);
    assert_eq!(counts(&run_with(&auto(json!({})), &pods, &existing, Some(&even(2)))), (0, 0, 0));
}
