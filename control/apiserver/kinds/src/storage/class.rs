//! StorageClasses.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, default_text, drop_nulls, flag, text};
use crate::shared::meta;
use crate::shared::rules::{one_of, required};
use crate::table::{AGE, Column, NAME, age, column};
use crate::{Facts, Strategy, generic};

static FACTS: Facts = Facts::cluster("storage.k8s.io", "StorageClass", "storageclasses");
const COLUMNS: &[Column] = &[
    NAME,
    column("Provisioner", "string", "Who makes volumes of this class."),
    column("ReclaimPolicy", "string", "What happens to released volumes."),
    column("VolumeBindingMode", "string", "When claims are provisioned and bound."),
    column("AllowVolumeExpansion", "boolean", "Whether volumes may grow."),
    AGE,
];
const DEFAULT: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// The strategy of StorageClasses.
pub struct StorageClass;

impl Strategy for StorageClass {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["reclaimPolicy"], "Delete");
        default_text(obj, &["volumeBindingMode"], "Immediate");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let root = Path::root();
        errors.extend(required(obj, "provisioner", &root));
        errors.extend(one_of(obj, "reclaimPolicy", &["Delete", "Retain"], &root));
        errors.extend(one_of(obj, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"], &root));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            if at(obj, &[key]) != at(old, &[key]) {
                errors
                    .push(FieldError::forbidden(&Path::new(key), format!("updates to {key} are forbidden.")));
            }
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let is_default = DEFAULT.iter().any(|key| meta::annotation(obj, key) == Some("true"));
        let name = meta::name(obj);
        vec![
            json!(if is_default { format!("{name} (default)") } else { name.to_owned() }),
            json!(text(obj, &["provisioner"])),
            json!(text(obj, &["reclaimPolicy"])),
            json!(text(obj, &["volumeBindingMode"])),
            json!(flag(obj, &["allowVolumeExpansion"])),
            age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    #[test]
    fn a_class_is_defaulted_and_fixed() {
        let meta = json!({"name": "a", "annotations": {DEFAULT[0]: "true"}});
        let (old, errors) = create(&StorageClass, json!({"metadata": meta, "provisioner": "x.y/z"}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            StorageClass.row(&old, now())[..4],
            [json!("a (default)"), json!("x.y/z"), json!("Delete"), json!("Immediate")]
        );
        let mut new = old.clone();
        new["provisioner"] = json!("q");
        assert_eq!(
            update(&StorageClass, new, &old).1,
            ["provisioner: Forbidden: updates to provisioner are forbidden."]
        );
        assert_eq!(create(&StorageClass, json!({})).1, ["provisioner: Required value"]);
    }
}
