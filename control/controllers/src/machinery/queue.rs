//! The keyed work queue: a key is worked on by one worker at a time, and once more if it was added meanwhile.
//!
//! Enters: keys from change handlers, at once or after a delay. Leaves: keys to workers; failures come back with
//! exponential back-off (5 ms doubling up to 1000 s, as upstream's default rate limiter).

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::write::Failed;

/// The first delay after a failure.
pub const BASE_DELAY: Duration = Duration::from_millis(5);
/// The longest delay after a failure.
pub const MAX_DELAY: Duration = Duration::from_secs(1000);

struct State<K> {
    ready: VecDeque<K>,
    dirty: HashSet<K>,
    processing: HashSet<K>,
    delayed: BTreeSet<(Instant, K)>,
    due: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
}

/// A queue of keys.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
}

impl<K: Clone + Eq + Hash + Ord> Default for Queue<K> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: BTreeSet::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
        };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> State<K> {
    /// Whether a worker should be woken.
    fn add(&mut self, key: K) -> bool {
        if !self.dirty.insert(key.clone()) || self.processing.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn release_due(&mut self, now: Instant) {
        while let Some((at, _)) = self.delayed.first()
            && *at <= now
        {
            if let Some((_, key)) = self.delayed.pop_first() {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }
}

/// The delay before the try after `failures` failures.
pub fn backoff(failures: u32) -> Duration {
    BASE_DELAY.saturating_mul(2u32.saturating_pow(failures.min(30))).min(MAX_DELAY)
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Adds a key, unless it is waiting already.
    pub fn add(&self, key: K) {
        if self.state.lock().add(key) {
            self.wake.notify_one();
        }
    }

    /// Adds a key after a delay; of several delays the earliest holds.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + delay;
        let mut state = self.state.lock();
        if let Some(due) = state.due.get(&key).copied() {
            if due <= at {
                return;
            }
            state.delayed.remove(&(due, key.clone()));
        }
        state.due.insert(key.clone(), at);
        state.delayed.insert((at, key));
        drop(state);
        self.wake.notify_one();
    }

    /// Adds a key after the delay its failures have earned it.
    pub fn retry(&self, key: K) {
        let failures = {
            let mut state = self.state.lock();
            let count = state.failures.entry(key.clone()).or_default();
            *count += 1;
            *count - 1
        };
        self.add_after(key, backoff(failures));
    }

    /// Forgets a key's failures.
    pub fn forget(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// How often a key has failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.state.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// Takes the next key, waiting for one; it is this worker's until [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            let woken = self.wake.notified();
            let next_due = {
                let mut state = self.state.lock();
                state.release_due(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.processing.insert(key.clone());
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.delayed.first().map(|(at, _)| *at)
            };
            match next_due {
                Some(at) => tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => woken.await,
            }
        }
    }

    /// Gives a key back; if it was added meanwhile it is ready again.
    pub fn done(&self, key: &K) {
        let mut state = self.state.lock();
        state.processing.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            self.wake.notify_one();
        }
    }
}

/// Runs `workers` workers on a queue until cancelled.
///
/// A reconcile answers when it wants to look at the key again though nothing changed, if ever.
pub async fn work<K, F, Fut>(
    controller: &'static str,
    queue: Arc<Queue<K>>,
    workers: usize,
    cancel: CancellationToken,
    reconcile: F,
) where
    K: Clone + Eq + Hash + Ord + Debug + Send + 'static,
    F: Fn(K) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Option<Duration>, Failed>> + Send,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers.max(1) {
        let (queue, cancel, reconcile) = (queue.clone(), cancel.clone(), reconcile.clone());
        tasks.spawn(async move {
            loop {
                let key = tokio::select! {
                    () = cancel.cancelled() => return,
                    key = queue.next() => key,
                };
                match reconcile(key.clone()).await {
                    Ok(again) => {
                        queue.forget(&key);
                        if let Some(delay) = again {
                            queue.add_after(key.clone(), delay);
                        }
                    }
                    Err(error) => {
                        if error.is_conflict() {
                            tracing::debug!(controller, ?key, %error, "stale write, retrying");
                        } else {
                            tracing::warn!(controller, ?key, %error, "reconcile failed, retrying");
                        }
                        queue.retry(key.clone());
                    }
                }
                queue.done(&key);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_to_its_bound() {
        assert_eq!(backoff(0), Duration::from_millis(5));
        assert_eq!(backoff(3), Duration::from_millis(40));
        assert_eq!(backoff(40), MAX_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_per_key_and_one_more_round_when_added_meanwhile() {
        let queue = Queue::default();
        queue.add(1);
        queue.add(1);
        assert_eq!(queue.next().await, 1);
        queue.add(1);
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err());
        queue.done(&1);
        assert_eq!(queue.next().await, 1);
        queue.done(&1);
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_holds() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(7));
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 3);
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_come_back_later_and_later_until_forgotten() {
        let queue = Queue::default();
        for expected in [5, 10, 20] {
            let start = Instant::now();
            queue.retry(7);
            assert_eq!(queue.next().await, 7);
            assert_eq!(start.elapsed().as_millis(), expected);
            queue.done(&7);
        }
        assert_eq!(queue.failures(&7), 3);
        queue.forget(&7);
        assert_eq!(queue.failures(&7), 0);
    }
}
