//! CSINodes and CSIDrivers.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, default_to, drop_nulls, flag, has, int, list, remove, set, text, texts};
use crate::shared::formats::{driver_name, qualified_name};
use crate::shared::rules::{immutable, not_negative, one_of_or_missing};
use crate::table::{AGE, NAME, age, column, name, or_none};
use crate::{Column, Context, Facts, Strategy, generic};

static NODE: Facts = Facts::cluster("storage.k8s.io", "CSINode", "csinodes");
static DRIVER: Facts = Facts::cluster("storage.k8s.io", "CSIDriver", "csidrivers");
const NODE_COLUMNS: &[Column] =
    &[NAME, column("Drivers", "integer", "The number of CSI drivers on the node."), AGE];
const DRIVER_COLUMNS: &[Column] = &[
    NAME,
    column("AttachRequired", "boolean", "Whether volumes must be attached."),
    column("PodInfoOnMount", "boolean", "Whether the driver is told about the pod."),
    column("StorageCapacity", "boolean", "Whether free capacity is considered when scheduling."),
    column("TokenRequests", "string", "The audiences of tokens the driver wants."),
    column("RequiresRepublish", "boolean", "Whether volumes are published again and again."),
    column("Modes", "string", "The modes of the driver's volumes."),
    AGE,
];

/// The strategy of CSINodes.
pub struct CsiNode;
/// The strategy of CSIDrivers.
pub struct CsiDriver;

impl Strategy for CsiNode {
    fn facts(&self) -> &Facts {
        &NODE
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "drivers"], json!([]));
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&NODE, obj);
        let drivers = list(obj, &["spec", "drivers"]);
        for (index, driver) in drivers.iter().enumerate() {
            let path = Path::new("spec").child("drivers").index(index);
            errors.extend(validate_node_driver(driver, &drivers[..index], &path));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        let path = Path::new("spec").child("drivers");
        // The number of volumes a node takes may change; a driver's identity may not.
        let identity = |driver: &Value| {
            let mut driver = driver.clone();
            remove(&mut driver, &["allocatable"]);
            driver
        };
        for before in list(old, &["spec", "drivers"]) {
            for now in list(obj, &["spec", "drivers"]).iter().filter(|now| now["name"] == before["name"]) {
                errors.extend(immutable(&identity(now), &identity(before), &path));
            }
        }
        errors.extend(generic::validate_update(&NODE, obj, old));
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        NODE_COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(list(obj, &["spec", "drivers"]).len()), age(obj, now)]
    }
}

const NODE_ID_MAX_BYTES: usize = 256;

fn validate_node_driver(driver: &Value, earlier: &[Value], path: &Path) -> Vec<FieldError> {
    let name = text(driver, &["name"]);
    let mut errors = driver_name(name, &path.child("name"));
    let (id, id_path) = (text(driver, &["nodeID"]), path.child("nodeID"));
    if id.is_empty() {
        errors.push(FieldError::required(&id_path, ""));
    }
    if id.len() > NODE_ID_MAX_BYTES {
        let detail = format!("must be {NODE_ID_MAX_BYTES} characters or less");
        errors.push(FieldError::invalid(&id_path, id, detail));
    }
    errors.extend(not_negative(at(driver, &["allocatable"]), "count", &path.child("allocatable")));
    if earlier.iter().any(|earlier| text(earlier, &["name"]) == name) {
        errors.push(FieldError::duplicate(&path.child("name"), name));
    }
    let keys = texts(driver, &["topologyKeys"]);
    for (index, key) in keys.iter().enumerate() {
        if key.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
        if keys[..index].contains(key) {
            errors.push(FieldError::duplicate(path, key));
        }
        errors.extend(qualified_name(key, path));
    }
    errors
}

fn validate_tokens(requests: &[Value], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let path = path.index(index);
        let audience = text(request, &["audience"]);
        if requests[..index].iter().any(|earlier| text(earlier, &["audience"]) == audience) {
            errors.push(FieldError::duplicate(&path.child("audience"), audience));
            continue;
        }
        let problem = match int(request, &["expirationSeconds"]) {
            Some(..600) => "may not specify a duration less than 10 minutes",
            Some(4_294_967_297..) => "may not specify a duration larger than 2^32 seconds",
            _ => continue,
        };
        let value = at(request, &["expirationSeconds"]);
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), value, problem));
    }
    errors
}

impl Strategy for CsiDriver {
    fn facts(&self) -> &Facts {
        &DRIVER
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "attachRequired"], true);
        default_to(obj, &["spec", "fsGroupPolicy"], "ReadWriteOnceWithFSType");
        for key in ["podInfoOnMount", "requiresRepublish", "seLinuxMount", "storageCapacity"] {
            default_to(obj, &["spec", key], false);
        }
        if list(obj, &["spec", "volumeLifecycleModes"]).is_empty() {
            set(obj, &["spec", "volumeLifecycleModes"], json!(["Persistent"]));
        }
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&DRIVER, obj, old);
        // Upstream gives no generation to a new driver.
        if at(obj, &["spec"]) != at(old, &["spec"]) {
            let generation = int(old, &["metadata", "generation"]).unwrap_or(0);
            set(obj, &["metadata", "generation"], json!(generation + 1));
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&DRIVER, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        errors.extend(one_of_or_missing(spec, "fsGroupPolicy", &policies, &path));
        errors.extend(validate_tokens(list(spec, &["tokenRequests"]), &path.child("tokenRequests")));
        let modes = ["Persistent", "Ephemeral"];
        for mode in texts(spec, &["volumeLifecycleModes"]).iter().filter(|mode| !modes.contains(mode)) {
            errors.push(FieldError::not_supported(&path.child("volumeLifecycleModes"), mode, &modes));
        }
        let period = int(spec, &["nodeAllocatableUpdatePeriodSeconds"]);
        if let Some(period) = period.filter(|period| *period < 10) {
            let detail = "must be greater than or equal to 10 seconds";
            errors.push(FieldError::invalid(
                &path.child("nodeAllocatableUpdatePeriodSeconds"),
                period,
                detail,
            ));
        }
        let secret = at(spec, &["serviceAccountTokenInSecrets"]);
        if !secret.is_null() && list(spec, &["tokenRequests"]).is_empty() {
            let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
            errors.push(FieldError::invalid(&path.child("serviceAccountTokenInSecrets"), secret, detail));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&DRIVER, obj, old));
        // The first path is spelled as upstream spells it.
        for (key, shown) in
            [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            let path = Path::new("spec").child(shown);
            errors.extend(immutable(at(obj, &["spec", key]), at(old, &["spec", key]), &path));
        }
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        DRIVER_COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let is = |key: &str| json!(flag(obj, &["spec", key]));
        let tokens: Vec<&str> = list(obj, &["spec", "tokenRequests"])
            .iter()
            .map(|request| text(request, &["audience"]))
            .collect();
        let tokens =
            if has(obj, &["spec", "tokenRequests"]) { tokens.join(",") } else { "<unset>".to_owned() };
        vec![
            name(obj),
            is("attachRequired"),
            is("podInfoOnMount"),
            is("storageCapacity"),
            json!(tokens),
            is("requiresRepublish"),
            json!(or_none(texts(obj, &["spec", "volumeLifecycleModes"]).join(","))),
            age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests;
