//! From what is installed to what is wanted, as writes in order. PURE.
//!
//! What a packet finds depends on three stores: its pod's entry (isolated directions and set of rules), the class of the
//! other address, and rules, which are only ever added before they can be found and removed after. So the order is: rules
//! of new classes and new sets; the classes of addresses; the pods' entries; addresses that have no class any more. After
//! every single write each packet is judged as before or as wanted (`tests` proves it).
//!
//! A class means what all sets allow its addresses, and what a set allows it never changes while a pod has that set. When
//! an address changes what it is among, it gets another class by one store. A pod gets another set only if its isolation
//! or what *everybody* may changes (in a step: or what those may that are in a class still); until the pod's entry is
//! replaced, the classes serve its old set and its new one.
//!
//! [`Installed::plan`] looks at everything, [`Installed::step`] at what changed. They end with the same meaning for the same
//! addresses and pods, by other numbers; the first says what is right (`tests` holds the second against it).

mod selection;
mod step;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};

use xebec_abi::policy::{ANYONE, EGRESS, INGRESS, PodPolicy};
use xebec_policy::model::{Network, Protocol};
use xebec_policy::ports::PortPrefix;
use xebec_policy::{Direction, Selected, Tables};

use self::wanted::Wanted;

/// Something that a set of rules allows a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// The set.
    pub set: u32,
    /// In which direction.
    pub direction: Direction,
    /// Of which protocol; none: all.
    pub protocol: Option<Protocol>,
    /// To which ports.
    pub port: PortPrefix,
}

/// All that is allowed a class: what it means.
pub type Meaning = BTreeSet<Item>;

/// Namespace and name of a pod.
pub type PodName = (String, String);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Allows a class something; nothing finds it yet.
    Rule(u32, Item),
    /// Gives the addresses of a network a class.
    Class(Network, u32),
    /// Publishes a pod's policy, by the index of its device.
    Pod(u32, PodPolicy),
    /// Puts the programs on a device.
    Attach(u32),
    /// Takes them off.
    Detach(u32),
    /// Forgets a pod's policy.
    RemovePod(u32),
    /// Leaves a network to the class of the one around it.
    RemoveClass(Network),
    /// Lets every flow be judged anew.
    Generation,
    /// Removes what nothing finds any more.
    RemoveRule(u32, Item),
}

/// What to do now, and what once no program can still be reading it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub writes: Vec<Write>,
    /// Later.
    pub garbage: Vec<Write>,
}

/// What the kernel's tables hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    pods: BTreeMap<u32, PodPolicy>,
    /// By set: what everybody is allowed.
    everybody: BTreeMap<u32, Meaning>,
    classes: BTreeMap<Network, u32>,
    meanings: BTreeMap<u32, Meaning>,
    next_set: u32,
    next_class: u32,
    /// None as long as it is not known what the tables were wanted to be.
    wanted: Option<Wanted>,
}

impl Default for Installed {
    /// Nothing.
    fn default() -> Self {
        Self::adopt(BTreeMap::new(), BTreeMap::new(), &[]).0
    }
}

impl Installed {
    /// From what was read back; the second is what nothing can find.
    #[must_use]
    pub fn adopt(
        pods: BTreeMap<u32, PodPolicy>,
        classes: BTreeMap<Network, u32>,
        rules: &[(u32, Item)],
    ) -> (Self, Vec<Write>) {
        let used = |highest: Option<u32>| highest.unwrap_or(0) + 1;
        let sets: BTreeSet<u32> = pods.values().map(|pod| pod.set).collect();
        let mut installed = Self {
            next_set: used(rules.iter().map(|(_, item)| item.set).chain(sets.iter().copied()).max()),
            next_class: used(rules.iter().map(|(class, _)| *class).chain(classes.values().copied()).max()),
            everybody: sets.iter().map(|set| (*set, Meaning::new())).collect(),
            meanings: classes.values().map(|class| (*class, Meaning::new())).collect(),
            pods,
            classes,
            wanted: None,
        };
        let mut garbage = Vec::new();
        for (class, item) in rules {
            let place = match *class {
                ANYONE => installed.everybody.get_mut(&item.set),
                class => installed.meanings.get_mut(&class).filter(|_| sets.contains(&item.set)),
            };
            match place {
                Some(meaning) => drop(meaning.insert(*item)),
                None => garbage.push(Write::RemoveRule(*class, *item)),
            }
        }
        (installed, garbage)
    }

