//! The `Dangling` condition of FlowSchemas: whether their level exists. Pure.
//!
//! Enters: a schema, whether its level exists, the time. Leaves: the condition to write. Called by the API server's
//! keeper of these objects.

use serde_json::Value;

/// What the `Dangling` condition of a FlowSchema says; none when it says so already.
#[must_use]
pub fn dangling(schema: &Value, exists: bool, now: &str) -> Option<Value> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let (status, reason, message) = if exists {
        let text = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"
        );
        ("False", "Found", text)
    } else {
        let text = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} but there is no such object"
        );
        ("True", "NotFound", text)
    };
    let conditions = schema["status"]["conditions"].as_array();
    let present = conditions.into_iter().flatten().find(|condition| condition["type"] == "Dangling");
    if present.is_some_and(|present| {
        present["status"] == status && present["reason"] == reason && present["message"] == message.as_str()
    }) {
        return None;
    }
    let since =
        present.filter(|present| present["status"] == status).map(|present| &present["lastTransitionTime"]);
    Some(serde_json::json!({
        "type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.cloned().unwrap_or_else(|| now.into()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_without_a_level_dangles() {
        let mut schema = json!({"spec": {"priorityLevelConfiguration": {"name": "x"}}});
        let condition = dangling(&schema, false, "2026-11-25T00:00:00Z").unwrap();
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("NotFound")));
        schema["status"] = json!({"conditions": [condition]});
        assert!(dangling(&schema, false, "2026-11-25T00:00:01Z").is_none());
        let found = dangling(&schema, true, "2026-11-25T00:00:01Z").unwrap();
        assert_eq!(found["lastTransitionTime"], "2026-11-25T00:00:01Z");
    }
}
