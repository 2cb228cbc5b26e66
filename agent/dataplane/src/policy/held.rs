//! What the kernel's tables hold, as far as it is known, and how a plan is carried out. Enters: plans, a [`Store`]. Leaves:
//! writes. Called by the parent.
//!
//! While writes are under way, and after one that failed, it is not known what the tables hold. Then they are read before
//! anything is planned: whatever was written stands, and a plan from there is right again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::plan::{Installed, Plan, Write};
use crate::DataplaneError;
use crate::maps::MapError;

/// After this no program can still be reading what was taken out of use: one runs for microseconds.
const GRACE: Duration = Duration::from_secs(1);

/// The tables, and the programs on devices.
pub(super) trait Store {
    /// Everything that the tables hold; the second is what nothing can find.
    fn read(&mut self) -> Result<(Installed, Vec<Write>), MapError>;

    /// Carries out one write.
    fn write(&mut self, write: &Write) -> Result<(), DataplaneError>;
}

/// What the tables hold, and what is to be removed from them later.
#[derive(Debug)]
pub(super) struct Held {
    /// None: that is not known.
    installed: Option<Installed>,
    garbage: VecDeque<(Instant, Write)>,
}

impl Held {
    /// What was read.
    pub(super) fn new((installed, garbage): (Installed, Vec<Write>)) -> Self {
        let mut held = Self { installed: Some(installed), garbage: VecDeque::new() };
        held.discard(garbage);
        held
    }

    /// What the tables hold; none if that is not known.
    pub(super) fn installed(&self) -> Option<&Installed> {
        self.installed.as_ref()
    }

    /// Makes a plan, from tables that are read before if it is not known what they hold, and carries it out. Returns how
    /// many writes that took.
    ///
    /// # Errors
    /// A write's, or that the tables cannot be read; then it is not known what they hold.
    pub(super) fn carry_out(
        &mut self,
        store: &mut impl Store,
        plan: impl FnOnce(&mut Installed) -> Plan,
    ) -> Result<usize, DataplaneError> {
        let known = self.installed.take();
        let was_known = known.is_some();
        let mut installed = match known {
            Some(installed) => installed,
            None => {
                let (installed, garbage) = store.read()?;
                // All that was waiting is among it.
                self.garbage.clear();
                self.discard(garbage);
                installed
            }
        };
        let Plan { mut writes, garbage } = plan(&mut installed);
        if !was_known {
            // The tables do not say which devices the programs are on; where they are, they are not put again.
            writes.extend(installed.devices().map(Write::Attach));
        }
        for write in &writes {
            store.write(write)?;
        }
        self.installed = Some(installed);
        self.discard(garbage);
        Ok(writes.len())
    }

    /// Removes what was taken out of use long enough ago; true if something is left for later.
    ///
    /// # Errors
    /// A write's; call again.
    pub(super) fn collect(&mut self, store: &mut impl Store) -> Result<bool, DataplaneError> {
        while let Some((_, write)) = self.garbage.front().filter(|(since, _)| since.elapsed() >= GRACE) {
            store.write(write)?;
            self.garbage.pop_front();
        }
        Ok(!self.garbage.is_empty())
    }

    fn discard(&mut self, garbage: Vec<Write>) {
        let now = Instant::now();
        self.garbage.extend(garbage.into_iter().map(|write| (now, write)));
    }
}
