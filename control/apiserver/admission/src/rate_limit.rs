//! EventRateLimit: events per second, for the server, a namespace, a user, or a source and its object.
//!
//! Enters: new Events. Leaves: 429 once a bucket is empty. The buckets are the only state a plug-in keeps; each limit
//! remembers `cache_size` of them, the least recently used goes first. Authority: plugin/pkg/admission/eventratelimit.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::Value;
use xebec_api::gotext::aggregate;
use xebec_api::meta;
use xebec_api::status::ApiError;

use crate::{Call, Operation};

/// What a bucket is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// One for all.
    Server,
    /// One per namespace.
    Namespace,
    /// One per user.
    User,
    /// One per event source and the object it is about.
    SourceAndObject,
}

impl LimitKind {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Namespace => "Namespace",
            Self::User => "User",
            Self::SourceAndObject => "SourceAndObject",
        }
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// One limit of the configuration, with its buckets.
#[derive(Debug)]
pub struct EventLimit {
    kind: LimitKind,
    qps: f64,
    burst: f64,
    cache_size: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl EventLimit {
    /// A limit: `qps` events a second, `burst` at once, buckets for `cache_size` keys.
    pub fn new(kind: LimitKind, qps: u32, burst: u32, cache_size: usize) -> Self {
        let cache_size = if kind == LimitKind::Server { 1 } else { cache_size.max(1) };
        Self { kind, qps: f64::from(qps), burst: f64::from(burst), cache_size, buckets: Mutex::default() }
    }

    fn key(&self, call: &Call<'_>, event: &Value) -> String {
        let text = |at: &str| meta::str_at(event, at);
        match self.kind {
            LimitKind::Server => String::new(),
            LimitKind::Namespace => call.request.namespace.to_owned(),
            LimitKind::User => call.request.user.name.clone(),
            LimitKind::SourceAndObject => [
                text("/source/component"),
                text("/source/host"),
                text("/involvedObject/kind"),
                text("/involvedObject/namespace"),
                text("/involvedObject/name"),
                text("/involvedObject/uid"),
                text("/involvedObject/apiVersion"),
            ]
            .concat(),
        }
    }

    fn takes(&self, key: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(key) && buckets.len() >= self.cache_size {
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.filled).map(|(key, _)| key.clone());
            oldest.map(|key| buckets.remove(&key));
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { tokens: self.burst, filled: now });
        let elapsed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * self.qps).min(self.burst);
        bucket.filled = now;
        let takes = bucket.tokens >= 1.0;
        if takes {
            bucket.tokens -= 1.0;
        }
        takes
    }
}

/// 429 for an Event that comes too soon. Every limit counts it, refused or not.
pub(crate) fn validate(call: &Call<'_>, event: &Value) -> Result<(), ApiError> {
    let request = &call.request;
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !request.is("", "events", "") || !writes || request.dry_run {
        return Ok(());
    }
    let now = Instant::now();
    let mut reached = Vec::new();
    for limit in &call.config.event_limits {
        let key = limit.key(call, event);
        if !limit.takes(&key, now) {
            reached.push(format!("limit reached on type {} for key {key}", limit.kind.as_str()));
        }
    }
    if reached.is_empty() {
        return Ok(());
    }
    Err(ApiError::too_many_requests(aggregate(reached), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_namespace_that_talks_too_much() {
        let mut world = World::default();
        world.config.event_limits = vec![EventLimit::new(LimitKind::Namespace, 1, 2, 10)];
        let send = |namespace: &'static str| {
            let call = world.call(request(Operation::Create, "", "events", namespace, "e"), None);
            validate(&call, &json!({})).map_err(|error| (error.code, error.message))
        };
        assert_eq!((send("a"), send("a")), (Ok(()), Ok(())));
        assert_eq!(send("a"), Err((429, "limit reached on type Namespace for key a".to_owned())));
        assert_eq!(send("b"), Ok(()));
    }

    #[test]
    fn buckets_fill_and_are_bounded() {
        let limit = EventLimit::new(LimitKind::User, 2, 1, 2);
        let start = Instant::now();
        assert!(limit.takes("a", start) && !limit.takes("a", start));
        assert!(limit.takes("a", start + Duration::from_millis(500)));
        let later = start + Duration::from_secs(1);
        assert!(limit.takes("b", later) && limit.takes("c", later));
        assert_eq!(limit.buckets.lock().len(), 2);
    }
}