    /// Devices of selected pods.
    pub fn devices(&self) -> impl Iterator<Item = u32> {
        self.pods.keys().copied()
    }

    /// Whether a device is a selected pod's.
    #[must_use]
    pub fn has(&self, device: u32) -> bool {
        self.pods.contains_key(&device)
    }

    /// Makes the tables what is wanted, for the pods that have a device.
    #[must_use]
    pub fn plan(&mut self, tables: &Tables, devices: &BTreeMap<PodName, u32>) -> Plan {
        let mut plan = Plan::default();
        let wanted: BTreeMap<u32, &Selected> = tables
            .selected
            .iter()
            .filter_map(|(name, selected)| Some((*devices.get(name)?, selected)))
            .collect();
        let (pods, everybody) = self.sets(&wanted);
        let kept: BTreeSet<u32> = pods.values().map(|pod| pod.set).collect();
        let added = everybody.iter().filter(|(set, _)| !self.everybody.contains_key(set));
        plan.writes
            .extend(added.flat_map(|(_, meaning)| meaning.iter().map(|item| Write::Rule(ANYONE, *item))));

        let meanings = meanings(&wanted, &pods);
        let classes = self.classes(tables, &meanings, &kept, &mut plan);
        // The longest first: an address never falls back to a class that was made for what lies around it.
        let mut changed: Vec<_> =
            classes.iter().filter(|(network, class)| self.classes.get(network) != Some(class)).collect();
        changed.sort_by_key(|(network, _)| std::cmp::Reverse(network.bits()));
        plan.writes.extend(changed.into_iter().map(|(network, class)| Write::Class(*network, *class)));

        for (device, pod) in pods.iter().filter(|(device, pod)| self.pods.get(device) != Some(pod)) {
            plan.writes.push(Write::Pod(*device, *pod));
            if !self.pods.contains_key(device) {
                plan.writes.push(Write::Attach(*device));
            }
        }
        for device in self.pods.keys().filter(|device| !pods.contains_key(device)) {
            plan.writes.extend([Write::Detach(*device), Write::RemovePod(*device)]);
        }
        let mut gone: Vec<_> =
            classes.keys().filter(|network| !tables.classes.of.contains_key(network)).copied().collect();
        // The shortest first, for the same reason.
        gone.sort_by_key(|network| network.bits());
        plan.writes.extend(gone.iter().map(|network| Write::RemoveClass(*network)));
        if plan.writes.iter().any(|write| !matches!(write, Write::Rule(..))) {
            plan.writes.push(Write::Generation);
        }

        self.classes = classes;
        self.classes.retain(|network, _| !gone.contains(network));
        let ended = self.everybody.iter().filter(|(set, _)| !kept.contains(set));
        plan.garbage.extend(
            ended.flat_map(|(_, meaning)| meaning.iter().map(|item| Write::RemoveRule(ANYONE, *item))),
        );
        (self.pods, self.everybody) = (pods, everybody);
        self.forget(&kept, &mut plan.garbage);
        self.wanted = Some(Wanted::new(self, tables, devices));
        plan
    }

    /// The pods' entries, and what their sets allow everybody. A set stays where neither isolation nor that changes.
    fn sets(
        &mut self,
        wanted: &BTreeMap<u32, &Selected>,
    ) -> (BTreeMap<u32, PodPolicy>, BTreeMap<u32, Meaning>) {
        let (mut pods, mut everybody) = (BTreeMap::new(), BTreeMap::new());
        for (device, selected) in wanted {
            let isolated = isolation(selected);
            let open = |set: u32| -> Meaning {
                let allows = selected.allows.iter().filter(|allow| allow.class == xebec_policy::ANYONE);
                allows.map(|allow| item(set, allow)).collect()
            };
            let present = self.pods.get(device).filter(|pod| {
                pod.isolated == isolated && self.everybody.get(&pod.set) == Some(&open(pod.set))
            });
            let set = present.map_or(self.next_set, |pod| pod.set);
            if present.is_none() {
                self.next_set += 1;
            }
            pods.insert(*device, PodPolicy { set, isolated });
            everybody.insert(set, open(set));
        }
        (pods, everybody)
    }

