//! RuntimeClasses.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::pod::scheduling::validate_tolerations;
use crate::shared::access::{at, drop_nulls, list, text};
use crate::shared::labels::validate_labels;
use crate::shared::quantities::canonical_list;
use crate::shared::rules::{immutable, invalid_each};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::cluster("node.k8s.io", "RuntimeClass", "runtimeclasses");
const COLUMNS: &[Column] =
    &[NAME, column("Handler", "string", "The runtime's configuration that handles its pods."), AGE];

/// The strategy of RuntimeClasses.
pub struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        canonical_list(obj, &["overhead", "podFixed"]);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let handler = text(obj, &["handler"]);
        errors.extend(invalid_each(&Path::new("handler"), handler, names::is_dns1123_label(handler)));
        let path = Path::new("scheduling");
        let selector = at(obj, &["scheduling", "nodeSelector"]);
        errors.extend(validate_labels(selector, &path.child("nodeSelector")));
        let tolerations = list(obj, &["scheduling", "tolerations"]);
        errors.extend(validate_tolerations(tolerations, &path.child("tolerations")));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(immutable(at(obj, &["handler"]), at(old, &["handler"]), &Path::new("handler")));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(text(obj, &["handler"])), age(obj, now)]
    }
}
