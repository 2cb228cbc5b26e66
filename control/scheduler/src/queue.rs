//! PURE: which pod is next. Enters: pods and outcomes, with the time of each. Leaves: the next pod, and when to look
//! again.
//!
//! A pod is active (ordered by priority, then age), backing off after a failure (1 s doubled to 10 s, as upstream), or
//! unschedulable until the cluster changes or five minutes have passed. Pods are known by UID.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A refused pod is tried again after this even if nothing changed.
const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
struct Item {
    pod: Arc<Pod>,
    /// Orders pods of equal priority: the first seen first.
    sequence: u64,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Active,
    /// Out of the queue, being bound.
    Taken,
    /// Not before this instant.
    BackingOff(Instant),
    /// Since this instant; may not be tried before the second one.
    Unschedulable(Instant, Instant),
}

/// Pods that wait for a node.
#[derive(Debug, Default)]
pub struct Queue {
    items: HashMap<String, Item>,
    /// (priority, descending), sequence, UID.
    active: BTreeSet<(std::cmp::Reverse<i32>, u64, String)>,
    next_sequence: u64,
}

impl Queue {
    /// Adds a pod, or takes its newer version. One that changed after it was refused is tried again (its spec's gates,
    /// tolerations or labels may be what stood in the way).
    pub fn put(&mut self, pod: Arc<Pod>, now: Instant) {
        let uid = uid(&pod);
        let Some(item) = self.items.get_mut(&uid) else {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            self.active.insert((order(&pod), sequence, uid.clone()));
            self.items.insert(uid, Item { pod, sequence, failures: 0, state: State::Active });
            return;
        };
        let relevant = item.pod.spec != pod.spec || item.pod.metadata.labels != pod.metadata.labels;
        item.pod = pod;
        if relevant && let State::Unschedulable(_, not_before) = item.state {
            item.state = State::BackingOff(not_before);
            self.refresh(now);
        }
    }

    /// Forgets a pod: it is bound, gone, or not ours any more.
    pub fn remove(&mut self, uid: &str) {
        if let Some(item) = self.items.remove(uid) {
            self.active.remove(&(order(&item.pod), item.sequence, uid.to_owned()));
        }
    }

    /// Forgets every pod that `keep` refuses, by UID: after a relist.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.items.keys().filter(|uid| !keep(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.remove(uid));
    }

    /// The next pod to schedule; it stays known until [`Queue::remove`] or [`Queue::refused`].
    pub fn pop(&mut self, now: Instant) -> Option<Arc<Pod>> {
        self.refresh(now);
        let (_, _, uid) = self.active.pop_first()?;
        let item = self.items.get_mut(&uid)?;
        item.state = State::Taken;
        Some(item.pod.clone())
    }

    /// No node can run the pod now: it waits for a change.
    pub fn refused(&mut self, uid: &str, now: Instant) {
        self.fail(uid, |backoff| State::Unschedulable(now, now + backoff));
    }

    /// Something failed that a later try may not meet (a write conflict, the API server away).
    pub fn failed(&mut self, uid: &str, now: Instant) {
        self.fail(uid, |backoff| State::BackingOff(now + backoff));
    }

    fn fail(&mut self, uid: &str, state: impl FnOnce(Duration) -> State) {
        if let Some(item) = self.items.get_mut(uid) {
            let backoff = FIRST_BACKOFF.saturating_mul(1 << item.failures.min(10)).min(MAX_BACKOFF);
            item.failures += 1;
            item.state = state(backoff);
        }
    }

    /// The cluster changed so that refused pods may fit: all of them are tried again once their back-off is over.
    pub fn cluster_changed(&mut self) {
        for item in self.items.values_mut() {
            if let State::Unschedulable(_, not_before) = item.state {
                item.state = State::BackingOff(not_before);
            }
        }
    }

    /// When [`Queue::pop`] may give something that it does not give now.
    pub fn next_wake(&self) -> Option<Instant> {
        self.items.values().filter_map(|item| due(item.state)).min()
    }

    fn refresh(&mut self, now: Instant) {
        for (uid, item) in &mut self.items {
            if due(item.state).is_some_and(|due| due <= now) {
                item.state = State::Active;
                self.active.insert((order(&item.pod), item.sequence, uid.clone()));
            }
        }
    }
}

fn due(state: State) -> Option<Instant> {
    match state {
        State::Active | State::Taken => None,
        State::BackingOff(until) => Some(until),
        State::Unschedulable(since, _) => Some(since + MAX_UNSCHEDULABLE),
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

fn order(pod: &Pod) -> std::cmp::Reverse<i32> {
    std::cmp::Reverse(pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, priority: i32) -> Arc<Pod> {
        let value =
            json!({"metadata": {"name": uid, "uid": uid}, "spec": {"priority": priority, "containers": []}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn next(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.pop(now).map(|pod| uid(&pod))
    }

    #[tokio::test(start_paused = true)]
    async fn priority_first_then_age() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (uid, priority) in [("a", 0), ("b", 5), ("c", 5), ("d", 0)] {
            queue.put(pod(uid, priority), now);
        }
        queue.remove("d");
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, now)).collect();
        assert_eq!(order, ["b", "c", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_pods_wait_for_a_change_and_their_back_off() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0), start);
        for backoff in [1, 2, 4, 8, 10, 10] {
            let now = Instant::now();
            assert_eq!(next(&mut queue, now), Some("a".to_owned()));
            queue.refused("a", now);
            queue.cluster_changed();
            assert_eq!(
                next(&mut queue, now),
                None,
                "the back-off of {backoff} s holds although the cluster changed"
            );
            assert_eq!(queue.next_wake(), Some(now + Duration::from_secs(backoff)));
            tokio::time::advance(Duration::from_secs(backoff)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_change_a_refused_pod_comes_back_after_five_minutes() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0), now);
        next(&mut queue, now);
        queue.refused("a", now);
        assert_eq!(next(&mut queue, now + Duration::from_secs(299)), None);
        assert_eq!(next(&mut queue, now + Duration::from_secs(300)), Some("a".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_being_bound_is_not_given_out_again() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0), now);
        next(&mut queue, now);
        queue.put(pod("a", 0), now);
        queue.cluster_changed();
        assert_eq!(next(&mut queue, now + MAX_UNSCHEDULABLE), None);
        queue.retain(|_| false);
        queue.put(pod("a", 0), now);
        assert_eq!(next(&mut queue, now), Some("a".to_owned()));
    }
}
