use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;

use super::plan::{Fate, fate, signed};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn token(id: &str, more: &[(&str, &str)]) -> Arc<Secret> {
    let mut data = json!({});
    for (key, value) in
        [("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")]
            .iter()
            .chain(more)
    {
        data[*key] = json!(STANDARD.encode(value));
    }
    let value = json!({"type": "bootstrap.kubernetes.io/token", "data": data,
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"}});
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn tokens_go_when_their_time_is_up() {
    let with = |end: &str| fate(&token("abc123", &[("expiration", end)]), now());
    assert_eq!(fate(&token("abc123", &[]), now()), Fate::Keep);
    assert_eq!(with("2026-01-01T00:01:00Z"), Fate::KeepFor(Duration::from_secs(60)));
    assert_eq!(with("2026-01-01T00:00:00Z"), Fate::Remove);
    assert_eq!(with("soon"), Fate::Remove);
    let mut other = Secret::clone(&token("abc123", &[("expiration", "2025-01-01T00:00:00Z")]));
    other.type_ = Some("Opaque".to_owned());
    assert_eq!(fate(&other, now()), Fate::Keep);
}

#[test]
fn cluster_info_is_signed_by_each_token_and_no_other() {
    let info: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "cluster-info"},
        "data": {"kubeconfig": "CONFIG", "jws-kubeconfig-gone00": "x", "note": "n"}}))
    .unwrap();
    let tokens = [
        token("abc123", &[]),
        token("def456", &[("usage-bootstrap-signing", "false")]),
        token("ghi789", &[("expiration", "2025-01-01T00:00:00Z")]),
        token("jkl012", &[("token-id", "other0")]),
    ];
    let made = signed(&info, &tokens, now()).unwrap();
    let data = made.data.as_ref().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["jws-kubeconfig-abc123", "kubeconfig", "note"]);
    // The signature as RFC 7515 makes it, with the payload put back.
    let parts: Vec<&str> = data["jws-kubeconfig-abc123"].split('.').collect();
    let [header, "", signature] = parts[..] else { panic!("not detached: {parts:?}") };
    assert_eq!(URL_SAFE_NO_PAD.decode(header).unwrap(), br#"{"alg":"HS256","kid":"abc123"}"#);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"abc123.0123456789abcdef");
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode("CONFIG"));
    ring::hmac::verify(&key, message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    assert_eq!(signed(&made, &tokens, now()), None, "nothing to do");
    assert!(signed(&ConfigMap::default(), &tokens, now()).is_none());
}
