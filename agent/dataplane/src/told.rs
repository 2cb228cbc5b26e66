//! What failed, and whether that is news: what is tried again and again is told once. Called by the tunnel and refresh.

use std::collections::BTreeMap;

/// Failures that were told and last, by what failed.
#[derive(Debug)]
pub(crate) struct Told<K>(BTreeMap<K, String>);

impl<K> Default for Told<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Told<K> {
    /// Takes what a step came to: what failed, if that is to be told. What lasts is told once, and anew when it comes back
    /// after it went away. PURE.
    pub(crate) fn news(&mut self, step: K, failure: Option<&str>) -> bool {
        match failure {
            Some(why) => self.0.insert(step, why.to_owned()).as_deref() != Some(why),
            None => {
                self.0.remove(&step);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_for_as_long_as_it_lasts_and_again_when_it_comes_back() {
        let mut told = Told::default();
        assert!(told.news("device", Some("no")));
        assert!(!told.news("device", Some("no")), "it lasts");
        // Another step that works, or fails, too, does not end it.
        assert!(!told.news("narrow", None) && told.news("widen", Some("no")));
        assert!(!told.news("device", Some("no")));
        assert!(told.news("device", Some("another reason")));
        assert!(!told.news("device", None));
        assert!(told.news("device", Some("another reason")), "it is back");
        assert!(!told.news("widen", Some("no")), "and that has not ended yet");
    }
}
