//! Nodes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::node_rules;
use crate::shared::access::{at, drop_nulls, entries, flag, has, list, remove, set, text, texts};
use crate::shared::addresses::cidr_warnings;
use crate::shared::quantities;
use crate::table::{AGE, NAME, age, column, name, or_none, wide};
use crate::{Column, Context, Facts, Strategy, generic};

static FACTS: Facts = Facts::cluster("", "Node", "nodes").with_status();
const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "The status of the node"),
    column("Roles", "string", "The roles of the node"),
    AGE,
    column("Version", "string", "Kubelet Version reported by the node."),
    wide("Internal-IP", "string", "The first address of the cluster's own network."),
    wide("External-IP", "string", "The first address outside the cluster reaches it at."),
    wide("OS-Image", "string", "OS Image reported by the node."),
    wide("Kernel-Version", "string", "Kernel Version reported by the node."),
    wide("Container-Runtime", "string", "ContainerRuntime Version reported by the node."),
];

/// The strategy of nodes.
pub struct Node;

impl Strategy for Node {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        quantities::canonical_list(obj, &["status", "capacity"]);
        quantities::canonical_list(obj, &["status", "allocatable"]);
        if !has(obj, &["status", "allocatable"]) && has(obj, &["status", "capacity"]) {
            let capacity = at(obj, &["status", "capacity"]).clone();
            set(obj, &["status", "allocatable"], capacity);
        }
        mirror_pod_cidr(obj);
    }

    /// A kubelet registers its node with the status in place, so a create keeps it.
    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        if !has(obj, &["status"]) {
            set(obj, &["status"], json!({}));
        }
        if !has(obj, &["spec"]) {
            set(obj, &["spec"], json!({}));
        }
        drop_config(obj, &Value::Null, &["spec", "configSource"]);
        drop_config(obj, &Value::Null, &["status", "config"]);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(node_rules::validate(obj));
        errors
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        drop_config(obj, old, &["spec", "configSource"]);
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(self.validate_status_update(obj, old));
        errors
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        drop_config(obj, old, &["status", "config"]);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(node_rules::validate_update(obj, old));
        errors
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if has(obj, &["spec", "configSource"]) {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !text(obj, &["spec", "externalID"]).is_empty() {
            let gone = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
            warnings.push(gone.to_owned());
        }
        let path = Path::new("spec").child("podCIDRs");
        for (index, range) in texts(obj, &["spec", "podCIDRs"]).iter().enumerate() {
            warnings.extend(cidr_warnings(range, &path.index(index)));
        }
        warnings
    }

    fn selectable_field_names(&self) -> &[&str] {
        &["spec.unschedulable"]
    }

    fn selectable_fields(&self, obj: &Value) -> Vec<(String, String)> {
        vec![("spec.unschedulable".to_owned(), flag(obj, &["spec", "unschedulable"]).to_string())]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let info = |key: &str| match text(obj, &["status", "nodeInfo", key]) {
            "" => "<unknown>".to_owned(),
            value => value.to_owned(),
        };
        vec![
            name(obj),
            json!(status(obj)),
            json!(roles(obj)),
            age(obj, now),
            json!(text(obj, &["status", "nodeInfo", "kubeletVersion"])),
            json!(address(obj, "InternalIP")),
            json!(address(obj, "ExternalIP")),
            json!(info("osImage")),
            json!(info("kernelVersion")),
            json!(info("containerRuntimeVersion")),
        ]
    }
}

/// Keeps `podCIDR` and the first of `podCIDRs` equal, as upstream's conversion does.
fn mirror_pod_cidr(obj: &mut Value) {
    let single = text(obj, &["spec", "podCIDR"]).to_owned();
    let first = texts(obj, &["spec", "podCIDRs"]).first().map(|cidr| (*cidr).to_owned());
    match first {
        None if !single.is_empty() => set(obj, &["spec", "podCIDRs"], json!([single])),
        Some(first) if single.is_empty() => set(obj, &["spec", "podCIDR"], json!(first)),
        _ => {}
    }
}

/// The kubelet no longer takes its configuration from the API: only Nodes that have the field keep it.
fn drop_config(obj: &mut Value, old: &Value, path: &[&str]) {
    if !has(old, path) {
        remove(obj, path);
    }
}

fn status(obj: &Value) -> String {
    let ready = list(obj, &["status", "conditions"]).iter().find(|c| text(c, &["type"]) == "Ready");
    let mut status = match ready.map(|condition| text(condition, &["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if flag(obj, &["spec", "unschedulable"]) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(obj: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in entries(obj, &["metadata", "labels"]) {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => value.as_str().unwrap_or_default(),
            None => continue,
        };
        if !role.is_empty() {
            roles.insert(role);
        }
    }
    or_none(roles.into_iter().collect::<Vec<_>>().join(","))
}

fn address(obj: &Value, kind: &str) -> String {
    let found = list(obj, &["status", "addresses"]).iter().find(|a| text(a, &["type"]) == kind);
    or_none(found.map(|address| text(address, &["address"])).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn a_row_says_what_upstream_says() {
        let (node, errors) = create(
            &Node,
            json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
                "spec": {"unschedulable": true, "podCIDR": "10.244.0.0/24"},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "capacity": {"cpu": 2, "memory": "4Gi"},
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"}}}),
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "2", "memory": "4Gi"}));
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.244.0.0/24"]));
        let row: Vec<_> =
            Node.row(&node, now()).iter().map(|c| c.as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(
            row,
            [
                "n",
                "Ready,SchedulingDisabled",
                "control-plane",
                "60m",
                "v1.36.0",
                "10.0.0.1",
                "<none>",
                "Debian",
                "<unknown>",
                "<unknown>"
            ]
        );
        assert_eq!(Node.selectable_fields(&node)[0].1, "true");
    }
}
