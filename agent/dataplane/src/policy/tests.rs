//! The plan against a model of the kernel, after every single write.

mod refusals;

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

/// By device, and by network and device: what is allowed, whatever the numbers of sets and classes.
type Meant = (BTreeMap<u32, (u32, BTreeSet<Item>)>, BTreeMap<(Network, u32), BTreeSet<Item>>);

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

    /// Everything that is in the maps, without numbers that mean nothing to a packet.
    fn meant(&self) -> Meant {
        assert!(self.pods.keys().eq(self.on.iter()));
        let allowed = |of: u32, pod: &PodPolicy| -> BTreeSet<Item> {
            let rules = self.rules.iter().filter(|(class, item)| *class == of && item.set == pod.set);
            rules.map(|(_, item)| Item { set: 0, ..*item }).collect()
        };
        let pods = self.pods.iter();
        let everybody = pods.map(|(device, pod)| (*device, (pod.isolated, allowed(ANYONE, pod))));
        let of = |(network, class): (&Network, &u32)| {
            let (network, class) = (*network, *class);
            self.pods.iter().map(move |(device, pod)| ((network, *device), allowed(class, pod)))
        };
        (everybody.collect(), self.classes.iter().flat_map(of).collect())
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

    /// Addresses go from one class to another, pods are selected, or not, or otherwise, and get other devices; some of it
    /// at once. The whole plan says what is right.
    #[test]
    fn a_step_is_as_good_as_a_whole_plan(first in tables(), steps in prop::collection::vec(change(), 1..8)) {
        let (mut kernel, mut installed) = (Kernel::default(), Installed::default());
        let (mut by_plans, mut planned) = (Kernel::default(), Installed::default());
        let (mut before, mut world) = (Tables::default(), first);
        for step in [None].into_iter().chain(steps.iter().map(Some)) {
            let devices_before = world.1.clone();
            world = step.map_or(world.clone(), |step| step.of(&world));
            let (tables, devices) = (consistent(&world.0), &world.1);
            let changed = Changed {
                networks: between(&before.classes.of, &tables.classes.of),
                selected: between(&before.selected, &tables.selected),
            };
            let is_known = |class: &u32| before.classes.of.values().any(|one| one == class);
            let is_small = step.is_some()
                && changed.selected.is_empty()
                && devices_before == *devices
                && tables.classes.of.values().all(is_known);
            let plan = installed.step(&tables, devices, &changed);
            if is_small {
                prop_assert!(plan.writes.len() <= changed.networks.len() + 1, "{:?} for {:?}", plan, changed);
            }
            carry_out(&mut kernel, &plan, &|question| wanted(&tables, devices, question));
            prop_assert_eq!(installed.clone().plan(&tables, devices), Plan::default());
            let nothing = installed.step(&tables, devices, &Changed::default());
            prop_assert_eq!(nothing, Plan::default());
            let rules: Vec<_> = kernel.rules.iter().copied().collect();
            let (_, garbage) = Installed::adopt(kernel.pods.clone(), kernel.classes.clone(), &rules);
            prop_assert_eq!(garbage, []);
            carry_out(&mut by_plans, &planned.plan(&tables, devices), &|question| {
                wanted(&tables, devices, question)
            });
            prop_assert_eq!(kernel.meant(), by_plans.meant());
            before = tables;
        }
    }
}

/// A world that some of is taken from.
#[derive(Clone, Debug)]
struct Change {
    next: World,
    /// Whether the networks are all replaced, some, or none.
    networks: Option<bool>,
    /// Which pods are selected as there.
    pods: [bool; 4],
    devices: bool,
}

type World = (Tables, BTreeMap<PodName, u32>);

fn change() -> impl Strategy<Value = Change> {
    let pods = prop::array::uniform4(prop::bool::weighted(0.3));
    (tables(), prop::option::of(any::<bool>()), pods, prop::bool::weighted(0.2))
        .prop_map(|(next, networks, pods, devices)| Change { next, networks, pods, devices })
}

