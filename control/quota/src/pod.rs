//! What a pod asks for as a whole: requests, limits, quality of service.
//!
//! Authority: k8s.io/component-helpers/resource (PodRequests, PodLimits) and pkg/apis/core/v1/helper/qos.

use serde_json::Value;
use xebec_api::meta;

use crate::ResourceList;

/// Whether a pod-level `spec.resources` may name this resource.
fn pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Whether the pod sets resources as a whole, so that its containers need not.
pub fn has_pod_level_resources(pod: &Value) -> bool {
    ["/spec/resources/requests", "/spec/resources/limits"]
        .iter()
        .any(|at| ResourceList::at(pod, at).iter().any(|(name, _)| pod_level(name)))
}

fn resize_infeasible(pod: &Value) -> bool {
    meta::list_at(pod, "/status/conditions")
        .iter()
        .any(|c| c["type"] == "PodResizePending" && c["status"] == "True" && c["reason"] == "Infeasible")
}

/// What one container holds or asks for: the larger of its spec and what the kubelet has given it, while a resize is
/// under way; what it has been given alone, when the resize cannot be done.
fn container_amounts(pod: &Value, container: &Value, part: &str) -> ResourceList {
    let wanted = ResourceList::from_value(&container["resources"][part]);
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let mut all = statuses.iter().flat_map(|at| meta::list_at(pod, at));
    let Some(status) = all.find(|s| s["name"] == container["name"] && s["resources"].is_object()) else {
        return wanted;
    };
    let mut held = ResourceList::from_value(&status["resources"][part]);
    if part == "requests" {
        held.max(&ResourceList::from_value(&status["allocatedResources"]));
    }
    if !resize_infeasible(pod) {
        held.max(&wanted);
    }
    held
}

/// Sums containers; init containers count by the highest moment, sidecars from their start to the end.
fn aggregate(pod: &Value, part: &str, of: impl Fn(&Value) -> ResourceList) -> ResourceList {
    let mut total = ResourceList::new();
    for container in meta::list_at(pod, "/spec/containers") {
        total.add(&of(container));
    }
    let (mut sidecars, mut starting) = (ResourceList::new(), ResourceList::new());
    for container in meta::list_at(pod, "/spec/initContainers") {
        let own = of(container);
        if container["restartPolicy"] == "Always" {
            total.add(&own);
            sidecars.add(&own);
            starting.max(&sidecars);
        } else {
            let mut moment = own;
            moment.add(&sidecars);
            starting.max(&moment);
        }
    }
    total.max(&starting);
    for (name, amount) in ResourceList::at(pod, &format!("/spec/resources/{part}")).iter() {
        if pod_level(name) {
            total.set(name, amount);
        }
    }
    total
}

/// What the spec alone says, `requests` or `limits`, without overhead.
pub fn wanted(pod: &Value, part: &str) -> ResourceList {
    aggregate(pod, part, |container| ResourceList::from_value(&container["resources"][part]))
}

/// The pod's requests, overhead included.
pub fn requests(pod: &Value) -> ResourceList {
    let mut total = aggregate(pod, "requests", |container| container_amounts(pod, container, "requests"));
    total.add(&ResourceList::at(pod, "/spec/overhead"));
    total
}

/// The pod's limits; overhead is added where there is a limit.
pub fn limits(pod: &Value) -> ResourceList {
    let mut total = aggregate(pod, "limits", |container| container_amounts(pod, container, "limits"));
    for (name, amount) in ResourceList::at(pod, "/spec/overhead").iter() {
        if total.get(name).is_some_and(|limit| !limit.is_zero()) {
            total.increase(name, amount);
        }
    }
    total
}

/// Whether the pod's quality of service is BestEffort: no request and no limit of cpu or memory anywhere.
pub fn is_best_effort(pod: &Value) -> bool {
    let class = meta::str_at(pod, "/status/qosClass");
    if !class.is_empty() {
        return class == "BestEffort";
    }
    let counts = |resources: &Value| {
        ["requests", "limits"].iter().any(|part| {
            let list = ResourceList::from_value(&resources[*part]);
            list.iter().any(|(name, amount)| matches!(name, "cpu" | "memory") && amount.sign() > 0)
        })
    };
    if has_pod_level_resources(pod) {
        return !counts(&pod["spec"]["resources"]);
    }
    let lists = ["/spec/containers", "/spec/initContainers"];
    !lists.iter().flat_map(|at| meta::list_at(pod, at)).any(|container| counts(&container["resources"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_containers_and_sidecars() {
        let ask = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let pod = json!({"spec": {
            "overhead": {"cpu": "10m", "memory": "1Mi"},
            "containers": [{"name": "a", "resources": ask("100m")}, {"name": "b", "resources": ask("200m")}],
            "initContainers": [
                {"name": "i", "resources": ask("150m")},
                {"name": "s", "restartPolicy": "Always", "resources": ask("50m")},
                {"name": "j", "resources": ask("400m")},
            ],
        }});
        // Starting: 150m, then 50m, then 400m + 50m; running: 300m + 50m.
        assert_eq!(requests(&pod).to_string(), "cpu=460m,memory=1Mi");
        assert_eq!(limits(&pod).to_string(), "cpu=460m", "no limit, no overhead on it");
    }

    #[test]
    fn pod_level_resources_replace_the_sum() {
        let pod = json!({"spec": {
            "resources": {"requests": {"cpu": "1", "hugepages-2Mi": "2Mi", "example.com/x": "9"}},
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}}],
        }});
        assert_eq!(requests(&pod).to_string(), "cpu=1,hugepages-2Mi=2Mi,memory=1Mi");
        assert!(has_pod_level_resources(&pod) && !is_best_effort(&pod));
    }

    #[test]
    fn a_resize_under_way_counts_the_larger() {
        let mut pod = json!({
            "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"containerStatuses": [{"name": "a", "resources": {"requests": {"cpu": "200m"}},
                "allocatedResources": {"cpu": "300m"}}]},
        });
        assert_eq!(requests(&pod).to_string(), "cpu=300m");
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("900m");
        assert_eq!(requests(&pod).to_string(), "cpu=900m");
        pod["status"]["conditions"] =
            json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
        assert_eq!(requests(&pod).to_string(), "cpu=300m");
    }

    #[test]
    fn best_effort() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        assert!(is_best_effort(&pod(json!({}))));
        assert!(is_best_effort(&pod(json!({"requests": {"ephemeral-storage": "1Gi", "cpu": "0"}}))));
        assert!(!is_best_effort(&pod(json!({"limits": {"memory": "1Gi"}}))));
    }
}
