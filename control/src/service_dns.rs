//! The Service `kube-system/kube-dns`: holds the cluster DNS addresses, so that no other Service gets them.
//!
//! Its label tells service proxies to leave it alone (`service.kubernetes.io/service-proxy-name`): every node's agent
//! answers on the addresses itself, without a way through another node.

use std::net::IpAddr;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

/// Creates the Service if it is not there, and gives it a second address if the cluster has become dual-stack. An error
/// is logged: the addresses work without it.
pub(crate) async fn ensure(client: &kube::Client, addresses: &[IpAddr]) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Service"));
    let services: Api<DynamicObject> = Api::namespaced_with(client.clone(), "kube-system", &kind);
    // Looked up first: a second creation would be refused for its addresses, which the first one holds.
    match services.get_opt("kube-dns").await {
        Ok(Some(present)) => return extend(&services, &present.data["spec"], addresses).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "cannot look up the Service kube-dns"),
    }
    let service: DynamicObject = match serde_json::from_value(service(addresses)) {
        Ok(service) => service,
        Err(error) => return tracing::error!(%error, "the Service kube-dns does not decode"),
    };
    match services.create(&PostParams::default(), &service).await {
        Ok(_) => tracing::info!(?addresses, "created the Service kube-dns"),
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => tracing::warn!(%error, ?addresses, "cannot create the Service kube-dns"),
    }
}

async fn extend(services: &Api<DynamicObject>, present: &Value, addresses: &[IpAddr]) {
    let Some(spec) = extended(present, addresses) else { return };
    let patch = Patch::Merge(json!({"spec": spec}));
    match services.patch("kube-dns", &PatchParams::default(), &patch).await {
        Ok(_) => tracing::info!(?addresses, "gave the Service kube-dns its second address"),
        Err(error) => {
            tracing::warn!(%error, ?addresses, "cannot give the Service kube-dns its second address")
        }
    }
}

fn service(addresses: &[IpAddr]) -> Value {
    json!({
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
            "clusterIP": addresses.first(),
            "clusterIPs": addresses,
            "ipFamilies": families(addresses),
            "ipFamilyPolicy": if addresses.len() > 1 { "PreferDualStack" } else { "SingleStack" },
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    })
}

fn families(addresses: &[IpAddr]) -> Vec<&'static str> {
    addresses.iter().map(|address| if address.is_ipv4() { "IPv4" } else { "IPv6" }).collect()
}

/// What of a Service with one address changes for a second one; an operator's other addresses stay.
fn extended(present: &Value, addresses: &[IpAddr]) -> Option<Value> {
    let [first, _] = addresses else { return None };
    let held = present["clusterIPs"].as_array()?;
    (held.len() == 1 && held[0] == first.to_string()).then(|| {
        json!({
            "clusterIPs": addresses,
            "ipFamilies": families(addresses),
            "ipFamilyPolicy": "PreferDualStack",
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_address_is_added_to_the_first_one_only() {
        let four: IpAddr = "10.96.0.10".parse().unwrap();
        let six: IpAddr = "fd00:10:96::a".parse().unwrap();
        let one = service(&[four]);
        let two = service(&[four, six]);
        assert_eq!(one["spec"]["ipFamilyPolicy"], "SingleStack");
        assert_eq!(two["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        let patch = extended(&one["spec"], &[four, six]).unwrap();
        assert_eq!(patch["clusterIPs"], two["spec"]["clusterIPs"]);
        assert_eq!(extended(&two["spec"], &[four, six]), None);
        assert_eq!(extended(&one["spec"], &[four]), None);
        assert_eq!(extended(&service(&[six])["spec"], &[four, six]), None);
    }
}
