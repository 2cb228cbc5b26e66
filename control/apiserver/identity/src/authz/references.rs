//! Which objects belong to a node: its pods and what they refer to.
//!
//! Enters: a node's name and the reader. Leaves: whether an object is reached from one of the node's pods. Mirror
//! pods lead nowhere: a node makes those itself and must not gain rights by it.
//!
//! Authority: `plugin/pkg/auth/authorizer/node/graph.go`, `pkg/api/v1/pod.VisitPodSecretNames`,
//! `pkg/api/v1/persistentvolume.VisitPVSecretNames`.

use std::sync::Arc;

use serde_json::Value;

use crate::{ObjectReader, items, text};

const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// Volume sources of a pod that name a Secret: where the name stands.
const VOLUME_SECRETS: [&str; 10] = [
    "/secret/secretName",
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/flexVolume/secretRef/name",
    "/rbd/secretRef/name",
    "/scaleIO/secretRef/name",
    "/iscsi/secretRef/name",
    "/storageos/secretRef/name",
    "/csi/nodePublishSecretRef/name",
];

/// Sources of a PersistentVolume that name a Secret the kubelet needs; the namespace stands beside the name, or is
/// the claim's.
const PV_SECRETS: [(&str, &str); 10] = [
    ("/spec/azureFile/secretName", "/spec/azureFile/secretNamespace"),
    ("/spec/cephfs/secretRef/name", "/spec/cephfs/secretRef/namespace"),
    ("/spec/cinder/secretRef/name", "/spec/cinder/secretRef/namespace"),
    ("/spec/flexVolume/secretRef/name", "/spec/flexVolume/secretRef/namespace"),
    ("/spec/rbd/secretRef/name", "/spec/rbd/secretRef/namespace"),
    ("/spec/scaleIO/secretRef/name", "/spec/scaleIO/secretRef/namespace"),
    ("/spec/iscsi/secretRef/name", "/spec/iscsi/secretRef/namespace"),
    ("/spec/csi/nodePublishSecretRef/name", "/spec/csi/nodePublishSecretRef/namespace"),
    ("/spec/csi/nodeStageSecretRef/name", "/spec/csi/nodeStageSecretRef/namespace"),
    ("/spec/csi/nodeExpandSecretRef/name", "/spec/csi/nodeExpandSecretRef/namespace"),
];

/// The objects one node is related to, read on demand.
pub(super) struct Related<'a> {
    reader: &'a dyn ObjectReader,
    node: &'a str,
}

