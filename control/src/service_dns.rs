//! The Service `kube-system/kube-dns`: holds the cluster DNS address, so that no other Service gets it.
//!
//! Its label tells service proxies to leave it alone (`service.kubernetes.io/service-proxy-name`): every node's agent
//! answers on the address itself, without a way through another node.

use std::net::IpAddr;

use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde_json::json;

/// Creates the Service if it is not there. An error is logged: the address works without it.
pub(crate) async fn ensure(client: &kube::Client, address: IpAddr) {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/name": "CoreDNS",
                "service.kubernetes.io/service-proxy-name": "xebec-dns",
            },
        },
        "spec": {
            "clusterIP": address,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    });
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Service"));
    let services: Api<DynamicObject> = Api::namespaced_with(client.clone(), "kube-system", &kind);
    // Looked up first: a second creation would be refused for its address, which the first one holds.
    match services.get_opt("kube-dns").await {
        Ok(Some(_)) => return,
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "cannot look up the Service kube-dns"),
    }
    let service: DynamicObject = match serde_json::from_value(service) {
        Ok(service) => service,
        Err(error) => return tracing::error!(%error, "the Service kube-dns does not decode"),
    };
    match services.create(&PostParams::default(), &service).await {
        Ok(_) => tracing::info!(%address, "created the Service kube-dns"),
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => tracing::warn!(%error, %address, "cannot create the Service kube-dns"),
    }
}
