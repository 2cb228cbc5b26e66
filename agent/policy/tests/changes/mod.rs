//! The tables that are kept against those compiled whole, after each of many changes made at random.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use xebec_policy::model::{Labels, Pod, Policy, World};
use xebec_policy::{ANYONE, Allow, Index, Name, Tables, compile};

use crate::{addresses, labels, pod, policy};

/// What may happen. Where it is about something that is not there, it does not.
#[derive(Clone, Debug)]
enum Change {
    /// A pod comes, or is another now, on this node or not.
    Pod(Pod, bool),
    Relabel(Name, Labels),
    /// It has other addresses.
    Move(Name, Vec<IpAddr>),
    /// It is gone, or has ended.
    End(Name),
    Namespace(String, Option<Labels>),
    Policy(Policy),
    Withdraw(Name),
}

fn change() -> impl Strategy<Value = Change> {
    let name = |prefix: &'static str| {
        (0..2_u8, 0..5_u8).prop_map(move |(space, number)| (space.to_string(), format!("{prefix}{number}")))
    };
    let pod = (pod(), 0..5_u8, any::<bool>())
        .prop_map(|(pod, number, is_local)| Change::Pod(Pod { name: format!("p{number}"), ..pod }, is_local));
    let policy = (policy(), 0..3_u8)
        .prop_map(|(policy, number)| Change::Policy(Policy { name: format!("n{number}"), ..policy }));
    prop_oneof![
        4 => pod,
        2 => (name("p"), labels()).prop_map(|(name, labels)| Change::Relabel(name, labels)),
        2 => (name("p"), addresses()).prop_map(|(name, addresses)| Change::Move(name, addresses)),
        1 => name("p").prop_map(Change::End),
        2 => (0..2_u8, prop::option::weighted(0.8, labels()))
            .prop_map(|(name, labels)| Change::Namespace(name.to_string(), labels)),
        4 => policy,
        1 => name("n").prop_map(Change::Withdraw),
    ]
}

/// The world that the changes make, and who is this node's.
#[derive(Default)]
struct Model {
    pods: BTreeMap<Name, (Pod, bool)>,
    namespaces: BTreeMap<String, Labels>,
    policies: BTreeMap<Name, Policy>,
}

impl Model {
    fn take(&mut self, change: &Change, indices: &mut [Index]) {
        let name = |namespace: &String, name: &String| (namespace.clone(), name.clone());
        let pod = match change {
            Change::Pod(pod, is_local) => {
                let name = name(&pod.namespace, &pod.name);
                self.pods.insert(name.clone(), (pod.clone(), *is_local));
                Some(name)
            }
            Change::Relabel(name, labels) => {
                self.pods.entry(name.clone()).and_modify(|(pod, _)| pod.labels = labels.clone());
                Some(name.clone())
            }
            Change::Move(name, addresses) => {
                self.pods.entry(name.clone()).and_modify(|(pod, _)| pod.addresses = addresses.clone());
                Some(name.clone())
            }
            Change::End(name) => {
                self.pods.remove(name);
                Some(name.clone())
            }
            _ => None,
        };
        if let Some(name) = pod {
            let pod = self.pods.get(&name).map(|(pod, is_local)| (Arc::new(pod.clone()), *is_local));
            return indices.iter_mut().for_each(|index| index.pod(&name, pod.clone()));
        }
        match change {
            Change::Namespace(name, labels) => {
                match labels {
                    Some(labels) => drop(self.namespaces.insert(name.clone(), labels.clone())),
                    None => drop(self.namespaces.remove(name)),
                }
                indices.iter_mut().for_each(|index| index.namespace(name, labels.clone()));
            }
            Change::Policy(policy) => {
                let name = name(&policy.namespace, &policy.name);
                self.policies.insert(name.clone(), policy.clone());
                let policy = Arc::new(policy.clone());
                indices.iter_mut().for_each(|index| index.policy(&name, Some(policy.clone())));
            }
            Change::Withdraw(name) => {
                self.policies.remove(name);
                indices.iter_mut().for_each(|index| index.policy(name, None));
            }
            _ => {}
        }
    }

    fn compile(&self) -> Tables {
        let world = World {
            policies: self.policies.values().cloned().collect(),
            namespaces: self.namespaces.clone(),
            pods: self.pods.values().map(|(pod, _)| pod.clone()).collect(),
        };
        compile(&world, |pod| {
            self.pods.get(&(pod.namespace.clone(), pod.name.clone())).is_some_and(|(_, is_local)| *is_local)
        })
    }
}

/// With the classes numbered as they come; a class that no address is of has no number and fails.
fn numbered(tables: &Tables) -> Tables {
    let mut numbers = BTreeMap::from([(ANYONE, ANYONE)]);
    let mut tables = tables.clone();
    for class in tables.classes.of.values_mut() {
        let next = numbers.len() as u32;
        *class = *numbers.entry(*class).or_insert(next);
    }
    for selected in tables.selected.values_mut() {
        let allows = selected.allows.iter().map(|allow| Allow { class: numbers[&allow.class], ..*allow });
        selected.allows = allows.collect();
    }
    tables
}

/// What is in only one of two maps, or differs.
fn between<K: Ord + Clone, V: PartialEq>(some: &BTreeMap<K, V>, others: &BTreeMap<K, V>) -> BTreeSet<K> {
    let keys = some.keys().chain(others.keys());
    keys.filter(|key| some.get(*key) != others.get(*key)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_kept_is_what_would_be_compiled(changes in prop::collection::vec(change(), 1..40)) {
        let mut model = Model::default();
        // The second is asked for its tables only in the end.
        let mut indices = [Index::default(), Index::default()];
        for change in &changes {
            let before = indices[0].tables().clone();
            model.take(change, &mut indices);
            let changed = indices[0].update();
            let now = indices[0].tables();
            prop_assert_eq!(numbered(now), numbered(&model.compile()), "after {:?}", change);
            let networks = between(&before.classes.of, &now.classes.of);
            prop_assert!(networks.is_subset(&changed.networks), "{:?} is told as {:?}", networks, changed);
            prop_assert_eq!(changed.selected, between(&before.selected, &now.selected));
        }
        indices[1].update();
        prop_assert_eq!(numbered(indices[1].tables()), numbered(&model.compile()));
        // Who takes everything away has nothing left.
        for name in model.pods.keys().cloned().collect::<Vec<_>>() {
            model.take(&Change::End(name), &mut indices);
        }
        indices[0].update();
        prop_assert_eq!(indices[0].tables(), &Tables::default());
    }
}
