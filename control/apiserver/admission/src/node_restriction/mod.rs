//! NodeRestriction: a kubelet changes its own node, its own pods and what belongs to them. Pure over the reader.
//!
//! Enters: a write by a user of the group `system:nodes`. Leaves: 403 with what a kubelet may do, or nothing.
//! Authority: plugin/pkg/admission/noderestriction of Kubernetes 1.36.

mod labels;
mod node;
mod pod;
#[cfg(test)]
mod tests;
mod token;

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;

use crate::certificates::Subject;
use crate::{Call, Operation, Question};

/// Why a kubelet is refused.
enum Refused {
    /// 403 with this text.
    Why(String),
    /// 404: what the decision needs is not there.
    Missing(ApiError),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Why(why)
    }
}

type Check = Result<(), Refused>;

fn refuse(why: impl Into<String>) -> Check {
    Err(Refused::Why(why.into()))
}

/// What is left to ask an authorizer, or 403.
pub(crate) fn check(call: &Call<'_>, object: &Value) -> Result<Vec<Question>, ApiError> {
    let request = &call.request;
    let Some(node) = request.user.node_name() else { return Ok(Vec::new()) };
    if request.operation == Operation::Connect {
        return Ok(Vec::new());
    }
    let checked = if node.is_empty() {
        refuse(format!("could not determine node from user {:?}", request.user.name))
    } else if request.is("", "serviceaccounts", "token") && request.operation == Operation::Create {
        match token::check(call, object, node) {
            Ok(questions) => return Ok(questions),
            Err(refused) => Err(refused),
        }
    } else {
        restrict(call, object, node)
    };
    checked.map(|()| Vec::new()).map_err(|refused| match refused {
        Refused::Why(why) => {
            call.forbidden(if object.is_null() { call.old.unwrap_or(object) } else { object }, why)
        }
        Refused::Missing(error) => error,
    })
}

fn restrict(call: &Call<'_>, object: &Value, node: &str) -> Check {
    let request = &call.request;
    match (request.group, request.plural, request.subresource) {
        ("", "pods", "") => pod::itself(call, object, node),
        ("", "pods", "status") => pod::status(call, object, node),
        ("", "pods", "eviction") => pod::eviction(call, node),
        ("", "pods", other) => {
            refuse(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
        }
        ("", "nodes", _) => node::check(call, object, node),
        ("", "persistentvolumeclaims", "status") => claim_status(call, object, node),
        ("", "persistentvolumeclaims", _) => refuse("may only update PVC status"),
        ("coordination.k8s.io", "leases", _) => lease(call, object, node),
        ("storage.k8s.io", "csinodes", _) => csi_node(call, object, node),
        ("resource.k8s.io", "resourceslices", _) => resource_slice(call, object, node),
        ("certificates.k8s.io", "certificatesigningrequests", "") => signing_request(call, object, node),
        _ => Ok(()),
    }
}

/// The name of what is written: from the request, or on a create from the object.
fn name_of<'a>(call: &'a Call<'_>, object: &'a Value) -> &'a str {
    if call.request.name.is_empty() { meta::name(object) } else { call.request.name }
}

/// Only size and conditions of a claim's status are a kubelet's to report.
fn claim_status(call: &Call<'_>, object: &Value, node: &str) -> Check {
    if call.request.operation != Operation::Update {
        return refuse(format!("unexpected operation {:?}", call.request.operation.as_str()));
    }
    let stripped = |claim: &Value| {
        let mut claim = claim.clone();
        for at in [
            "/metadata/resourceVersion",
            "/metadata/managedFields",
            "/status/capacity",
            "/status/conditions",
            "/status/allocatedResources",
            "/status/allocatedResourceStatuses",
        ] {
            meta::remove(&mut claim, at);
        }
        claim
    };
    if call.old.is_some_and(|old| stripped(old) == stripped(object)) {
        return Ok(());
    }
    refuse(format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
    ))
}

fn lease(call: &Call<'_>, object: &Value, node: &str) -> Check {
    let name = name_of(call, object);
    // Xebec's own: the agent's word that it answers for load balancers' addresses.
    let announcer = name.strip_prefix(xebec_identity::authz::ANNOUNCER);
    if call.request.namespace == "kube-system" && announcer == Some(node) {
        return Ok(());
    }
    if call.request.namespace != "kube-node-lease" {
        return refuse("can only access leases in the \"kube-node-lease\" system namespace");
    }
    if name != node {
        return refuse("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn csi_node(call: &Call<'_>, object: &Value, node: &str) -> Check {
    if name_of(call, object) == node {
        return Ok(());
    }
    refuse("can only access CSINode with the same name as the requesting node")
}

/// Only slices of its own node. The authorizer sees to updates; it knows neither the object of a create nor each one of
/// a deleted collection.
fn resource_slice(call: &Call<'_>, object: &Value, node: &str) -> Check {
    let (slice, doing) = match call.request.operation {
        Operation::Create => (object, "create"),
        Operation::Delete => (call.old.unwrap_or(object), "delete"),
        Operation::Update | Operation::Connect => return Ok(()),
    };
    if meta::str_at(slice, "/spec/nodeName") == node {
        return Ok(());
    }
    refuse(format!("can only {doing} ResourceSlice with the same NodeName as the requesting node"))
}

/// A kubelet's certificates name the kubelet itself.
fn signing_request(call: &Call<'_>, object: &Value, node: &str) -> Check {
    let signer = meta::str_at(object, "/spec/signerName");
    let kubelets =
        matches!(signer, "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet");
    if call.request.operation != Operation::Create || !kubelets {
        return Ok(());
    }
    let subject = Subject::of(object).map_err(|error| format!("unable to parse csr: {error}"))?;
    if subject.common_name == format!("system:node:{node}") {
        return Ok(());
    }
    refuse(format!("can only create a node CSR with CN=system:node:{node}"))
}
