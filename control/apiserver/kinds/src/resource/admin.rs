//! Access to devices as an administrator, past other claims (KEP-5018): only in namespaces labelled for it.
//!
//! Enters: a claim or template that is created, or a claim's status that is written. Leaves: the field that asks for such
//! access, if one does, and the error when the namespace does not allow it. Called by the API server's registry, which
//! knows the namespace. Authority: pkg/registry/resource/utils.go.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, list};

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// The field of a new claim or claim template (by its plural) that asks for it. The field of a template is named as a
/// claim's, as upstream does.
#[must_use]
pub fn asked(plural: &str, obj: &Value) -> Option<Path> {
    let spec = match plural {
        "resourceclaims" => at(obj, &["spec"]),
        "resourceclaimtemplates" => at(obj, &["spec", "spec"]),
        _ => return None,
    };
    let requests = list(spec, &["devices", "requests"]);
    let index =
        requests.iter().position(|request| *at(request, &["exactly", "adminAccess"]) == json!(true))?;
    Some(Path::new("spec").child("devices").child("requests").index(index).child("adminAccess"))
}

/// The field of a claim's status that was given it now; a status that had it before is not asked again.
#[must_use]
pub fn granted(claim: &Value, old: &Value) -> Option<Path> {
    let first = |claim: &Value| {
        let results = list(claim, &["status", "allocation", "devices", "results"]);
        results.iter().position(|result| *at(result, &["adminAccess"]) == json!(true))
    };
    if first(old).is_some() {
        return None;
    }
    let results = Path::new("status").child("allocation").child("devices").child("results");
    Some(results.index(first(claim)?).child("adminAccess"))
}

/// The error of `path` asking for it in a namespace with these labels.
#[must_use]
pub fn refused(path: &Path, namespace_labels: &Value) -> Option<FieldError> {
    if *at(namespace_labels, &[LABEL]) == json!("true") {
        return None;
    }
    let detail =
        format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    Some(FieldError::forbidden(path, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_where() {
        let request = |admin: Value| json!({"name": "a", "exactly": {"adminAccess": admin}});
        let devices = |requests: &[Value]| json!({"devices": {"requests": requests}});
        let asking = devices(&[request(json!(false)), request(json!(true))]);
        let cases = [
            ("resourceclaims", json!({"spec": asking}), Some("spec.devices.requests[1].adminAccess")),
            (
                "resourceclaimtemplates",
                json!({"spec": {"spec": asking}}),
                Some("spec.devices.requests[1].adminAccess"),
            ),
            ("resourceclaims", json!({"spec": devices(&[request(Value::Null)])}), None),
            ("resourceclaims", json!({"spec": devices(&[json!({"firstAvailable": [{"name": "b"}]})])}), None),
            ("deviceclasses", json!({"spec": asking}), None),
        ];
        for (plural, obj, expected) in cases {
            assert_eq!(asked(plural, &obj).as_ref().map(Path::as_str), expected, "{plural} {obj}");
        }
        let status = |admin: &[bool]| {
            let results: Vec<Value> = admin.iter().map(|admin| json!({"adminAccess": admin})).collect();
            json!({"status": {"allocation": {"devices": {"results": results}}}})
        };
        let none = json!({"status": {}});
        let path = granted(&status(&[false, true]), &none);
        assert_eq!(path.unwrap().as_str(), "status.allocation.devices.results[1].adminAccess");
        assert_eq!(granted(&status(&[false, true]), &status(&[true])), None, "it had it before");
        assert_eq!(granted(&status(&[false]), &none), None);
    }

    #[test]
    fn which_namespaces_allow_it() {
        let path = Path::new("spec").child("x");
        for (labels, allowed) in [
            (json!({LABEL: "true"}), true),
            (json!({LABEL: "yes"}), false),
            (json!({}), false),
            (Value::Null, false),
        ] {
            assert_eq!(refused(&path, &labels).is_none(), allowed, "{labels}");
        }
        assert_eq!(
            refused(&path, &Value::Null).unwrap().to_string(),
            "spec.x: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` \
             label on the containing namespace"
        );
    }
}
