//! The address behind pods/X/proxy and services/X/proxy. Pure over the objects.
//!
//! Authority: k8s.io/kubernetes/pkg/registry/core/{pod,service}/... ResourceLocation,
//! k8s.io/apiserver/pkg/util/proxy RandomEndpoint.

use std::sync::Arc;

use rand::Rng;
use serde_json::Value;
use xebec_api::status::ApiError;
use xebec_identity::ObjectReader;

use super::address::{Asked, proxyable};
use super::backend::{Backend, Security};

/// The label that names an EndpointSlice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

fn security(asked: &Asked) -> Security {
    if asked.https { Security::Unverified } else { Security::Plain }
}

/// A pod's address and port: by default the first one of the first container that has ports, else the scheme's.
pub fn pod(pod: &Value, asked: &Asked) -> Result<Backend, ApiError> {
    let port = match asked.port.as_str() {
        "" => {
            let mut containers = pod["spec"]["containers"].as_array().into_iter().flatten();
            let first = containers.find_map(|container| container["ports"][0]["containerPort"].as_u64());
            let first = first.and_then(|port| u16::try_from(port).ok());
            first.unwrap_or(if asked.https { 443 } else { 80 })
        }
        text => text.parse().map_err(|_| {
            ApiError::bad_request(format!("invalid port {text:?} of pod {}: want a number", asked.name))
        })?,
    };
    let address = proxyable(pod["status"]["podIP"].as_str().unwrap_or_default())?;
    Ok(Backend { host: address.to_string(), port, security: security(asked) })
}

/// A ready endpoint of a Service, any of them, that is a pod of its namespace.
pub fn service(
    reader: &dyn ObjectReader,
    rng: &mut impl Rng,
    namespace: &str,
    asked: &Asked,
) -> Result<Backend, ApiError> {
    let service = reader.get("", "services", namespace, &asked.name);
    let service = service.ok_or_else(|| ApiError::not_found("", "services", &asked.name))?;
    let port = match asked.port.parse::<u64>() {
        Ok(number) => port_name(&service, number)?,
        Err(_) => asked.port.clone(),
    };
    // Endpoints anyone can write must not lead to anywhere but pods.
    let is_pod = |endpoint: &Value| {
        let target = &endpoint["targetRef"];
        let name = target["name"].as_str().filter(|_| target["kind"] == "Pod");
        let pod = name.and_then(|name| reader.get("", "pods", namespace, name));
        let address = endpoint["addresses"][0].as_str().unwrap_or_default();
        proxyable(address).is_ok() && pod.is_some_and(|pod| has_address(&pod, address))
    };
    let (host, port) = endpoint(&slices(reader, namespace, &asked.name), &service, &port, rng, &is_pod)
        .ok_or_else(|| none_available(&asked.name))?;
    Ok(Backend { host, port, security: security(asked) })
}

/// 503 for a Service nobody answers behind.
pub fn none_available(service: &str) -> ApiError {
    ApiError::service_unavailable(format!("no endpoints available for service {service:?}"))
}

/// The name of the Service's port of that number; 503 if it has none.
pub fn port_name(service: &Value, number: u64) -> Result<String, ApiError> {
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = ports.find(|port| port["port"] == number).ok_or_else(|| {
        let name = xebec_api::meta::name(service);
        ApiError::service_unavailable(format!("no service port {number} found for service {name:?}"))
    })?;
    Ok(port["name"].as_str().unwrap_or_default().to_owned())
}

/// The EndpointSlices of a Service.
pub fn slices(reader: &dyn ObjectReader, namespace: &str, service: &str) -> Vec<Arc<Value>> {
    let mut slices = reader.list("discovery.k8s.io", "endpointslices", Some(namespace));
    slices.retain(|slice| slice["metadata"]["labels"][SERVICE_NAME] == service);
    slices
}

/// A random ready endpoint with that port, in the Service's first address family if it can be.
pub fn endpoint(
    slices: &[Arc<Value>],
    service: &Value,
    port: &str,
    rng: &mut impl Rng,
    valid: &dyn Fn(&Value) -> bool,
) -> Option<(String, u16)> {
    let family = service["spec"]["ipFamilies"][0].as_str().unwrap_or_default();
    let mut found = Vec::new();
    for slice in slices {
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        let number = ports
            .find(|candidate| candidate["name"].as_str().unwrap_or_default() == port)
            .and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
        let Some(number) = number else { continue };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        for endpoint in endpoints.filter(|e| e["conditions"]["ready"] != false && valid(e)) {
            if let Some(address) = endpoint["addresses"][0].as_str() {
                found.push((slice["addressType"] == family, address, number));
            }
        }
    }
    if found.iter().any(|(preferred, ..)| *preferred) {
        found.retain(|(preferred, ..)| *preferred);
    }
    if found.is_empty() {
        return None;
    }
    let (_, address, port) = found[rng.random_range(0..found.len())];
    Some((address.to_owned(), port))
}

