//! When the watchers of a cache hear of its changes: at once, unless there are so many that they would hear of nothing
//! else.
//!
//! To tell one watcher of one change takes some microseconds (wake it, frame, encrypt, hand to the kernel), of a second
//! change in the same breath next to nothing. With a thousand watchers and hundreds of changes a second the machine
//! cannot tell each of each alone: without a pause it falls behind, and everyone waits for a queue. So the pause between
//! two wake-ups grows with the watchers, up to what waking all of them takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Cache;

/// What telling one watcher takes, server and client on the same machine.
const COST: Duration = Duration::from_micros(3);
/// Shorter pauses are none: the timer is not finer.
const SHORTEST: Duration = Duration::from_millis(1);
/// No watcher waits longer than this.
const LONGEST: Duration = Duration::from_millis(10);

/// The shortest time between two wake-ups of so many watchers.
fn pause(watchers: usize) -> Duration {
    let pause = COST * u32::try_from(watchers).unwrap_or(u32::MAX / 1000);
    if pause < SHORTEST { Duration::ZERO } else { pause.min(LONGEST) }
}

/// The caches whose watchers are to be woken, and when. One per feeder.
#[derive(Default)]
pub(super) struct Publisher {
    waiting: Vec<(Instant, Arc<Cache>)>,
}

impl Publisher {
    /// Notes that the cache has changed.
    pub(super) fn changed(&mut self, cache: &Arc<Cache>, now: Instant) {
        if !self.waiting.iter().any(|(_, known)| Arc::ptr_eq(known, cache)) {
            let due = cache.published().map_or(now, |at| at + pause(cache.watchers()));
            self.waiting.push((due, Arc::clone(cache)));
        }
    }

    /// Wakes the watchers whose time has come.
    pub(super) fn publish(&mut self, now: Instant) {
        self.waiting.retain(|(due, cache)| {
            let wait = *due > now;
            if !wait {
                cache.publish(now);
            }
            wait
        });
    }

    /// When the next are due; none when nobody waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }
}

/// Whoever waits when the feeder ends is woken then.
impl Drop for Publisher {
    fn drop(&mut self) {
        let now = Instant::now();
        self.waiting.drain(..).for_each(|(_, cache)| cache.publish(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Change, Object};
    use serde_json::json;

    #[test]
    fn the_pause_grows_with_the_watchers() {
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(pause(250), Duration::ZERO);
        assert_eq!(pause(1000), Duration::from_millis(3));
        assert_eq!(pause(1_000_000), LONGEST);
    }

    #[tokio::test]
    async fn many_watchers_hear_of_changes_together_and_few_at_once() {
        let cache = Arc::new(Cache::new("", "configmaps"));
        cache.fill(std::iter::empty(), 1);
        let few: Vec<_> = (0..2).map(|_| cache.subscribe()).collect();
        let mut publisher = Publisher::default();
        let now = Instant::now();
        let change = |publisher: &mut Publisher, revision, now| {
            let object = Object::new(json!({"metadata": {"name": "a", "namespace": "d"}}), revision, None);
            cache.apply("/registry/core/configmaps/d/a", Change::Put, object);
            publisher.changed(&cache, now);
            publisher.publish(now);
            *few[0].borrow()
        };
        assert_eq!(change(&mut publisher, 2, now), 2);
        assert_eq!(change(&mut publisher, 3, now), 3);
        let many: Vec<_> = (0..1000).map(|_| cache.subscribe()).collect();
        assert_eq!(change(&mut publisher, 4, now + Duration::from_millis(1)), 3);
        assert_eq!(change(&mut publisher, 5, now + Duration::from_millis(2)), 3);
        let due = publisher.next().unwrap();
        assert!(due > now + Duration::from_millis(2) && due <= now + LONGEST);
        publisher.publish(due);
        assert_eq!((*few[0].borrow(), publisher.next()), (5, None));
        drop(many);
    }
}
