//! Where a Service's webhook answers: at one of its ready endpoints, so that no dataplane is needed on this machine.
//!
//! Authority: k8s.io/apiserver/pkg/util/proxy ResolveEndpoint and ResolveCluster; the texts are theirs.

use std::sync::Arc;

use rand::seq::IndexedRandom;
use serde_json::Value;
use xebec_dynamic_admission::{ResolveError, Resolver};
use xebec_identity::ObjectReader;

use crate::watch::{Caches, Cut, Selection};

/// Finds endpoints in the caches.
pub(crate) struct Services {
    caches: Arc<Caches>,
}

impl Services {
    pub(crate) fn new(caches: Arc<Caches>) -> Self {
        Self { caches }
    }

    /// `host:port` of every ready endpoint of a port.
    fn endpoints(&self, namespace: &str, name: &str, port_name: &str) -> Vec<String> {
        let Some(cache) = self.caches.of("discovery.k8s.io", "endpointslices") else { return Vec::new() };
        let slices = cache.list(&Selection::everything(Some(namespace.to_owned())), Cut::default()).objects;
        let of_service = |labels: &std::collections::BTreeMap<String, String>| {
            labels.get("kubernetes.io/service-name").is_some_and(|service| service == name)
        };
        let slices = slices.iter().filter(|slice| of_service(&slice.labels));
        slices.flat_map(|slice| ready(&slice.value(), port_name)).collect()
    }
}

impl Resolver for Services {
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<String, ResolveError> {
        let reader: &dyn ObjectReader = &*self.caches;
        let Some(service) = reader.get("", "services", namespace, name) else {
            return Err(ResolveError(format!("service {name:?} not found")));
        };
        if service["spec"]["type"] == "ExternalName" {
            let host = service["spec"]["externalName"].as_str().unwrap_or_default();
            return Ok(format!("{host}:{port}"));
        }
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let Some(found) = ports.find(|known| known["port"].as_u64() == Some(u64::from(port))) else {
            return Err(ResolveError(format!("no service port {port} found for service {name:?}")));
        };
        let endpoints = self.endpoints(namespace, name, found["name"].as_str().unwrap_or_default());
        let chosen = endpoints.choose(&mut rand::rng()).cloned();
        chosen.ok_or_else(|| ResolveError(format!("no endpoints available for service {name:?}")))
    }
}

fn ready(slice: &Value, port_name: &str) -> Vec<String> {
    let mut ports = slice["ports"].as_array().into_iter().flatten();
    let port = ports.find(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let Some(port) = port.and_then(|port| port["port"].as_u64()) else { return Vec::new() };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] != false)
        .filter_map(|endpoint| endpoint["addresses"][0].as_str())
        .map(|host| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_endpoints_of_the_port() {
        let slice = json!({"ports": [{"name": "a", "port": 9443}, {"port": 80}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["fd00::1"]},
        ]});
        assert_eq!(ready(&slice, "a"), ["10.0.0.1:9443", "[fd00::1]:9443"]);
        assert_eq!(ready(&slice, ""), ["10.0.0.1:80", "[fd00::1]:80"]);
        assert!(ready(&slice, "b").is_empty());
    }
}
