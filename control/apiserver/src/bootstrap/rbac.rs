//! Roles and bindings of an older release get what a newer one adds; what operators added stays. Pure.

use serde_json::Value;
use xebec_identity::bootstrap::AUTOUPDATE;

/// The present role or binding with the rules and subjects it lacks.
pub fn extended(old: &Value, wanted: &Value) -> Value {
    let mut new = old.clone();
    let automatic = old["metadata"]["annotations"][AUTOUPDATE] != "false";
    if !automatic || old["aggregationRule"].is_object() {
        return new;
    }
    for list in ["rules", "subjects"] {
        let Some(required) = wanted[list].as_array() else { continue };
        let mut present = old[list].as_array().cloned().unwrap_or_default();
        let missing: Vec<Value> = required.iter().filter(|item| !present.contains(item)).cloned().collect();
        if !missing.is_empty() {
            present.extend(missing);
            new[list] = Value::Array(present);
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn adds_and_never_takes() {
        let old = json!({"metadata": {}, "rules": [{"verbs": ["own"]}]});
        let wanted = json!({"rules": [{"verbs": ["get"]}]});
        assert_eq!(extended(&old, &wanted)["rules"], json!([{"verbs": ["own"]}, {"verbs": ["get"]}]));
        let frozen = json!({"metadata": {"annotations": {AUTOUPDATE: "false"}}, "rules": []});
        assert_eq!(extended(&frozen, &wanted), frozen);
    }
}
