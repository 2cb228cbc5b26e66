//! One copy of everything that many endpoints repeat: names, and which node and hints they have. Enters: a value. Leaves: the
//! shared copy.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::facts::EndpointPlace;

/// Values that are not looked through before there are so many.
const FEW: usize = 64;

/// What is in use, and some that was.
#[derive(Debug)]
struct Shared<T: ?Sized> {
    known: HashSet<Arc<T>>,
    /// At so many those that nobody uses are dropped.
    full: usize,
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), full: 0 }
    }
}

impl<T: ?Sized + Eq + Hash> Shared<T> {
    fn share(&mut self, value: impl Borrow<T> + Into<Arc<T>>) -> Arc<T> {
        if let Some(known) = self.known.get(value.borrow()) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.full {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.full = FEW.max(self.known.len() * 2);
        }
        let value = value.into();
        self.known.insert(Arc::clone(&value));
        value
    }
}

/// The values.
#[derive(Debug, Default)]
pub struct Names {
    names: Shared<str>,
    places: Shared<EndpointPlace>,
}

impl Names {
    /// The copy of a name that everybody shares.
    pub fn share(&mut self, name: &str) -> Arc<str> {
        self.names.share(name)
    }

    /// The copy of an endpoint's place that all endpoints there share.
    pub(super) fn place(&mut self, place: EndpointPlace) -> Arc<EndpointPlace> {
        self.places.share(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_not_for_ever() {
        let mut names = Names::default();
        let (one, other) = (names.share("node-a"), names.share("node-a"));
        assert!(Arc::ptr_eq(&one, &other));
        for index in 0..10 * FEW {
            names.share(&index.to_string());
        }
        assert!(names.names.known.len() <= FEW, "{} names nobody uses", names.names.known.len());
        assert!(Arc::ptr_eq(&one, &names.share("node-a")));
    }

    #[test]
    fn endpoints_of_one_node_and_the_same_hints_share_a_place() {
        let mut names = Names::default();
        let mut at = |node: &str, zone: Option<&str>| {
            let (node, zones) = (Some(names.share(node)), zone.map(|zone| names.share(zone)));
            names.place(EndpointPlace {
                node,
                for_zones: zones.into_iter().collect(),
                ..EndpointPlace::default()
            })
        };
        let (one, other) = (at("a", Some("z")), at("a", Some("z")));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(at("a", None) != one && at("b", Some("z")) != one);
    }
}
