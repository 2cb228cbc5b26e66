//! The labels and annotations a pod's sandbox and containers carry in the runtime.
//!
//! They are the agent's only checkpoint, and upstream's own names, so that either kubelet can take over a node.
//! Enters: a pod and a container. Leaves: the maps for the CRI; and back again for what has no pod any more.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::spec;

/// Label: the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's UID.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: see [`spec::hash`].
pub const HASH: &str = "io.kubernetes.container.hash";
/// Annotation: the restart count.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: where in the container the termination message is written.
pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the container's ports as JSON.
pub const PORTS: &str = "io.kubernetes.container.ports";
/// Annotation: the preStop handler as JSON.
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
/// Annotation: the pod's grace period in seconds.
pub const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation: the grace period at deletion, in seconds.
pub const POD_DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
/// Annotation of a static pod: where it came from.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Annotation: when the agent first saw the pod.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// Annotation of a static pod: the hash of its manifest.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Annotation of a mirror pod: the hash of the manifest it mirrors.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// The labels that tie anything to its pod.
pub fn of_pod(pod: &Pod) -> BTreeMap<String, String> {
    BTreeMap::from([
        (POD_NAME.to_owned(), spec::name(pod).to_owned()),
        (POD_NAMESPACE.to_owned(), spec::namespace(pod).to_owned()),
        (POD_UID.to_owned(), spec::uid(pod).to_owned()),
    ])
}

/// A sandbox's labels: the pod's own, and those that tie it to the pod.
pub fn of_sandbox(pod: &Pod) -> BTreeMap<String, String> {
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.append(&mut of_pod(pod));
    labels
}

/// A sandbox's annotations: the pod's own, its source, and one `by_class` of its RuntimeClass.
pub fn sandbox_annotations(
    pod: &Pod,
    by_class: &BTreeMap<String, (String, String)>,
) -> BTreeMap<String, String> {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.entry(CONFIG_SOURCE.to_owned()).or_insert_with(|| "api".to_owned());
    let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_ref());
    if let Some((key, value)) = class.and_then(|class| by_class.get(class)) {
        annotations.entry(key.clone()).or_insert_with(|| value.clone());
    }
    annotations
}

/// A container's labels.
pub fn of_container(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let mut labels = of_pod(pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

/// A container's annotations.
pub fn container_annotations(pod: &Pod, container: &Container, attempt: u32) -> BTreeMap<String, String> {
    let path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let mut annotations = BTreeMap::from([
        (HASH.to_owned(), spec::hash(container)),
        (RESTART_COUNT.to_owned(), attempt.to_string()),
        (MESSAGE_PATH.to_owned(), path.to_owned()),
        (MESSAGE_POLICY.to_owned(), policy.to_owned()),
        (POD_GRACE.to_owned(), spec::grace(pod).as_secs().to_string()),
    ]);
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        annotations.insert(POD_DELETION_GRACE.to_owned(), grace.to_string());
    }
    let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let Some(text) = pre_stop.and_then(|handler| serde_json::to_string(handler).ok()) {
        annotations.insert(PRE_STOP.to_owned(), text);
    }
    if let Some(text) = container.ports.as_ref().and_then(|ports| serde_json::to_string(ports).ok()) {
        annotations.insert(PORTS.to_owned(), text);
    }
    annotations
}
