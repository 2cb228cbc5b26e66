//! What the server needs to know of the node's pods. Enters: lookups from the handlers. Leaves: pods with their
//! newest status, ids of the runtime, log files, usage. Implemented by the agent over its pod registry.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::Value;
use tokio::sync::watch;

use crate::stats::Summary;

/// Why the node could not answer, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// Where one instance of a container logs to.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// The file the runtime writes now.
    pub path: PathBuf,
    /// False once the instance has ended: a follower stops at the end of the file. A closed channel counts as ended.
    pub running: watch::Receiver<bool>,
}

/// The pods of this node. Every lookup answers from memory.
#[async_trait]
pub trait PodSource: Send + Sync + 'static {
    /// Every pod bound to the node, with the status the agent worked out.
    fn pods(&self) -> Vec<Arc<Pod>>;

    /// The pod of this name and, where one is given, of this UID; of namesakes the one that is not being deleted.
    fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let named = self.pods().into_iter().filter(|pod| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
                && uid.is_none_or(|uid| pod.metadata.uid.as_deref() == Some(uid))
        });
        named.min_by_key(|pod| pod.metadata.deletion_timestamp.is_some())
    }

    /// The id of the pod's ready sandbox.
    fn sandbox_id(&self, uid: &str) -> Option<String>;

    /// The id of the newest instance of a container; by default the one in the pod's status.
    fn container_id(&self, pod: &Pod, container: &str) -> Option<String> {
        status_of(pod, container)?.container_id.as_deref().map(|id| bare_id(id).to_owned())
    }

    /// The log of the instance with this id; `None` if the runtime no longer knows it.
    fn log_file(&self, uid: &str, container_id: &str) -> Option<LogFile>;

    /// The usage of the node, its pods and their containers; at most some seconds old.
    async fn summary(&self) -> Result<Summary, SourceError>;

    /// The agent's settings as shown under `/configz`.
    fn config(&self) -> Value;

    /// An error if the agent has stopped working.
    fn health(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// More metrics in the Prometheus text format, each line ended; added to `/metrics`.
    fn metrics(&self) -> String {
        String::new()
    }
}

/// The status of a container of any kind.
pub(crate) fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .find(|status| status.name == container)
}

/// True if the pod's spec has a container of this name, of any kind.
pub(crate) fn has_container(pod: &Pod, container: &str) -> bool {
    let Some(spec) = pod.spec.as_ref() else { return false };
    spec.containers.iter().any(|c| c.name == container)
        || spec.init_containers.iter().flatten().any(|c| c.name == container)
        || spec.ephemeral_containers.iter().flatten().any(|c| c.name == container)
}

/// `abc` of `containerd://abc`.
pub(crate) fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, id)| id)
}

/// The pod's UID; empty only for an object that no API server has seen.
pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The list `/pods` answers with.
pub(crate) fn list(pods: &[Arc<Pod>]) -> Value {
    let items: Vec<&Pod> = pods.iter().map(AsRef::as_ref).collect();
    serde_json::json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
}

/// The list `/runningpods/` answers with: identity and running containers only, as the runtime would know them.
pub(crate) fn running(pods: &[Arc<Pod>]) -> Value {
    let items: Vec<Value> = pods.iter().filter_map(|pod| running_pod(pod)).collect();
    serde_json::json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
}

fn running_pod(pod: &Pod) -> Option<Value> {
    let status = pod.status.as_ref()?;
    let containers: Vec<Value> = [&status.container_statuses, &status.init_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
        .map(|status| serde_json::json!({ "name": status.name, "image": status.image_id, "resources": {} }))
        .collect();
    if containers.is_empty() {
        return None;
    }
    let metadata = &pod.metadata;
    Some(serde_json::json!({
        "metadata": { "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid },
        "spec": { "containers": containers },
        "status": {},
    }))
}
