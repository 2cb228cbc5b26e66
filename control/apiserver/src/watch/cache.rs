//! The objects of one resource in memory, and the ordered log of their changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Change, Cut, Event, Object, Selection};
use crate::resources::StrategyRef;

/// Events a resource's log keeps for watchers that start in the past or fall behind.
const LOG_EVENTS: usize = 8192;

/// Events looked at one by one from the log's end for where a watcher goes on.
const FEW: usize = 32;

/// Where a watcher's next events come from.
pub enum ReadFrom {
    /// These events, oldest first; empty when the watcher has seen everything.
    Log(Vec<Arc<Event>>),
    /// The log starts after this revision only; what is older must come from the store.
    Behind {
        /// Every event after this revision is in the log.
        log_start: u64,
    },
}

/// The watch cache of one stored resource.
pub struct Cache {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Resource name.
    pub plural: &'static str,
    /// The kind's strategy, if it has one.
    pub strategy: Option<StrategyRef>,
    prefix: String,
    state: RwLock<State>,
    head: watch::Sender<u64>,
    closed: CancellationToken,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Arc<Object>>,
    log: VecDeque<Arc<Event>>,
    log_start: u64,
    revision: u64,
    /// Changes that came before the first fill; none once it is filled.
    early: Option<Vec<(String, Change, Object)>>,
}

impl Cache {
    /// An empty cache of `group`/`plural`.
    #[must_use]
    pub fn new(group: &'static str, plural: &'static str) -> Self {
        Self::with_strategy(group, plural, StrategyRef::built_in(group, plural))
    }

    /// An empty cache whose selectable fields are those of `strategy`.
    #[must_use]
    pub fn with_strategy(group: &'static str, plural: &'static str, strategy: Option<StrategyRef>) -> Self {
        Self {
            group,
            plural,
            strategy,
            prefix: prefix(group, plural),
            state: RwLock::new(State { early: Some(Vec::new()), ..State::default() }),
            head: watch::Sender::new(0),
            closed: CancellationToken::new(),
        }
    }

