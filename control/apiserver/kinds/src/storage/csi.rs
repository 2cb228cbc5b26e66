//! CSINodes and CSIDrivers.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, default_text, default_to, drop_nulls, flag, has, list, set, text, texts};
use crate::shared::rules::{immutable, required};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

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
        for (index, driver) in list(obj, &["spec", "drivers"]).iter().enumerate() {
            let path = Path::new("spec").child("drivers").index(index);
            errors.extend(required(driver, "name", &path));
            errors.extend(required(driver, "nodeID", &path));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        NODE_COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(list(obj, &["spec", "drivers"]).len()), age(obj, now)]
    }
}

impl Strategy for CsiDriver {
    fn facts(&self) -> &Facts {
        &DRIVER
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "attachRequired"], true);
        default_text(obj, &["spec", "fsGroupPolicy"], "ReadWriteOnceWithFSType");
        for key in ["podInfoOnMount", "requiresRepublish", "seLinuxMount", "storageCapacity"] {
            default_to(obj, &["spec", key], false);
        }
        if list(obj, &["spec", "volumeLifecycleModes"]).is_empty() {
            set(obj, &["spec", "volumeLifecycleModes"], json!(["Persistent"]));
        }
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&DRIVER, obj, old);
        for key in ["attachRequired", "volumeLifecycleModes"] {
            let path = Path::new("spec").child(key);
            errors.extend(immutable(at(obj, &["spec", key]), at(old, &["spec", key]), &path));
        }
        errors
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
            json!(texts(obj, &["spec", "volumeLifecycleModes"]).join(",")),
            age(obj, now),
        ]
    }
}
