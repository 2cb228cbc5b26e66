//! From one wanted state to the next where no pod is selected otherwise than before: a pod elsewhere came, went, or has other
//! labels. PURE.

use std::collections::BTreeMap;

use xebec_policy::model::Network;
use xebec_policy::{Changed, Tables};

use super::{Installed, Plan, PodName, Wanted, Write};

impl Installed {
    /// As [`Installed::plan`], for tables that are those planned last but for what `changed`, with the same numbers of
    /// classes. It takes time by what changed, unless pods are selected or allowed otherwise.
    #[must_use]
    pub fn step(&mut self, tables: &Tables, devices: &BTreeMap<PodName, u32>, changed: &Changed) -> Plan {
        match self.moves(tables, devices, changed) {
            Some(moves) => self.go(moves),
            None => self.plan(tables, devices),
        }
    }

    /// The installed class that each changed network shall have; none if that is not all, or if one is not there yet.
    fn moves(
        &self,
        tables: &Tables,
        devices: &BTreeMap<PodName, u32>,
        changed: &Changed,
    ) -> Option<Vec<(Network, Option<u32>)>> {
        let wanted = self.wanted.as_ref()?;
        if changed.selected || wanted.devices != of_selected(tables, devices) {
            return None;
        }
        let moves = changed.networks.iter().map(|network| {
            let class = match tables.classes.of.get(network) {
                Some(class) => Some(*wanted.classes.get(class)?),
                None => None,
            };
            Some((*network, class))
        });
        moves.collect()
    }

    /// In the same order as a whole plan, for the same reasons: the longest first, then what goes, the shortest first.
    fn go(&mut self, mut moves: Vec<(Network, Option<u32>)>) -> Plan {
        let mut plan = Plan::default();
        moves.sort_by_key(|(network, _)| std::cmp::Reverse(network.bits()));
        for (network, class) in moves.iter().filter_map(|(network, class)| Some((*network, (*class)?))) {
            if self.place(network, Some(class)) {
                plan.writes.push(Write::Class(network, class));
            }
        }
        for (network, _) in moves.iter().rev().filter(|(_, class)| class.is_none()) {
            if self.place(*network, None) {
                plan.writes.push(Write::RemoveClass(*network));
            }
        }
        if !plan.writes.is_empty() {
            plan.writes.push(Write::Generation);
        }
        self.forget_unused(&mut plan);
        plan
    }

    /// Gives a network a class; true if that is another.
    fn place(&mut self, network: Network, class: Option<u32>) -> bool {
        let before = match class {
            Some(class) => self.classes.insert(network, class),
            None => self.classes.remove(&network),
        };
        if before == class {
            return false;
        }
        let Some(wanted) = &mut self.wanted else { return true };
        if let Some(class) = class {
            *wanted.used.entry(class).or_default() += 1;
        }
        if let Some(before) = before
            && let Some(used) = wanted.used.get_mut(&before)
        {
            *used = used.saturating_sub(1);
        }
        true
    }

    /// Drops the classes that no address is of any more.
    fn forget_unused(&mut self, plan: &mut Plan) {
        let Some(wanted) = &mut self.wanted else { return };
        let unused: Vec<u32> =
            wanted.used.iter().filter(|(_, used)| **used == 0).map(|(class, _)| *class).collect();
        for class in unused {
            let meaning = self.meanings.remove(&class).unwrap_or_default();
            plan.garbage.extend(meaning.into_iter().map(|item| Write::RemoveRule(class, item)));
            wanted.used.remove(&class);
            wanted.classes.retain(|_, served_by| *served_by != class);
        }
    }

    /// What is wanted, once it is installed.
    pub(super) fn wanted(&self, tables: &Tables, devices: &BTreeMap<PodName, u32>) -> Wanted {
        let served = tables
            .classes
            .of
            .iter()
            .filter_map(|(network, class)| Some((*class, *self.classes.get(network)?)));
        let mut used = BTreeMap::new();
        for class in self.classes.values() {
            *used.entry(*class).or_default() += 1;
        }
        Wanted { devices: of_selected(tables, devices), classes: served.collect(), used }
    }
}

fn of_selected(tables: &Tables, devices: &BTreeMap<PodName, u32>) -> BTreeMap<PodName, u32> {
    let selected = devices.iter().filter(|(name, _)| tables.selected.contains_key(*name));
    selected.map(|(name, device)| (name.clone(), *device)).collect()
}
