//! The kernel's numbers. Enters: requests and limits. Leaves: shares, quotas, weights, OOM scores.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::requests::{container_limits, container_requests, declared, pod_limits, pod_requests};
use super::{MAX_SHARES, MIN_SHARES, QUOTA_PERIOD_US, QosClass, qos_class};

const NODE_CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// What a pod's cgroup is set to; `None` leaves the kernel's default, which is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodResources {
    /// CPU shares, cgroup v1's scale.
    pub cpu_shares: u64,
    /// Microseconds of CPU per [`QUOTA_PERIOD_US`].
    pub cpu_quota: Option<i64>,
    /// Bytes.
    pub memory_limit: Option<i64>,
}

/// What a container's cgroup is set to, in the fields of CRI's LinuxContainerResources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerResources {
    /// CPU shares, cgroup v1's scale; the runtime converts them for v2.
    pub cpu_shares: i64,
    /// Microseconds, always [`QUOTA_PERIOD_US`].
    pub cpu_period: i64,
    /// Microseconds of CPU per period; 0 is no limit.
    pub cpu_quota: i64,
    /// Bytes; 0 is no limit.
    pub memory_limit_in_bytes: i64,
    /// -1000..1000.
    pub oom_score_adj: i64,
}

/// CPU shares for thousandths of a CPU (upstream's `MilliCPUToShares`).
pub fn milli_to_shares(milli: i64) -> u64 {
    if milli <= 0 {
        return MIN_SHARES;
    }
    (milli.unsigned_abs().saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// Microseconds of CPU per [`QUOTA_PERIOD_US`] for thousandths of a CPU, at least 1000; 0 for no limit.
pub fn milli_to_quota(milli: i64) -> i64 {
    if milli <= 0 {
        return 0;
    }
    (milli.saturating_mul(QUOTA_PERIOD_US as i64) / 1000).max(1000)
}

/// cgroup v2's `cpu.weight` for shares: the curve of runc 1.3.2 and later that maps 1024 to 100, or the older line.
pub fn shares_to_weight(shares: u64, linear: bool) -> u64 {
    let shares = shares.clamp(MIN_SHARES, MAX_SHARES);
    if linear {
        return 1 + ((shares - 2) * 9999) / 262_142;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// What the pod's own cgroup enforces (upstream's `ResourceConfigForPod`).
pub fn pod_resources(pod: &Pod) -> PodResources {
    let class = qos_class(pod);
    if class == QosClass::BestEffort {
        return PodResources { cpu_shares: MIN_SHARES, cpu_quota: None, memory_limit: None };
    }
    let (requests, limits) = (pod_requests(pod), pod_limits(pod));
    let mut declared = declared(pod);
    if class == QosClass::Guaranteed {
        (declared.cpu, declared.memory) = (true, true);
    }
    let quota = limits.get("cpu").map(|q| milli_to_quota(q.milli_value())).filter(|q| *q > 0);
    let memory = limits.get("memory").map(|q| q.value()).filter(|bytes| *bytes > 0);
    PodResources {
        cpu_shares: milli_to_shares(requests.get("cpu").map_or(0, |q| q.milli_value())),
        cpu_quota: quota.filter(|_| declared.cpu),
        memory_limit: memory.filter(|_| declared.memory),
    }
}

/// What one container's cgroup is set to; `memory_capacity` is the node's memory in bytes.
pub fn container_resources(pod: &Pod, container: &Container, memory_capacity: u64) -> ContainerResources {
    let (requests, limits) = (container_requests(container), container_limits(container));
    // A limit without a request asks for its limit, even where nobody defaulted the pod.
    let cpu_request = requests.get("cpu").or_else(|| limits.get("cpu"));
    ContainerResources {
        cpu_shares: milli_to_shares(cpu_request.map_or(0, |q| q.milli_value())) as i64,
        cpu_period: QUOTA_PERIOD_US as i64,
        cpu_quota: limits.get("cpu").map_or(0, |q| milli_to_quota(q.milli_value())),
        memory_limit_in_bytes: limits.get("memory").map_or(0, |q| q.value()),
        oom_score_adj: oom_score_adj(pod, container, memory_capacity),
    }
}

/// How readily the kernel kills the container's processes: -997 (hardly) to 1000 (first).
///
/// Upstream's `GetContainerOOMScoreAdjust`: Burstable containers by their share of `memory_capacity` (bytes); a
/// sidecar is never killed before the main containers.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: u64) -> i64 {
    let spec = pod.spec.as_ref();
    if spec.and_then(|s| s.priority).is_some_and(|p| p >= NODE_CRITICAL_PRIORITY) {
        return -997;
    }
    match qos_class(pod) {
        QosClass::Guaranteed => return -997,
        QosClass::BestEffort => return 1000,
        QosClass::Burstable => {}
    }
    let request = |c: &Container| container_requests(c).get("memory").map_or(0, |q| q.value());
    let score = |bytes: i64| {
        let capacity = i128::from(memory_capacity.max(1));
        i64::try_from(1000 - 1000 * i128::from(bytes) / capacity).unwrap_or(3)
    };
    let mut adjust = score(request(container));
    let inits = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    let sidecar =
        inits.iter().any(|c| c.name == container.name && c.restart_policy.as_deref() == Some("Always"));
    if sidecar && let Some(least) = spec.into_iter().flat_map(|s| &s.containers).map(request).min() {
        adjust = adjust.min(score(least));
    }
    match adjust {
        ..3 => 3,
        1000.. => 999,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn shares_and_quota_have_upstreams_numbers() {
        let shares =
            [(0, 2), (1, 2), (2, 2), (100, 102), (500, 512), (1000, 1024), (2000, 2048), (300_000, 262_144)];
        for (milli, want) in shares {
            assert_eq!(milli_to_shares(milli), want, "{milli}m");
        }
        for (milli, want) in
            [(0, 0), (1, 1000), (5, 1000), (10, 1000), (20, 2000), (200, 20_000), (1500, 150_000)]
        {
            assert_eq!(milli_to_quota(milli), want, "{milli}m");
        }
    }

    #[test]
    fn weights_of_both_scales() {
        for (shares, curve, line) in [(2, 1, 1), (1024, 100, 39), (262_144, 10_000, 10_000), (0, 1, 1)] {
            assert_eq!(shares_to_weight(shares, false), curve, "{shares}");
            assert_eq!(shares_to_weight(shares, true), line, "{shares}");
        }
    }

    #[test]
    fn pod_limits_hold_only_when_every_container_has_one() {
        let limited = json!({"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}, "limits": {"cpu": "200m", "memory": "2Mi"}}});
        let open = json!({"name": "b", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}});
        let alone = pod_resources(&pod(json!({"containers": [limited]})));
        assert_eq!(
            alone,
            PodResources { cpu_shares: 102, cpu_quota: Some(20_000), memory_limit: Some(2 << 20) }
        );
        let mixed = pod_resources(&pod(json!({"containers": [limited, open]})));
        assert_eq!(mixed, PodResources { cpu_shares: 204, cpu_quota: Some(120_000), memory_limit: None });
        let nothing = pod_resources(&pod(json!({"containers": [{"name": "c"}]})));
        assert_eq!(nothing, PodResources { cpu_shares: 2, cpu_quota: None, memory_limit: None });
    }

    #[test]
    fn oom_scores_have_upstreams_numbers() {
        let of = |request: &str| {
            let pod =
                pod(json!({"containers": [{"name": "c", "resources": {"requests": {"memory": request}}}]}));
            let container = pod.spec.as_ref().unwrap().containers[0].clone();
            oom_score_adj(&pod, &container, 8_000_000_000)
        };
        assert_eq!(of("4000000000"), 500);
        assert_eq!(of("8000000000"), 3);
        assert_eq!(of("100"), 999);
        let plain = pod(json!({"containers": [{"name": "c"}]}));
        assert_eq!(oom_score_adj(&plain, &plain.spec.as_ref().unwrap().containers[0], 1), 1000);
        let critical = pod(json!({"priority": 2_000_001_000, "containers": [{"name": "c"}]}));
        assert_eq!(oom_score_adj(&critical, &critical.spec.as_ref().unwrap().containers[0], 1), -997);
    }

    #[test]
    fn a_sidecar_outlives_the_main_containers() {
        let pod = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"memory": "500"}}}],
            "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": {"requests": {"memory": "100"}}}]}));
        let sidecar = pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0].clone();
        assert_eq!(oom_score_adj(&pod, &sidecar, 1000), 500);
    }
}
