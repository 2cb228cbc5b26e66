//! Answers remembered for a while, never more than a bound of them.
//!
//! Enters: an answer and how long it holds. Leaves: the answer while it holds. Called by the webhooks of
//! authentication and authorization. The oldest entry makes room for a new one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

struct Slot<V> {
    value: V,
    until: Instant,
    number: u64,
}

struct State<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// Insertions, oldest first; an entry whose number is not the slot's was replaced since.
    order: VecDeque<(K, u64)>,
    next: u64,
}

/// A bounded map whose entries end by themselves; time is tokio's, so that tests may pause it.
pub(crate) struct TtlCache<K, V> {
    limit: usize,
    state: Mutex<State<K, V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> TtlCache<K, V> {
    /// A cache of at most `limit` entries.
    pub(crate) fn new(limit: usize) -> TtlCache<K, V> {
        let state = State { slots: HashMap::new(), order: VecDeque::new(), next: 0 };
        TtlCache { limit, state: Mutex::new(state) }
    }

    /// The answer, while it holds.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let state = self.state.lock();
        state.slots.get(key).filter(|slot| Instant::now() < slot.until).map(|slot| slot.value.clone())
    }

    /// Remembers an answer for `ttl`; a zero `ttl` remembers nothing.
    pub(crate) fn insert(&self, key: K, value: V, ttl: Duration) {
        if ttl.is_zero() || self.limit == 0 {
            return;
        }
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let number = state.next;
        state.next += 1;
        state.slots.insert(key.clone(), Slot { value, until: Instant::now() + ttl, number });
        state.order.push_back((key, number));
        while state.order.len() > self.limit {
            if let Some((old, number)) = state.order.pop_front()
                && state.slots.get(&old).is_some_and(|slot| slot.number == number)
            {
                state.slots.remove(&old);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_end_and_their_number_is_bounded() {
        let cache = TtlCache::new(3);
        cache.insert("a", 1, Duration::from_secs(10));
        assert_eq!(cache.get(&"a"), Some(1));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(cache.get(&"a"), None);
        for (key, value) in [("b", 2), ("c", 3), ("b", 4), ("d", 5)] {
            cache.insert(key, value, Duration::from_secs(10));
        }
        assert!(cache.len() <= 3);
        assert_eq!((cache.get(&"b"), cache.get(&"c"), cache.get(&"d")), (Some(4), Some(3), Some(5)));
        cache.insert("e", 6, Duration::from_secs(10));
        assert_eq!((cache.get(&"c"), cache.get(&"b")), (None, Some(4)), "the oldest goes, not the replaced");
        cache.insert("f", 7, Duration::ZERO);
        assert_eq!(cache.get(&"f"), None);
    }
}
