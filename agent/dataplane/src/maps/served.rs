//! Connections by service, as the programs count them. Enters: service indices. Leaves: sums over the shards.

use xebec_abi::service::MAX_SHARDS;

use super::{MapError, Mapping};

/// How many shards a machine of that many CPUs has: a power of two, at most [`MAX_SHARDS`]. PURE.
pub const fn shards(cpus: u32) -> u32 {
    let wanted = if cpus == 0 { 1 } else { cpus.next_power_of_two() };
    if wanted > MAX_SHARDS { MAX_SHARDS } else { wanted }
}

/// The counters' memory.
#[derive(Debug)]
pub struct Served {
    counters: Mapping,
    services: u32,
}

impl Served {
    pub(super) const fn new(counters: Mapping, services: u32) -> Self {
        Self { counters, services }
    }

    fn places(&self, index: u32) -> impl Iterator<Item = u32> {
        (index..self.counters.len()).step_by(self.services.max(1) as usize)
    }

    /// Connections and datagram flows that a service gave an endpoint since it has its index.
    ///
    /// # Errors
    /// The index is no service's.
    pub fn total(&self, index: u32) -> Result<u64, MapError> {
        if index >= self.services {
            return Err(MapError::Outside { map: "SERVED", index, len: self.services });
        }
        self.places(index).map(|at| self.counters.load(at, 0)).sum()
    }

    /// Begins at zero, for an index that gets a new service.
    pub(super) fn reset(&self, index: u32) -> Result<(), MapError> {
        self.places(index).try_for_each(|at| self.counters.publish(at, 0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_a_power_of_two_and_bounded() {
        let of = |cpus: &[u32]| cpus.iter().map(|c| shards(*c)).collect::<Vec<_>>();
        assert_eq!(of(&[0, 1, 2, 3, 8, 33, 4096]), [1, 1, 2, 4, 8, 32, 32]);
    }
}
