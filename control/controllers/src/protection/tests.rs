use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::plan::{Step, class_of_volume, classes_of_claim, is_bound, step, uses};

fn claim(value: Value) -> PersistentVolumeClaim {
    serde_json::from_value(value).unwrap()
}

fn pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

#[test]
fn steps() {
    let object = |deleting: bool, finalizers: Value| {
        let mut value = json!({"metadata": {"name": "c", "finalizers": finalizers}});
        if deleting {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        claim(value)
    };
    let f = "kubernetes.io/pvc-protection";
    let never = || -> bool { panic!("only a deletion asks") };
    assert_eq!(step(&object(false, json!([])), f, never), Step::Add);
    assert_eq!(step(&object(false, json!([f])), f, never), Step::Keep);
    assert_eq!(step(&object(true, json!(["other"])), f, never), Step::Keep);
    assert_eq!(step(&object(true, json!([f])), f, || true), Step::Keep);
    assert_eq!(step(&object(true, json!([f])), f, || false), Step::Remove);
}

#[test]
fn who_uses_a_claim() {
    let named = claim(json!({"metadata": {"name": "c"}}));
    let made = claim(json!({"metadata": {"name": "p-v", "ownerReferences": [
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]}}));
    let with = |node: &str, volume: Value, extra: Value| {
        let mut value = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [], "nodeName": node,
            "volumes": [volume]}});
        for (key, field) in extra.as_object().into_iter().flatten() {
            value["metadata"][key] = field.clone();
        }
        pod(value)
    };
    let direct = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
    let ephemeral = json!({"name": "v", "ephemeral": {}});
    assert!(uses(&with("n", direct.clone(), json!({})), &named));
    assert!(!uses(&with("", direct.clone(), json!({})), &named), "not on a node yet");
    assert!(!uses(&with("n", direct, json!({})), &made));
    assert!(uses(&with("n", ephemeral.clone(), json!({})), &made));
    assert!(!uses(&with("n", ephemeral.clone(), json!({"uid": "other"})), &made), "somebody else's claim");
    let shut = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0});
    assert!(!uses(&with("n", ephemeral, shut), &made));
}

#[test]
fn volumes_and_classes() {
    let volume = |value: Value| serde_json::from_value::<PersistentVolume>(value).unwrap();
    assert!(is_bound(&volume(json!({"metadata": {}, "status": {"phase": "Bound"}}))));
    assert!(!is_bound(&volume(json!({"metadata": {}, "status": {"phase": "Released"}}))));
    let classed = volume(json!({"metadata": {}, "spec": {"volumeAttributesClassName": "gold"}}));
    assert_eq!(class_of_volume(&classed), Some("gold"));
    let moving = claim(json!({"metadata": {}, "spec": {"volumeAttributesClassName": "gold"}, "status": {
        "currentVolumeAttributesClassName": "tin",
        "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "iron"}}}));
    assert_eq!(classes_of_claim(&moving), ["gold", "tin", "iron"]);
}
