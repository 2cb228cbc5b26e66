//! TaintNodesByCondition: a new node takes no pods until it is known to be ready. Pure.

use serde_json::{Value, json};

/// Adds the not-ready taint.
pub(super) fn taint_new(node: &mut Value) {
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    if !node["spec"].is_object() {
        node["spec"] = json!({});
    }
    let taints = &mut node["spec"]["taints"];
    if !taints.is_array() {
        *taints = json!([]);
    }
    if let Some(taints) = taints.as_array_mut() {
        let same = |t: &Value| t["key"] == taint["key"] && t["effect"] == taint["effect"];
        if !taints.iter().any(same) {
            taints.push(taint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once() {
        let mut node = json!({"metadata": {"name": "n"}});
        taint_new(&mut node);
        taint_new(&mut node);
        assert_eq!(
            node["spec"]["taints"],
            json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
        );
    }
}
