//! What is known of the cluster, as the policies' facts. PURE. Enters: watch events, and the addresses that this node just
//! gave its pods. Leaves: the [`World`], and which pods are this node's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use xebec_dataplane::policy::plan::PodName;
use xebec_policy::facts::{self, Unreadable};
use xebec_policy::model::{Labels, Pod, Policy, World};

/// Objects of one kind, by namespace and name.
struct Kept<T> {
    items: BTreeMap<PodName, T>,
    /// A list that has not ended.
    list: Option<BTreeMap<PodName, T>>,
    synced: bool,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), list: None, synced: false }
    }
}

impl<T: PartialEq> Kept<T> {
    /// Takes an event; true if it changed something, or ended the first list.
    fn take<K>(
        &mut self,
        event: Event<K>,
        name: impl Fn(&K) -> PodName,
        facts: impl FnMut(&K) -> Option<T>,
    ) -> bool {
        let mut facts = facts;
        match event {
            Event::Init => {
                self.list = Some(BTreeMap::new());
                false
            }
            Event::InitApply(object) => {
                let list = self.list.get_or_insert_default();
                list.extend(facts(&object).map(|fact| (name(&object), fact)));
                false
            }
            Event::InitDone => {
                let list = self.list.take().unwrap_or_default();
                let changed = !self.synced || list != self.items;
                (self.items, self.synced) = (list, true);
                changed
            }
            Event::Apply(object) => match facts(&object) {
                Some(fact) if self.items.get(&name(&object)) == Some(&fact) => false,
                Some(fact) => {
                    self.items.insert(name(&object), fact);
                    true
                }
                None => self.items.remove(&name(&object)).is_some(),
            },
            Event::Delete(object) => self.items.remove(&name(&object)).is_some(),
        }
    }
}

