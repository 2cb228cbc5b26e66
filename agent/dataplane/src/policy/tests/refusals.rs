//! A kernel that refuses writes, and to be read.

use proptest::prelude::*;
use xebec_policy::{Changed, Tables};

use super::{Kernel, between, change, consistent, questions, tables, wanted};
use crate::DataplaneError;
use crate::maps::MapError;
use crate::policy::held::{Held, Store};
use crate::policy::plan::{Installed, Write};

/// A kernel that refuses something.
#[derive(Default)]
struct Refusing {
    kernel: Kernel,
    /// After so many writes, the next.
    refuses: Option<usize>,
    unreadable: bool,
    reads: usize,
}

fn refusal() -> MapError {
    let source = aya::maps::MapError::OutOfBounds { index: 0, max_entries: 0 };
    MapError::Element { map: "POLICY", action: "refused", source }
}

impl Store for Refusing {
    fn read(&mut self) -> Result<(Installed, Vec<Write>), MapError> {
        self.reads += 1;
        if self.unreadable {
            return Err(refusal());
        }
        let rules: Vec<_> = self.kernel.rules.iter().copied().collect();
        Ok(Installed::adopt(self.kernel.pods.clone(), self.kernel.classes.clone(), &rules))
    }

    fn write(&mut self, write: &Write) -> Result<(), DataplaneError> {
        if self.refuses == Some(0) {
            return Err(refusal().into());
        }
        self.refuses = self.refuses.map(|left| left - 1);
        self.kernel.write(write);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Wherever a write fails, and whether the tables can be read then or not, what follows is right.
    #[test]
    fn after_a_write_that_failed_the_tables_are_read_before_anything_is_planned(
        first in tables(),
        steps in prop::collection::vec((change(), prop::option::of(0..12_usize), any::<bool>()), 1..8),
    ) {
        let (mut store, mut world, mut before) = (Refusing::default(), first, Tables::default());
        let mut held = Held::new(store.read().unwrap());
        for (change, refuses, unreadable) in &steps {
            world = change.of(&world);
            let (tables, devices) = (consistent(&world.0), &world.1);
            let changed = Changed {
                networks: between(&before.classes.of, &tables.classes.of),
                selected: between(&before.selected, &tables.selected),
            };
            (store.refuses, store.unreadable, store.reads) = (*refuses, *unreadable, 0);
            if held.carry_out(&mut store, |known| known.step(&tables, devices, &changed)).is_err() {
                prop_assert!(held.installed().is_none());
                store.refuses = None;
                if *unreadable {
                    let (rules, pods) = (store.kernel.rules.clone(), store.kernel.pods.clone());
                    let again = held.carry_out(&mut store, |known| known.plan(&tables, devices));
                    prop_assert!(again.is_err() && held.installed().is_none());
                    prop_assert!(rules == store.kernel.rules && pods == store.kernel.pods);
                }
                store.unreadable = false;
                held.carry_out(&mut store, |known| known.step(&tables, devices, &Changed::default())).unwrap();
            } else {
                prop_assert_eq!(store.reads, 0);
            }
            prop_assert!(store.kernel.pods.keys().eq(store.kernel.on.iter()));
            for question in questions() {
                prop_assert_eq!(store.kernel.passes(question), wanted(&tables, devices, question));
            }
            before = tables;
        }
    }
}
