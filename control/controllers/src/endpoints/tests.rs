use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};

use super::plan::{MAX_ADDRESSES, Plan, plan, subsets};

fn service(change: Value) -> Service {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "d"},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    xebec_api::patch::merge_patch(&mut value, &change);
    serde_json::from_value(value).unwrap()
}

fn pod(ip: &str, ready: bool) -> Arc<Pod> {
    let status = if ready { "True" } else { "False" };
    let value = json!({
        "metadata": {"name": ip, "namespace": "d", "uid": ip}, "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": status}]},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn ready_and_not_ready_apart_in_order() {
    let (found, over) =
        subsets(&service(json!({})), &[pod("10.0.0.3", true), pod("10.0.0.2", true), pod("10.0.0.1", false)]);
    assert!(!over);
    let value = serde_json::to_value(&found).unwrap();
    let ips = |list: &Value| {
        list.as_array().unwrap().iter().map(|a| a["ip"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ips(&value[0]["addresses"]), ["10.0.0.2", "10.0.0.3"]);
    assert_eq!(ips(&value[0]["notReadyAddresses"]), ["10.0.0.1"]);
    assert_eq!(value[0]["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
    assert_eq!(value[0]["addresses"][0]["targetRef"]["kind"], "Pod");
    let publish = service(json!({"spec": {"publishNotReadyAddresses": true}}));
    let (published, _) = subsets(&publish, &[pod("10.0.0.1", false)]);
    assert!(published[0].addresses.is_some() && published[0].not_ready_addresses.is_none());
}

#[test]
fn the_services_first_family_alone() {
    let value = json!({
        "metadata": {"name": "a", "namespace": "d", "uid": "a"}, "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                   "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let both: Arc<Pod> = Arc::new(serde_json::from_value(value).unwrap());
    let found = |families: Value| {
        let service = service(json!({"spec": {"ipFamilies": families}}));
        let (found, _) = subsets(&service, std::slice::from_ref(&both));
        found[0].addresses.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>()
    };
    assert_eq!(found(json!(["IPv4", "IPv6"])), ["10.0.0.1"]);
    assert_eq!(found(json!(["IPv6", "IPv4"])), ["fd00::1"]);
}

#[test]
fn too_many_addresses_are_cut() {
    let pods: Vec<_> =
        (0..MAX_ADDRESSES + 5).map(|n| pod(&format!("10.0.{}.{}", n / 250, n % 250), true)).collect();
    let Plan::Create(made) = plan(&service(json!({})), &pods, None, Timestamp::UNIX_EPOCH) else { panic!() };
    assert_eq!(made.subsets.as_ref().unwrap()[0].addresses.as_ref().unwrap().len(), MAX_ADDRESSES);
    assert_eq!(
        made.metadata.annotations.as_ref().unwrap()["endpoints.kubernetes.io/over-capacity"],
        "truncated"
    );
}

#[test]
fn the_same_again_is_no_write() {
    let (svc, pods) = (service(json!({})), [pod("10.0.0.1", true)]);
    let Plan::Create(made) = plan(&svc, &pods, None, Timestamp::UNIX_EPOCH) else { panic!() };
    assert_eq!(plan(&svc, &pods, Some(&made), Timestamp::now()), Plan::Keep);
    let Plan::Update(empty) = plan(&svc, &[], Some(&made), Timestamp::now()) else { panic!() };
    assert_eq!(empty.subsets, None);
    assert_eq!(plan(&svc, &[], Some(&empty), Timestamp::now()), Plan::Keep);
}
