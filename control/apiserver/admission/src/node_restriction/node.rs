//! A kubelet's own Node.

use serde_json::Value;
use xebec_api::meta;

use super::{Check, labels, name_of, refuse};
use crate::{Call, Operation};

pub(super) fn check(call: &Call<'_>, object: &Value, node: &str) -> Check {
    let requested = name_of(call, object);
    if requested != node {
        return refuse(format!("node {node:?} is not allowed to modify node {requested:?}"));
    }
    let empty = Value::Null;
    match call.request.operation {
        Operation::Create => {
            if object["spec"].get("configSource").is_some_and(|source| !source.is_null()) {
                return refuse(format!(
                    "node {node:?} is not allowed to create pods with a non-nil configSource"
                ));
            }
            let forbidden = labels::forbidden(object, &empty);
            if forbidden.is_empty() {
                return Ok(());
            }
            refuse(format!(
                "node {node:?} is not allowed to set the following labels: {}",
                forbidden.join(", ")
            ))
        }
        Operation::Update => update(call.old.unwrap_or(&empty), object, node),
        Operation::Delete | Operation::Connect => Ok(()),
    }
}

fn update(old: &Value, object: &Value, node: &str) -> Check {
    let source = |node: &Value| node["spec"].get("configSource").cloned().filter(|s| !s.is_null());
    let new_source = source(object);
    if new_source.is_some() && new_source != source(old) {
        return refuse(format!(
            "node {node:?} is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    let taints = |node: &Value| meta::list_at(node, "/spec/taints").to_vec();
    if taints(object) != taints(old) {
        return refuse(format!("node {node:?} is not allowed to modify taints"));
    }
    // An owner that is deleted would take the node with it, restrictions and all.
    if meta::owner_references(object) != meta::owner_references(old) {
        return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    let forbidden = labels::forbidden(object, old);
    if !forbidden.is_empty() {
        return refuse(format!("is not allowed to modify labels: {}", forbidden.join(", ")));
    }
    Ok(())
}
