//! From one wanted state to the next by what changed: addresses that went from one class to another, pods that are selected
//! or allowed otherwise (`selection`). PURE.
//!
//! A set that no pod has yet is found by no packet, so its rules are added to the classes that are there, and no address
//! moves for it. Only where two of the tables' classes were served by one and mean different things now, one of them gets
//! a class of its own. Sets of pods that are selected no more end before anything else; while a pod goes from one set to
//! another, both are served, as in a whole plan.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use xebec_abi::policy::{ANYONE, PodPolicy};
use xebec_policy::model::Network;
use xebec_policy::{Changed, Tables};

use super::wanted::Wanted;
use super::{Installed, Meaning, Plan, PodName, Write, around, items_of};

impl Installed {
    /// As [`Installed::plan`], for tables that are those planned last but for what `changed`, with the same numbers of
    /// classes. It takes time by what changed.
    #[must_use]
    pub fn step(&mut self, tables: &Tables, devices: &BTreeMap<PodName, u32>, changed: &Changed) -> Plan {
        let Some(wanted) = self.wanted.take() else { return self.plan(tables, devices) };
        let is_other = |network: &&Network| wanted.of.get(*network) != tables.classes.of.get(*network);
        let moves = changed.networks.iter().filter(is_other);
        let moves: BTreeMap<_, _> =
            moves.map(|network| (*network, tables.classes.of.get(network).copied())).collect();
        let mut balance: BTreeMap<u32, isize> = BTreeMap::new();
        for (network, to) in &moves {
            wanted.of.get(network).iter().for_each(|class| *balance.entry(**class).or_default() -= 1);
            to.iter().for_each(|class| *balance.entry(*class).or_default() += 1);
        }
        let step = Step {
            installed: self,
            wanted,
            tables,
            moves,
            balance,
            entries: Vec::new(),
            more: BTreeMap::new(),
            ended: BTreeSet::new(),
            plan: Plan::default(),
        };
        step.run(devices, changed)
    }
}

/// A step that is being planned.
pub(super) struct Step<'a> {
    pub(super) installed: &'a mut Installed,
    pub(super) wanted: Wanted,
    pub(super) tables: &'a Tables,
    /// Networks that the tables have in another class than before, or in none.
    moves: BTreeMap<Network, Option<u32>>,
    /// How many networks each of the tables' classes wins by that.
    balance: BTreeMap<u32, isize>,
    /// Pods that get another entry.
    pub(super) entries: Vec<(u32, PodPolicy)>,
    /// By the tables' class: what it is allowed beside what it was.
    pub(super) more: BTreeMap<u32, Meaning>,
    /// Sets that pods have until they get another.
    pub(super) ended: BTreeSet<u32>,
    pub(super) plan: Plan,
}

/// What an address is to find.
enum Target {
    /// An installed class serves it.
    Ready(u32),
    /// Whatever means this.
    Means(Meaning),
}

