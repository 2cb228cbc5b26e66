//! auth, certificate, and the proxy of kubectl.

use std::path::Path;

use base64::Engine;

use super::{Step, fails, ok};

pub(super) const ROLE: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: rr, namespace: access}
rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]
";

pub(super) const STEPS: &[Step] = &[
    ok("auth can-i list pods", &["yes"]),
    ok("auth can-i --list", &["Resources", "Non-Resource URLs", "*.*"]),
    ok("auth can-i get /healthz", &["yes"]),
    fails("auth can-i create pods --subresource=exec --as=bob --as-group=g1", &["no"]),
    ok("auth whoami", &["ATTRIBUTE", "kubernetes-admin"]),
    ok("auth whoami -o json --as=bob --as-group=g1", &["\"username\": \"bob\"", "\"g1\""]),
    ok(
        "auth reconcile -f role.yaml",
        &["role.rbac.authorization.k8s.io/rr reconciled", "reconciliation required create"],
    ),
    ok("auth reconcile -f role.yaml", &["!reconciliation required"]),
    ok("create rolebinding rb --role=rr --user=bob", &["created"]),
    ok("auth can-i get pods --as=bob", &["yes"]),
    fails(
        "get nodes --as=bob",
        &[
            "Error from server (Forbidden): nodes is forbidden: User \"bob\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        ],
    ),
    // certificates
    fails(
        "certificate approve nonexist",
        &[
            "Error from server (NotFound): certificatesigningrequests.certificates.k8s.io \"nonexist\" not found",
        ],
    ),
    ok("apply -f csr.yaml", &["certificatesigningrequest.certificates.k8s.io/c1 created"]),
    ok("get csr c1", &["kubernetes.io/kube-apiserver-client", "Pending"]),
    ok("certificate approve c1", &["certificatesigningrequest.certificates.k8s.io/c1 approved"]),
    fails("certificate deny c1", &["certificate signing request \"c1\" is already Approved"]),
    ok("wait --for=jsonpath={.status.certificate} csr/c1 --timeout=20s", &["condition met"]),
    ok("describe csr c1", &["Status:", "Approved,Issued", "Common Name:    jane"]),
    ok("apply -f csr2.yaml", &["created"]),
    ok("certificate deny c2", &["certificatesigningrequest.certificates.k8s.io/c2 denied"]),
    ok("get csr c2", &["Denied"]),
];

/// A certificate and its key for `create secret tls`, and two requests for client certificates.
pub(super) fn write_request(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("tls.crt", params.self_signed(&key).unwrap().pem());
    write("tls.key", key.serialize_pem());
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let request = base64::engine::general_purpose::STANDARD.encode(request);
    for (file, name) in [("csr.yaml", "c1"), ("csr2.yaml", "c2")] {
        write(
            file,
            format!(
                "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\nspec: \
                 {{request: {request}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}\n"
            ),
        );
    }
}
