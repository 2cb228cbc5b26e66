//! The Node object: registering it, keeping its status true, its heartbeat. Enters: machine and runtime. Leaves:
//! writes to the Node and its Lease.
//!
//! `status` is pure; `facts` asks machine and runtime; `lease` beats on its own.

mod facts;
pub mod lease;
pub mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use xebec_cri::Runtime;

use crate::clock::Clock;
use crate::config::Config;
use crate::record::{Kind, Recorder};
pub use facts::{Machine, RuntimeFacts};
use status::{Facts, differs, node_status};

/// How long to wait before registering again, and the greatest wait.
const REGISTER_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(7));

/// Keeps the Node object.
pub struct NodeKeeper {
    /// The API server.
    pub client: Client,
    /// The node's settings.
    pub config: Config,
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// The machine.
    pub machine: Arc<dyn Machine>,
    /// Where Events go.
    pub recorder: Arc<dyn Recorder>,
    /// The time.
    pub clock: Clock,
}

impl NodeKeeper {
    /// Registers the node, then writes its status on change and at intervals, until `cancel`.
    pub async fn run(self, cancel: CancellationToken) {
        let work = async {
            let mut node = self.register().await;
            let mut written = self.clock.now();
            let mut ticks = tokio::time::interval(self.config.node_status_update);
            let mut fresh = true;
            loop {
                // until it is ready the node is looked at more often: a network that comes up counts at once
                let ready = is_ready(node.status.as_ref());
                if !fresh && !ready {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                } else {
                    ticks.tick().await;
                }
                fresh = false;
                match self.update(&node, &mut written).await {
                    Ok(Some(newer)) => node = newer,
                    Ok(None) => {}
                    Err(kube::Error::Api(error)) if error.code == 404 => {
                        tracing::warn!("the Node object is gone: registering again");
                        node = self.register().await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the node's status is not written");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = cancel.cancelled() => {}
        }
    }

    async fn facts(&self) -> Facts {
        facts::collect(&self.config, self.runtime.as_ref(), self.machine.as_ref()).await
    }

    /// Creates the Node or adopts the one there is; tries until it succeeds.
    async fn register(&self) -> Node {
        let mut pause = REGISTER_RETRY.0;
        loop {
            match self.try_register().await {
                Ok(node) => {
                    let about = k8s_openapi::api::core::v1::ObjectReference {
                        kind: Some("Node".to_owned()),
                        name: Some(self.config.node_name.clone()),
                        uid: Some(self.config.node_name.clone()),
                        ..Default::default()
                    };
                    self.recorder.record(about, Kind::Normal, "Starting", "Starting kubelet.".to_owned());
                    tracing::info!(node = self.config.node_name, "node registered");
                    return node;
                }
                Err(error) => tracing::warn!(%error, "the node is not registered"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REGISTER_RETRY.1);
        }
    }

    async fn try_register(&self) -> Result<Node, kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let facts = self.facts().await;
        let labels = labels(&self.config, &facts);
        let annotations = BTreeMap::from([(
            "volumes.kubernetes.io/controller-managed-attach-detach".into(),
            "true".into(),
        )]);
        if let Some(existing) = api.get_opt(&self.config.node_name).await? {
            let patch = json!({"metadata": {"labels": labels, "annotations": annotations}});
            let node =
                api.patch(&self.config.node_name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            let status = node_status(&facts, &existing.status.unwrap_or_default(), self.clock.now());
            return self.write(&node, &status).await;
        }
        let taint = |(key, value, effect): &(String, String, String)| Taint {
            key: key.clone(),
            value: (!value.is_empty()).then(|| value.clone()),
            effect: effect.clone(),
            time_added: None,
        };
        let taints: Vec<Taint> = self.config.register_with_taints.iter().map(taint).collect();
        let node = Node {
            metadata: ObjectMeta {
                name: Some(self.config.node_name.clone()),
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..NodeSpec::default() }),
            status: Some(node_status(&facts, &NodeStatus::default(), self.clock.now())),
        };
        let created = api.create(&PostParams::default(), &node).await?;
        // a create may drop the status
        let status = node_status(&facts, &created.status.clone().unwrap_or_default(), self.clock.now());
        self.write(&created, &status).await
    }

    async fn update(&self, node: &Node, written: &mut Timestamp) -> Result<Option<Node>, kube::Error> {
        let now = self.clock.now();
        let old = node.status.clone().unwrap_or_default();
        let status = node_status(&self.facts().await, &old, now);
        let due = crate::clock::until(*written, now) >= self.config.node_status_report;
        if !differs(&old, &status) && !due {
            return Ok(None);
        }
        if !is_ready(Some(&old)) && is_ready(Some(&status)) {
            tracing::info!(node = self.config.node_name, "node ready");
        }
        let newer = self.write(node, &status).await?;
        *written = now;
        Ok(Some(newer))
    }

    async fn write(&self, node: &Node, status: &NodeStatus) -> Result<Node, kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let old = node.status.clone().unwrap_or_default();
        let patch = status_patch(&old, status);
        api.patch_status(&self.config.node_name, &PatchParams::default(), &Patch::Strategic(&patch)).await
    }
}

fn is_ready(status: Option<&NodeStatus>) -> bool {
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The labels a node carries about itself.
fn labels(config: &Config, facts: &Facts) -> BTreeMap<String, String> {
    let mut labels = config.node_labels.clone();
    for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
        labels.insert(format!("{prefix}/os"), facts.info.operating_system.clone());
        labels.insert(format!("{prefix}/arch"), facts.info.architecture.clone());
    }
    labels.insert("kubernetes.io/hostname".to_owned(), config.hostname.clone());
    labels
}

/// A strategic merge patch: lists that merge by a key are replaced where entries went away.
fn status_patch(old: &NodeStatus, new: &NodeStatus) -> Value {
    let mut status = serde_json::to_value(new).unwrap_or_default();
    if old.addresses.is_some() && old.addresses != new.addresses {
        // addresses merge by type: two of one type (dual stack) need the directive
        if let Some(list) = status["addresses"].as_array_mut() {
            list.insert(0, json!({"$patch": "replace"}));
        }
    } else if old.addresses == new.addresses
        && let Some(map) = status.as_object_mut()
    {
        map.remove("addresses");
    }
    json!({"status": status})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeAddress;

    use super::*;

    #[test]
    fn unchanged_addresses_are_not_sent_and_changed_ones_replace() {
        let with = |ip: &str| NodeStatus {
            addresses: Some(vec![NodeAddress { type_: "InternalIP".into(), address: ip.into() }]),
            ..NodeStatus::default()
        };
        assert_eq!(status_patch(&with("1.1.1.1"), &with("1.1.1.1")), json!({"status": {}}));
        let changed = status_patch(&with("1.1.1.1"), &with("2.2.2.2"));
        assert_eq!(changed["status"]["addresses"][0], json!({"$patch": "replace"}));
    }

    #[test]
    fn a_node_labels_itself() {
        let mut facts = Facts::default();
        facts.info.operating_system = "linux".into();
        facts.info.architecture = "amd64".into();
        let labels = labels(&Config::new("n1", "10.0.0.1"), &facts);
        assert_eq!(labels["kubernetes.io/hostname"], "n1");
        assert_eq!(
            (labels["kubernetes.io/os"].as_str(), labels["kubernetes.io/arch"].as_str()),
            ("linux", "amd64")
        );
    }
}