impl Change {
    fn of(&self, (tables, devices): &World) -> World {
        let (next, mut tables) = (&self.next.0, tables.clone());
        match self.networks {
            Some(true) => tables.classes = next.classes.clone(),
            Some(false) => tables.classes.of.extend(next.classes.of.iter().take(2).map(|(k, v)| (*k, *v))),
            None => {}
        }
        for number in (0..4).filter(|number| self.pods[*number]) {
            let name = ("ns".to_owned(), number.to_string());
            match next.selected.get(&name) {
                Some(selected) => drop(tables.selected.insert(name, selected.clone())),
                None => drop(tables.selected.remove(&name)),
            }
        }
        (tables, if self.devices { self.next.1.clone() } else { devices.clone() })
    }
}

/// Without what pods are allowed of classes that no address is of.
fn consistent(tables: &Tables) -> Tables {
    let mut tables = tables.clone();
    let known: BTreeSet<u32> = tables.classes.of.values().copied().chain([ANYONE]).collect();
    for selected in tables.selected.values_mut() {
        selected.allows.retain(|allow| known.contains(&allow.class));
    }
    tables
}

/// What is in only one of two maps, or differs.
fn between<K: Ord + Clone, V: PartialEq>(some: &BTreeMap<K, V>, others: &BTreeMap<K, V>) -> BTreeSet<K> {
    let keys = some.keys().chain(others.keys());
    keys.filter(|key| some.get(*key) != others.get(*key)).cloned().collect()
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
    let third = installed.step(&tables(1), &devices, &Changed { networks, ..Changed::default() });
    assert!(
        matches!(third.writes[..], [Write::Class(..), Write::Generation]) && third.garbage.is_empty(),
        "{third:?}"
    );
}

#[test]
fn a_pod_that_is_selected_beside_others_moves_no_address() {
    let of = |text: &str| Network::parse(text).unwrap();
    let name = |name: &str| ("ns".to_owned(), name.to_owned());
    let allows = |classes: &[u32]| -> BTreeSet<Allow> {
        let allow = |class: &u32| Allow {
            direction: Direction::Ingress,
            class: *class,
            protocol: None,
            port: PortPrefix::ANY,
        };
        classes.iter().map(allow).collect()
    };
    let select = |classes: &[u32]| Selected { ingress: true, egress: false, allows: allows(classes) };
    // To the first pod both classes mean the same.
    let mut tables = Tables {
        classes: Classes {
            of: [("10.0.0.1/32", 1), ("10.0.0.2/32", 1), ("10.0.0.3/32", 2)]
                .map(|(text, class)| (of(text), class))
                .into(),
        },
        selected: [(name("a"), select(&[1, 2]))].into(),
    };
    let devices: BTreeMap<PodName, u32> = [(name("a"), 7), (name("b"), 8), (name("c"), 9)].into();
    let mut installed = Installed::default();
    let first = installed.plan(&tables, &devices).writes;
    assert_eq!(first.iter().filter(|write| matches!(write, Write::Rule(..))).count(), 1, "{first:?}");
    let mut select = |who: &str, selected: Option<Selected>| {
        match selected {
            Some(selected) => drop(tables.selected.insert(name(who), selected)),
            None => drop(tables.selected.remove(&name(who))),
        }
        let changed = Changed { selected: [name(who)].into(), ..Changed::default() };
        installed.step(&tables, &devices, &changed)
    };
    let other = select("b", Some(Selected { ingress: true, egress: false, allows: allows(&[1, 2]) }));
    assert!(
        matches!(other.writes[..], [Write::Rule(..), Write::Pod(8, _), Write::Attach(8), Write::Generation]),
        "{other:?}"
    );
    // To this one they do not: the smaller one gets its own.
    let third = select("c", Some(Selected { ingress: true, egress: false, allows: allows(&[1]) }));
    let moved: Vec<_> = third.writes.iter().filter(|write| matches!(write, Write::Class(..))).collect();
    assert!(matches!(moved[..], [Write::Class(network, _)] if *network == of("10.0.0.3/32")), "{third:?}");
    let gone = select("b", None);
    assert!(
        matches!(gone.writes[..], [Write::Detach(8), Write::RemovePod(8), Write::Generation]),
        "{gone:?}"
    );
    assert!(
        !gone.garbage.is_empty() && gone.garbage.iter().all(|write| matches!(write, Write::RemoveRule(..)))
    );
}
