//! The plan against a model of the kernel, after every single write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use xebec_abi::policy::{ANYONE, EGRESS, INGRESS, PodPolicy};
use xebec_policy::class::Classes;
use xebec_policy::model::{Network, Protocol};
use xebec_policy::ports::{PortPrefix, prefixes};
use xebec_policy::{Allow, Changed, Direction, Selected, Tables};

use super::plan::{Installed, Item, Plan, PodName, Write};

/// Maps and programs as the writes leave them.
#[derive(Default)]
struct Kernel {
    pods: BTreeMap<u32, PodPolicy>,
    classes: BTreeMap<Network, u32>,
    rules: BTreeSet<(u32, Item)>,
    on: BTreeSet<u32>,
}

type Question = (u32, Direction, IpAddr, Protocol, u16);

impl Kernel {
    fn write(&mut self, write: &Write) {
        match *write {
            Write::Rule(class, item) => drop(self.rules.insert((class, item))),
            Write::RemoveRule(class, item) => assert!(self.rules.remove(&(class, item)), "{write:?}"),
            Write::Class(network, class) => drop(self.classes.insert(network, class)),
            Write::RemoveClass(network) => drop(self.classes.remove(&network)),
            Write::Pod(device, pod) => drop(self.pods.insert(device, pod)),
            Write::RemovePod(device) => drop(self.pods.remove(&device)),
            Write::Attach(device) => drop(self.on.insert(device)),
            Write::Detach(device) => drop(self.on.remove(&device)),
            Write::Generation => {}
        }
    }

    fn passes(&self, (device, direction, other, protocol, port): Question) -> bool {
        let Some(pod) = self.pods.get(&device).filter(|_| self.on.contains(&device)) else { return true };
        if !pod.is_isolated(if direction == Direction::Ingress { INGRESS } else { EGRESS }) {
            return true;
        }
        let class = Classes { of: self.classes.clone() }.find(other);
        self.rules.iter().any(|(of, item)| {
            (*of == ANYONE || Some(*of) == class)
                && item.set == pod.set
                && item.direction == direction
                && item.protocol.is_none_or(|one| one == protocol)
                && item.port.contains(port)
        })
    }
}

fn wanted(tables: &Tables, devices: &BTreeMap<PodName, u32>, question: Question) -> bool {
    let (device, direction, other, protocol, port) = question;
    let pod =
        devices.iter().find(|(_, index)| **index == device).and_then(|(name, _)| tables.selected.get(name));
    let Some(pod) = pod else { return true };
    let isolated = if direction == Direction::Ingress { pod.ingress } else { pod.egress };
    let class = tables.classes.find(other);
    !isolated
        || pod.allows.iter().any(|allow| {
            allow.direction == direction
                && (allow.class == ANYONE || Some(allow.class) == class)
                && allow.protocol.is_none_or(|one| one == protocol)
                && allow.port.contains(port)
        })
}

const OTHERS: [[u8; 4]; 6] =
    [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 6], [10, 0, 1, 1], [10, 9, 9, 9], [192, 0, 2, 1]];

fn questions() -> Vec<Question> {
    let mut all = Vec::new();
    for device in [2, 3, 4] {
        for direction in [Direction::Ingress, Direction::Egress] {
            for other in OTHERS {
                for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Tcp, 81), (Protocol::Udp, 80)] {
                    all.push((device, direction, other.into(), protocol, port));
                }
            }
        }
    }
    all
}

fn allow() -> impl Strategy<Value = Allow> {
    let direction = prop::sample::select(vec![Direction::Ingress, Direction::Egress]);
    let protocol = prop::option::of(prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]));
    let port = prop::sample::select(vec![
        PortPrefix::ANY,
        prefixes(80, 80)[0],
        prefixes(80, 83)[0],
        prefixes(81, 81)[0],
    ]);
    (direction, 0..4_u32, protocol, port).prop_map(|(direction, class, protocol, port)| Allow {
        direction,
        class,
        protocol,
        port,
    })
}

fn tables() -> impl Strategy<Value = (Tables, BTreeMap<PodName, u32>)> {
    let network = (prop::sample::select(OTHERS.to_vec()), prop::sample::select(vec![0_u8, 8, 24, 30, 32]));
    let network = network.prop_map(|(address, bits)| Network::new(address.into(), bits).unwrap());
    let of = prop::collection::btree_map(network, 1..4_u32, 0..7);
    let selected = (any::<bool>(), any::<bool>(), prop::collection::btree_set(allow(), 0..5))
        .prop_map(|(ingress, egress, allows)| Selected { ingress, egress, allows });
    let pods = prop::collection::btree_map(0..3_u32, selected, 0..4);
    (of, pods, 2..5_u32).prop_map(|(of, pods, without)| {
        let name = |number: u32| ("ns".to_owned(), number.to_string());
        let selected = pods.into_iter().map(|(number, pod)| (name(number), pod)).collect();
        let devices =
            (0..3).map(|number| (name(number), number + 2)).filter(|(_, device)| *device != without);
        (Tables { classes: Classes { of }, selected }, devices.collect())
    })
}

