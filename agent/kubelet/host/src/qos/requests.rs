//! What a pod asks for. Enters: its specification. Leaves: summed requests and limits (upstream's `PodRequests`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use xebec_api::quantity::Quantity;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// Which limits every container of a pod declares; only those can be enforced on the whole pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Every container has a CPU limit.
    pub cpu: bool,
    /// Every container has a memory limit.
    pub memory: bool,
}

/// Reads a resource list; an amount that does not parse (the API server refuses those) counts as absent.
pub fn amounts(list: Option<&BTreeMap<String, Text>>) -> Amounts {
    let parsed = |(name, text): (&String, &Text)| Some((name.clone(), Quantity::parse(&text.0).ok()?));
    list.into_iter().flatten().filter_map(parsed).collect()
}

/// A container's requests.
pub fn container_requests(container: &Container) -> Amounts {
    amounts(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

/// A container's limits.
pub fn container_limits(container: &Container) -> Amounts {
    amounts(container.resources.as_ref().and_then(|r| r.limits.as_ref()))
}

fn add(into: &mut Amounts, from: &Amounts) {
    for (name, quantity) in from {
        *into.entry(name.clone()).or_default() += *quantity;
    }
}

fn max(into: &mut Amounts, from: &Amounts) {
    for (name, quantity) in from {
        let held = into.entry(name.clone()).or_default();
        *held = (*held).max(*quantity);
    }
}

/// Main containers and sidecars run together; an init container runs beside the sidecars before it only.
fn aggregate(spec: &PodSpec, of: fn(&Container) -> Amounts) -> Amounts {
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, &of(container));
    }
    let (mut sidecars, mut init_peak) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut now = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &now);
            add(&mut sidecars, &now);
            now.clone_from(&sidecars);
        } else {
            add(&mut now, &sidecars);
        }
        max(&mut init_peak, &now);
    }
    max(&mut total, &init_peak);
    total
}

/// Resources that may be given for a pod as a whole (KEP-2837).
fn pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What the pod requests in all, with its overhead.
pub fn pod_requests(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut total = aggregate(spec, container_requests);
    if let Some(resources) = &spec.resources {
        let whole = amounts(resources.requests.as_ref());
        total.extend(whole.into_iter().filter(|(name, _)| pod_level(name)));
    }
    add(&mut total, &amounts(spec.overhead.as_ref()));
    total
}

/// What the pod may use in all, with its overhead added to the limits there are.
pub fn pod_limits(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut total = aggregate(spec, container_limits);
    if let Some(resources) = &spec.resources {
        let whole = amounts(resources.limits.as_ref());
        total.extend(whole.into_iter().filter(|(name, _)| pod_level(name)));
    }
    for (name, quantity) in amounts(spec.overhead.as_ref()) {
        if let Some(limit) = total.get_mut(&name).filter(|limit| !limit.is_zero()) {
            *limit += quantity;
        }
    }
    total
}

/// Which limits hold for the pod as a whole.
pub(super) fn declared(pod: &Pod) -> Declared {
    let Some(spec) = &pod.spec else { return Declared { cpu: false, memory: false } };
    let whole = amounts(spec.resources.as_ref().and_then(|r| r.limits.as_ref()));
    let every = |resource: &str| {
        let positive = |list: &Amounts| list.get(resource).is_some_and(|q| !q.is_zero());
        let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
        positive(&whole) || all.all(|c| positive(&container_limits(c)))
    };
    Declared { cpu: every("cpu"), memory: every("memory") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(cpu: &str, always: bool) -> serde_json::Value {
        let mut value = json!({"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}});
        if always {
            value["restartPolicy"] = json!("Always");
        }
        value
    }

    fn cpu(containers: &[(&str, bool)], inits: &[(&str, bool)], overhead: &str) -> i64 {
        let list =
            |of: &[(&str, bool)]| of.iter().map(|(c, always)| container(c, *always)).collect::<Vec<_>>();
        let pod = json!({"spec": {"containers": list(containers), "initContainers": list(inits), "overhead": {"cpu": overhead}}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(pod_requests(&pod)["cpu"], pod_limits(&pod)["cpu"]);
        pod_requests(&pod)["cpu"].milli_value()
    }

    #[test]
    fn sums_follow_the_order_of_init_containers() {
        assert_eq!(cpu(&[("1", false), ("2", false)], &[], "0"), 3000);
        assert_eq!(cpu(&[("1", false)], &[("5", false), ("2", false)], "0"), 5000);
        // A sidecar counts beside the main container, and beside later init containers only.
        assert_eq!(cpu(&[("1", false)], &[("2", true)], "0"), 3000);
        assert_eq!(cpu(&[("1", false)], &[("4", false), ("2", true)], "0"), 4000);
        assert_eq!(cpu(&[("1", false)], &[("2", true), ("4", false)], "0"), 6000);
        assert_eq!(cpu(&[("1", false)], &[("2", true), ("4", false)], "250m"), 6250);
    }

    #[test]
    fn overhead_raises_only_limits_that_exist() {
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}],
            "overhead": {"cpu": "100m", "memory": "1Mi"}}});
        let limits = pod_limits(&serde_json::from_value(pod).unwrap());
        assert_eq!(limits["cpu"].milli_value(), 1100);
        assert!(!limits.contains_key("memory"));
    }
}
