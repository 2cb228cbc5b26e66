//! What the server does without being asked: forget old history, delete old events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xebec_api::time;
use xebec_store::{Expect, Revision, StoreError};

use crate::registry::Registry;
use crate::watch::{Cut, Object, Selection};

/// How many events are deleted at once.
const DELETE_BATCH: usize = 128;
/// How often old events are looked for.
const EVENTS_EVERY: Duration = Duration::from_secs(60);

/// Starts the tasks; they end with `stop`.
pub fn start(registry: Arc<Registry>, event_ttl: Duration, compaction: Duration, stop: CancellationToken) {
    let compactor = compact(Arc::clone(&registry), compaction);
    tokio::spawn(stop.clone().run_until_cancelled_owned(compactor));
    tokio::spawn(stop.run_until_cancelled_owned(expire_events(registry, event_ttl)));
}

/// Keeps between one and two intervals of history.
async fn compact(registry: Arc<Registry>, interval: Duration) {
    let mut before = None;
    loop {
        match registry.store().head().await {
            Ok(head) => {
                if let Some(revision) = before.filter(|revision| *revision > 0) {
                    match registry.store().compact(revision).await {
                        Ok(()) | Err(StoreError::Compacted { .. }) => debug!(revision, "compacted"),
                        Err(error) => warn!(revision, %error, "the store could not be compacted"),
                    }
                }
                before = Some(head);
            }
            Err(error) => warn!(%error, "the store does not tell its revision"),
        }
        tokio::time::sleep(interval).await;
    }
}

/// Deletes events whose time is over, in bounded batches.
///
/// Upstream gives events an etcd lease. Here their own times decide, the same on both stores: it needs no clock in the
/// store, survives restarts of either, and an event that recurs lives on. Several API servers on one etcd may all try to
/// delete an event; the revision in the delete lets one of them.
async fn expire_events(registry: Arc<Registry>, ttl: Duration) {
    let mut expiry = Expiry::new(SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX));
    loop {
        tokio::time::sleep(EVENTS_EVERY).await;
        delete_expired(&registry, &mut expiry).await;
    }
}

/// One pass over the events; how many it deleted.
pub(crate) async fn delete_expired(registry: &Registry, expiry: &mut Expiry) -> usize {
    let Some(cache) = registry.caches().of("", "events") else { return 0 };
    let objects = cache.list(&Selection::everything(None), Cut::default()).objects;
    let due: Vec<(String, Revision)> = expiry
        .due(&objects, registry.now())
        .map(|object| (cache.key(&object.namespace, &object.name), object.revision))
        .collect();
    drop(objects);
    let mut deleted = 0;
    for batch in due.chunks(DELETE_BATCH) {
        // The deletes of a batch share a commit; between batches everybody else's writes have their turn.
        let deletes =
            batch.iter().map(|(key, revision)| registry.store().delete(key, Expect::Revision(*revision)));
        for result in join_all(deletes).await {
            match result {
                Ok(_) => deleted += 1,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => {
                    warn!(%error, deleted, "old events could not be deleted, it is tried again later");
                    return deleted;
                }
            }
        }
    }
    if deleted > 0 {
        debug!(deleted, "deleted old events");
    }
    deleted
}

/// When events expire: an event is read once for each of its revisions, not in every pass.
pub(crate) struct Expiry {
    ttl: SignedDuration,
    known: HashMap<Revision, Timestamp>,
}

impl Expiry {
    /// Events live for `ttl` after their last occurrence.
    pub(crate) fn new(ttl: SignedDuration) -> Self {
        Self { ttl, known: HashMap::new() }
    }

    /// Those of all `events` that have expired at `now`; forgets what is no longer among them.
    fn due<'e>(
        &mut self,
        events: &'e [Arc<Object>],
        now: Timestamp,
    ) -> impl Iterator<Item = &'e Arc<Object>> {
        let mut known = HashMap::with_capacity(events.len());
        let mut due = Vec::new();
        for event in events {
            let last = self.known.get(&event.revision).copied();
            let last = last.unwrap_or_else(|| last_occurrence(&event.bytes));
            known.insert(event.revision, last);
            if now.duration_since(last) > self.ttl {
                due.push(event);
            }
        }
        self.known = known;
        due.into_iter()
    }
}

/// The fields of an event that tell when it last happened; the rest is not parsed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Times {
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<Series>,
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    last_observed_time: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    creation_timestamp: Option<String>,
}

/// The newest of an event's times; the beginning of time if it has none.
fn last_occurrence(event: &[u8]) -> Timestamp {
    let times: Times = serde_json::from_slice(event).unwrap_or_default();
    let series = times.series.and_then(|series| series.last_observed_time);
    [times.last_timestamp, times.event_time, series, times.metadata.creation_timestamp]
        .iter()
        .filter_map(|text| time::parse_rfc3339(text.as_deref()?))
        .max()
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(revision: u64, value: Value) -> Arc<Object> {
        Arc::new(Object::new(value, revision, None))
    }

    #[test]
    fn an_event_lives_from_its_last_occurrence() {
        let now = "2026-11-24T02:00:00Z".parse().unwrap();
        let mut expiry = Expiry::new(SignedDuration::from_hours(1));
        let created = json!({"name": "e", "creationTimestamp": "2026-11-24T00:00:00Z"});
        let events = [
            event(2, json!({"metadata": created})),
            event(3, json!({"metadata": created, "lastTimestamp": "2026-11-24T01:30:00Z"})),
            event(
                4,
                json!({"metadata": created, "series": {"lastObservedTime": "2026-11-24T01:59:00.000001Z"}}),
            ),
            event(5, json!({"metadata": {"name": "without any time"}})),
        ];
        let due: Vec<u64> = expiry.due(&events, now).map(|event| event.revision).collect();
        assert_eq!(due, [2, 5]);
        assert_eq!(expiry.due(&events[1..2], now).count(), 0);
        assert_eq!(expiry.known.len(), 1, "what is gone is forgotten");
    }
}
