//! The cluster as scheduling sees it: nodes with what runs on them.
//!
//! Enters: pod and node changes, and assumptions (bindings sent but not yet seen). Leaves: node entries for `filter` and
//! `score`. Pods are known by UID: a pod deleted and made again under the same name is another one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::pod::{self, HostPort, Resources};

/// A pod on a node.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The object as last seen.
    pub pod: Arc<Pod>,
    node: String,
    requests: Resources,
    ports: Vec<HostPort>,
}

/// A node and the sum of what its pods ask for.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// The object as last seen.
    pub node: Arc<Node>,
    /// What can be given out; the resource `pods` counts pods.
    pub allocatable: Resources,
    /// What is given out, `pods` included.
    pub requested: Resources,
    /// The pods, by UID.
    pub pods: BTreeMap<String, Placed>,
}

impl NodeEntry {
    /// The node's name.
    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// The value of one of the node's labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Host ports in use.
    pub fn ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.values().flat_map(|placed| &placed.ports)
    }

    fn add(&mut self, uid: &str, placed: Placed) {
        for (name, value) in &placed.requests {
            *self.requested.entry(name.clone()).or_default() += value;
        }
        *self.requested.entry("pods".to_owned()).or_default() += 1;
        self.pods.insert(uid.to_owned(), placed);
    }

    fn remove(&mut self, uid: &str) {
        let Some(placed) = self.pods.remove(uid) else { return };
        for (name, value) in &placed.requests {
            *self.requested.entry(name.clone()).or_default() -= value;
        }
        *self.requested.entry("pods".to_owned()).or_default() -= 1;
    }
}

/// All nodes, and pods on nodes that are not known (yet).
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<String, NodeEntry>,
    /// Pods by UID, wherever they are.
    placed: HashMap<String, Placed>,
}

impl Snapshot {
    /// The nodes in name order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeEntry> {
        self.nodes.values()
    }

    /// Adds or replaces a node.
    pub fn put_node(&mut self, node: Node) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let allocatable = pod::amounts(node.status.as_ref().and_then(|status| status.allocatable.as_ref()));
        let mut entry = NodeEntry {
            node: Arc::new(node),
            allocatable,
            requested: Resources::new(),
            pods: BTreeMap::new(),
        };
        for (uid, placed) in self.placed.iter().filter(|(_, placed)| placed.node == name) {
            entry.add(uid, placed.clone());
        }
        self.nodes.insert(name, entry);
    }

    /// Removes a node; its pods stay known in case it comes back.
    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Records where a pod is; one without a node or at its end is removed.
    pub fn put_pod(&mut self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
        match node {
            Some(node) if pod::is_active(pod) => self.place(&uid, pod, node),
            _ => self.remove_pod(&uid),
        }
    }

    /// Counts a pod on a node before its binding is seen, so that the next decision knows of it.
    pub fn assume(&mut self, pod: &Arc<Pod>, node: &str) {
        self.place(&pod.metadata.uid.clone().unwrap_or_default(), pod, node.to_owned());
    }

    /// Forgets a pod.
    pub fn remove_pod(&mut self, uid: &str) {
        if let Some(placed) = self.placed.remove(uid)
            && let Some(entry) = self.nodes.get_mut(&placed.node)
        {
            entry.remove(uid);
        }
    }

    /// Forgets every pod that `keep` refuses, by UID: after a relist.
    pub fn retain_pods(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.placed.keys().filter(|uid| !keep(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.remove_pod(uid));
    }

    /// Forgets every node that `keep` refuses, by name: after a relist.
    pub fn retain_nodes(&mut self, keep: impl Fn(&str) -> bool) {
        self.nodes.retain(|name, _| keep(name));
    }

    fn place(&mut self, uid: &str, pod: &Arc<Pod>, node: String) {
        self.remove_pod(uid);
        let Some(spec) = &pod.spec else { return };
        let placed = Placed {
            pod: pod.clone(),
            node: node.clone(),
            requests: pod::requests(spec),
            ports: pod::host_ports(spec),
        };
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.add(uid, placed.clone());
        }
        self.placed.insert(uid.to_owned(), placed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, node: Option<&str>, phase: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": uid, "namespace": "d", "uid": uid},
                "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
                "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    fn node(name: &str) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "2", "pods": "10"}}}),
        )
        .unwrap()
    }

    fn requested(snapshot: &Snapshot) -> Vec<i64> {
        let of = |entry: &NodeEntry| {
            [entry.requested.get("cpu"), entry.requested.get("pods")].map(|v| v.copied().unwrap_or(0))
        };
        snapshot.nodes().flat_map(of).collect()
    }

    #[test]
    fn pods_count_once_whatever_the_order_of_events() {
        let mut snapshot = Snapshot::default();
        snapshot.put_pod(&pod("early", Some("n"), "Running"));
        snapshot.put_node(node("n"));
        snapshot.assume(&pod("a", None, "Pending"), "n");
        assert_eq!(requested(&snapshot), [200, 2]);
        snapshot.put_pod(&pod("a", Some("n"), "Running"));
        snapshot.put_node(node("n"));
        assert_eq!(requested(&snapshot), [200, 2]);
        snapshot.put_pod(&pod("a", Some("n"), "Succeeded"));
        assert_eq!(requested(&snapshot), [100, 1]);
        snapshot.retain_pods(|_| false);
        assert_eq!(requested(&snapshot), [0, 0]);
    }
}
