//! Request bodies recorded from kubectl 1.37, beside the JSON the same command prints with `--dry-run=client -o json`:
//! what Go's own encoder says the object is.

use base64::Engine;
use serde_json::{Value, json};
use xebec_api::{meta, protobuf, schema};

fn recorded() -> Vec<(String, Vec<u8>, Value)> {
    let text = include_str!("kubectl-1.37.json");
    let cases: Vec<Value> = serde_json::from_str(text).expect("the recording is JSON");
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    cases
        .iter()
        .map(|c| {
            (meta::str_at(c, "/command").to_owned(), decode(meta::str_at(c, "/bytes")), c["json"].clone())
        })
        .collect()
}

#[test]
fn decodes_to_what_go_prints() {
    let cases = recorded();
    assert_eq!(cases.len(), 13);
    for (command, bytes, mut printed) in cases {
        // A null and an absent field decode alike; we leave nulls out.
        meta::drop_nulls(&mut printed);
        assert_eq!(protobuf::decode(&bytes).unwrap(), printed, "{command}");
    }
}

#[test]
fn what_go_prints_passes_strict_decoding() {
    for (command, _, printed) in recorded() {
        let (api_version, kind) = (meta::api_version(&printed), meta::kind(&printed));
        assert_eq!(schema::check(api_version, kind, &printed), [], "{command}");
        let mut pruned = printed.clone();
        schema::prune_unknown(api_version, kind, &mut pruned);
        let mut expected = printed.clone();
        meta::drop_nulls(&mut expected);
        assert_eq!(pruned, expected, "{command}");
    }
}

#[test]
fn encodes_back_to_the_same_object() {
    for (command, bytes, _) in recorded() {
        let object = protobuf::decode(&bytes).unwrap();
        let again = protobuf::decode(&protobuf::encode(&object).unwrap()).unwrap();
        assert_eq!(again, object, "{command}");
    }
}

#[test]
fn reviews_that_have_no_dry_run() {
    // `kubectl auth can-i create pods`
    let bytes = b"k8s\0\x0a\x32\x0a\x17authorization.k8s.io/v1\x12\x17SelfSubjectAccessReview\x12\x3f\x0a\x10\x0a\x00\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00\x12\x21\x0a\x1f\x0a\x07default\x12\x06create\x1a\x00\x22\x00\x2a\x04pods2\x00\x3a\x00\x1a\x08\x08\x00\x12\x00\x1a\x00\x20\x00\x1a\x00\x22\x00";
    assert_eq!(
        protobuf::decode(bytes).unwrap(),
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": {"resourceAttributes": {"namespace": "default", "verb": "create", "resource": "pods"}},
            "status": {"allowed": false}})
    );
    // `kubectl create token default --duration=1h`
    let bytes = b"k8s\0\x0a\x28\x0a\x18authentication.k8s.io/v1\x12\x0cTokenRequest\x12\x1d\x0a\x10\x0a\x00\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00\x12\x03\x20\x90\x1c\x1a\x04\x0a\x00\x12\x00\x1a\x00\x22\x00";
    assert_eq!(
        protobuf::decode(bytes).unwrap(),
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
            "spec": {"expirationSeconds": 3600}, "status": {"token": ""}})
    );
}
