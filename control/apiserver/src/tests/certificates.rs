//! Certificate requests: approval changes the conditions alone, by the kind's rules.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::harness::Cluster;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

#[tokio::test(flavor = "multi_thread")]
async fn approval_is_checked_and_dated() {
    let cluster = Cluster::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let csr = |request: &str| {
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": "a"},
            "spec": {"request": STANDARD.encode(request), "signerName": "example.com/test", "usages": ["client auth"]}})
    };
    let refused = cluster.post(REQUESTS, &csr("nothing")).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert!(refused.message().contains("PEM block type must be CERTIFICATE REQUEST"), "{}", refused.text);
    let made = cluster.post(REQUESTS, &csr(&request)).await;
    assert_eq!(made.code, 201, "{}", made.text);

    let approve = |conditions: Value| {
        let body = json!({"status": {"conditions": conditions}});
        let cluster = &cluster;
        async move {
            cluster.patch(&format!("{REQUESTS}/a/approval"), "application/merge-patch+json", &body).await
        }
    };
    let both =
        approve(json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}])).await;
    assert_eq!(both.code, 422, "{}", both.text);
    assert!(
        both.message().contains("Approved and Denied conditions are mutually exclusive"),
        "{}",
        both.text
    );
    let approved = approve(json!([{"type": "Approved", "status": "True"}])).await;
    assert_eq!(approved.code, 200, "{}", approved.text);
    let condition = approved.json()["status"]["conditions"][0].clone();
    assert!(condition["lastTransitionTime"].is_string(), "{condition}");
    let taken_back = approve(json!([])).await;
    assert_eq!(taken_back.code, 422, "{}", taken_back.text);
}
