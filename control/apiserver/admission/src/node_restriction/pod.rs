//! A kubelet's pods: mirror pods it makes itself, the status of those bound to it, their end.

use std::sync::Arc;

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;

use super::{Check, Refused, refuse};
use crate::pod_references;
use crate::{Call, Operation};

const MIRROR: &str = "kubernetes.io/config.mirror";

fn stored(call: &Call<'_>) -> Result<Arc<Value>, Refused> {
    let (namespace, name) = (call.request.namespace, call.request.name);
    if let Some(old) = call.old.filter(|old| meta::kind(old) != "Eviction") {
        return Ok(Arc::new(old.clone()));
    }
    let pod = call.reader.get("", "pods", namespace, name);
    pod.ok_or_else(|| Refused::Missing(ApiError::not_found("", "pods", name)))
}

fn is_bound(pod: &Value, node: &str) -> bool {
    meta::str_at(pod, "/spec/nodeName") == node
}

pub(super) fn itself(call: &Call<'_>, object: &Value, node: &str) -> Check {
    match call.request.operation {
        Operation::Create => create(call, object, node),
        Operation::Delete if is_bound(&*stored(call)?, node) => Ok(()),
        Operation::Delete => {
            refuse(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        other => refuse(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            other.as_str()
        )),
    }
}

fn create(call: &Call<'_>, pod: &Value, node: &str) -> Check {
    if meta::annotation(pod, MIRROR).is_none() {
        return refuse(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if !is_bound(pod, node) {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    owner(call, pod, node)?;
    // What a mirror pod mounted, its node would be allowed to read.
    let cannot = |what: &str| refuse(format!("node {node:?} can not create pods that reference {what}"));
    if !meta::str_at(pod, "/spec/serviceAccountName").is_empty() {
        return cannot("a service account");
    }
    if !pod_references::secrets(pod).is_empty() {
        return cannot("secrets");
    }
    if !pod_references::config_maps(pod).is_empty() {
        return cannot("configmaps");
    }
    let volumes = meta::list_at(pod, "/spec/volumes");
    let has = |value: &Value, field: &str| value.get(field).is_some_and(|v| !v.is_null());
    let mut sources = volumes.iter().flat_map(|v| meta::list_at(v, "/projected/sources"));
    if sources.any(|source| has(source, "clusterTrustBundle")) {
        return cannot("clustertrustbundles");
    }
    if volumes.iter().any(|volume| has(volume, "persistentVolumeClaim")) {
        return cannot("persistentvolumeclaims");
    }
    // Validation allows a mirror pod no resource claims in 1.36; what it lets through stays a reference all the same.
    if !meta::list_at(pod, "/spec/resourceClaims").is_empty() {
        return cannot("resourceclaims");
    }
    Ok(())
}

fn owner(call: &Call<'_>, pod: &Value, node: &str) -> Check {
    let [owner] = meta::owner_references(pod) else {
        let many = !meta::owner_references(pod).is_empty();
        let which = if many { "a single" } else { "an" };
        return refuse(format!(
            "node {node:?} can only create pods with {which} owner reference set to itself"
        ));
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return refuse(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return refuse(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return refuse(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let Some(stored) = call.reader.get("", "nodes", "", node) else {
        return Err(Refused::Missing(ApiError::not_found("", "nodes", node)));
    };
    let (given, real) = (meta::str_at(owner, "/uid"), meta::uid(&stored));
    if given != real {
        return refuse(format!("node {node} UID mismatch: expected {given} got {real}"));
    }
    Ok(())
}

pub(super) fn status(call: &Call<'_>, object: &Value, node: &str) -> Check {
    if call.request.operation != Operation::Update {
        return refuse(format!("unexpected operation {:?}", call.request.operation.as_str()));
    }
    let old = stored(call)?;
    if !is_bound(&old, node) {
        return refuse(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if meta::labels(&old) != meta::labels(object) {
        return refuse(format!("node {node:?} cannot update labels through pod status"));
    }
    let claims = |pod: &Value| meta::list_at(pod, "/status/resourceClaimStatuses").to_vec();
    if claims(&old) != claims(object) {
        return refuse(format!("node {node:?} cannot update resource claim statues"));
    }
    let extended = "/status/extendedResourceClaimStatus";
    if meta::at(&old, extended) != meta::at(object, extended) {
        return refuse(format!("node {node:?} cannot update extended resource claim status"));
    }
    Ok(())
}

pub(super) fn eviction(call: &Call<'_>, node: &str) -> Check {
    if call.request.operation != Operation::Create {
        return refuse(format!("unexpected operation {}", call.request.operation.as_str()));
    }
    if call.request.name.is_empty() {
        return refuse("could not determine pod from request data");
    }
    if is_bound(&*stored(call)?, node) {
        return Ok(());
    }
    refuse(format!("node {node} can only evict pods with spec.nodeName set to itself"))
}
