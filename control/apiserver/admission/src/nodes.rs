//! TaintNodesByCondition, PodTopologyLabels, LimitPodHardAntiAffinityTopology and PodNodeSelector: pods and nodes.
//!
//! Pure over the reader.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xebec_api::meta;
use xebec_api::selector::{LabelSelector, Operator};
use xebec_api::status::{ApiError, Reason};

use crate::{Call, Operation};

/// A new node takes no pods until it is known to be ready.
pub(crate) fn taint_new(call: &Call<'_>, node: &mut Value) {
    if !call.request.is("", "nodes", "") || call.request.operation != Operation::Create {
        return;
    }
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let mut taints = meta::list_at(node, "/spec/taints").to_vec();
    let same = |t: &Value| t["key"] == taint["key"] && t["effect"] == taint["effect"];
    if !taints.iter().any(same) {
        taints.push(taint);
        meta::set(node, "/spec/taints", Value::Array(taints));
    }
}

const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// A pod learns from its labels in which zone and region it runs: copied when it is bound, or created with a node.
///
/// A Binding carries them to the pod.
pub(crate) fn topology_labels(call: &Call<'_>, object: &mut Value) {
    let request = &call.request;
    if request.operation != Operation::Create || !request.group.is_empty() || request.plural != "pods" {
        return;
    }
    let node = match request.subresource {
        "" => meta::str_at(object, "/spec/nodeName"),
        "binding" if matches!(meta::str_at(object, "/target/kind"), "Node" | "") => {
            meta::str_at(object, "/target/name")
        }
        _ => return,
    };
    if node.is_empty() {
        return;
    }
    let Some(node) = call.reader.get("", "nodes", "", node) else { return };
    for key in TOPOLOGY {
        if let Some(value) = meta::label(&node, key) {
            meta::set_default(object, &format!("/metadata/labels/{}", key.replace('/', "~1")), value);
        }
    }
}

/// Pods may keep others away from their node, not from whole zones.
pub(crate) fn anti_affinity(call: &Call<'_>, pod: &Value) -> Result<(), ApiError> {
    if !(call.request.creates_pod() || call.request.updates_pod()) {
        return Ok(());
    }
    const ALLOWED: &str = "kubernetes.io/hostname";
    let at = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let mut keys = meta::list_at(pod, at).iter().map(|term| meta::str_at(term, "/topologyKey"));
    match keys.find(|key| *key != ALLOWED) {
        Some(key) => Err(call.forbidden(
            pod,
            format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {ALLOWED} is allowed"
            ),
        )),
        None => Ok(()),
    }
}

/// Node labels by namespace; the cluster's default stands under `clusterDefaultNodeSelector`.
pub type NodeSelectors = BTreeMap<String, String>;

/// `a=b,c=d` as labels.
fn parse(text: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let wrong = |why: String| ApiError::new(500, Reason::Unknown, why);
    let selector = LabelSelector::parse(text).map_err(|error| wrong(error.to_string()))?;
    let mut labels = BTreeMap::new();
    for requirement in selector.requirements() {
        let [value] = requirement.values() else { return Err(wrong(format!("invalid selector: {text}"))) };
        if !matches!(requirement.operator(), Operator::Equals | Operator::DoubleEquals) {
            return Err(wrong(format!("invalid selector: {text}")));
        }
        labels.insert(requirement.key().to_owned(), value.clone());
    }
    Ok(labels)
}

fn namespace_selector(call: &Call<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let name = call.request.namespace;
    let Some(namespace) = call.reader.get("", "namespaces", "", name) else {
        return Err(ApiError::not_found("", "namespaces", name));
    };
    let annotated = meta::annotation(&namespace, "scheduler.alpha.kubernetes.io/node-selector");
    let text = annotated
        .or_else(|| call.config.node_selectors.get("clusterDefaultNodeSelector").map(String::as_str));
    parse(text.unwrap_or_default())
}

/// A namespace's pods go to the namespace's nodes.
pub(crate) fn select_nodes(call: &Call<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !call.request.creates_pod() {
        return Ok(());
    }
    check_selection(call, pod)?;
    for (key, value) in namespace_selector(call)? {
        let key = key.replace('~', "~0").replace('/', "~1");
        meta::set(pod, &format!("/spec/nodeSelector/{key}"), value);
    }
    check_selection(call, pod)
}

