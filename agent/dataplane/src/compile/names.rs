//! One copy of every name that many endpoints repeat: their nodes' and zones'. Enters: text. Leaves: the shared copy.

use std::collections::HashSet;
use std::sync::Arc;

/// Names that are not looked through before there are so many.
const FEW: usize = 64;

/// The names in use, and some that were.
#[derive(Debug, Default)]
pub struct Names {
    known: HashSet<Arc<str>>,
    /// At so many those that nobody uses are dropped.
    full: usize,
}

impl Names {
    /// The copy of a name that everybody shares.
    pub fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.full {
            self.known.retain(|name| Arc::strong_count(name) > 1);
            self.full = FEW.max(self.known.len() * 2);
        }
        let name: Arc<str> = name.into();
        self.known.insert(Arc::clone(&name));
        name
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
        assert!(names.known.len() <= FEW, "{} names nobody uses", names.known.len());
        assert!(Arc::ptr_eq(&one, &names.share("node-a")));
    }
}
