//! Usage in the Prometheus text format, as `/metrics/resource` has it upstream. Enters: the summary. Leaves: text.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Summary;
use crate::metrics::escape;

/// One metric's samples: labels, value, milliseconds of the measurement.
type Samples = Vec<(String, f64, Option<i64>)>;

/// The page; only `scrape_error 1` tells that usage could not be read.
pub(crate) fn resource_metrics(summary: Option<&Summary>) -> String {
    let mut out = String::new();
    let error = if summary.is_some() { 0.0 } else { 1.0 };
    if let Some(summary) = summary {
        containers(&mut out, summary);
        node(&mut out, summary);
        pods(&mut out, summary);
    }
    let help = "1 if there was an error while getting resource metrics, 0 otherwise";
    family(&mut out, "resource_scrape_error", "gauge", help, &vec![(String::new(), error, None)]);
    out
}

fn containers(out: &mut String, summary: &Summary) {
    let (mut cpu, mut memory, mut start) = (Samples::new(), Samples::new(), Samples::new());
    for pod in &summary.pods {
        for container in &pod.containers {
            let labels = format!(
                "{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}}",
                escape(&container.name),
                escape(&pod.pod_ref.namespace),
                escape(&pod.pod_ref.name)
            );
            if let Some((used, at)) =
                container.cpu.as_ref().and_then(|c| Some((c.usage_core_nano_seconds?, &c.time)))
            {
                cpu.push((labels.clone(), seconds(used), Some(millis(at))));
            }
            if let Some((used, at)) =
                container.memory.as_ref().and_then(|m| Some((m.working_set_bytes?, &m.time)))
            {
                memory.push((labels.clone(), used as f64, Some(millis(at))));
            }
            start.push((labels, container.start_time.0.as_millisecond() as f64 / 1e3, None));
        }
    }
    let help = "Cumulative cpu time consumed by the container in core-seconds";
    family(out, "container_cpu_usage_seconds_total", "counter", help, &cpu);
    let help = "Current working set of the container in bytes";
    family(out, "container_memory_working_set_bytes", "gauge", help, &memory);
    let help = "Start time of the container since unix epoch in seconds";
    family(out, "container_start_time_seconds", "gauge", help, &start);
}

fn node(out: &mut String, summary: &Summary) {
    let cpu = summary.node.cpu.as_ref().and_then(|c| Some((c.usage_core_nano_seconds?, &c.time)));
    let cpu: Samples =
        cpu.map(|(used, at)| (String::new(), seconds(used), Some(millis(at)))).into_iter().collect();
    let memory = summary.node.memory.as_ref().and_then(|m| Some((m.working_set_bytes?, &m.time)));
    let memory: Samples =
        memory.map(|(used, at)| (String::new(), used as f64, Some(millis(at)))).into_iter().collect();
    let help = "Cumulative cpu time consumed by the node in core-seconds";
    family(out, "node_cpu_usage_seconds_total", "counter", help, &cpu);
    family(
        out,
        "node_memory_working_set_bytes",
        "gauge",
        "Current working set of the node in bytes",
        &memory,
    );
}

fn pods(out: &mut String, summary: &Summary) {
    let (mut cpu, mut memory) = (Samples::new(), Samples::new());
    for pod in &summary.pods {
        let labels = format!(
            "{{namespace=\"{}\",pod=\"{}\"}}",
            escape(&pod.pod_ref.namespace),
            escape(&pod.pod_ref.name)
        );
        if let Some((used, at)) = pod.cpu.as_ref().and_then(|c| Some((c.usage_core_nano_seconds?, &c.time))) {
            cpu.push((labels.clone(), seconds(used), Some(millis(at))));
        }
        if let Some((used, at)) = pod.memory.as_ref().and_then(|m| Some((m.working_set_bytes?, &m.time))) {
            memory.push((labels, used as f64, Some(millis(at))));
        }
    }
    let help = "Cumulative cpu time consumed by the pod in core-seconds";
    family(out, "pod_cpu_usage_seconds_total", "counter", help, &cpu);
    family(out, "pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes", &memory);
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, samples: &Samples) {
    if samples.is_empty() {
        return;
    }
    // writing to a String cannot fail
    let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
    for (labels, value, at) in samples {
        let at = at.map(|at| format!(" {at}")).unwrap_or_default();
        let _ = writeln!(out, "{name}{labels} {value}{at}");
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn millis(time: &Time) -> i64 {
    time.0.as_millisecond()
}