/// Carries a plan out; after every write each packet is judged as before or as wanted.
fn carry_out(kernel: &mut Kernel, plan: &Plan, wanted: &dyn Fn(Question) -> bool) {
    let questions = questions();
    let before: Vec<bool> = questions.iter().map(|question| kernel.passes(*question)).collect();
    for write in &plan.writes {
        kernel.write(write);
        for (question, before) in questions.iter().zip(&before) {
            let now = kernel.passes(*question);
            assert!(now == *before || now == wanted(*question), "{question:?} after {write:?}");
        }
    }
    for write in [None].into_iter().chain(plan.garbage.iter().map(Some)) {
        write.iter().for_each(|write| kernel.write(write));
        for question in &questions {
            assert_eq!(kernel.passes(*question), wanted(*question), "{question:?} after {write:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_packet_is_judged_by_the_old_policies_or_the_new(worlds in prop::collection::vec(tables(), 1..5)) {
        let (mut kernel, mut installed) = (Kernel::default(), Installed::default());
        for (tables, devices) in &worlds {
            let plan = installed.plan(tables, devices);
            carry_out(&mut kernel, &plan, &|question| wanted(tables, devices, question));
            // The same again is nothing to do.
            prop_assert_eq!(installed.plan(tables, devices), Plan::default());
            // What is read back is what was known, and nothing is left over.
            let rules: Vec<_> = kernel.rules.iter().copied().collect();
            let (adopted, garbage) = Installed::adopt(kernel.pods.clone(), kernel.classes.clone(), &rules);
            prop_assert_eq!(garbage, []);
            let mut again = adopted.clone();
            prop_assert_eq!(again.plan(tables, devices), Plan::default());
            // An agent that starts anew goes on from there.
            installed = adopted;
        }
    }

    /// Classes keep their meaning while addresses go from one to another; now and then pods are selected otherwise.
    #[test]
    fn a_step_is_as_good_as_a_whole_plan(
        first in tables(),
        steps in prop::collection::vec((tables(), 0..6_u8), 1..8),
    ) {
        let (mut kernel, mut installed) = (Kernel::default(), Installed::default());
        let (mut tables, devices) = first;
        let mut before = Tables::default();
        for ((next, _), turn) in [((tables.clone(), BTreeMap::new()), 0)].into_iter().chain(steps) {
            tables.classes = next.classes;
            if turn == 0 {
                tables.selected = next.selected;
            }
            let all = before.classes.of.keys().chain(tables.classes.of.keys());
            let other = |network: &&Network| {
                before.classes.of.get(*network) != tables.classes.of.get(*network)
            };
            let changed = Changed {
                networks: all.filter(other).copied().collect(),
                selected: before.selected != tables.selected,
            };
            let is_known = |class: &u32| before.classes.of.values().any(|one| one == class);
            let is_small = !changed.selected && tables.classes.of.values().all(is_known);
            let plan = installed.step(&tables, &devices, &changed);
            if is_small {
                prop_assert!(plan.writes.len() <= changed.networks.len() + 1, "{:?} for {:?}", plan, changed);
            }
            carry_out(&mut kernel, &plan, &|question| wanted(&tables, &devices, question));
            prop_assert_eq!(installed.clone().plan(&tables, &devices), Plan::default());
            let rules: Vec<_> = kernel.rules.iter().copied().collect();
            let (_, garbage) = Installed::adopt(kernel.pods.clone(), kernel.classes.clone(), &rules);
            prop_assert_eq!(garbage, []);
            before = tables.clone();
        }
    }
}

#[test]
fn a_pod_that_changes_its_labels_is_one_store() {
    let tables = |class: u32| {
        let of = |text: &str| Network::parse(text).unwrap();
        let allows = BTreeSet::from([Allow {
            direction: Direction::Ingress,
            class: 1,
            protocol: None,
            port: PortPrefix::ANY,
        }]);
        let of = BTreeMap::from([(of("10.0.0.1/32"), class), (of("10.0.0.2/32"), 1), (of("10.0.0.3/32"), 2)]);
        Tables {
            classes: Classes { of },
            selected: BTreeMap::from([(
                ("ns".to_owned(), "a".to_owned()),
                Selected { ingress: true, egress: false, allows },
            )]),
        }
    };
    let devices = BTreeMap::from([(("ns".to_owned(), "a".to_owned()), 7)]);
    let mut installed = Installed::default();
    let first = installed.plan(&tables(1), &devices).writes;
    assert!(first.ends_with(&[
        Write::Pod(7, PodPolicy { set: 1, isolated: 1 << INGRESS }),
        Write::Attach(7),
        Write::Generation
    ]));
    let second = installed.plan(&tables(2), &devices);
    assert!(
        matches!(second.writes[..], [Write::Class(..), Write::Generation]) && second.garbage.is_empty(),
        "{second:?}"
    );
    let networks = BTreeSet::from([Network::parse("10.0.0.1/32").unwrap()]);
    let third = installed.step(&tables(1), &devices, &Changed { networks, selected: false });
    assert!(
        matches!(third.writes[..], [Write::Class(..), Write::Generation]) && third.garbage.is_empty(),
        "{third:?}"
    );
}