    /// Ends every watch on this cache: its resource is gone or has changed its rules. Clients watch again.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Cancelled when the cache is no longer the resource's.
    #[must_use]
    pub fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// The store keys' common prefix, with a trailing slash.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The store key of one object; `namespace` is empty for cluster-scoped resources.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> String {
        format!("{}{}", self.prefix, suffix(namespace, name))
    }

    /// The object, if it exists.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.state.read().objects.get(&suffix(namespace, name)).cloned()
    }

    /// The chosen objects of `cut` in key order, what follows them, and the newest revision this cache has an event of.
    ///
    /// Only a list's first page counts what remains, and only where nothing but the namespace is chosen by: pages that
    /// each count the rest of 100k objects make a list of them quadratic.
    #[must_use]
    pub fn list(&self, selection: &Selection, cut: Cut<'_>) -> Listed {
        let state = self.state.read();
        let from_namespace = selection.namespace.as_ref().map(|ns| format!("{ns}/"));
        // A list of one object, as those make who watch a single one, looks at no other.
        let only = selection.only();
        let lower = match (cut.after, only.as_ref().or(from_namespace.as_ref())) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(first)) => Bound::Included(first.as_str()),
            (None, None) => Bound::Unbounded,
        };
        let mut chosen = state
            .objects
            .range::<str, _>((lower, Bound::Unbounded))
            .take_while(|(key, _)| match (&only, &from_namespace) {
                (Some(only), _) => *key <= only,
                (None, Some(namespace)) => key.starts_with(namespace.as_str()),
                (None, None) => true,
            })
            .filter(|(_, object)| selection.matches(object));
        let most = if cut.limit == 0 { usize::MAX } else { cut.limit };
        let (mut objects, mut last_key) = (Vec::new(), None);
        for (key, object) in chosen.by_ref().take(most) {
            objects.push(Arc::clone(object));
            last_key = Some(key);
        }
        let remaining = match chosen.next() {
            None => 0,
            Some(_) if !selection.is_whole() => 1,
            Some(_) => cut.rest(objects.len()).unwrap_or_else(|| 1 + chosen.count() as u64),
        };
        Listed { objects, remaining, last_key: last_key.cloned(), revision: state.revision }
    }

    /// Events after revision `cursor`.
    #[must_use]
    pub fn read(&self, cursor: u64) -> ReadFrom {
        let state = self.state.read();
        if cursor < state.log_start {
            return ReadFrom::Behind { log_start: state.log_start };
        }
        // Nearly always there are a few at the end; a watcher far behind is worth a search.
        let new = state.log.iter().rev().take(FEW).take_while(|event| event.revision > cursor).count();
        let first = match state.log.len() - new {
            first if new < FEW => first,
            _ => state.log.partition_point(|event| event.revision <= cursor),
        };
        ReadFrom::Log(state.log.range(first..).cloned().collect())
    }

    /// The revision of the newest event; changes wake the receiver.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// The revision of the newest event.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    /// Number of objects held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills an empty cache with a list taken at `revision`; newer changes that came meanwhile follow.
    pub(super) fn fill(&self, objects: impl IntoIterator<Item = (String, Object)>, revision: u64) {
        let mut state = self.state.write();
        if state.early.is_none() && revision <= state.revision {
            // The feeder listed the store afresh while this list was on its way.
            return;
        }
        state.objects = objects
            .into_iter()
            .map(|(key, object)| (self.strip(&key).to_owned(), Arc::new(object)))
            .collect();
        state.log.clear();
        state.log_start = revision;
        state.revision = revision;
        for (key, change, object) in state.early.take().unwrap_or_default() {
            if object.revision > state.revision {
                Self::push(&mut state, self.strip(&key), change, Arc::new(object));
            }
        }
        let revision = state.revision;
        drop(state);
        self.head.send_replace(revision);
    }

    /// Applies one change; changes at or below the cache's revision are already in it and are skipped. Watchers hear of it
    /// with the next [`Cache::publish`].
    pub(super) fn apply(&self, key: &str, change: Change, object: Object) {
        let revision = object.revision;
        let mut state = self.state.write();
        if let Some(early) = &mut state.early {
            early.push((key.to_owned(), change, object));
            return;
        }
        if revision <= state.revision {
            return;
        }
        Self::push(&mut state, self.strip(key), change, Arc::new(object));
    }

    /// Wakes the watchers if there is something new.
    pub(super) fn publish(&self) {
        let revision = self.revision();
        self.head.send_if_modified(|head| std::mem::replace(head, revision) != revision);
    }

    /// Brings the cache to a fresh list taken at `revision` after the store's watch broke: the difference becomes
    /// events, so watchers go on without noticing.
    pub(super) fn reconcile(&self, listed: Vec<(String, Object)>, revision: u64) {
        let mut state = self.state.write();
        if revision <= state.revision {
            return;
        }
        // What came before a first fill is in the list.
        state.early = None;
        let fresh: BTreeMap<String, Object> =
            listed.into_iter().map(|(key, object)| (self.strip(&key).to_owned(), object)).collect();
        let gone: Vec<(String, Arc<Object>)> = state
            .objects
            .iter()
            .filter(|(key, _)| !fresh.contains_key(*key))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect();
        for (key, object) in gone {
            let last = Object::new(object.parse(), revision, self.strategy.as_deref());
            Self::push(&mut state, &key, Change::Delete, Arc::new(last));
        }
        let mut changed: Vec<(String, Object)> = fresh
            .into_iter()
            .filter(|(key, object)| state.objects.get(key).is_none_or(|old| old.revision != object.revision))
            .collect();
        changed.sort_by_key(|(_, object)| object.revision);
        // What happened between is unknown: a watcher may continue only from a revision it has seen everything of.
        for (key, object) in changed {
            Self::push_at(&mut state, &key, Change::Put, Arc::new(object), revision);
        }
        state.revision = revision;
        drop(state);
        self.head.send_replace(revision);
    }

    fn push(state: &mut State, key: &str, change: Change, object: Arc<Object>) {
        let revision = object.revision;
        Self::push_at(state, key, change, object, revision);
    }

    fn push_at(state: &mut State, key: &str, change: Change, object: Arc<Object>, revision: u64) {
        let previous = match change {
            Change::Put => state.objects.insert(key.to_owned(), Arc::clone(&object)),
            Change::Delete => state.objects.remove(key),
        };
        state.log.push_back(Arc::new(Event::new(revision, change, object, previous)));
        state.revision = revision;
        if state.log.len() > LOG_EVENTS
            && let Some(dropped) = state.log.pop_front()
        {
            state.log_start = dropped.revision;
        }
    }

    fn strip<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix(&self.prefix).unwrap_or(key)
    }
}