/// The pod's own selector contradicts neither its namespace's nor what its namespace may choose from.
pub(crate) fn check_selection(call: &Call<'_>, pod: &Value) -> Result<(), ApiError> {
    if !call.request.creates_pod() {
        return Ok(());
    }
    let own = meta::string_map_at(pod, "/spec/nodeSelector");
    let conflicts = namespace_selector(call)?.iter().any(|(k, v)| own.get(k).is_some_and(|o| o != v));
    if conflicts {
        let why = "pod node label selector conflicts with its namespace node label selector";
        return Err(call.forbidden(pod, why));
    }
    let listed = call.config.node_selectors.get(call.request.namespace);
    let allowed = parse(listed.map(String::as_str).unwrap_or_default())?;
    if !allowed.is_empty() && !own.iter().all(|(k, v)| allowed.get(k) == Some(v)) {
        let why = "pod node label selector labels conflict with its namespace whitelist";
        return Err(call.forbidden(pod, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};

    #[test]
    fn new_nodes_are_tainted_once() {
        let world = World::default();
        let call = world.call(request(Operation::Create, "", "nodes", "", "n"), None);
        let mut node = json!({"metadata": {"name": "n"}});
        taint_new(&call, &mut node);
        taint_new(&call, &mut node);
        let taint = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        assert_eq!(node["spec"]["taints"], taint);
    }

    #[test]
    fn zones_reach_the_pod() {
        let world = World::default();
        world.put(
            "",
            "nodes",
            json!({"metadata": {"name": "n", "labels": {TOPOLOGY[0]: "z", TOPOLOGY[1]: "r", "a": "b"}}}),
        );
        let mut bind = request(Operation::Create, "", "pods", "ns", "p");
        let mut pod = json!({"metadata": {"labels": {TOPOLOGY[0]: "own"}}, "spec": {"nodeName": "n"}});
        topology_labels(&world.call(bind, None), &mut pod);
        assert_eq!(pod["metadata"]["labels"], json!({TOPOLOGY[0]: "own", TOPOLOGY[1]: "r"}));
        bind.subresource = "binding";
        let mut binding = json!({"target": {"kind": "Node", "name": "n"}});
        topology_labels(&world.call(bind, None), &mut binding);
        assert_eq!(binding["metadata"]["labels"], json!({TOPOLOGY[0]: "z", TOPOLOGY[1]: "r"}));
    }

    #[test]
    fn hard_anti_affinity() {
        let world = World::default();
        let call = world.call(request(Operation::Create, "", "pods", "ns", "p"), None);
        let pod = |key: &str| {
            json!({"metadata": {"name": "p"}, "spec": {"affinity": {"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key}]}}}})
        };
        anti_affinity(&call, &pod("kubernetes.io/hostname")).unwrap();
        assert_eq!(
            anti_affinity(&call, &pod("zone")).unwrap_err().message,
            "pods \"p\" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only \
             key kubernetes.io/hostname is allowed"
        );
    }

    #[test]
    fn selectors_of_namespaces() {
        let mut world = World::default();
        let key = "scheduler.alpha.kubernetes.io/node-selector";
        world.put(
            "",
            "namespaces",
            json!({"metadata": {"name": "ns", "annotations": {key: "env=test, x.io/a=b"}}}),
        );
        world.put("", "namespaces", json!({"metadata": {"name": "plain"}}));
        world.config.node_selectors =
            [("clusterDefaultNodeSelector", "pool=main"), ("plain", "pool=main,disk=ssd")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into();
        let admit = |namespace: &'static str, selector: Value| {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": {"nodeSelector": selector}});
            let call = world.call(request(Operation::Create, "", "pods", namespace, "p"), None);
            let selected = select_nodes(&call, &mut pod);
            selected.map(|()| pod["spec"]["nodeSelector"].take()).map_err(|error| error.message)
        };
        assert_eq!(admit("ns", json!({"c": "d"})), Ok(json!({"c": "d", "env": "test", "x.io/a": "b"})));
        assert_eq!(admit("plain", json!({})), Ok(json!({"pool": "main"})));
        assert_eq!(
            admit("ns", json!({"env": "prod"})).unwrap_err(),
            "pods \"p\" is forbidden: pod node label selector conflicts with its namespace node label selector"
        );
        assert_eq!(
            admit("plain", json!({"disk": "hdd"})).unwrap_err(),
            "pods \"p\" is forbidden: pod node label selector labels conflict with its namespace whitelist"
        );
    }
}
