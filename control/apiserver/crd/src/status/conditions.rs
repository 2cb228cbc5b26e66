//! Conditions of a definition.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_kinds::shared::access::{list, set, text};

/// A condition to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Established`
    pub kind: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// A word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Condition {
    /// A condition.
    pub fn new(
        kind: &'static str,
        status: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    /// Whether the definition says the same already.
    pub fn is_set(&self, crd: &Value) -> bool {
        find(crd, self.kind).is_some_and(|found| {
            text(found, &["status"]) == self.status
                && text(found, &["reason"]) == self.reason
                && text(found, &["message"]) == self.message
        })
    }

    /// Sets the condition; the time of transition moves with the status alone.
    pub fn set(&self, crd: &mut Value, now: Timestamp) {
        let now = xebec_api::time::format_rfc3339_seconds(now);
        let since = find(crd, self.kind)
            .filter(|found| text(found, &["status"]) == self.status)
            .and_then(|found| found["lastTransitionTime"].as_str())
            .map_or(now, str::to_owned);
        let new = json!({
            "type": self.kind, "status": self.status, "reason": self.reason, "message": self.message,
            "lastTransitionTime": since,
        });
        let mut all = list(crd, &["status", "conditions"]).to_vec();
        match all.iter_mut().find(|condition| text(condition, &["type"]) == self.kind) {
            Some(found) => *found = new,
            None => all.push(new),
        }
        set(crd, &["status", "conditions"], Value::Array(all));
    }
}

/// Removes a condition.
pub(super) fn clear(crd: &mut Value, kind: &str) {
    let kept: Vec<Value> = list(crd, &["status", "conditions"])
        .iter()
        .filter(|condition| text(condition, &["type"]) != kind)
        .cloned()
        .collect();
    set(crd, &["status", "conditions"], Value::Array(kept));
}

/// The condition of that type.
pub(super) fn find<'a>(crd: &'a Value, kind: &str) -> Option<&'a Value> {
    list(crd, &["status", "conditions"]).iter().find(|condition| text(condition, &["type"]) == kind)
}

/// Whether a condition is true.
pub fn is_true(crd: &Value, kind: &str) -> bool {
    find(crd, kind).is_some_and(|condition| text(condition, &["status"]) == "True")
}