impl<'a> Related<'a> {
    pub(super) fn new(reader: &'a dyn ObjectReader, node: &'a str) -> Related<'a> {
        Related { reader, node }
    }

    /// The node's pods in a namespace that may lead to other objects.
    fn pods(&self, namespace: &str) -> Vec<Arc<Value>> {
        let mut pods = self.reader.pods_on_node(self.node);
        pods.retain(|pod| text(pod, "/metadata/namespace") == namespace && pod.pointer(MIRROR).is_none());
        pods
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> bool {
        let pod = self.reader.get("", "pods", namespace, name);
        pod.is_some_and(|pod| text(&pod, "/spec/nodeName") == self.node)
    }

    pub(super) fn secret(&self, namespace: &str, name: &str) -> bool {
        self.pods(namespace).iter().any(|pod| pod_uses_secret(pod, name))
            || self.volume_secret(namespace, name)
    }

    /// A Secret named by a volume that is bound to a claim of one of the node's pods (of any namespace).
    fn volume_secret(&self, namespace: &str, name: &str) -> bool {
        let pods = self.reader.pods_on_node(self.node);
        pods.iter().filter(|pod| pod.pointer(MIRROR).is_none()).any(|pod| {
            let claim_namespace = text(pod, "/metadata/namespace");
            pod_claims(pod).any(|claim| {
                self.volume_of(claim_namespace, &claim).is_some_and(|volume| {
                    PV_SECRETS.iter().any(|(name_at, namespace_at)| {
                        let own = text(&volume, namespace_at);
                        let own = if own.is_empty() { claim_namespace } else { own };
                        text(&volume, name_at) == name && own == namespace
                    })
                })
            })
        })
    }

    fn volume_of(&self, namespace: &str, claim: &str) -> Option<Arc<Value>> {
        let claim_object = self.reader.get("", "persistentvolumeclaims", namespace, claim)?;
        let volume = self.reader.get("", "persistentvolumes", "", text(&claim_object, "/spec/volumeName"))?;
        let bound = text(&volume, "/spec/claimRef/namespace") == namespace
            && text(&volume, "/spec/claimRef/name") == claim;
        bound.then_some(volume)
    }

    pub(super) fn config_map(&self, namespace: &str, name: &str) -> bool {
        self.pods(namespace).iter().any(|pod| pod_uses_config_map(pod, name))
    }

    pub(super) fn claim(&self, namespace: &str, name: &str) -> bool {
        self.pods(namespace).iter().any(|pod| pod_claims(pod).any(|claim| claim == name))
    }

    pub(super) fn volume(&self, name: &str) -> bool {
        let Some(volume) = self.reader.get("", "persistentvolumes", "", name) else { return false };
        let claim = text(&volume, "/spec/claimRef/name");
        !claim.is_empty() && self.claim(text(&volume, "/spec/claimRef/namespace"), claim)
    }

    pub(super) fn service_account(&self, namespace: &str, name: &str) -> bool {
        self.pods(namespace).iter().any(|pod| text(pod, "/spec/serviceAccountName") == name)
    }

    pub(super) fn resource_claim(&self, namespace: &str, name: &str) -> bool {
        self.pods(namespace).iter().any(|pod| {
            items(pod, "/spec/resourceClaims")
                .chain(items(pod, "/status/resourceClaimStatuses"))
                .any(|claim| text(claim, "/resourceClaimName") == name)
                || text(pod, "/status/extendedResourceClaimStatus/resourceClaimName") == name
        })
    }

    pub(super) fn attachment(&self, name: &str) -> bool {
        let attachment = self.reader.get("storage.k8s.io", "volumeattachments", "", name);
        attachment.is_some_and(|attachment| text(&attachment, "/spec/nodeName") == self.node)
    }

    pub(super) fn resource_slice(&self, name: &str) -> bool {
        let slice = self.reader.get("resource.k8s.io", "resourceslices", "", name);
        slice.is_some_and(|slice| text(&slice, "/spec/nodeName") == self.node)
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"]
        .into_iter()
        .flat_map(|list| items(pod, list))
}

/// Whether an environment entry of any container names the object at one of the two places.
fn environment_uses(pod: &Value, in_env: &str, in_env_from: &str, name: &str) -> bool {
    containers(pod).any(|container| {
        items(container, "/env").any(|entry| text(entry, in_env) == name)
            || items(container, "/envFrom").any(|entry| text(entry, in_env_from) == name)
    })
}

fn pod_uses_secret(pod: &Value, name: &str) -> bool {
    items(pod, "/spec/imagePullSecrets").any(|reference| text(reference, "/name") == name)
        || environment_uses(pod, "/valueFrom/secretKeyRef/name", "/secretRef/name", name)
        || items(pod, "/spec/volumes").any(|volume| {
            VOLUME_SECRETS.iter().any(|at| text(volume, at) == name)
                || items(volume, "/projected/sources").any(|source| text(source, "/secret/name") == name)
        })
}

fn pod_uses_config_map(pod: &Value, name: &str) -> bool {
    environment_uses(pod, "/valueFrom/configMapKeyRef/name", "/configMapRef/name", name)
        || items(pod, "/spec/volumes").any(|volume| {
            text(volume, "/configMap/name") == name
                || items(volume, "/projected/sources").any(|source| text(source, "/configMap/name") == name)
        })
}

/// The claims a pod uses by name, and those made for its ephemeral volumes (`<pod>-<volume>`).
fn pod_claims(pod: &Value) -> impl Iterator<Item = String> {
    let pod_name = text(pod, "/metadata/name");
    items(pod, "/spec/volumes").filter_map(move |volume| {
        if volume.get("ephemeral").is_some() {
            return Some(format!("{pod_name}-{}", text(volume, "/name")));
        }
        let claim = text(volume, "/persistentVolumeClaim/claimName");
        (!claim.is_empty()).then(|| claim.to_owned())
    })
}