/// A page of a list.
pub struct Listed {
    /// The objects, in key order.
    pub objects: Vec<Arc<Object>>,
    /// How many chosen objects follow after the page; with selectors, 1 if any do.
    pub remaining: u64,
    /// Key suffix of the page's last object.
    pub last_key: Option<String>,
    /// Revision of the newest event in this cache.
    pub revision: u64,
}

/// `/registry/<group or core>/<plural>/`.
fn prefix(group: &str, plural: &str) -> String {
    format!("/registry/{}/{plural}/", if group.is_empty() { "core" } else { group })
}

fn suffix(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use xebec_api::selector::FieldSelector;

    fn object(name: &str, revision: u64) -> Object {
        Object::new(json!({"metadata": {"name": name, "namespace": "d"}}), revision, None)
    }

    fn cache() -> Cache {
        let cache = Cache::new("", "configmaps");
        let listed = [("a", 3), ("b", 5)]
            .map(|(name, rev)| (format!("/registry/core/configmaps/d/{name}"), object(name, rev)));
        cache.fill(listed, 10);
        cache
    }

    #[test]
    fn lists_in_pages() {
        let cache = cache();
        let all = Selection::everything(Some("d".into()));
        let first = cache.list(&all, Cut { limit: 1, ..Cut::default() });
        assert_eq!((first.objects[0].name.as_str(), first.remaining), ("a", 1));
        let after = Cut { after: first.last_key.as_deref(), limit: 1, left: None };
        let second = cache.list(&all, after);
        assert_eq!((second.objects[0].name.as_str(), second.remaining), ("b", 0));
        assert!(cache.list(&Selection::everything(Some("dd".into())), Cut::default()).objects.is_empty());
    }

    #[test]
    fn one_object_is_found_by_its_name() {
        let cache = cache();
        let named = |namespace: Option<&str>, name: &str| {
            let fields = Some(FieldSelector::equals("metadata.name", name));
            let selection = Selection { namespace: namespace.map(str::to_owned), labels: None, fields };
            let listed = cache.list(&selection, Cut::default());
            listed.objects.iter().map(|object| object.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(named(Some("d"), "b"), ["b"]);
        assert_eq!(named(None, "b"), ["b"]);
        assert_eq!(named(Some("d"), "aa"), [""; 0]);
        assert_eq!(named(Some("dd"), "b"), [""; 0]);
        let fields = Some(FieldSelector::equals("metadata.name", "a"));
        let selection = Selection { namespace: Some("d".to_owned()), labels: None, fields };
        let after = Cut { after: Some("d/a"), ..Cut::default() };
        assert!(cache.list(&selection, after).objects.is_empty(), "the page before had it");
    }

    #[test]
    fn a_page_counts_what_follows_unless_the_page_before_knew() {
        let cache = cache();
        let all = Selection::everything(None);
        let page = |left| cache.list(&all, Cut { after: None, limit: 1, left }).remaining;
        assert_eq!(page(None), 1);
        assert_eq!(page(Some(9)), 8, "believed");
        // A token of another list: what follows is never hidden, what does not is never announced.
        assert_eq!(page(Some(0)), 1);
        assert_eq!(cache.list(&all, Cut { after: Some("d/a"), limit: 1, left: Some(9) }).remaining, 0);
    }

    #[test]
    fn log_orders_and_skips_what_it_has() {
        let cache = cache();
        cache.apply("/registry/core/configmaps/d/a", Change::Put, object("a", 9));
        cache.apply("/registry/core/configmaps/d/a", Change::Put, object("a", 11));
        cache.apply("/registry/core/configmaps/d/b", Change::Delete, object("b", 12));
        let ReadFrom::Log(events) = cache.read(10) else { panic!("must be in the log") };
        assert_eq!(events.iter().map(|e| e.revision).collect::<Vec<_>>(), [11, 12]);
        assert!(matches!(cache.read(9), ReadFrom::Behind { log_start: 10 }));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn reconcile_turns_the_difference_into_events() {
        let cache = cache();
        cache.reconcile(vec![("/registry/core/configmaps/d/c".into(), object("c", 15))], 20);
        let ReadFrom::Log(events) = cache.read(10) else { panic!("must be in the log") };
        let seen: Vec<_> = events.iter().map(|e| (e.change, e.object.name.as_str())).collect();
        assert_eq!(seen, [(Change::Delete, "a"), (Change::Delete, "b"), (Change::Put, "c")]);
        assert_eq!(cache.len(), 1);
    }
}
