//! Configurations parsed once per change.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use xebec_identity::ObjectReader;

/// The API group of everything that configures admission.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// What the parsed form was made of.
enum Stamp {
    /// The reader's own counters, one per kind.
    Versions(Vec<u64>),
    /// The objects themselves, where the reader has no counter.
    Objects(Vec<Vec<Arc<Value>>>),
}

/// The parsed form of all objects of some kinds of the group [`GROUP`].
pub(crate) struct Cached<T> {
    plurals: Vec<&'static str>,
    state: Mutex<Option<(Stamp, Arc<T>)>>,
}

impl<T> Cached<T> {
    pub(crate) fn new(plurals: &[&'static str]) -> Self {
        Self { plurals: plurals.to_vec(), state: Mutex::new(None) }
    }

    /// The parsed form now; `parse` gets the objects of each kind and the form before, to take over what did not
    /// change.
    pub(crate) fn get(
        &self,
        reader: &dyn ObjectReader,
        parse: impl FnOnce(&[Vec<Arc<Value>>], Option<&T>) -> T,
    ) -> Arc<T> {
        let mut state = self.state.lock();
        // The counters are read before the objects: a change in between is seen again, not missed.
        let versions: Option<Vec<u64>> =
            self.plurals.iter().map(|plural| reader.version(GROUP, plural)).collect();
        if let (Some(versions), Some((Stamp::Versions(before), parsed))) = (&versions, &*state)
            && versions == before
        {
            return Arc::clone(parsed);
        }
        let objects: Vec<_> = self.plurals.iter().map(|plural| reader.list(GROUP, plural, None)).collect();
        if let Some((Stamp::Objects(before), parsed)) = &*state
            && versions.is_none()
            && same(before, &objects)
        {
            return Arc::clone(parsed);
        }
        let parsed = Arc::new(parse(&objects, state.as_ref().map(|(_, before)| before.as_ref())));
        let stamp = versions.map_or(Stamp::Objects(objects), Stamp::Versions);
        *state = Some((stamp, Arc::clone(&parsed)));
        parsed
    }
}

fn same(before: &[Vec<Arc<Value>>], now: &[Vec<Arc<Value>>]) -> bool {
    let equal = |(a, b): (&Vec<Arc<Value>>, &Vec<Arc<Value>>)| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
    };
    before.len() == now.len() && before.iter().zip(now).all(equal)
}
