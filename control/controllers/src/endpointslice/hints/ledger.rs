//! What the controller remembers of the Services with the annotation, in memory alone, as upstream.
//!
//! Enters: the zones' shares of CPU and the outcome of each plan. Leaves: the shares, what is to be said in Events, and
//! which Services must be planned again when the shares change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::allocation::is_overloaded;
use super::nodes::Shares;
use super::{Outcome, Zones};
use crate::machinery::Key;

/// Something to say of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Endpoints have hints now.
    Enabled(String),
    /// They have none (any more).
    Disabled(String),
}

/// What followed from an outcome.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// To be said.
    pub notices: Vec<Notice>,
    /// The shares changed while the Service was planned: it must be planned again.
    pub again: bool,
}

/// One Service with the annotation. Families are `IPv4` and `IPv6`.
#[derive(Default)]
struct Record {
    /// The endpoints meant for each zone, of the families that have hints.
    zones: BTreeMap<String, Zones>,
    /// Why the other families have none.
    refused: BTreeMap<String, String>,
    /// Whether the Service was said to have hints. It is one answer for both families, as upstream.
    enabled: bool,
    /// What was said last of each family.
    said: BTreeMap<String, Notice>,
}

impl Record {
    fn note(&mut self, family: &str, outcome: &Outcome) -> Option<Notice> {
        self.zones.remove(family);
        self.refused.remove(family);
        let text = |message: &str| format!("{message}, addressType: {family}");
        match outcome {
            Outcome::Allocated(zones) => {
                self.zones.insert(family.to_owned(), zones.clone());
                let before = std::mem::replace(&mut self.enabled, true);
                (!before).then(|| Notice::Enabled(text("Topology Aware Hints has been enabled")))
            }
            Outcome::Refused(reason) => {
                self.refused.insert(family.to_owned(), reason.clone());
                self.enabled = false;
                Some(Notice::Disabled(text(reason)))
            }
            Outcome::Off => {
                let before = std::mem::replace(&mut self.enabled, false);
                before.then(|| Notice::Disabled(text("Topology Aware Hints has been disabled")))
            }
        }
    }

    /// Whether other shares ask for another plan: a zone has too few endpoints, or a family has no hints yet.
    fn must_follow(&self, shares: Option<&Shares>) -> bool {
        !self.refused.is_empty() || self.zones.values().any(|zones| is_overloaded(zones, shares))
    }
}

#[derive(Default)]
struct State {
    shares: Arc<Option<Shares>>,
    records: HashMap<Key, Record>,
}

/// The records of all Services, and the zones' shares.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
}

impl Ledger {
    /// The zones' shares of CPU, if they are known.
    pub fn shares(&self) -> Arc<Option<Shares>> {
        self.state.lock().shares.clone()
    }

    /// Sets the shares. The answer is which Services must be planned again; those that are still balanced need not.
    pub fn set_shares(&self, shares: Option<Shares>) -> Vec<Key> {
        let mut state = self.state.lock();
        if *state.shares == shares {
            return Vec::new();
        }
        let stale = state.records.iter().filter(|(_, record)| record.must_follow(shares.as_ref()));
        let stale = stale.map(|(key, _)| key.clone()).collect();
        state.shares = Arc::new(shares);
        stale
    }

    /// Records the outcomes of a plan made with `shares`, by family.
    ///
    /// What was said last is said again only of a plan that `writes`: a look at slices just written is no news.
    pub fn settle(
        &self,
        key: &Key,
        shares: &Arc<Option<Shares>>,
        outcomes: &[(String, Outcome)],
        writes: bool,
    ) -> Settled {
        let mut state = self.state.lock();
        let off = outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Off);
        if off && !state.records.contains_key(key) {
            return Settled::default();
        }
        let again = !off && !Arc::ptr_eq(&state.shares, shares);
        let record = state.records.entry(key.clone()).or_default();
        let is_there = |family: &String| outcomes.iter().any(|(known, _)| known == family);
        record.zones.retain(|family, _| is_there(family));
        record.refused.retain(|family, _| is_there(family));
        let mut notices = Vec::new();
        for (family, outcome) in outcomes {
            if let Some(notice) = record.note(family, outcome) {
                let before = record.said.insert(family.clone(), notice.clone());
                if writes || before.as_ref() != Some(&notice) {
                    notices.push(notice);
                }
            }
        }
        if off {
            state.records.remove(key);
        }
        Settled { notices, again }
    }

    /// Forgets a Service that has no slices of this controller's any more.
    pub fn forget(&self, key: &Key) {
        self.state.lock().records.remove(key);
    }
}
