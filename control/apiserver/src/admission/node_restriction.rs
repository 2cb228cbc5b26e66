//! NodeRestriction: a kubelet changes its own node and its own pods only. Pure over the reader.
//!
//! Authority: plugin/pkg/admission/noderestriction upstream.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_identity::ObjectReader;

use super::{Attributes, Operation};

/// Labels a kubelet may set on its node within the reserved domains.
const ALLOWED_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

pub(super) fn check(
    attributes: &Attributes<'_>,
    value: Option<&Value>,
    old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(node) = attributes.user.node_name() else { return Ok(()) };
    let refuse = |why: String| Err(attributes.target.forbidden(&why));
    if node.is_empty() {
        return refuse(format!("could not determine node from user {:?}", attributes.user.name));
    }
    let target = attributes.target;
    match (target.stored.group, target.stored.plural, attributes.subresource) {
        ("", "pods", "") => check_pod(attributes, value, old, node).or_else(refuse),
        ("", "pods", "status" | "resize") => own_pod(old, node, "update status for").or_else(refuse),
        ("", "pods", "eviction") => {
            let pod = reader.get("", "pods", &target.namespace, &target.name);
            own_pod(pod.as_deref(), node, "evict").or_else(refuse)
        }
        ("", "nodes", _) => check_node(attributes, value, old, node).or_else(refuse),
        ("", "serviceaccounts", "token") => check_token(target, value, reader, node).or_else(refuse),
        ("coordination.k8s.io", "leases", "") if target.namespace != "kube-node-lease" => {
            refuse("can only access leases in the \"kube-node-lease\" system namespace".to_owned())
        }
        ("coordination.k8s.io", "leases", "") if target.name != node => {
            refuse(format!("can only access node lease with the same name as the requesting node: {node:?}"))
        }
        ("storage.k8s.io", "csinodes", "") if target.name != node => {
            refuse(format!("can only access CSINode with the same name as the requesting node: {node:?}"))
        }
        _ => Ok(()),
    }
}

fn own_pod(pod: Option<&Value>, node: &str, doing: &str) -> Result<(), String> {
    match pod.and_then(|pod| pod["spec"]["nodeName"].as_str()) {
        Some(name) if name == node => Ok(()),
        _ => Err(format!("node {node:?} can only {doing} pods with spec.nodeName set to itself")),
    }
}

fn check_pod(
    attributes: &Attributes<'_>,
    value: Option<&Value>,
    old: Option<&Value>,
    node: &str,
) -> Result<(), String> {
    match attributes.operation {
        Operation::Delete => own_pod(old, node, "delete"),
        Operation::Update | Operation::Connect => Err(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            attributes.operation.name()
        )),
        Operation::Create => {
            let Some(pod) = value else { return Ok(()) };
            if meta::annotation(pod, "kubernetes.io/config.mirror").is_none() {
                return Err(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                ));
            }
            own_pod(value, node, "create")?;
            let owners = meta::owner_references(pod);
            let own = |owner: &Value| owner["kind"] == "Node" && owner["name"] == node;
            if !owners.is_empty() && !owners.iter().all(own) {
                return Err(format!(
                    "node {node:?} can only create pods with an owner reference set to itself"
                ));
            }
            Ok(())
        }
    }
}

fn check_node(
    attributes: &Attributes<'_>,
    value: Option<&Value>,
    old: Option<&Value>,
    node: &str,
) -> Result<(), String> {
    let name = &attributes.target.name;
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let Some(value) = value else { return Ok(()) };
    let before = old.map(meta::labels).unwrap_or_default();
    let after = meta::labels(value);
    let changed = after.keys().chain(before.keys()).filter(|key| after.get(*key) != before.get(*key));
    let forbidden: std::collections::BTreeSet<&String> = changed.filter(|key| !label_allowed(key)).collect();
    if !forbidden.is_empty() {
        let keys: Vec<&str> = forbidden.iter().map(|key| key.as_str()).collect();
        return Err(format!("is not allowed to modify labels: {}", keys.join(", ")));
    }
    if let Some(old) = old
        && attributes.subresource.is_empty()
        && value["spec"]["taints"] != old["spec"]["taints"]
    {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    Ok(())
}

fn label_allowed(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    if domain == "node-restriction.kubernetes.io" || domain.ends_with(".node-restriction.kubernetes.io") {
        return false;
    }
    if ALLOWED_LABELS.contains(&key) {
        return true;
    }
    let within = |suffix: &str| domain == suffix || domain.ends_with(&format!(".{suffix}"));
    if within("kubelet.kubernetes.io") || within("node.kubernetes.io") {
        return true;
    }
    !within("kubernetes.io") && !within("k8s.io")
}

fn check_token(
    target: &crate::registry::Target,
    request: Option<&Value>,
    reader: &dyn ObjectReader,
    node: &str,
) -> Result<(), String> {
    let bound = request.map_or(&Value::Null, |request| &request["spec"]["boundObjectRef"]);
    if bound["kind"] != "Pod" {
        return Err("node requested token not bound to a pod".to_owned());
    }
    let name = bound["name"].as_str().unwrap_or_default();
    if bound["uid"].as_str().unwrap_or_default().is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let Some(pod) = reader.get("", "pods", &target.namespace, name) else {
        return Err(format!("pod {name:?} not found"));
    };
    if bound["uid"] != pod["metadata"]["uid"] {
        return Err("the UID in the bound object reference does not match the UID in record".to_owned());
    }
    if pod["spec"]["nodeName"] != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_labels() {
        for allowed in ["kubernetes.io/hostname", "example.com/x", "plain", "a.kubelet.kubernetes.io/b"] {
            assert!(label_allowed(allowed), "{allowed}");
        }
        for refused in [
            "node-restriction.kubernetes.io/a",
            "kubernetes.io/role",
            "node-role.kubernetes.io/x",
            "k8s.io/a",
        ] {
            assert!(!label_allowed(refused), "{refused}");
        }
    }
}
