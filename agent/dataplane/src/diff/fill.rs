//! How full the maps are, and which index each service port has. PURE. Called for the metrics and `dataplane`.

use super::Installed;
use crate::maps::Capacity;
use crate::metrics::Fill;
use crate::model::{Family, FrontKey};

impl Installed {
    /// Entries in use of the maps that this agent gives out itself. What waits for a grace period counts as used.
    pub fn fills(&self, capacity: Capacity) -> Vec<Fill> {
        let frontends = |family| self.frontends.keys().filter(|key| key.family() == family).count() as u64;
        let of = |map, entries, max: u32| Fill { map, entries, max: max.into() };
        let used = |max: u32, left: u32| u64::from(max - left);
        vec![
            of("FE4", frontends(Family::V4), capacity.frontends),
            of("FE6", frontends(Family::V6), capacity.frontends),
            of("META", used(capacity.services, self.indices.left()), capacity.services),
            of("SLOT4", used(capacity.slots4, self.slots4.left()), capacity.slots4),
            of("SLOT6", used(capacity.slots6, self.slots6.left()), capacity.slots6),
            of("LUT", used(capacity.rows, self.rows.left()), capacity.rows),
            of("BE_STATE", used(capacity.backends, self.backends.left()), capacity.backends),
        ]
    }

    /// Every service port's primary frontend and index.
    pub fn indices(&self) -> impl Iterator<Item = (&FrontKey, u32)> {
        self.services.iter().map(|(key, live)| (key, live.index))
    }
}
