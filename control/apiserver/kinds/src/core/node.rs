//! Nodes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::pod::scheduling::TAINT_EFFECTS;
use crate::shared::access::{at, drop_nulls, entries, flag, has, list, set, text, texts};
use crate::shared::labels::validate_label_name;
use crate::shared::quantities;
use crate::shared::rules::{BAD_CIDR, invalid_each, is_cidr, one_of};
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
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_spec(obj));
        for key in ["capacity", "allocatable"] {
            for (resource, amount) in entries(obj, &["status", key]) {
                let path = Path::new("status").child(key).key(resource);
                errors.extend(quantities::not_negative(amount, &path));
            }
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        let path = Path::new("spec");
        let before = texts(old, &["spec", "podCIDRs"]);
        if !before.is_empty() && before != texts(obj, &["spec", "podCIDRs"]) {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden(&path.child("podCIDRs"), detail));
        }
        let provider = |node: &Value| text(node, &["spec", "providerID"]).to_owned();
        if !provider(old).is_empty() && provider(old) != provider(obj) {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden(&path.child("providerID"), detail));
        }
        errors
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

fn validate_spec(obj: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in list(obj, &["spec", "taints"]).iter().enumerate() {
        let path = path.child("taints").index(index);
        errors.extend(validate_label_name(text(taint, &["key"]), &path.child("key")));
        let value = text(taint, &["value"]);
        let messages = names::is_label_value(value);
        if !messages.is_empty() {
            errors.push(FieldError::invalid(&path.child("value"), value, messages.join(";")));
        }
        errors.extend(one_of(taint, "effect", TAINT_EFFECTS, &path));
        if !seen.insert((text(taint, &["key"]), text(taint, &["effect"]))) {
            errors.push(FieldError::duplicate(&path, taint));
        }
    }
    for (index, cidr) in
        texts(obj, &["spec", "podCIDRs"]).iter().enumerate().filter(|(_, cidr)| !is_cidr(cidr))
    {
        errors.push(FieldError::invalid(&path.child("podCIDRs").index(index), cidr, BAD_CIDR));
    }
    let mut addresses = BTreeSet::new();
    for (index, address) in list(obj, &["status", "addresses"]).iter().enumerate() {
        if !addresses.insert((text(address, &["type"]), text(address, &["address"]))) {
            let path = Path::new("status").child("addresses").index(index);
            errors.push(FieldError::duplicate(&path, address));
        }
    }
    let source = text(obj, &["spec", "configSource", "configMap", "name"]);
    if !source.is_empty() {
        errors.extend(invalid_each(&path.child("configSource"), source, names::is_dns1123_subdomain(source)));
    }
    errors
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
    use crate::testing::{create, now, update};

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

    #[test]
    fn taints_are_checked_and_the_range_stays() {
        let (_, errors) = create(&Node, json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}}));
        assert_eq!(
            errors,
            [
                "spec.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""
            ]
        );
        let (old, _) = create(&Node, json!({"spec": {"podCIDR": "10.244.0.0/24"}}));
        let mut new = old.clone();
        new["spec"] = json!({"podCIDR": "10.244.1.0/24"});
        assert_eq!(
            update(&Node, new, &old).1,
            ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]
        );
    }
}
