//! What the server does without being asked: forget old history, delete old events.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xebec_api::time;
use xebec_store::{Expect, StoreError};

use crate::registry::Registry;
use crate::watch::Selection;

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

async fn expire_events(registry: Arc<Registry>, ttl: Duration) {
    let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
    loop {
        tokio::time::sleep(EVENTS_EVERY).await;
        let Some(cache) = registry.caches().of("", "events") else { return };
        let now = registry.now();
        let everything = Selection::everything(None);
        let mut expired = 0;
        for object in cache.list(&everything, None, 0).objects {
            if is_expired(&object.parse(), now, ttl) {
                let key = cache.key(&object.namespace, &object.name);
                match registry.store().delete(&key, Expect::Revision(object.revision)).await {
                    Ok(_) => expired += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => {
                        warn!(%error, "an old event could not be deleted");
                        break;
                    }
                }
            }
        }
        if expired > 0 {
            debug!(expired, "deleted old events");
        }
    }
}

fn is_expired(event: &Value, now: Timestamp, ttl: SignedDuration) -> bool {
    let times = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
    let latest = times.iter().filter_map(|path| time::parse_rfc3339(event.pointer(path)?.as_str()?)).max();
    latest.is_none_or(|latest| now.duration_since(latest) > ttl)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_lives_from_its_last_occurrence() {
        let now = "2026-11-24T02:00:00Z".parse().unwrap();
        let ttl = SignedDuration::from_hours(1);
        let old = json!({"metadata": {"creationTimestamp": "2026-11-24T00:00:00Z"}});
        assert!(is_expired(&old, now, ttl));
        let recurring = json!({"metadata": {"creationTimestamp": "2026-11-24T00:00:00Z"}, "lastTimestamp": "2026-11-24T01:30:00Z"});
        assert!(!is_expired(&recurring, now, ttl));
    }
}
