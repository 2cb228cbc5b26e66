//! Certificate requests are approved and signed.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// A certificate request of this subject, in base64 as the API takes it.
fn signing_request(common_name: &str, organization: &str) -> String {
    use base64::Engine as _;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    base64::engine::general_purpose::STANDARD.encode(pem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_signed_and_nodes_approved() {
    let cluster = Cluster::start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = |name: &str, signer: &str, subject: (&str, &str)| {
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": signing_request(subject.0, subject.1), "signerName": signer,
                "usages": ["digital signature", "client auth"]}})
    };
    // The requester is the administrator, who may do anything, so also make requests for nodes.
    let node =
        request("node", "kubernetes.io/kube-apiserver-client-kubelet", ("system:node:n", "system:nodes"));
    cluster.create(path, node).await;
    let has_certificate = |value: &Value| value["status"]["certificate"].is_string();
    let node = cluster.until("the node's certificate", &format!("{path}/node"), has_certificate).await;
    assert_eq!(node["status"]["conditions"][0]["reason"], "AutoApproved");

    let mut user =
        cluster.create(path, request("user", "kubernetes.io/kube-apiserver-client", ("ann", "devs"))).await;
    user["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "by hand"}]);
    let approved = cluster.send(Method::PUT, &format!("{path}/user/approval"), user).await;
    assert_eq!(approved["kind"], "CertificateSigningRequest", "{approved}");
    cluster.until("the user's certificate", &format!("{path}/user"), has_certificate).await;

    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let mut odd = cluster.create(path, request("odd", signer, ("ann", "system:nodes"))).await;
    odd["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "by hand"}]);
    cluster.send(Method::PUT, &format!("{path}/odd/approval"), odd).await;
    let failed = |value: &Value| value["status"]["conditions"][1]["type"] == "Failed";
    let odd = cluster.until("the failure", &format!("{path}/odd"), failed).await;
    assert_eq!(
        odd["status"]["conditions"][1]["message"],
        "subject common name does not begin with system:node:"
    );
}
