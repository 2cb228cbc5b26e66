//! DefaultTolerationSeconds: pods stay five minutes on a node that went away. Pure.

use serde_json::{Value, json};

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Adds the two tolerations where the pod says nothing about them.
pub(super) fn default_tolerations(pod: &mut Value) {
    if !pod["spec"].is_object() {
        return;
    }
    let tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let tolerates = |key: &str| {
        tolerations.iter().any(|t| {
            let (tkey, effect) = (t["key"].as_str().unwrap_or(""), t["effect"].as_str().unwrap_or(""));
            (tkey == key || tkey.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        })
    };
    let mut all = tolerations.clone();
    for key in KEYS {
        if !tolerates(key) {
            all.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
    if all.len() != tolerations.len() {
        pod["spec"]["tolerations"] = Value::Array(all);
    }
}

/// On an update the tolerations added at creation must not get lost when a client sends the pod as it first wrote it.
pub(super) fn default_tolerations_on_update(pod: &mut Value, old: Option<&Value>) {
    if old.is_some() {
        default_tolerations(pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_what_is_not_tolerated() {
        let mut pod = json!({"spec": {"tolerations": [{"key": KEYS[0], "operator": "Exists"}]}});
        default_tolerations(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(pod["spec"]["tolerations"][1]["key"], KEYS[1]);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        default_tolerations(&mut all);
        assert_eq!(all["spec"]["tolerations"].as_array().unwrap().len(), 1);
    }
}
