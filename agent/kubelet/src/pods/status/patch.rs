//! From one status to the next. Enters: the status the API has and the one it should have. Leaves: a strategic
//! merge patch for the status subresource, or nothing.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

use super::conditions::OWNED;

/// The patch that turns `old` into `new`; `None` if they are equal.
///
/// Only fields that differ are sent, and of the conditions only the kubelet's own, so that writers of other
/// conditions are not overwritten. The UID makes the server refuse the patch for a namesake (409).
pub fn between(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let (old, new) = (object(old), object(new));
    let mut status = Map::new();
    for (key, value) in &new {
        match key.as_str() {
            "conditions" => {
                let changed = changed_conditions(old.get(key), value);
                if !changed.is_empty() {
                    status.insert(key.clone(), Value::Array(changed));
                }
            }
            // these merge by address: without the directive an old address would stay
            "podIPs" | "hostIPs" if old.get(key) != Some(value) => {
                let mut list = value.as_array().cloned().unwrap_or_default();
                if old.contains_key(key) {
                    list.insert(0, json!({"$patch": "replace"}));
                }
                status.insert(key.clone(), Value::Array(list));
            }
            _ if old.get(key) != Some(value) => {
                status.insert(key.clone(), value.clone());
            }
            _ => {}
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        status.insert(key.clone(), Value::Null);
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

fn object(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn changed_conditions(old: Option<&Value>, new: &Value) -> Vec<Value> {
    let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let new = new.as_array().map(Vec::as_slice).unwrap_or_default();
    let kind = |condition: &Value| condition["type"].as_str().unwrap_or_default().to_owned();
    let mine = new.iter().filter(|condition| OWNED.contains(&kind(condition).as_str()));
    mine.filter(|condition| !old.contains(condition))
        .map(|condition| {
            let previous = old.iter().find(|previous| kind(previous) == kind(condition));
            let mut changed = condition.clone();
            // a merge keeps what is not mentioned: say that reason and message are gone
            for key in ["reason", "message"] {
                if previous.is_some_and(|p| p.get(key).is_some()) && condition.get(key).is_none() {
                    changed[key] = Value::Null;
                }
            }
            changed
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn equal_statuses_need_no_patch() {
        let one = status(json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}));
        assert_eq!(between("u", &one, &one), None);
    }

    #[test]
    fn only_what_changed_is_sent() {
        let old = status(json!({
            "phase": "Pending", "message": "m", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                {"type": "PodScheduled", "status": "True"},
                {"type": "theirs", "status": "True"},
            ],
        }));
        let new = status(json!({
            "phase": "Running", "podIPs": [{"ip": "10.0.0.2"}],
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "PodScheduled", "status": "True"},
                {"type": "theirs", "status": "False"},
            ],
        }));
        let patch = between("u", &old, &new).unwrap();
        let expected = json!({"metadata": {"uid": "u"}, "status": {
            "phase": "Running",
            "message": null,
            "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null}],
        }});
        assert_eq!(patch, expected);
    }
}
