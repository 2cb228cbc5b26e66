use serde_json::json;

use super::plan::{RootCa, is_active, root_ca};

#[test]
fn root_ca_is_made_kept_and_mended() {
    let RootCa::Create(made) = root_ca("n", None, "PEM") else { panic!("not created") };
    assert_eq!(made.data.as_ref().unwrap()["ca.crt"], "PEM");
    assert_eq!(root_ca("n", Some(&made), "PEM"), RootCa::Fine);
    let RootCa::Update(rotated) = root_ca("n", Some(&made), "PEM2") else { panic!("not updated") };
    assert_eq!(rotated.data.as_ref().unwrap()["ca.crt"], "PEM2");
    let mut stripped = made.clone();
    stripped.metadata.annotations = None;
    assert_eq!(root_ca("n", Some(&stripped), "PEM"), RootCa::Update(made));
}

#[test]
fn nothing_is_made_in_a_namespace_that_is_going() {
    let namespace = |value| serde_json::from_value(value).unwrap();
    assert!(is_active(&namespace(json!({"metadata": {}}))));
    assert!(is_active(&namespace(json!({"metadata": {}, "status": {"phase": "Active"}}))));
    assert!(!is_active(&namespace(json!({"metadata": {}, "status": {"phase": "Terminating"}}))));
    assert!(!is_active(&namespace(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))));
}
