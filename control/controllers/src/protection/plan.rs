//! Is it still in use? Pure.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::ResourceExt;

/// What to do with a protection finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put it on: the object was made before there was protection, or somebody took it off.
    Add,
    /// Take it off: the object is being deleted and nothing uses it.
    Remove,
    /// Leave it.
    Keep,
}

/// The step for an object; `used` is asked only for one that is being deleted and still has the finalizer.
pub fn step<K: ResourceExt>(object: &K, finalizer: &str, used: impl FnOnce() -> bool) -> Step {
    let has = object.finalizers().iter().any(|f| f == finalizer);
    match (object.meta().deletion_timestamp.is_some(), has) {
        (false, false) => Step::Add,
        (true, true) if !used() => Step::Remove,
        _ => Step::Keep,
    }
}

/// Whether the kubelet is done with a pod that is being deleted.
fn is_shut_down(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0)
}

/// The claims a pod's volumes name, and those made for its ephemeral volumes.
pub fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_ref()).into_iter().flatten();
    volumes.filter_map(|volume| claim_of(pod, volume)).collect()
}

fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.name_any(), volume.name))
}

/// Whether a pod uses a claim. A pod without a node does not: no kubelet starts one whose claim is being deleted.
pub fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let spec = pod.spec.as_ref();
    if spec.and_then(|s| s.node_name.as_deref()).unwrap_or_default().is_empty() {
        return false;
    }
    let name = claim.name_any();
    let made_for = || {
        let uid = pod.metadata.uid.as_deref();
        claim.owner_references().iter().any(|o| o.controller == Some(true) && Some(o.uid.as_str()) == uid)
    };
    spec.and_then(|s| s.volumes.as_ref()).into_iter().flatten().any(|volume| {
        if let Some(source) = &volume.persistent_volume_claim {
            return source.claim_name == name;
        }
        claim_of(pod, volume).is_some_and(|own| own == name) && made_for() && !is_shut_down(pod)
    })
}

/// Whether a volume belongs to a claim.
pub fn is_bound(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound")
}

/// The volume attributes classes a claim names, now or on the way.
pub fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<&str> {
    let status = claim.status.as_ref();
    let named = [
        claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref()),
        status.and_then(|s| s.current_volume_attributes_class_name.as_deref()),
        status
            .and_then(|s| s.modify_volume_status.as_ref())
            .and_then(|m| m.target_volume_attributes_class_name.as_deref()),
    ];
    named.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// The volume attributes class a volume has.
pub fn class_of_volume(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.volume_attributes_class_name.as_deref().filter(|name| !name.is_empty())
}
