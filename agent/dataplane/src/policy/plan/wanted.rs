//! What was wanted last, and what of the kernel's tables serves it. PURE. A whole plan takes it anew, a step keeps it.

use std::collections::{BTreeMap, BTreeSet};

use xebec_policy::Tables;
use xebec_policy::model::Network;

use super::{Installed, Meaning, PodName};

/// What was wanted last. *Its* classes are those of [`Tables`]; an installed one serves all of them that mean the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The pods' devices.
    pub(super) devices: BTreeMap<PodName, u32>,
    /// The class of each network.
    pub(super) of: BTreeMap<Network, u32>,
    /// By installed class: how many networks of which classes it serves.
    pub(super) serves: BTreeMap<u32, BTreeMap<u32, usize>>,
    /// The other way around.
    served: BTreeMap<u32, BTreeSet<u32>>,
    /// By set: the installed classes that it allows something.
    reach: BTreeMap<u32, BTreeSet<u32>>,
}

impl Wanted {
    /// Of tables that are installed.
    pub(super) fn new(installed: &Installed, tables: &Tables, devices: &BTreeMap<PodName, u32>) -> Self {
        let mut wanted = Self { devices: devices.clone(), ..Self::default() };
        for (class, meaning) in &installed.meanings {
            wanted.hold(*class, meaning);
        }
        for (network, of) in &tables.classes.of {
            if let Some(class) = installed.classes.get(network) {
                wanted.place(*network, None, Some((*class, *of)));
            }
        }
        wanted
    }

    /// An installed class allows this, to which it is told anew what is added.
    pub(super) fn hold(&mut self, class: u32, meaning: &Meaning) {
        self.serves.entry(class).or_default();
        for item in meaning {
            self.reach.entry(item.set).or_default().insert(class);
        }
    }

    /// A network had the installed class `before`, and has this one now for one of the tables'.
    pub(super) fn place(&mut self, network: Network, before: Option<u32>, now: Option<(u32, u32)>) {
        let was = match now {
            Some((_, of)) => self.of.insert(network, of),
            None => self.of.remove(&network),
        };
        if let Some((class, of)) = now {
            *self.serves.entry(class).or_default().entry(of).or_default() += 1;
            self.served.entry(of).or_default().insert(class);
        }
        let Some((class, of)) = before.zip(was) else { return };
        let Some(serves) = self.serves.get_mut(&class) else { return };
        let count = serves.entry(of).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            serves.remove(&of);
            let left = self.served.get_mut(&of).is_some_and(|served| {
                served.remove(&class);
                !served.is_empty()
            });
            if !left {
                self.served.remove(&of);
            }
        }
    }

    /// The installed classes that serve one.
    pub(super) fn served(&self, of: u32) -> impl Iterator<Item = u32> {
        self.served.get(&of).into_iter().flatten().copied()
    }

    /// How many networks are of a class.
    pub(super) fn count(&self, of: u32) -> usize {
        self.served(of).filter_map(|class| self.serves.get(&class)?.get(&of)).sum()
    }

    /// The installed classes that a set allows something.
    pub(super) fn reach(&self, set: u32) -> impl Iterator<Item = u32> {
        self.reach.get(&set).into_iter().flatten().copied()
    }

    /// A set is no more; returns which installed classes it allowed something.
    pub(super) fn end(&mut self, set: u32) -> BTreeSet<u32> {
        self.reach.remove(&set).unwrap_or_default()
    }

    /// Installed classes that no network is of.
    pub(super) fn unused(&self) -> Vec<u32> {
        let unused = self.serves.iter().filter(|(_, serves)| serves.is_empty());
        unused.map(|(class, _)| *class).collect()
    }

    /// An installed class is no more, which meant this.
    pub(super) fn drop(&mut self, class: u32, meaning: &Meaning) {
        self.serves.remove(&class);
        for item in meaning {
            if let Some(reach) = self.reach.get_mut(&item.set) {
                reach.remove(&class);
            }
        }
    }
}
