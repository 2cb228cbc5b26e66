//! The space of addresses: what each is among, as a class. PURE. Equal marks are of one class, for as long as something
//! has them; a class keeps its number as long.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::terms::{Mark, Marks, marks_of};
use crate::class::Classes;
use crate::model::Network;

/// What has a class of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An address of pods.
    Pods,
    /// A network where a block begins, or a hole in one.
    Boundary,
}

struct Class {
    marks: Arc<Marks>,
    /// How many have it.
    held: usize,
    /// How many prefixes in the tables do.
    shown: usize,
}

/// Who has which class.
#[derive(Default)]
pub(super) struct Space {
    classes: BTreeMap<u32, Class>,
    by_marks: BTreeMap<Arc<Marks>, u32>,
    last: u32,
    pods: BTreeMap<Network, u32>,
    boundaries: BTreeMap<Network, u32>,
    /// The classes in the tables that have a mark.
    with: BTreeMap<Mark, BTreeSet<u32>>,
    /// Prefixes that changed in the tables.
    pub(super) changed: BTreeSet<Network>,
    /// Terms that other classes are among than before.
    pub(super) stirred: BTreeSet<u32>,
}

impl Space {
    /// The classes among some terms, with the mark that they have.
    pub(super) fn among(&self, terms: &Range<u32>) -> impl Iterator<Item = (Mark, u32)> {
        let with = self.with.range(marks_of(terms));
        with.flat_map(|(mark, classes)| classes.iter().map(|class| (*mark, *class)))
    }

    /// Boundaries, with their classes.
    pub(super) fn boundaries(&self) -> impl Iterator<Item = Network> {
        self.boundaries.keys().copied()
    }

    /// Gives something the class of these marks, or takes it away.
    pub(super) fn set(&mut self, tables: &mut Classes, kind: Kind, network: Network, marks: Option<Marks>) {
        let class = marks.map(|marks| self.class(marks));
        self.put(tables, kind, network, class);
    }

    /// Adds marks to what each has.
    pub(super) fn add(&mut self, tables: &mut Classes, kind: Kind, more: Vec<(Network, Marks)>) {
        let mut known: BTreeMap<(u32, Marks), u32> = BTreeMap::new();
        for (network, marks) in more {
            let Some(before) = self.held(kind).get(&network).copied() else { continue };
            // What was found stays: those that were given it have it.
            let key = (before, marks);
            let class = match known.get(&key) {
                Some(class) => *class,
                None => {
                    let all = self.classes.get(&before).into_iter().flat_map(|class| class.marks.iter());
                    let class = self.class(all.chain(&key.1).copied().collect());
                    known.insert(key, class);
                    class
                }
            };
            self.put(tables, kind, network, Some(class));
        }
    }

    /// Takes the marks of some terms from all that have them.
    pub(super) fn remove(&mut self, tables: &mut Classes, terms: &Range<u32>) {
        let marks = marks_of(terms);
        let concerned = |class: &Class| class.marks.range(marks.clone()).next().is_some();
        let found: BTreeMap<u32, Marks> = self
            .classes
            .iter()
            .filter(|(_, class)| concerned(class))
            .map(|(number, class)| {
                (*number, class.marks.iter().filter(|mark| !marks.contains(mark)).copied().collect())
            })
            .collect();
        for kind in [Kind::Boundary, Kind::Pods] {
            let held = self.held(kind).iter().filter(|(_, class)| found.contains_key(class));
            for (network, class) in held.map(|(network, class)| (*network, *class)).collect::<Vec<_>>() {
                self.set(tables, kind, network, found.get(&class).cloned());
            }
        }
    }

    fn held(&mut self, kind: Kind) -> &mut BTreeMap<Network, u32> {
        match kind {
            Kind::Pods => &mut self.pods,
            Kind::Boundary => &mut self.boundaries,
        }
    }

    /// The class of these marks, which the caller gives to something at once.
    fn class(&mut self, marks: Marks) -> u32 {
        if let Some(class) = self.by_marks.get(&marks) {
            return *class;
        }
        let marks = Arc::new(marks);
        self.last += 1;
        self.by_marks.insert(marks.clone(), self.last);
        self.classes.insert(self.last, Class { marks, held: 0, shown: 0 });
        self.last
    }

    fn put(&mut self, tables: &mut Classes, kind: Kind, network: Network, class: Option<u32>) {
        let before = match class {
            Some(class) => self.held(kind).insert(network, class),
            None => self.held(kind).remove(&network),
        };
        if before == class {
            return;
        }
        if let Some(class) = class.and_then(|class| self.classes.get_mut(&class)) {
            class.held += 1;
        }
        self.show(tables, network);
        if kind == Kind::Boundary {
            // What of the pods within needs an entry depends on what is around them.
            let within = self.pods.range(network..).map(|(address, _)| *address);
            let within: Vec<Network> = within.take_while(|address| network.contains(*address)).collect();
            within.into_iter().for_each(|address| self.show(tables, address));
        }
        if let Some(number) = before {
            let class = self.classes.get_mut(&number);
            let left = class.map_or(0, |class| {
                class.held -= 1;
                class.held
            });
            if left == 0
                && let Some(class) = self.classes.remove(&number)
            {
                self.by_marks.remove(&class.marks);
            }
        }
    }

    /// Brings a prefix of the tables in step. A pod that is among nothing but what its block is needs none.
    fn show(&mut self, tables: &mut Classes, network: Network) {
        let wanted = match (self.pods.get(&network), self.boundaries.get(&network)) {
            (Some(class), None) => {
                let needless = match self.around(network) {
                    Some(around) => around == *class,
                    None => self.classes.get(class).is_none_or(|class| class.marks.is_empty()),
                };
                (!needless).then_some(*class)
            }
            (pods, boundary) => pods.or(boundary).copied(),
        };
        let before = match wanted {
            Some(class) => tables.of.insert(network, class),
            None => tables.of.remove(&network),
        };
        if before == wanted {
            return;
        }
        self.changed.insert(network);
        if let Some(number) = wanted
            && let Some(class) = self.classes.get_mut(&number)
        {
            class.shown += 1;
            if class.shown == 1 {
                self.stirred.extend(class.marks.iter().map(|(term, _)| *term));
                for mark in class.marks.iter() {
                    self.with.entry(*mark).or_default().insert(number);
                }
            }
        }
        if let Some(number) = before
            && let Some(class) = self.classes.get_mut(&number)
        {
            class.shown -= 1;
            if class.shown == 0 {
                self.stirred.extend(class.marks.iter().map(|(term, _)| *term));
                for mark in class.marks.iter() {
                    let left = self.with.get_mut(mark).is_some_and(|classes| {
                        classes.remove(&number);
                        !classes.is_empty()
                    });
                    if !left {
                        self.with.remove(mark);
                    }
                }
            }
        }
    }

    /// The class of the longest block around an address.
    fn around(&self, address: Network) -> Option<u32> {
        if self.boundaries.is_empty() {
            return None;
        }
        let found = (0..=address.bits())
            .rev()
            .find_map(|bits| self.boundaries.get(&Network::new(address.address(), bits)?));
        found.copied()
    }
}
