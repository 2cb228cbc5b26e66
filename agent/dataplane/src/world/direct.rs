//! What the cache knows for direct server return: the Services that want it, and where the nodes are.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::Event;

use super::{Owner, World, name};
use crate::node::NodeFacts;
use crate::tunnel::{Wanted, reachable};

impl World {
    /// Whether some Service wants direct server return.
    pub fn has_direct(&self) -> bool {
        !self.direct.is_empty()
    }

    /// A Node event, of any node.
    pub fn node(&mut self, event: Event<Node>) {
        match event {
            Event::Init => self.nodes.listing = Some(HashSet::new()),
            Event::InitApply(object) | Event::Apply(object) => {
                let addresses = NodeFacts::of(&object).addresses;
                self.direct_changed |=
                    self.nodes.put(&name(&object.metadata, &mut self.names), Some(addresses)).is_some();
            }
            Event::Delete(object) => {
                self.direct_changed |=
                    self.nodes.put(&name(&object.metadata, &mut self.names), None).is_some();
            }
            Event::InitDone => {
                self.direct_changed = true;
                for gone in self.nodes.gone() {
                    self.nodes.put(&gone, None);
                }
            }
        }
    }

    /// What is to be known of other nodes and their endpoints, if that may have changed since the last call and everything
    /// it is made of is known. `node` is this one's name, `own` its addresses.
    pub fn take_direct(&mut self, node: &str, own: &[IpAddr]) -> Option<Wanted> {
        if !(self.synced() && self.nodes.synced && std::mem::take(&mut self.direct_changed)) {
            return None;
        }
        let others = || self.nodes.known.iter().filter(|(owner, _)| *owner.name != *node);
        let at: BTreeMap<&str, IpAddr> =
            others().filter_map(|(owner, a)| Some((&*owner.name, reachable(a, own)?))).collect();
        let slices = self.direct.iter().filter_map(|owner| self.get(owner)).flat_map(|(_, slices)| slices);
        let endpoints = slices
            .flat_map(|slice| &*slice.endpoints)
            .filter_map(|e| Some((e.addr, *at.get(e.place.node.as_deref()?)?)))
            .collect();
        Some(Wanted { nodes: others().flat_map(|(_, addresses)| addresses).copied().collect(), endpoints })
    }

    /// Notes whether a Service, of which something changed, wants it.
    pub(super) fn note_direct(&mut self, owner: &Owner, wanted: bool) {
        let changed = if wanted { self.direct.insert(owner.clone()) } else { self.direct.remove(owner) };
        self.direct_changed |= changed || wanted;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, addresses: &[&str]) -> Node {
        let addresses: Vec<Value> =
            addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"addresses": addresses}}))
            .unwrap()
    }

    fn service(mode: Option<&str>) -> Service {
        let annotations = mode.map(|mode| json!({"network.xebec.dev/forwarding-mode": mode}));
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "default", "annotations": annotations},
            "spec": {"type": "NodePort", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
        }))
        .unwrap()
    }

    fn slice(service: &str, endpoints: &[(&str, &str)]) -> EndpointSlice {
        let end = |(address, node): &(&str, &str)| json!({"addresses": [address], "nodeName": node});
        let name = format!("{service}-1");
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": endpoints.iter().map(end).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    fn wanted(world: &mut World) -> Option<(Vec<String>, Vec<String>)> {
        let wanted = world.take_direct("a", &["10.0.0.1".parse().unwrap()])?;
        let nodes = wanted.nodes.iter().map(ToString::to_string).collect();
        Some((nodes, wanted.endpoints.iter().map(|(endpoint, node)| format!("{endpoint}@{node}")).collect()))
    }

    #[test]
    fn endpoints_of_other_nodes_are_where_their_nodes_are() {
        let mut world = World::default();
        for event in [Event::Init, Event::InitApply(service(Some("dsr"))), Event::InitDone] {
            world.service(event);
        }
        world.slice(Event::Init);
        let endpoints = [("10.244.0.1", "a"), ("10.244.1.1", "b"), ("10.244.2.1", "nowhere")];
        world.slice(Event::InitApply(slice("s", &endpoints)));
        world.slice(Event::InitApply(slice("other", &[("10.244.1.9", "b")])));
        world.slice(Event::InitDone);
        assert!(world.has_direct());
        assert_eq!(wanted(&mut world), None, "half a world looks like nodes that are gone");
        world.node(Event::Init);
        world.node(Event::InitApply(node("a", &["10.0.0.1"])));
        world.node(Event::InitApply(node("b", &["fd00::2", "10.0.0.2"])));
        world.node(Event::InitDone);
        let b = ("10.0.0.2".to_owned(), "fd00::2".to_owned());
        let expected = (vec![b.0, b.1], vec!["10.244.1.1@10.0.0.2".to_owned()]);
        assert_eq!(wanted(&mut world), Some(expected.clone()), "to the address of a family that both have");
        // Nothing new.
        assert_eq!(wanted(&mut world), None);
        world.slice(Event::Apply(slice("other", &[])));
        world.node(Event::Apply(node("b", &["fd00::2", "10.0.0.2"])));
        assert_eq!(wanted(&mut world), None, "of Services that want nothing of this");
        // An endpoint moves, a node moves, both go.
        world.slice(Event::Apply(slice("s", &[("10.244.1.2", "b")])));
        assert_eq!(wanted(&mut world).unwrap().1, ["10.244.1.2@10.0.0.2"]);
        world.node(Event::Apply(node("b", &["10.0.0.3"])));
        assert_eq!(wanted(&mut world).unwrap().1, ["10.244.1.2@10.0.0.3"]);
        world.node(Event::Delete(node("b", &[])));
        assert_eq!(wanted(&mut world), Some((vec![], vec![])));
        world.node(Event::Apply(node("b", &["10.0.0.3"])));
        world.service(Event::Apply(service(Some("snat"))));
        assert_eq!(wanted(&mut world), Some((vec!["10.0.0.3".to_owned()], vec![])));
        assert!(!world.has_direct());
    }
}