fn name(metadata: &ObjectMeta) -> PodName {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// Everything that policies are about.
#[derive(Default)]
pub(super) struct Known {
    policies: Kept<Policy>,
    namespaces: Kept<Labels>,
    /// With the name of its node.
    pods: Kept<(Pod, Option<String>)>,
}

impl Known {
    /// Whether everything was listed once.
    pub(super) fn is_synced(&self) -> bool {
        self.policies.synced && self.namespaces.synced && self.pods.synced
    }

    /// Takes an event; true if it changed something. What cannot be read is told.
    pub(super) fn policy(&mut self, event: Event<NetworkPolicy>, mut tell: impl FnMut(Unreadable)) -> bool {
        self.policies.take(
            event,
            |policy| name(&policy.metadata),
            |policy| {
                let (facts, unreadable) = facts::policy(policy);
                unreadable.into_iter().for_each(&mut tell);
                Some(facts)
            },
        )
    }

    /// As [`Known::policy`].
    pub(super) fn namespace(&mut self, event: Event<Namespace>) -> bool {
        self.namespaces.take(
            event,
            |namespace| name(&namespace.metadata),
            |namespace| Some(namespace.metadata.labels.clone().unwrap_or_default()),
        )
    }

    /// As [`Known::policy`].
    pub(super) fn pod(&mut self, event: Event<ApiPod>) -> bool {
        self.pods.take(
            event,
            |pod| name(&pod.metadata),
            |pod| Some((facts::pod(pod)?, pod.spec.as_ref().and_then(|spec| spec.node_name.clone()))),
        )
    }

    /// Whether the API has told of a pod that has not ended.
    pub(super) fn has_pod(&self, pod: &PodName) -> bool {
        self.pods.items.contains_key(pod)
    }

    /// A pod's addresses by the API; none if it is not known, or has ended.
    pub(super) fn addresses(&self, pod: &PodName) -> &[IpAddr] {
        self.pods.items.get(pod).map_or(&[], |(pod, _)| &pod.addresses)
    }

    /// The world, in which pods that were just attached have their new address already, and the pods of `node`.
    /// `others` are no pods of the API, but known to policies as such.
    pub(super) fn world(
        &self,
        node: &str,
        attached: &BTreeMap<PodName, IpAddr>,
        others: &[Pod],
    ) -> (World, BTreeSet<PodName>) {
        let (mut pods, mut local) = (others.to_vec(), BTreeSet::new());
        for (name, (pod, on)) in &self.pods.items {
            let mut pod = pod.clone();
            if on.as_deref() == Some(node) {
                local.insert(name.clone());
                if let Some(address) = attached.get(name) {
                    pod.addresses = vec![*address];
                }
            }
            pods.push(pod);
        }
        let namespaces = self.namespaces.items.iter();
        let world = World {
            policies: self.policies.items.values().cloned().collect(),
            namespaces: namespaces.map(|((_, name), labels)| (name.clone(), labels.clone())).collect(),
            pods,
        };
        (world, local)
    }
}

/// The cluster DNS that this agent serves itself, as the pod that upstream's clusters have for it: policies name it so.
pub(super) fn dns(addresses: &[IpAddr]) -> Pod {
    use xebec_policy::model::{NamedPort, Protocol};
    let port = |name: &str, protocol| NamedPort { name: name.to_owned(), protocol, number: 53 };
    Pod {
        namespace: "kube-system".to_owned(),
        name: "xebec-dns".to_owned(),
        labels: BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]),
        addresses: addresses.to_vec(),
        ports: vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)],
        on_host: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, ip: &str, phase: &str) -> ApiPod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "x", "name": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "podIPs": [{"ip": ip}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_list_that_comes_again_replaces_what_was_known() {
        let mut known = Known::default();
        assert!(!known.pod(Event::Init));
        assert!(!known.pod(Event::InitApply(pod("a", "n", "10.0.0.1", "Running"))));
        assert!(!known.pod(Event::InitApply(pod("done", "n", "10.0.0.1", "Succeeded"))));
        assert!(known.pod(Event::InitDone) && !known.is_synced());
        let key = |name: &str| ("x".to_owned(), name.to_owned());
        assert!(known.has_pod(&key("a")) && !known.has_pod(&key("done")));
        assert_eq!(known.addresses(&key("a")), [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(known.addresses(&key("done")), [] as [IpAddr; 0]);
        // A status that says nothing new of addresses is no change.
        assert!(!known.pod(Event::Apply(pod("a", "n", "10.0.0.1", "Pending"))));
        assert!(known.pod(Event::Apply(pod("b", "m", "10.0.0.2", "Running"))));
        // The list begins anew: until it ends, what was known stays.
        assert!(!known.pod(Event::Init) && known.has_pod(&key("a")));
        assert!(!known.pod(Event::InitApply(pod("b", "m", "10.0.0.2", "Running"))));
        assert!(known.pod(Event::InitDone) && !known.has_pod(&key("a")));
        // One that ends gives its address back.
        assert!(known.pod(Event::Apply(pod("b", "m", "10.0.0.2", "Failed"))) && !known.has_pod(&key("b")));
    }

    #[test]
    fn pods_of_this_node_have_the_address_that_they_were_just_given() {
        let mut known = Known::default();
        for (name, node) in [("a", "n"), ("b", "m")] {
            known.pod(Event::Apply(pod(name, node, "10.0.0.1", "Running")));
        }
        let new = IpAddr::from([10, 0, 0, 9]);
        let attached = ["a", "b"].map(|name| (("x".to_owned(), name.to_owned()), new)).into();
        let (world, local) = known.world("n", &attached, &[dns(&[[10, 96, 0, 10].into()])]);
        let of = |name: &str| &world.pods.iter().find(|pod| pod.name == name).unwrap().addresses;
        assert_eq!(of("a"), &[new]);
        assert_eq!(of("b"), &[IpAddr::from([10, 0, 0, 1])], "it is not this node's to say");
        assert_eq!(local.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), ["a"]);
        assert_eq!(world.pods.len(), 3);
    }
}