    /// The class of each network that is known now or wanted, for the time that both the old and the `kept` sets are in
    /// use. Adds the rules of new ones.
    fn classes(
        &mut self,
        tables: &Tables,
        wanted: &BTreeMap<u32, Meaning>,
        kept: &BTreeSet<u32>,
        plan: &mut Plan,
    ) -> BTreeMap<Network, u32> {
        // The lowest of classes that mean the same, so that the choice is the same each time.
        let mut known: BTreeMap<Meaning, u32> =
            self.meanings.iter().rev().map(|(class, meaning)| (meaning.clone(), *class)).collect();
        let mut pairs: BTreeMap<(Option<u32>, Option<u32>), u32> = BTreeMap::new();
        let mut classes = BTreeMap::new();
        for network in self.classes.keys().chain(tables.classes.of.keys()) {
            let pair = (around(&self.classes, *network), around(&tables.classes.of, *network));
            let class = *pairs.entry(pair).or_insert_with(|| {
                let meaning_of = |class: Option<u32>, all: &BTreeMap<u32, Meaning>| {
                    class.and_then(|class| all.get(&class)).cloned().unwrap_or_default()
                };
                let mut meaning = meaning_of(pair.0, &self.meanings);
                meaning.retain(|item| !kept.contains(&item.set));
                meaning.extend(meaning_of(pair.1, wanted));
                // What it is now is best, if that means the same.
                if let Some(class) = pair.0.filter(|class| self.meanings.get(class) == Some(&meaning)) {
                    return class;
                }
                *known.entry(meaning).or_insert_with_key(|meaning| {
                    let class = self.next_class;
                    self.next_class += 1;
                    plan.writes.extend(meaning.iter().map(|item| Write::Rule(class, *item)));
                    self.meanings.insert(class, meaning.clone());
                    class
                })
            });
            classes.insert(*network, class);
        }
        classes
    }

    /// Drops the sets that are not `kept` and the classes that no address is of.
    fn forget(&mut self, kept: &BTreeSet<u32>, garbage: &mut Vec<Write>) {
        let used: BTreeSet<u32> = self.classes.values().copied().collect();
        for (class, meaning) in &mut self.meanings {
            meaning.retain(|item| {
                let found = used.contains(class) && kept.contains(&item.set);
                if !found {
                    garbage.push(Write::RemoveRule(*class, *item));
                }
                found
            });
        }
        self.meanings.retain(|class, _| used.contains(class));
    }
}

/// The directions that a pod is isolated in, as its entry has them.
fn isolation(selected: &Selected) -> u32 {
    u32::from(selected.ingress) << INGRESS | u32::from(selected.egress) << EGRESS
}

/// What a set allows, of all that is allowed a class.
fn items_of(meaning: &Meaning, set: u32) -> impl Iterator<Item = Item> {
    let first = |set| Item { set, direction: Direction::Ingress, protocol: None, port: PortPrefix::ANY };
    meaning.range(first(set)..first(set + 1)).copied()
}

fn item(set: u32, allow: &xebec_policy::Allow) -> Item {
    Item { set, direction: allow.direction, protocol: allow.protocol, port: allow.port }
}

/// What each class of the tables means.
fn meanings(wanted: &BTreeMap<u32, &Selected>, pods: &BTreeMap<u32, PodPolicy>) -> BTreeMap<u32, Meaning> {
    let mut meanings: BTreeMap<u32, Meaning> = BTreeMap::new();
    for (device, selected) in wanted {
        let Some(pod) = pods.get(device) else { continue };
        for allow in selected.allows.iter().filter(|allow| allow.class != xebec_policy::ANYONE) {
            meanings.entry(allow.class).or_default().insert(item(pod.set, allow));
        }
    }
    meanings
}

/// The value of the longest prefix that a network lies in.
fn around(all: &BTreeMap<Network, u32>, network: Network) -> Option<u32> {
    (0..=network.bits()).rev().find_map(|bits| all.get(&Network::new(network.address(), bits)?)).copied()
}
