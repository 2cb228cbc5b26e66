//! What is known of the cluster, as the policies' facts. PURE. Enters: watch events, and the addresses that this node just
//! gave its pods. Leaves: what changed, to the [`Index`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use xebec_dataplane::policy::plan::PodName;
use xebec_policy::Index;
use xebec_policy::facts::{self, Unreadable};
use xebec_policy::model::{Labels, Pod, Policy};

/// Objects of one kind, by namespace and name.
struct Kept<T> {
    items: BTreeMap<PodName, T>,
    /// Those that the index has not been told of.
    changed: BTreeSet<PodName>,
    /// A list that has not ended.
    list: Option<BTreeMap<PodName, T>>,
    synced: bool,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), changed: BTreeSet::new(), list: None, synced: false }
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
                let before = std::mem::take(&mut self.items);
                let gone = before.keys().filter(|name| !list.contains_key(*name));
                let new = list.iter().filter(|(name, fact)| before.get(*name) != Some(fact));
                let changed: Vec<_> = gone.chain(new.map(|(name, _)| name)).cloned().collect();
                let is_new = !self.synced || !changed.is_empty();
                self.changed.extend(changed);
                (self.items, self.synced) = (list, true);
                is_new
            }
            Event::Apply(object) => {
                let fact = facts(&object);
                self.put(name(&object), fact)
            }
            Event::Delete(object) => self.put(name(&object), None),
        }
    }

    fn put(&mut self, name: PodName, fact: Option<T>) -> bool {
        if self.items.get(&name) == fact.as_ref() {
            return false;
        }
        self.changed.insert(name.clone());
        match fact {
            Some(fact) => drop(self.items.insert(name, fact)),
            None => drop(self.items.remove(&name)),
        }
        true
    }
}

fn name(metadata: &ObjectMeta) -> PodName {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// Everything that policies are about.
#[derive(Default)]
pub(super) struct Known {
    policies: Kept<Arc<Policy>>,
    namespaces: Kept<Labels>,
    /// With the name of its node.
    pods: Kept<(Arc<Pod>, Option<String>)>,
    /// As the index knows them: this node's pods, and the addresses given to them.
    here: BTreeSet<PodName>,
    given: BTreeMap<PodName, Vec<IpAddr>>,
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
                Some(Arc::new(facts))
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
            |pod| {
                Some((Arc::new(facts::pod(pod)?), pod.spec.as_ref().and_then(|spec| spec.node_name.clone())))
            },
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

    /// Whether one of this node's pods changed since the index was told.
    pub(super) fn has_news_of(&self, node: &str) -> bool {
        self.pods.changed.iter().any(|name| self.here.contains(name) || self.is_on(name, node))
    }

    fn is_on(&self, pod: &PodName, node: &str) -> bool {
        self.pods.items.get(pod).is_some_and(|(_, on)| on.as_deref() == Some(node))
    }

    /// Tells the index what changed. Pods of `node` that were just attached have their new addresses already.
    pub(super) fn tell(&mut self, index: &mut Index, node: &str, attached: BTreeMap<PodName, Vec<IpAddr>>) {
        for (_, name) in std::mem::take(&mut self.namespaces.changed) {
            let labels = self.namespaces.items.get(&(String::new(), name.clone()));
            index.namespace(&name, labels.cloned());
        }
        let mut changed = std::mem::take(&mut self.pods.changed);
        let given = attached.iter().filter(|(name, addresses)| self.given.get(*name) != Some(addresses));
        changed.extend(given.map(|(name, _)| name.clone()));
        changed.extend(self.given.keys().filter(|name| !attached.contains_key(*name)).cloned());
        self.given = attached;
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|name| self.here.contains(name) || self.is_on(name, node));
        // When there is much to tell, as at first, this order is the quickest: a new policy that selects a pod of this node
        // looks at every pod there is.
        here.into_iter().for_each(|name| self.tell_pod(index, node, name));
        for name in std::mem::take(&mut self.policies.changed) {
            index.policy(&name, self.policies.items.get(&name).cloned());
        }
        elsewhere.into_iter().for_each(|name| self.tell_pod(index, node, name));
    }

    fn tell_pod(&mut self, index: &mut Index, node: &str, name: PodName) {
        let is_here = self.is_on(&name, node);
        let pod = self.pods.items.get(&name).map(|(pod, _)| match self.given.get(&name) {
            Some(given) if is_here => Arc::new(Pod { addresses: given.clone(), ..Pod::clone(pod) }),
            _ => pod.clone(),
        });
        index.pod(&name, pod.map(|pod| (pod, is_here)));
        if is_here {
            self.here.insert(name);
        } else {
            self.here.remove(&name);
        }
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
    fn the_index_is_told_of_what_changed_and_of_the_addresses_that_pods_were_just_given() {
        let (mut known, mut index) = (Known::default(), Index::default());
        for (name, node) in [("a", "n"), ("b", "m"), ("c", "n")] {
            known.pod(Event::Apply(pod(name, node, "10.0.0.1", "Running")));
        }
        assert!(known.has_news_of("n"));
        let policy = json!({"metadata": {"namespace": "x", "name": "p"}, "spec": {
            "podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": [{"podSelector": {}}]}],
        }});
        known.policy(Event::Apply(serde_json::from_value(policy).unwrap()), |error| panic!("{error}"));
        let key = |name: &str| ("x".to_owned(), name.to_owned());
        let networks = |index: &mut Index| {
            index.update();
            let of = index.tables().classes.of.keys().map(|network| network.address().to_string());
            of.collect::<Vec<_>>()
        };
        let new = IpAddr::from([10, 0, 0, 9]);
        known.tell(&mut index, "n", ["a", "b"].map(|name| (key(name), vec![new])).into());
        assert_eq!(networks(&mut index), ["10.0.0.1", "10.0.0.9"], "only this node's has what it was given");
        assert_eq!(index.tables().selected.keys().collect::<Vec<_>>(), [&key("a")]);
        // Another node's pod is no reason to look at devices.
        known.pod(Event::Apply(pod("b", "m", "10.0.0.2", "Running")));
        assert!(!known.has_news_of("n"));
        // Its device is gone: then it is where the API says.
        known.tell(&mut index, "n", BTreeMap::new());
        assert_eq!(networks(&mut index), ["10.0.0.1", "10.0.0.2"]);
        known.pod(Event::Delete(pod("a", "n", "10.0.0.1", "Running")));
        assert!(known.has_news_of("n"));
        known.tell(&mut index, "n", BTreeMap::new());
        assert_eq!(networks(&mut index), [] as [String; 0]);
        assert_eq!(index.tables(), &xebec_policy::Tables::default());
    }
}
