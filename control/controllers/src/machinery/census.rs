//! How many objects of each resource stand in each namespace.
//!
//! Enters: arrivals and departures, from the garbage collector, which watches every resource there is. Leaves: numbers,
//! and a word to whoever wants to know that something has left. Called by the quota controller.

use std::collections::HashMap;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::fetch::Discovered;

type Handler = Box<dyn Fn(&str, &str, &str) + Send + Sync>;

#[derive(Default)]
struct State {
    /// By group and kind, then namespace.
    counts: HashMap<(String, String), HashMap<String, u64>>,
    /// The kind of a group's plural.
    kinds: HashMap<(String, String), String>,
    /// The plural of a group's kind.
    plurals: HashMap<(String, String), String>,
}

/// The numbers.
pub struct Census {
    state: RwLock<State>,
    handlers: RwLock<Vec<Handler>>,
    complete: watch::Sender<bool>,
}

impl Default for Census {
    fn default() -> Self {
        Self { state: RwLock::default(), handlers: RwLock::default(), complete: watch::Sender::new(false) }
    }
}

impl Census {
    /// Takes in which resources there are and are counted.
    pub fn adopt<'a>(&self, found: impl Iterator<Item = &'a Discovered>) {
        let mut state = self.state.write();
        state.kinds.clear();
        state.plurals.clear();
        for resource in found {
            let (group, plural, kind) = (&resource.group, &resource.plural, &resource.kind);
            state.kinds.insert((group.clone(), plural.clone()), kind.clone());
            state.plurals.insert((group.clone(), kind.clone()), plural.clone());
        }
    }

    /// Counts an object in.
    pub fn arrived(&self, group: &str, kind: &str, namespace: &str) {
        let mut state = self.state.write();
        let counts = state.counts.entry((group.to_owned(), kind.to_owned())).or_default();
        *counts.entry(namespace.to_owned()).or_default() += 1;
    }

    /// Counts an object out and tells the handlers.
    pub fn left(&self, group: &str, kind: &str, namespace: &str) {
        let key = (group.to_owned(), kind.to_owned());
        let plural = {
            let mut state = self.state.write();
            if let Some(counts) = state.counts.get_mut(&key)
                && let Some(count) = counts.get_mut(namespace)
            {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    counts.remove(namespace);
                }
            }
            state.plurals.get(&key).cloned()
        };
        if let Some(plural) = plural {
            self.handlers.read().iter().for_each(|handler| handler(group, &plural, namespace));
        }
    }

    /// How many objects of a resource the namespace has; none when nobody serves or counts the resource.
    pub fn count(&self, group: &str, plural: &str, namespace: &str) -> Option<u64> {
        let state = self.state.read();
        let kind = state.kinds.get(&(group.to_owned(), plural.to_owned()))?;
        let counts = state.counts.get(&(group.to_owned(), kind.clone()));
        Some(counts.and_then(|counts| counts.get(namespace)).copied().unwrap_or(0))
    }

    /// Registers what to call (group, plural, namespace) when an object has left.
    pub fn on_left(&self, handler: impl Fn(&str, &str, &str) + Send + Sync + 'static) {
        self.handlers.write().push(Box::new(handler));
    }

    /// Everything that was there at the start is counted.
    pub fn complete(&self) {
        self.complete.send_replace(true);
    }

    /// Waits until everything that was there at the start is counted.
    pub async fn wait_complete(&self) {
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn counts_by_plural_and_namespace() {
        let census = Census::default();
        let told = Arc::new(AtomicUsize::new(0));
        let counter = told.clone();
        census.on_left(move |group, plural, namespace| {
            assert_eq!((group, plural, namespace), ("example.com", "widgets", "a"));
            counter.fetch_add(1, Ordering::Relaxed);
        });
        census.arrived("example.com", "Widget", "a");
        assert_eq!(census.count("example.com", "widgets", "a"), None, "nobody has said what a widget is");
        let widgets = Discovered {
            group: "example.com".to_owned(),
            version: "v1".to_owned(),
            plural: "widgets".to_owned(),
            kind: "Widget".to_owned(),
            namespaced: true,
            verbs: Vec::new(),
        };
        census.adopt([widgets].iter());
        census.arrived("example.com", "Widget", "a");
        assert_eq!(census.count("example.com", "widgets", "a"), Some(2));
        assert_eq!(census.count("example.com", "widgets", "b"), Some(0));
        census.left("example.com", "Widget", "a");
        assert_eq!(census.count("example.com", "widgets", "a"), Some(1));
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
