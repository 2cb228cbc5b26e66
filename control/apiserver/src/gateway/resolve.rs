//! The address behind pods/X/proxy and services/X/proxy.

use rand::Rng;
use serde_json::Value;
use xebec_api::status::ApiError;

use super::Backend;
use crate::registry::Target;
use crate::serve::resource::Call;
use crate::watch::Selection;

/// `scheme:name:port`, `name:port` or `name`.
pub fn split(text: &str) -> Result<(String, String, String), ApiError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return Err(ApiError::bad_request(format!("invalid proxy target {text:?}"))),
    };
    if !matches!(scheme, "" | "http" | "https") {
        return Err(ApiError::bad_request(format!("invalid scheme {scheme:?} in proxy target {text:?}")));
    }
    Ok((scheme.to_owned(), name.to_owned(), port.to_owned()))
}

fn plain_only(scheme: &str) -> Result<(), ApiError> {
    if scheme == "https" {
        return Err(ApiError::bad_request("pods and services are proxied over http only"));
    }
    Ok(())
}

/// A pod's address and port (the first container port by default).
pub async fn pod(call: &Call, target: &Target) -> Result<Backend, ApiError> {
    let (scheme, name, port) = split(&target.name)?;
    plain_only(&scheme)?;
    let pod = call.server.registry.get(&target.named(&target.namespace, &name), "").await?.value();
    let port = match port.as_str() {
        "" => {
            let mut ports = pod["spec"]["containers"].as_array().into_iter().flatten();
            let first = ports.find_map(|c| {
                c["ports"].as_array().into_iter().flatten().find_map(|p| p["containerPort"].as_u64())
            });
            first.and_then(|port| u16::try_from(port).ok()).unwrap_or(80)
        }
        text => {
            text.parse().map_err(|_| ApiError::bad_request(format!("invalid port {text:?} of pod {name}")))?
        }
    };
    match pod["status"]["podIP"].as_str().filter(|ip| !ip.is_empty()) {
        Some(ip) => Ok(Backend { host: ip.to_owned(), port, tls: false }),
        None => Err(ApiError::bad_request("address not allowed: the pod has no address yet")),
    }
}

/// A ready endpoint of a service, any of them; the port by name or number.
pub async fn service(call: &Call, target: &Target) -> Result<Backend, ApiError> {
    let (scheme, name, port) = split(&target.name)?;
    plain_only(&scheme)?;
    let registry = &call.server.registry;
    let service = registry.get(&target.named(&target.namespace, &name), "").await?.value();
    let port_name = port_name(&service, &port).ok_or_else(|| {
        ApiError::service_unavailable(format!("no service port {port:?} found for service {name:?}"))
    })?;
    let slices =
        Target::find(registry.resources(), "discovery.k8s.io", "endpointslices", &target.namespace, "")?;
    let listed = slices.cache.list(&Selection::everything(Some(target.namespace.clone())), None, 0);
    let mut ready = Vec::new();
    for slice in listed.objects.iter().filter(|s| s.labels.get("kubernetes.io/service-name") == Some(&name)) {
        ready.extend(addresses(&slice.value(), &port_name));
    }
    if ready.is_empty() {
        return Err(ApiError::service_unavailable(format!("no endpoints available for service {name:?}")));
    }
    let chosen = rand::rng().random_range(0..ready.len());
    Ok(ready.swap_remove(chosen))
}

fn port_name(service: &Value, wanted: &str) -> Option<String> {
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    let mut ports = service["spec"]["ports"].as_array()?.iter();
    match wanted {
        "" => ports.next().map(name),
        text => ports
            .find(|p| p["name"] == text || p["port"].as_u64().is_some_and(|n| n.to_string() == text))
            .map(name),
    }
}

fn addresses(slice: &Value, port_name: &str) -> Vec<Backend> {
    let mut ports = slice["ports"].as_array().into_iter().flatten();
    let port = ports.find(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let Some(port) = port.and_then(|port| port["port"].as_u64()).and_then(|port| u16::try_from(port).ok())
    else {
        return Vec::new();
    };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let hosts = ready.filter_map(|endpoint| endpoint["addresses"][0].as_str());
    hosts.map(|host| Backend { host: host.to_owned(), port, tls: false }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn splits_names() {
        assert_eq!(split("web").unwrap(), (String::new(), "web".into(), String::new()));
        assert_eq!(split("http:web:80").unwrap(), ("http".into(), "web".into(), "80".into()));
        assert_eq!(split("ftp:web:80").unwrap_err().code, 400);
    }

    #[test]
    fn finds_ready_addresses_by_port_name() {
        let service = json!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "b", "port": 81}]}});
        assert_eq!(port_name(&service, "").unwrap(), "http");
        assert_eq!(port_name(&service, "81").unwrap(), "b");
        assert!(port_name(&service, "x").is_none());
        let slice = json!({"ports": [{"name": "http", "port": 8080}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]});
        assert_eq!(addresses(&slice, "http"), [Backend { host: "10.0.0.1".into(), port: 8080, tls: false }]);
        assert!(addresses(&slice, "b").is_empty());
    }
}
