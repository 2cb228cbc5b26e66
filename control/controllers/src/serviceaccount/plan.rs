//! What every active namespace must contain. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The account pods run as unless they name another.
pub const ACCOUNT: &str = "default";
/// The ConfigMap pods find the cluster's CA in.
pub const ROOT_CA: &str = "kube-root-ca.crt";
const NOTE: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// Whether objects can be made in the namespace.
pub fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Active");
    namespace.metadata.deletion_timestamp.is_none() && phase == "Active"
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(namespace.to_owned()), name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// The default account.
pub fn account(namespace: &str) -> ServiceAccount {
    ServiceAccount { metadata: named(namespace, ACCOUNT), ..ServiceAccount::default() }
}

/// What to do about a namespace's root CA.
#[derive(Debug, PartialEq)]
pub enum RootCa {
    /// As it should be.
    Fine,
    /// Missing.
    Create(ConfigMap),
    /// Changed by somebody, or the CA has.
    Update(ConfigMap),
}

/// Compares the ConfigMap with the CA.
pub fn root_ca(namespace: &str, current: Option<&ConfigMap>, pem: &str) -> RootCa {
    let data = BTreeMap::from([("ca.crt".to_owned(), pem.to_owned())]);
    let Some(current) = current else {
        let mut metadata = named(namespace, ROOT_CA);
        metadata.annotations = Some(BTreeMap::from([(NOTE.0.to_owned(), NOTE.1.to_owned())]));
        return RootCa::Create(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() });
    };
    let annotated =
        current.metadata.annotations.as_ref().and_then(|a| a.get(NOTE.0)).is_some_and(|v| v == NOTE.1);
    if annotated && current.data.as_ref() == Some(&data) {
        return RootCa::Fine;
    }
    let mut wanted = current.clone();
    wanted.data = Some(data);
    wanted.metadata.annotations.get_or_insert_default().insert(NOTE.0.to_owned(), NOTE.1.to_owned());
    RootCa::Update(wanted)
}
