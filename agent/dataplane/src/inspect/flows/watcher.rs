//! The kernel's events, read while the watch is ours.
#![expect(unsafe_code, reason = "records of the ring buffer as the struct they are")]

use std::io;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use xebec_abi::event::{EVENT_STATS, Event, EventStat, Watch};

use crate::maps::pinned::{element, open};
use crate::maps::{MapError, Mapping};
use crate::sys;
use crate::upgrade::own_maps;

/// How long the programs go on writing after a watcher was killed.
const LEASE: Duration = Duration::from_secs(3);
/// How often [`Watcher::renew`] is to be called.
pub const RENEWAL: Duration = Duration::from_secs(1);

const UNTIL: u32 = 0;
const OWNER: u32 = 1;
const WANTED: u32 = 2;
const MOST: u32 = 3;

/// Why flows cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum FlowsError {
    /// The maps.
    #[error("{0}; is a dataplane of this version running here? `xebec-agent dataplane doctor` says")]
    Map(#[from] MapError),
    /// One ring buffer has one reader.
    #[error("process {0} watches the flows of this node; one can at a time: end it, or wait {wait} s if it was killed", wait = LEASE.as_secs())]
    Busy(u32),
    /// This process slept for longer than a watch lasts.
    #[error("process {0} took the watch over, as this one did not renew it in time")]
    TakenOver(u32),
    /// The ring buffer cannot be waited for.
    #[error("cannot wait for events")]
    Wait(#[from] io::Error),
}

/// What is asked of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Bit [`xebec_abi::event::Verdict`].
    pub verdicts: u32,
    /// One of so many.
    pub sample: u32,
    /// The most events a second.
    pub rate: u32,
}

/// Events that were not written since the watch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The reader was too slow.
    pub full: u64,
    /// More than the rate allows.
    pub limited: u64,
    /// Left out by sampling.
    pub unsampled: u64,
}

/// The watch, which ends when this is dropped, and [`LEASE`] after the process was killed.
struct Lease {
    watch: Mapping,
    owner: u64,
}

impl Lease {
    fn take(dir: &Path, wanted: Wanted) -> Result<Self, FlowsError> {
        let (map, len) = open(dir, "WATCH")?;
        let watch = Mapping::new("WATCH", &map, len, (size_of::<Watch>() / 8) as u32)?;
        let now = sys::monotonic();
        let until = watch.load(0, UNTIL)?;
        if until >= now || !watch.exchange(0, UNTIL, until, later(now))? {
            return Err(FlowsError::Busy(watch.load(0, OWNER)? as u32));
        }
        // Two watchers in two containers may have one process id.
        let owner = u64::from(std::process::id()) | (now / 1000) << 32;
        let lease = Self { watch, owner };
        lease.watch.publish(0, OWNER, owner)?;
        lease.watch.publish(0, WANTED, u64::from(wanted.verdicts) | u64::from(wanted.sample.max(1)) << 32)?;
        lease.watch.publish(0, MOST, most(wanted.rate))?;
        Ok(lease)
    }

    fn holder(&self) -> Result<u32, MapError> {
        Ok(self.watch.load(0, OWNER)? as u32)
    }

    fn renew(&self) -> Result<(), FlowsError> {
        if self.watch.load(0, OWNER)? != self.owner {
            return Err(FlowsError::TakenOver(self.holder()?));
        }
        Ok(self.watch.publish(0, UNTIL, later(sys::monotonic()))?)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.watch.load(0, OWNER).is_ok_and(|owner| owner == self.owner) {
            let _ = self.watch.publish(0, UNTIL, 0);
        }
    }
}

fn later(now: u64) -> u64 {
    now + LEASE.as_nanos() as u64
}

/// Events in a window for a rate a second, one at least. PURE.
fn most(rate: u32) -> u64 {
    (u64::from(rate) * (1 << xebec_abi::event::WINDOW_BITS)).div_ceil(1_000_000_000).max(1)
}

/// Somebody who watches.
pub struct Watcher {
    // Dropped first: after it nothing is written.
    lease: Lease,
    ring: AsyncFd<RingBuf<MapData>>,
    counts: PerCpuArray<MapData, u64>,
    before: [u64; EVENT_STATS as usize],
    /// What is older was another watcher's.
    since: u64,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// Begins to watch. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`FlowsError::Busy`] names who watches; [`FlowsError::Map`] if no dataplane of this version is installed.
    pub fn new(pin_dir: &Path, wanted: Wanted) -> Result<Self, FlowsError> {
        let dir = own_maps(pin_dir)?;
        let counts = Map::PerCpuArray(open(&dir, "EVENT_COUNTS")?.0);
        let counts = counts.try_into().map_err(element("EVENT_COUNTS", "open"))?;
        let ring = Map::RingBuf(open(&dir, "EVENTS")?.0);
        let ring: RingBuf<MapData> = ring.try_into().map_err(element("EVENTS", "open"))?;
        // SAFETY: the ring buffer owns its descriptor, which stays the same and open until it is dropped.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let ring = ring.map_err(|error| FlowsError::Wait(error.into_parts().1))?;
        let before = read(&counts)?;
        let lease = Lease::take(&dir, wanted)?;
        Ok(Self { lease, ring, counts, before, since: sys::monotonic() })
    }

    /// The next event. Nothing is lost if this is dropped before it is ready.
    ///
    /// # Errors
    /// [`FlowsError::Wait`].
    pub async fn next(&mut self) -> Result<Event, FlowsError> {
        loop {
            while let Some(record) = self.ring.get_mut().next() {
                // SAFETY: as long as checked; integers of which every bit pattern is a value.
                let event = (record.len() >= size_of::<Event>())
                    .then(|| unsafe { std::ptr::read_unaligned(record.as_ptr().cast::<Event>()) });
                if let Some(event) = event.filter(|event| event.time >= self.since) {
                    return Ok(event);
                }
            }
            self.ring.readable().await?.clear_ready();
        }
    }

    /// Keeps the watch; to be called every [`RENEWAL`].
    ///
    /// # Errors
    /// [`FlowsError::TakenOver`] after this process slept too long.
    pub fn renew(&self) -> Result<(), FlowsError> {
        self.lease.renew()
    }

    /// What was not written since the watch began.
    ///
    /// # Errors
    /// The kernel's.
    pub fn lost(&self) -> Result<Lost, FlowsError> {
        let now = read(&self.counts)?;
        let since = |stat: EventStat| now[stat as usize].saturating_sub(self.before[stat as usize]);
        Ok(Lost {
            full: since(EventStat::Full),
            limited: since(EventStat::Limited),
            unsampled: since(EventStat::Unsampled),
        })
    }
}

fn read(counts: &PerCpuArray<MapData, u64>) -> Result<[u64; EVENT_STATS as usize], MapError> {
    let mut out = [0; EVENT_STATS as usize];
    for (at, value) in (0..).zip(&mut out) {
        *value =
            counts.get(&at, 0).map(|values| values.iter().sum()).map_err(element("EVENT_COUNTS", "read"))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_so_many_in_a_window_and_never_none() {
        assert_eq!([0, 1, 7, 8, 10_000].map(most), [1, 1, 1, 2, 1343]);
        assert_eq!(most(u32::MAX), 576_460_753);
    }
}
