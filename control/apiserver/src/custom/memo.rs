//! Converted objects, kept so that many readers of one object ask its webhook once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::watch::Object;

/// Most bytes of objects kept, those converted and those they were converted from, over all definitions.
const LIMIT: usize = 64 * 1024 * 1024;

/// What was converted: to which version of which definition (as it was then), from exactly these bytes. The bytes carry
/// uid and resourceVersion.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    definition: u64,
    version: &'static str,
    source: Bytes,
}

#[derive(Default)]
struct State {
    known: HashMap<Key, (u64, Arc<Object>)>,
    order: BTreeMap<u64, Key>,
    uses: u64,
    size: usize,
}

/// The objects converted last; the one used longest ago goes first.
pub(super) struct Memo {
    state: Mutex<State>,
    limit: usize,
}

impl Default for Memo {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Memo {
    fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), limit }
    }

    /// What `source` became.
    pub(super) fn get(&self, definition: u64, version: &'static str, source: &Bytes) -> Option<Arc<Object>> {
        let key = Key { definition, version, source: source.clone() };
        let state = &mut *self.state.lock();
        let (used, object) = state.known.get_mut(&key)?;
        state.order.remove(used);
        state.uses += 1;
        *used = state.uses;
        state.order.insert(state.uses, key);
        Some(Arc::clone(object))
    }

    /// Keeps what `source` became.
    pub(super) fn put(&self, definition: u64, version: &'static str, source: &Bytes, object: &Arc<Object>) {
        let key = Key { definition, version, source: source.clone() };
        let state = &mut *self.state.lock();
        state.uses += 1;
        let uses = state.uses;
        if let Some((used, _)) = state.known.insert(key.clone(), (uses, Arc::clone(object))) {
            state.order.remove(&used);
        } else {
            state.size += key.source.len() + object.bytes.len();
        }
        state.order.insert(uses, key);
        while state.size > self.limit
            && let Some((_, oldest)) = state.order.pop_first()
        {
            if let Some((_, gone)) = state.known.remove(&oldest) {
                state.size -= oldest.source.len() + gone.bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_oldest_goes_first() {
        let memo = Memo::new(200);
        let object = |name: &str| Arc::new(Object::new(json!({"metadata": {"name": name}}), 1, None));
        let source = |name: &str| Bytes::from(name.repeat(30));
        for name in ["a", "b"] {
            memo.put(1, "v1", &source(name), &object(name));
        }
        assert_eq!(memo.get(1, "v1", &source("a")).unwrap().name, "a");
        memo.put(1, "v1", &source("c"), &object("c"));
        assert!(memo.get(1, "v1", &source("b")).is_none(), "used longest ago");
        assert_eq!(memo.get(1, "v1", &source("a")).unwrap().name, "a");
        assert!(memo.get(1, "v2", &source("a")).is_none());
        assert!(memo.get(2, "v1", &source("a")).is_none());
        assert!(memo.state.lock().size <= 200);
    }
}
