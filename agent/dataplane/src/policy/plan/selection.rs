//! A step's pods: who is selected no more, who newly, and who otherwise. PURE.
//!
//! A pod that stays selected keeps its set where it is isolated as before and allowed as before what is there still: then
//! only classes that were not there say anything new. Else it gets another, whose rules are added beside the old ones and
//! which one store of its entry takes into use.

use std::collections::BTreeMap;

use xebec_abi::policy::{ANYONE, PodPolicy};
use xebec_policy::{Changed, Selected};

use super::step::Step;
use super::{Meaning, PodName, Write, isolation, item, items_of};

impl Step<'_> {
    /// Decides about each pod that changed; the sets of those that are selected no more end here.
    pub(super) fn select(&mut self, devices: &BTreeMap<PodName, u32>, changed: &Changed) {
        for (device, now) in self.concerned(devices, changed) {
            match (self.installed.pods.get(&device).copied(), now) {
                (Some(pod), None) => {
                    self.plan.writes.extend([Write::Detach(device), Write::RemovePod(device)]);
                    self.installed.pods.remove(&device);
                    self.end(pod.set);
                }
                (was, Some(selected)) => self.admit(device, was, selected),
                (None, None) => {}
            }
        }
    }

    /// The devices that changed pods have and had, with what is wanted of their pod now.
    fn concerned<'t>(
        &self,
        devices: &BTreeMap<PodName, u32>,
        changed: &Changed,
    ) -> BTreeMap<u32, Option<&'t Selected>>
    where
        Self: 't,
    {
        let before = &self.wanted.devices;
        let mut names: Vec<&PodName> = changed.selected.iter().collect();
        if before != devices {
            let all = before.keys().chain(devices.keys());
            names.extend(all.filter(|name| before.get(*name) != devices.get(*name)));
        }
        let had = names.iter().filter_map(|name| before.get(*name));
        let mut found: BTreeMap<u32, Option<&Selected>> = had.map(|device| (*device, None)).collect();
        let has =
            names.iter().filter_map(|name| Some((*devices.get(*name)?, self.tables.selected.get(*name))));
        found.extend(has);
        found
    }

    fn admit(&mut self, device: u32, was: Option<PodPolicy>, selected: &Selected) {
        let isolated = isolation(selected);
        if let Some(pod) = was {
            let mut allowed = by_class(pod.set, selected);
            if pod.isolated == isolated && self.allows_the_same(pod.set, &allowed) {
                allowed.retain(|class, _| *class != ANYONE && !self.was_there(*class));
                return self.add(allowed);
            }
            self.ended.insert(pod.set);
        }
        let set = self.installed.next_set;
        self.installed.next_set += 1;
        let mut allowed = by_class(set, selected);
        let everybody = allowed.remove(&ANYONE).unwrap_or_default();
        self.plan.writes.extend(everybody.iter().map(|item| Write::Rule(ANYONE, *item)));
        self.installed.everybody.insert(set, everybody);
        self.add(allowed);
        self.entries.push((device, PodPolicy { set, isolated }));
    }

    fn add(&mut self, allowed: BTreeMap<u32, Meaning>) {
        for (class, meaning) in allowed {
            self.more.entry(class).or_default().extend(meaning);
        }
    }

    /// Whether a set allows everybody, and the classes that are there still, what is wanted.
    fn allows_the_same(&self, set: u32, wanted: &BTreeMap<u32, Meaning>) -> bool {
        let nothing = Meaning::new();
        if self.installed.everybody.get(&set).unwrap_or(&nothing) != wanted.get(&ANYONE).unwrap_or(&nothing) {
            return false;
        }
        let reached = self.wanted.reach(set).filter_map(|class| self.wanted.serves.get(&class));
        let mut reached = reached.flat_map(|serves| serves.keys());
        let mut named = wanted.iter().filter(|(class, _)| **class != ANYONE);
        reached.all(|of| wanted.contains_key(of) || !self.stays_there(*of))
            && named.all(|(of, meaning)| {
                let Some(class) = self.wanted.served(*of).next() else { return true };
                let meant = self.installed.meanings.get(&class).unwrap_or(&nothing);
                !self.stays_there(*of) || items_of(meant, set).eq(meaning.iter().copied())
            })
    }
}

/// What a pod's set allows each class, everybody's included.
fn by_class(set: u32, selected: &Selected) -> BTreeMap<u32, Meaning> {
    let mut found: BTreeMap<u32, Meaning> = BTreeMap::new();
    for allow in &selected.allows {
        found.entry(allow.class).or_default().insert(item(set, allow));
    }
    found
}
