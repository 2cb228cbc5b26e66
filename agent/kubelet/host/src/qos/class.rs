//! The QoS class of a pod. Enters: its specification. Leaves: one of three classes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use xebec_api::quantity::Quantity;

use super::requests::{Amounts, amounts};

/// How well a pod is kept when the node runs short (pod-qos in upstream's documentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QosClass {
    /// Every container's limits equal its requests.
    Guaranteed,
    /// Something is requested.
    Burstable,
    /// Nothing is requested.
    BestEffort,
}

impl QosClass {
    /// The name used in `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Sums of positive cpu and memory amounts, and whether every part set both limits.
#[derive(Default)]
struct Sums {
    requests: Amounts,
    limits: Amounts,
    incomplete: bool,
}

impl Sums {
    fn add(&mut self, resources: Option<&ResourceRequirements>) {
        let requests = amounts(resources.and_then(|r| r.requests.as_ref()));
        let limits = amounts(resources.and_then(|r| r.limits.as_ref()));
        collect(&mut self.requests, &requests);
        let set = collect(&mut self.limits, &limits);
        self.incomplete |= set.len() < 2;
    }

    fn class(&self) -> QosClass {
        if self.requests.is_empty() && self.limits.is_empty() {
            return QosClass::BestEffort;
        }
        if !self.incomplete && self.requests == self.limits {
            return QosClass::Guaranteed;
        }
        QosClass::Burstable
    }
}

fn collect<'a>(into: &mut Amounts, from: &'a BTreeMap<String, Quantity>) -> BTreeSet<&'a str> {
    let wanted = from.iter().filter(|(name, q)| matches!(name.as_str(), "cpu" | "memory") && q.sign() > 0);
    wanted
        .map(|(name, quantity)| {
            *into.entry(name.clone()).or_default() += *quantity;
            name.as_str()
        })
        .collect()
}

/// The QoS class of a pod, from its specification alone (upstream's `ComputePodQOS`).
///
/// Pod-level resources, where given, decide instead of the containers' (KEP-2837).
pub fn qos_class(pod: &Pod) -> QosClass {
    let Some(spec) = &pod.spec else { return QosClass::BestEffort };
    let mut sums = Sums::default();
    if let Some(resources) = &spec.resources
        && (resources.requests.is_some() || resources.limits.is_some())
    {
        sums.add(Some(resources));
        return sums.class();
    }
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        sums.add(container.resources.as_ref());
    }
    sums.class()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(containers: serde_json::Value, inits: serde_json::Value) -> QosClass {
        let pod = json!({"spec": {"containers": containers, "initContainers": inits}});
        qos_class(&serde_json::from_value(pod).unwrap())
    }

    fn with(requests: serde_json::Value, limits: serde_json::Value) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        let both = json!({"cpu": "100m", "memory": "64Mi"});
        assert_eq!(class(json!([{"name": "c"}]), json!([])), QosClass::BestEffort);
        assert_eq!(class(json!([with(both.clone(), both.clone())]), json!([])), QosClass::Guaranteed);
        // Defaulting gives requests from limits at the API server; without that the class is Burstable.
        assert_eq!(class(json!([with(json!({}), both.clone())]), json!([])), QosClass::Burstable);
        assert_eq!(class(json!([with(json!({"cpu": "100m"}), json!({}))]), json!([])), QosClass::Burstable);
        assert_eq!(
            class(json!([with(both.clone(), both.clone()), {"name": "d"}]), json!([])),
            QosClass::Burstable
        );
        assert_eq!(
            class(json!([with(both.clone(), both.clone())]), json!([{"name": "i"}])),
            QosClass::Burstable
        );
        let other = json!({"cpu": "0.1", "memory": "65536Ki"});
        assert_eq!(class(json!([with(other, both)]), json!([])), QosClass::Guaranteed);
        assert_eq!(class(json!([with(json!({"cpu": "0"}), json!({}))]), json!([])), QosClass::BestEffort);
        let disk = json!({"ephemeral-storage": "1Gi"});
        assert_eq!(class(json!([with(disk.clone(), disk)]), json!([])), QosClass::BestEffort);
    }

    #[test]
    fn pod_level_resources_decide() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let pod =
            json!({"spec": {"containers": [{"name": "c"}], "resources": {"requests": both, "limits": both}}});
        assert_eq!(qos_class(&serde_json::from_value(pod).unwrap()), QosClass::Guaranteed);
    }
}