fn has_address(pod: &Value, address: &str) -> bool {
    let all = pod["status"]["podIPs"].as_array().into_iter().flatten();
    pod["status"]["podIP"] == address || all.into_iter().any(|ip| ip["ip"] == address)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::super::address::split;
    use super::*;

    struct World(HashMap<&'static str, Vec<Value>>);

    impl ObjectReader for World {
        fn get(&self, _: &str, plural: &str, _: &str, name: &str) -> Option<Arc<Value>> {
            let found = self.0.get(plural)?.iter().find(|object| object["metadata"]["name"] == name)?;
            Some(Arc::new(found.clone()))
        }

        fn list(&self, _: &str, plural: &str, _: Option<&str>) -> Vec<Arc<Value>> {
            self.0.get(plural).into_iter().flatten().cloned().map(Arc::new).collect()
        }
    }

    fn world() -> World {
        let endpoint = |address: &str, ready: bool, pod: &str| {
            json!({"addresses": [address],
            "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": pod}})
        };
        let slice = |family: &str, endpoints: Value| {
            json!({"metadata": {"name": family,
            "labels": {SERVICE_NAME: "web"}}, "addressType": family,
            "ports": [{"name": "http", "port": 8080}, {"name": "", "port": 9}], "endpoints": endpoints})
        };
        World(HashMap::from([
            (
                "services",
                vec![json!({"metadata": {"name": "web"}, "spec": {"ipFamilies": ["IPv4", "IPv6"],
                "ports": [{"name": "http", "port": 80}, {"name": "gone", "port": 81}]}})],
            ),
            (
                "pods",
                vec![json!({"metadata": {"name": "p"}, "status": {"podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}})],
            ),
            (
                "endpointslices",
                vec![
                    slice("IPv6", json!([endpoint("fd00::1", true, "p")])),
                    slice(
                        "IPv4",
                        json!([
                            endpoint("10.0.0.1", true, "p"),
                            endpoint("10.0.0.2", false, "p"),
                            endpoint("10.0.0.3", true, "p"),
                            endpoint("10.0.0.1", true, "unknown"),
                        ]),
                    ),
                ],
            ),
        ]))
    }

    fn ask(text: &str) -> Result<Backend, ApiError> {
        service(&world(), &mut rand::rng(), "ns", &split("service", text)?)
    }

    #[test]
    fn only_ready_pods_of_the_first_family_answer() {
        let expected = Backend { host: "10.0.0.1".into(), port: 8080, security: Security::Plain };
        for _ in 0..32 {
            assert_eq!(ask("web:80").unwrap(), expected);
        }
        assert_eq!(ask("https:web:http").unwrap().security, Security::Unverified);
        // Without a port the one without a name is meant.
        assert_eq!(ask("web").unwrap().port, 9);
    }

    #[test]
    fn refusals_are_upstreams() {
        let told = |text| ask(text).map(|b| b.port).map_err(|error| (error.code, error.message));
        assert_eq!(told("web:82"), Err((503, "no service port 82 found for service \"web\"".into())));
        assert_eq!(told("web:81"), Err((503, "no endpoints available for service \"web\"".into())));
        assert_eq!(told("no:1"), Err((404, "services \"no\" not found".into())));
        assert_eq!(told("a:b:c:d"), Err((400, "invalid service request \"a:b:c:d\"".into())));
    }

    #[test]
    fn pods_answer_at_their_first_port() {
        let object = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]},
            "status": {"podIP": "10.0.0.1"}});
        let at = |text| pod(&object, &split("pod", text).unwrap()).map(|b| (b.port, b.security));
        assert_eq!(at("p").unwrap(), (8080, Security::Plain));
        assert_eq!(at("https:p:8443").unwrap(), (8443, Security::Unverified));
        assert_eq!(at("p:http").unwrap_err().code, 400);
        let away = pod(&json!({"status": {"podIP": "127.0.0.1"}}), &split("pod", "p").unwrap()).unwrap_err();
        assert_eq!((away.code, away.message.as_str()), (400, "address not allowed"));
        assert_eq!(pod(&json!({}), &split("pod", "p").unwrap()).unwrap_err().code, 400);
    }
}