impl Step<'_> {
    fn run(mut self, devices: &BTreeMap<PodName, u32>, changed: &Changed) -> Plan {
        self.select(devices, changed);
        let targets = self.targets();
        let mut stores = self.grow();
        self.place(&targets, &mut stores);
        // The longest first: an address never falls back to a class that was made for what lies around it.
        stores.sort_by_key(|(network, _)| Reverse(network.bits()));
        self.plan.writes.extend(stores.into_iter().map(|(network, class)| Write::Class(network, class)));
        // What an address falls back to serves no set that ends now. The shortest first, for the same reason.
        let mut gone: Vec<Network> =
            self.moves.iter().filter(|(_, to)| to.is_none()).map(|(network, _)| *network).collect();
        gone.sort_by_key(|network| network.bits());
        let gone = gone.into_iter().map(Write::RemoveClass);
        if self.ended.is_empty() {
            self.plan.writes.extend(gone);
            self.publish();
        } else {
            self.publish();
            self.plan.writes.extend(gone);
        }
        if self.plan.writes.iter().any(|write| !matches!(write, Write::Rule(..))) {
            self.plan.writes.push(Write::Generation);
        }
        self.finish(devices)
    }

    /// Whether one of the tables' classes was in them before.
    pub(super) fn was_there(&self, of: u32) -> bool {
        self.wanted.served(of).next().is_some()
    }

    /// Whether one of the tables' classes was in them before and is.
    pub(super) fn stays_there(&self, of: u32) -> bool {
        let won = self.balance.get(&of).copied().unwrap_or_default();
        self.wanted.count(of).saturating_add_signed(won) > 0 && self.was_there(of)
    }

    /// What the addresses that move shall find. Asked before anything is placed.
    fn targets(&self) -> BTreeMap<Option<u32>, Target> {
        let of = self.moves.keys().map(|network| self.falls_to(*network));
        of.collect::<BTreeSet<_>>().into_iter().map(|of| (of, self.target(of))).collect()
    }

    /// The tables' class of a network, or of what is around it.
    fn falls_to(&self, network: Network) -> Option<u32> {
        around(&self.tables.classes.of, network)
    }

    fn target(&self, of: Option<u32>) -> Target {
        let Some(of) = of else { return Target::Means(Meaning::new()) };
        let class = self.wanted.served(of).next();
        if let Some(class) = class
            && self.more.is_empty()
            && self.ended.is_empty()
        {
            return Target::Ready(class);
        }
        let before = class.and_then(|class| self.installed.meanings.get(&class)).into_iter().flatten();
        let kept = before.filter(|item| !self.ended.contains(&item.set));
        Target::Means(kept.chain(self.more.get(&of).into_iter().flatten()).copied().collect())
    }

    /// Adds the rules of new sets to the classes that serve what they allow. Returns which networks get a class of their
    /// own, since not all of their class are allowed that.
    fn grow(&mut self) -> Vec<(Network, u32)> {
        let there = self.more.keys().filter(|of| self.stays_there(**of));
        let concerned: BTreeSet<u32> = there.flat_map(|of| self.wanted.served(*of)).collect();
        let mut splits = Vec::new();
        for class in concerned {
            let before = self.installed.meanings.get(&class).cloned().unwrap_or_default();
            let mut groups: BTreeMap<Meaning, (usize, BTreeSet<u32>)> = BTreeMap::new();
            for (of, count) in self.wanted.serves.get(&class).into_iter().flatten() {
                if self.stays_there(*of) {
                    let more = self.more.get(of).cloned().unwrap_or_default();
                    let (networks, all) = groups.entry(more).or_default();
                    *networks += count;
                    all.insert(*of);
                }
            }
            // The most addresses stay where they are.
            let most = groups.iter().max_by_key(|(_, (networks, _))| *networks);
            let Some(most) = most.map(|(more, _)| more.clone()) else { continue };
            groups.remove(&most);
            self.allow(class, most);
            splits.extend(
                groups.into_iter().map(|(more, (_, of))| (class, of, before.union(&more).copied().collect())),
            );
        }
        // Only now every class means what it will.
        splits.into_iter().flat_map(|(class, of, meaning)| self.split(class, &of, meaning)).collect()
    }

    /// Gives the networks of some of the tables' classes, which a class serves, one that means this.
    fn split(&mut self, class: u32, of: &BTreeSet<u32>, meaning: Meaning) -> Vec<(Network, u32)> {
        let own = self.class(meaning);
        let theirs = self.installed.classes.iter().filter(|(_, one)| **one == class);
        let theirs = theirs
            .filter_map(|(network, _)| Some((*network, *self.wanted.of.get(network)?)))
            .filter(|(network, wanted)| of.contains(wanted) && !self.moves.contains_key(network));
        let theirs: Vec<(Network, u32)> = theirs.collect();
        theirs.iter().for_each(|(network, of)| self.put(*network, Some((own, *of))));
        theirs.into_iter().map(|(network, _)| (network, own)).collect()
    }

    /// Gives the networks that move their class; those that go while sets end, one for that time.
    fn place(&mut self, targets: &BTreeMap<Option<u32>, Target>, stores: &mut Vec<(Network, u32)>) {
        let mut moves: Vec<_> = self.moves.iter().map(|(network, to)| (*network, *to)).collect();
        moves.sort_by_key(|(network, _)| Reverse(network.bits()));
        let mut pairs: BTreeMap<(Option<u32>, Option<u32>), u32> = BTreeMap::new();
        for (network, to) in moves {
            if to.is_none() && self.ended.is_empty() {
                continue;
            }
            let pair = (around(&self.installed.classes, network), self.falls_to(network));
            let class = match pairs.get(&pair) {
                Some(class) => *class,
                None => {
                    let Some(target) = targets.get(&pair.1) else { continue };
                    *pairs.entry(pair).or_insert(self.serve(pair.0, target))
                }
            };
            if self.installed.classes.get(&network) != Some(&class) {
                stores.push((network, class));
            }
            if let Some(of) = to {
                self.put(network, Some((class, of)));
            }
        }
    }

    /// The class for addresses that are of one, and are to find another thing, for the time that both the old sets and the
    /// new are in use.
    fn serve(&mut self, now: Option<u32>, target: &Target) -> u32 {
        let mut meaning = match target {
            Target::Ready(class) => return *class,
            Target::Means(meaning) => meaning.clone(),
        };
        let found = now.and_then(|class| Some((class, self.installed.meanings.get(&class)?)));
        if let Some((class, found)) = found {
            meaning.extend(self.ended.iter().flat_map(|set| items_of(found, *set)));
            if *found == meaning {
                return class;
            }
        }
        self.class(meaning)
    }

    /// A class that means this.
    fn class(&mut self, meaning: Meaning) -> u32 {
        let known = self.installed.meanings.iter().find(|(_, known)| **known == meaning);
        if let Some((class, _)) = known {
            return *class;
        }
        let class = self.installed.next_class;
        self.installed.next_class += 1;
        self.allow(class, meaning);
        class
    }

    /// Lets a class mean this beside what it means.
    fn allow(&mut self, class: u32, more: Meaning) {
        self.plan.writes.extend(more.iter().map(|item| Write::Rule(class, *item)));
        self.wanted.hold(class, &more);
        self.installed.meanings.entry(class).or_default().extend(more);
    }

    fn put(&mut self, network: Network, now: Option<(u32, u32)>) {
        let before = match now {
            Some((class, _)) => self.installed.classes.insert(network, class),
            None => self.installed.classes.remove(&network),
        };
        self.wanted.place(network, before, now);
    }

    /// Gives the pods their entries.
    fn publish(&mut self) {
        for (device, entry) in std::mem::take(&mut self.entries) {
            self.plan.writes.push(Write::Pod(device, entry));
            if self.installed.pods.insert(device, entry).is_none() {
                self.plan.writes.push(Write::Attach(device));
            }
        }
    }

    /// Takes a set, which no pod has any more, out of use.
    pub(super) fn end(&mut self, set: u32) {
        let everybody = self.installed.everybody.remove(&set).unwrap_or_default();
        self.plan.garbage.extend(everybody.into_iter().map(|item| Write::RemoveRule(ANYONE, item)));
        for class in self.wanted.end(set) {
            let Some(meaning) = self.installed.meanings.get_mut(&class) else { continue };
            let ended: Vec<_> = items_of(meaning, set).collect();
            for item in &ended {
                meaning.remove(item);
            }
            self.plan.garbage.extend(ended.into_iter().map(|item| Write::RemoveRule(class, item)));
        }
    }

    fn finish(mut self, devices: &BTreeMap<PodName, u32>) -> Plan {
        for (network, to) in std::mem::take(&mut self.moves) {
            if to.is_none() {
                self.put(network, None);
            }
        }
        std::mem::take(&mut self.ended).into_iter().for_each(|set| self.end(set));
        for class in self.wanted.unused() {
            let meaning = self.installed.meanings.remove(&class).unwrap_or_default();
            self.wanted.drop(class, &meaning);
            self.plan.garbage.extend(meaning.into_iter().map(|item| Write::RemoveRule(class, item)));
        }
        if self.wanted.devices != *devices {
            self.wanted.devices.clone_from(devices);
        }
        self.installed.wanted = Some(self.wanted);
        self.plan
    }
}
