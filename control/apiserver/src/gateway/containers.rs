//! Which container of a pod, and which kubelet. Pure over the pod's and node's objects.
//!
//! Authority: k8s.io/kubernetes/pkg/registry/core/pod/strategy.go, pkg/kubelet/client.

use serde_json::Value;
use xebec_api::status::ApiError;

use super::backend::{Backend, Security};

/// The kubelet's port where the node does not say.
const PORT: u16 = 10250;
/// Which of a node's addresses is used, best first.
const ADDRESS_TYPES: [&str; 5] = ["InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS"];

/// The kubelet of a node.
pub fn kubelet(node: &Value) -> Result<Backend, ApiError> {
    let addresses = node["status"]["addresses"].as_array();
    let find = |kind: &&str| {
        let found = addresses.into_iter().flatten().find(|address| address["type"] == **kind);
        found.and_then(|address| address["address"].as_str())
    };
    let host = ADDRESS_TYPES.iter().find_map(find).map(str::to_owned);
    let name = xebec_api::meta::name(node);
    let host = host.ok_or_else(|| {
        super::failed(format!("no preferred addresses found for node {name}; known addresses: []"))
    })?;
    let said = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let said = said.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    Ok(Backend { host, port: said.unwrap_or(PORT), security: Security::Kubelet })
}

/// The container meant, in upstream's words when it is not clear.
pub fn container(pod: &Value, wanted: Option<&str>) -> Result<String, ApiError> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    let (main, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let pod_name = xebec_api::meta::name(pod);
    if let Some(wanted) = wanted.filter(|name| !name.is_empty()) {
        if [&main, &init, &ephemeral].iter().any(|list| list.iter().any(|name| name == wanted)) {
            return Ok(wanted.to_owned());
        }
        return Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {pod_name}")));
    }
    match main.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        _ => {
            let mut message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                main.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            if !ephemeral.is_empty() {
                message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
            }
            Err(ApiError::bad_request(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn internal_addresses_go_first() {
        let node = json!({"metadata": {"name": "n"}, "status": {
            "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.5"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}}}});
        let expected = Backend { host: "10.0.0.5".into(), port: 10251, security: Security::Kubelet };
        assert_eq!(kubelet(&node).unwrap(), expected);
        assert_eq!(kubelet(&json!({"metadata": {"name": "n"}})).unwrap_err().code, 500);
    }

    #[test]
    fn containers_must_be_named_when_there_are_several() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "e"}]}});
        assert_eq!(container(&pod, Some("i")).unwrap(), "i");
        assert_eq!(
            container(&pod, None).unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i] \
             or one of the ephemeral containers: [e]"
        );
        assert_eq!(container(&pod, Some("x")).unwrap_err().message, "container x is not valid for pod p");
        // One main container is meant, whatever stands beside it.
        pod["spec"]["containers"] = json!([{"name": "a"}]);
        assert_eq!(container(&pod, Some("")).unwrap(), "a");
        pod["spec"]["containers"] = json!([]);
        assert_eq!(
            container(&pod, None).unwrap_err().message,
            "a container name must be specified for pod p"
        );
    }
}
