//! Which agents announce: those whose Lease is fresh. PURE: time comes in.
//!
//! As client-go's leader election, an agent trusts no other machine's clock: it notes by its own when it saw a Lease change,
//! and a Lease that has not changed for its duration is dead. Its own agent stops earlier: it counts from when it began
//! the renewal, and the others can only have seen it later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;

/// Between two renewals.
pub const RENEWAL: Duration = Duration::from_secs(3);
/// How long a Lease holds without a renewal.
pub const DURATION: Duration = Duration::from_secs(10);
/// Where the Leases are.
pub const NAMESPACE: &str = "kube-system";
/// The label that they have.
pub const LABEL: (&str, &str) = ("network.xebec.dev/component", "announcer");
/// The longest duration that is believed.
const LONGEST: Duration = Duration::from_secs(60);

/// The name of a node's Lease.
pub fn name(node: &str) -> String {
    format!("xebec-announcer-{node}")
}

struct Seen {
    renewed: Option<k8s_openapi::jiff::Timestamp>,
    at: Instant,
    duration: Duration,
}

/// The other agents' Leases, and the own one.
#[derive(Default)]
pub struct Leases {
    others: BTreeMap<String, Seen>,
    listing: Option<BTreeSet<String>>,
    synced: bool,
    until: Option<Instant>,
}

/// The node a Lease is of.
fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|node| !node.is_empty())
}

impl Leases {
    /// A list begins.
    pub fn listing(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// A list is complete: what it did not show is gone.
    pub fn listed(&mut self) {
        let listed = self.listing.take().unwrap_or_default();
        self.others.retain(|node, _| listed.contains(node));
        self.synced = true;
    }

    /// A Lease as seen at `now`.
    pub fn observe(&mut self, lease: &Lease, now: Instant) {
        let Some(node) = holder(lease) else { return };
        if let Some(listing) = &mut self.listing {
            listing.insert(node.to_owned());
        }
        let spec = lease.spec.as_ref();
        let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|n| u64::try_from(n).ok());
        let duration = seconds.map_or(DURATION, Duration::from_secs).min(LONGEST);
        match self.others.get_mut(node) {
            Some(seen) if seen.renewed == renewed => seen.duration = duration,
            _ => drop(self.others.insert(node.to_owned(), Seen { renewed, at: now, duration })),
        }
    }

    /// A Lease is deleted: its agent has stopped answering.
    pub fn forget(&mut self, lease: &Lease) {
        if let Some(node) = holder(lease) {
            self.others.remove(node);
        }
    }

    /// The own Lease was renewed, by a request that began at `began`.
    pub fn renewed(&mut self, began: Instant) {
        self.until = Some(began + DURATION);
    }

    /// Until when this agent may answer; `None` if it may not.
    pub fn valid(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| self.synced && now < *until)
    }

    /// The nodes with a fresh Lease; the own one counts by its own renewals.
    pub fn fresh<'a>(&'a self, own: &'a str, now: Instant) -> BTreeSet<&'a str> {
        let others = self.others.iter().filter(|(node, seen)| *node != own && now < seen.at + seen.duration);
        let others = others.map(|(node, _)| node.as_str());
        others.chain(self.valid(now).map(|_| own)).collect()
    }

    /// When the answer changes by time alone.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let others = self.others.values().map(|seen| seen.at + seen.duration);
        others.chain(self.until).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lease(node: &str, second: u64) -> Lease {
        serde_json::from_value(json!({"metadata": {"name": name(node)}, "spec": {
            "holderIdentity": node, "leaseDurationSeconds": 10, "renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")}}))
        .unwrap()
    }

    #[test]
    fn a_lease_that_does_not_change_dies() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut leases = Leases::default();
        leases.listing();
        leases.observe(&lease("a", 50), at(0));
        leases.observe(&lease("b", 1), at(0));
        leases.listed();
        assert_eq!(leases.fresh("c", at(9)), BTreeSet::from(["a", "b"]), "no clock but our own counts");
        leases.observe(&lease("b", 4), at(5));
        leases.observe(&lease("a", 50), at(9));
        assert_eq!(leases.fresh("c", at(10)), BTreeSet::from(["b"]), "seen again is not renewed");
        assert_eq!(leases.next(at(10)), Some(at(15)));
        assert!(leases.fresh("c", at(15)).is_empty());
        leases.observe(&lease("a", 53), at(16));
        assert_eq!(leases.fresh("c", at(16)), BTreeSet::from(["a"]));
        leases.forget(&lease("a", 53));
        assert!(leases.fresh("c", at(16)).is_empty());
        leases.observe(&lease("a", 56), at(17));
        leases.listing();
        leases.listed();
        assert!(leases.fresh("c", at(17)).is_empty(), "a list without it");
    }

    #[test]
    fn the_own_agent_stops_before_others_take_over() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (mut own, mut other) = (Leases::default(), Leases::default());
        own.renewed(at(0));
        assert_eq!(own.valid(at(1)), None, "it knows nobody yet");
        own.listing();
        own.observe(&lease("a", 1), at(20));
        own.listed();
        // The request took a while, and the watch another.
        other.observe(&lease("a", 1), at(30));
        assert_eq!(own.valid(at(9_999)), Some(at(10_000)));
        assert_eq!(own.valid(at(10_000)), None);
        assert!(own.fresh("a", at(10_000)).is_empty());
        assert_eq!(other.fresh("b", at(10_000)), BTreeSet::from(["a"]), "not before it has stopped");
        assert!(other.fresh("b", at(10_030)).is_empty());
    }
}
