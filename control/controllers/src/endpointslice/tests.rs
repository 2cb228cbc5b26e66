mod topology;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::hints::nodes::Shares;
use super::plan::{Plan, Topology, plan};

fn service(change: Value) -> Service {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "svc", "labels": {"team": "x"}},
        "spec": {"clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                 "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]},
    });
    xebec_api::patch::merge_patch(&mut value, &change);
    serde_json::from_value(value).unwrap()
}

fn pod(n: usize, change: Value) -> Arc<Pod> {
    let mut value = json!({
        "metadata": {"name": format!("p{n}"), "namespace": "d", "uid": format!("u{n}")},
        "spec": {"nodeName": "n1", "containers": [
            {"name": "c", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": format!("10.244.0.{n}"), "podIPs": [{"ip": format!("10.244.0.{n}")}],
                   "conditions": [{"type": "Ready", "status": "True"}]},
    });
    xebec_api::patch::merge_patch(&mut value, &change);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn run(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Plan {
    run_with(service, pods, existing, None)
}

/// Nodes `n1`, `n2`, ... are in zones `z1`, `z2`, ...; the node `x` is in none.
fn run_with(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    shares: Option<&Shares>,
) -> Plan {
    let zone = |node: &str| node.strip_prefix('n').map(|number| format!("z{number}"));
    plan(service, pods, existing, &Topology { zone, shares }, Timestamp::UNIX_EPOCH)
}

fn stored(plan: Plan) -> Vec<Arc<EndpointSlice>> {
    let named = plan.create.into_iter().enumerate().map(|(i, mut slice)| {
        slice.metadata.name = Some(format!("web-{i}"));
        Arc::new(slice)
    });
    named.collect()
}

fn counts(plan: &Plan) -> (usize, usize, usize) {
    (plan.create.len(), plan.update.len(), plan.delete.len())
}

#[test]
fn an_endpoint_says_all_there_is_to_say() {
    let hosted = json!({"spec": {"hostname": "h", "subdomain": "web"}});
    let plan = run(&service(json!({})), &[pod(1, hosted)], &[]);
    let value = serde_json::to_value(&plan.create[0]).unwrap();
    assert_eq!(value["addressType"], "IPv4");
    assert_eq!(value["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(
        value["endpoints"],
        json!([{
            "addresses": ["10.244.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
            "hostname": "h", "nodeName": "n1", "zone": "z1",
            "targetRef": {"kind": "Pod", "namespace": "d", "name": "p1", "uid": "u1"},
        }])
    );
    assert_eq!(
        value["metadata"]["labels"],
        json!({"team": "x", "kubernetes.io/service-name": "web",
               "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"})
    );
    assert_eq!(value["metadata"]["generateName"], "web-");
    assert_eq!(value["metadata"]["ownerReferences"][0]["uid"], "svc");
}

#[test]
fn both_families_have_slices_of_their_own() {
    let both = service(json!({"spec": {"ipFamilies": ["IPv4", "IPv6"]}}));
    let two = |n: usize| {
        let ips = json!([{"ip": format!("10.244.0.{n}")}, {"ip": format!("fd00::{n}")}]);
        pod(n, json!({"status": {"podIPs": ips}}))
    };
    // A pod of the time before the cluster had a second family is in one of them only.
    let pods = [two(1), two(2), pod(3, json!({}))];
    let found = run(&both, &pods, &[]);
    let view = |slice: &EndpointSlice| {
        let addresses = slice.endpoints.iter().flatten().flat_map(|e| e.addresses.clone());
        (slice.address_type.clone(), addresses.collect::<Vec<_>>())
    };
    let shown: Vec<_> = found.create.iter().map(view).collect();
    let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        shown,
        [
            ("IPv4".to_owned(), texts(&["10.244.0.1", "10.244.0.2", "10.244.0.3"])),
            ("IPv6".to_owned(), texts(&["fd00::1", "fd00::2"])),
        ]
    );
    let existing = stored(found);
    assert_eq!(counts(&run(&both, &pods, &existing)), (0, 0, 0));
    let changed = run(&both, &pods[..1], &existing);
    assert_eq!(counts(&changed), (0, 2, 0));
    // The primary family may be the second one, and a family that is given up takes its slices along.
    let six = service(json!({"spec": {"clusterIP": "fd00:10:96::1", "ipFamilies": ["IPv6"]}}));
    let single = run(&six, &pods, &existing);
    assert_eq!(counts(&single), (0, 0, 1));
    assert_eq!(single.delete[0].address_type, "IPv4");
}

#[test]
fn conditions() {
    let not_ready = json!({"status": {"conditions": []}});
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let cases = [
        (json!({}), json!({}), [true, true, false]),
        (json!({}), not_ready.clone(), [false, false, false]),
        (json!({}), going, [false, true, true]),
        (json!({"spec": {"publishNotReadyAddresses": true}}), not_ready, [true, false, false]),
    ];
    for (svc, change, expected) in cases {
        let plan = run(&service(svc), &[pod(1, change)], &[]);
        let conditions = plan.create[0].endpoints.as_ref().unwrap()[0].conditions.clone().unwrap();
        assert_eq!([conditions.ready, conditions.serving, conditions.terminating], expected.map(Some));
    }
    let over = json!({"status": {"phase": "Succeeded"}});
    let plan = run(&service(json!({})), &[pod(1, over)], &[]);
    assert_eq!(plan.create[0].endpoints.as_deref(), Some(&[][..]));
}

#[test]
fn nothing_changed_is_nothing_written() {
    let svc = service(json!({}));
    let pods: Vec<_> = (1..=5).map(|n| pod(n, json!({}))).collect();
    let existing = stored(run(&svc, &pods, &[]));
    assert_eq!(counts(&run(&svc, &pods, &existing)), (0, 0, 0));
    let empty = stored(run(&svc, &[], &[]));
    assert_eq!(empty.len(), 1);
    assert_eq!(counts(&run(&svc, &[], &empty)), (0, 0, 0));
}

#[test]
fn one_change_is_one_write() {
    let svc = service(json!({}));
    let pods: Vec<_> = (1..=250).map(|n| pod(n, json!({}))).collect();
    let existing = stored(run(&svc, &pods, &[]));
    assert_eq!(
        existing.iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect::<Vec<_>>(),
        [100, 100, 50]
    );
    let more: Vec<_> = (1..=251).map(|n| pod(n, json!({}))).collect();
    let plan = run(&svc, &more, &existing);
    assert_eq!(counts(&plan), (0, 1, 0));
    assert_eq!(plan.update[0].endpoints.as_ref().unwrap().len(), 51);
    assert_eq!(counts(&run(&svc, &pods[1..], &existing)), (0, 1, 0));
    // A replaced pod takes its predecessor's place, though another slice has room.
    let mut replaced = pods.clone();
    replaced[0] = pod(300, json!({}));
    let plan = run(&svc, &replaced, &existing);
    assert_eq!(counts(&plan), (0, 1, 0));
    assert_eq!(plan.update[0].endpoints.as_ref().unwrap().len(), 100);
}

#[test]
fn pods_with_other_named_ports_have_slices_of_their_own() {
    let svc = service(json!({}));
    let other =
        json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}]}});
    let plan = run(&svc, &[pod(1, json!({})), pod(2, other)], &[]);
    let ports: Vec<_> = plan.create.iter().map(|s| s.ports.as_ref().unwrap()[0].port).collect();
    assert_eq!(ports, [Some(8080), Some(9090)]);
}

#[test]
fn the_placeholder_gives_way_and_comes_back() {
    let svc = service(json!({}));
    let empty = stored(run(&svc, &[], &[]));
    let pods = [pod(1, json!({}))];
    let plan = run(&svc, &pods, &empty);
    assert_eq!(counts(&plan), (1, 0, 1));
    let full = stored(plan);
    assert_eq!(counts(&run(&svc, &[], &full)), (1, 0, 1));
}

#[test]
fn headless_services_are_marked_and_may_have_no_ports() {
    let svc = service(json!({"spec": {"clusterIP": "None", "ports": null}}));
    let plan = run(&svc, &[pod(1, json!({}))], &[]);
    let slice = &plan.create[0];
    assert_eq!(slice.metadata.labels.as_ref().unwrap()["service.kubernetes.io/headless"], "");
    assert_eq!((slice.ports.as_ref().unwrap().len(), slice.endpoints.as_ref().unwrap().len()), (0, 1));
}
