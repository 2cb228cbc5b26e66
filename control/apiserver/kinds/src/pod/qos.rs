//! The quality-of-service class of a pod.
//!
//! Authority: upstream's ComputePodQOS: only cpu and memory count, zero amounts do not.

use std::collections::BTreeMap;

use serde_json::Value;
use xebec_api::quantity::Quantity;

use crate::shared::access::{at, entries, has, list};
use crate::shared::quantities::parse;

/// `Guaranteed`, `Burstable` or `BestEffort` of a pod's spec.
pub fn class(spec: &Value) -> &'static str {
    if has(spec, &["resources"]) {
        let (requests, limits) =
            (amounts(spec, &["resources", "requests"]), amounts(spec, &["resources", "limits"]));
        return classify(&[(requests, limits)]);
    }
    let containers = list(spec, &["containers"]).iter().chain(list(spec, &["initContainers"]));
    let all: Vec<_> = containers
        .map(|c| (amounts(c, &["resources", "requests"]), amounts(c, &["resources", "limits"])))
        .collect();
    classify(&all)
}

type Amounts = BTreeMap<String, Quantity>;

fn amounts(holder: &Value, path: &[&str]) -> Amounts {
    entries(holder, path)
        .filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"))
        .filter_map(|(name, value)| Some((name.clone(), parse(value)?)))
        .filter(|(_, quantity)| !quantity.is_zero())
        .collect()
}

fn classify(all: &[(Amounts, Amounts)]) -> &'static str {
    if all.iter().all(|(requests, limits)| requests.is_empty() && limits.is_empty()) {
        return "BestEffort";
    }
    let guaranteed = all.iter().all(|(requests, limits)| {
        limits.len() == 2 && (requests.is_empty() || requests.iter().all(|(k, v)| limits.get(k) == Some(v)))
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// The class of a whole pod: the one in its status when it has one, since the class never changes.
pub fn of_pod(pod: &Value) -> &str {
    match at(pod, &["status", "qosClass"]).as_str() {
        Some(class) if !class.is_empty() => class,
        _ => class(at(pod, &["spec"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_follow_requests_and_limits() {
        let spec = |resources: Value| json!({"containers": [{"resources": resources}]});
        assert_eq!(class(&spec(json!({}))), "BestEffort");
        assert_eq!(class(&spec(json!({"requests": {"cpu": "0"}}))), "BestEffort");
        assert_eq!(class(&spec(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let both =
            json!({"requests": {"cpu": "1000m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(class(&spec(both.clone())), "Guaranteed");
        let mixed = json!({"containers": [{"resources": both}, {"resources": {}}]});
        assert_eq!(class(&mixed), "Burstable");
        assert_eq!(class(&spec(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}))), "Burstable");
    }
}
