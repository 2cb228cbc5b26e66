//! Completion indexes, written as ranges ("1,3-5,7"), and the pod an index gets. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

/// The annotation and label that carry a pod's completion index.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const ENV: &str = "JOB_COMPLETION_INDEX";

/// Whether the Job numbers its pods.
pub fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.completion_mode.as_deref()) == Some("Indexed")
}

/// A pod's index.
pub fn of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

/// Reads ranges; what cannot be read is left out.
pub fn parse(text: &str) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            all.extend(first..=last);
        }
    }
    all
}

/// Writes ranges; two neighbours are "1,2", three are "1-3", as upstream.
pub fn format(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let text = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The lowest indexes that are neither done nor being worked on.
pub fn pending(completions: i32, taken: &BTreeSet<i32>, count: usize) -> Vec<i32> {
    (0..completions).filter(|i| !taken.contains(i)).take(count).collect()
}

/// Makes a pod the one of an index: name, host name, annotation, label and environment.
pub fn apply(pod: &mut Pod, job: &str, index: i32, suffix: &str) {
    let hostname = format!("{job}-{index}");
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(format!("{hostname}-{suffix}"));
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    let Some(spec) = &mut pod.spec else { return };
    spec.hostname = Some(hostname);
    let variable = EnvVar {
        name: ENV.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: format!("metadata.annotations['{INDEX}']"),
            }),
            ..EnvVarSource::default()
        }),
    };
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let env = container.env.get_or_insert_default();
        if !env.iter().any(|e| e.name == ENV) {
            env.push(variable.clone());
        }
    }
}
