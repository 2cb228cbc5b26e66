//! Usage for `/stats/summary`: cgroup files read when asked. Enters: the pods. Leaves: the summary.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use xebec_host::cgroups::{Cgroups, Usage};
use xebec_host::qos::qos_class;
use xebec_kubelet::{PodRegistry, PodView};
use xebec_kubelet_serve::SourceError;
use xebec_kubelet_serve::stats::{
    ContainerStats, CpuStats, MemoryStats, NodeStats, PodReference, PodStats, Summary,
};

/// Node, pods and containers as they are now.
pub(crate) fn summary(
    node_name: &str,
    registry: &PodRegistry,
    cgroups: &Cgroups,
) -> Result<Summary, SourceError> {
    let now = Time(Timestamp::now());
    let node = cgroups.usage("/");
    let pods = registry.all();
    Ok(Summary {
        node: NodeStats {
            node_name: node_name.to_owned(),
            start_time: boot_time()?,
            cpu: node.map(|usage| cpu(&usage, &now)),
            memory: node.map(|usage| memory(&usage, &now)),
            network: None,
            fs: None,
            runtime: None,
        },
        pods: pods.iter().filter_map(|view| pod(view, cgroups, &now)).collect(),
    })
}

fn pod(view: &PodView, cgroups: &Cgroups, now: &Time) -> Option<PodStats> {
    let metadata = &view.pod.metadata;
    let uid = metadata.uid.clone()?;
    let path = cgroups.pod_path(qos_class(&view.pod), &uid);
    let usage = cgroups.usage(&path)?;
    let running = view.observed.containers.iter().filter(|instance| instance.running());
    let containers = running.filter_map(|instance| {
        let usage = cgroups.usage(&format!("{path}/{}", instance.id))?;
        Some(ContainerStats {
            name: instance.name.clone(),
            start_time: instance.created_at.map(Time)?,
            cpu: Some(cpu(&usage, now)),
            memory: Some(memory(&usage, now)),
            rootfs: None,
            logs: None,
        })
    });
    Some(PodStats {
        pod_ref: PodReference {
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            uid,
        },
        start_time: view.pod.status.as_ref().and_then(|status| status.start_time.clone())?,
        containers: containers.collect(),
        cpu: Some(cpu(&usage, now)),
        memory: Some(memory(&usage, now)),
        network: None,
        ephemeral_storage: None,
    })
}

fn cpu(usage: &Usage, now: &Time) -> CpuStats {
    CpuStats { time: now.clone(), usage_nano_cores: None, usage_core_nano_seconds: usage.cpu_nanos }
}

fn memory(usage: &Usage, now: &Time) -> MemoryStats {
    let available =
        usage.memory_limit.zip(usage.memory_working_set).map(|(limit, used)| limit.saturating_sub(used));
    MemoryStats {
        time: now.clone(),
        available_bytes: available,
        usage_bytes: usage.memory_usage,
        working_set_bytes: usage.memory_working_set,
        rss_bytes: usage.memory_rss,
        page_faults: usage.page_faults,
        major_page_faults: usage.major_page_faults,
    }
}

/// When the kernel started: `btime` of /proc/stat, seconds since 1970.
fn boot_time() -> Result<Time, SourceError> {
    let text =
        std::fs::read_to_string("/proc/stat").map_err(|error| SourceError(format!("/proc/stat: {error}")))?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(Time).ok_or_else(|| SourceError("/proc/stat has no btime".to_owned()))
}
