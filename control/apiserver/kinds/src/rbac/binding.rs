//! RoleBindings and ClusterRoleBindings.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, default_text, drop_nulls, list, list_mut, text};
use crate::shared::rules::invalid_each;
use crate::table::{AGE, NAME, age, column, name, wide};
use crate::{Column, Facts, NameRule, Strategy, generic};

const GROUP: &str = "rbac.authorization.k8s.io";
static BINDING: Facts =
    Facts::namespaced(GROUP, "RoleBinding", "rolebindings").with_name(NameRule::PathSegment);
static CLUSTER: Facts =
    Facts::cluster(GROUP, "ClusterRoleBinding", "clusterrolebindings").with_name(NameRule::PathSegment);
const COLUMNS: &[Column] = &[
    NAME,
    column("Role", "string", "The role the subjects get."),
    AGE,
    wide("Users", "string", "Users in the roleBinding"),
    wide("Groups", "string", "Groups in the roleBinding"),
    wide("ServiceAccounts", "string", "ServiceAccounts in the roleBinding"),
];

/// The strategy of RoleBindings.
pub struct RoleBinding;
/// The strategy of ClusterRoleBindings.
pub struct ClusterRoleBinding;

macro_rules! binding {
    ($type:ident, $facts:ident, $roles:expr) => {
        impl Strategy for $type {
            fn facts(&self) -> &Facts {
                &$facts
            }

            fn defaults(&self, obj: &mut Value) {
                defaults(obj);
            }

            fn validate(&self, obj: &Value) -> Vec<FieldError> {
                let mut errors = generic::validate(&$facts, obj);
                errors.extend(validate(obj, $roles, $facts.namespaced));
                errors
            }

            fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
                let mut errors = self.validate(obj);
                errors.extend(generic::validate_update(&$facts, obj, old));
                if at(obj, &["roleRef"]) != at(old, &["roleRef"]) {
                    // Upstream shows its internal struct.
                    let part = |key: &str| text(obj, &["roleRef", key]);
                    let shown =
                        json!({"APIGroup": part("apiGroup"), "Kind": part("kind"), "Name": part("name")});
                    errors.push(FieldError::invalid(&Path::new("roleRef"), shown, "cannot change roleRef"));
                }
                errors
            }

            fn create_on_update(&self) -> bool {
                true
            }

            fn columns(&self) -> &[Column] {
                COLUMNS
            }

            fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
                row(obj, now)
            }
        }
    };
}

binding!(RoleBinding, BINDING, &["ClusterRole", "Role"]);
binding!(ClusterRoleBinding, CLUSTER, &["ClusterRole"]);

fn defaults(obj: &mut Value) {
    drop_nulls(obj);
    default_text(obj, &["roleRef", "apiGroup"], GROUP);
    for subject in list_mut(obj, &["subjects"]) {
        if matches!(text(subject, &["kind"]), "User" | "Group") {
            default_text(subject, &["apiGroup"], GROUP);
        }
    }
}

fn validate(obj: &Value, roles: &[&str], namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("roleRef");
    let group = text(obj, &["roleRef", "apiGroup"]);
    if group != GROUP {
        errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
    }
    let kind = text(obj, &["roleRef", "kind"]);
    if !roles.contains(&kind) {
        let mut allowed = roles.to_vec();
        allowed.sort_by_key(|kind| std::cmp::Reverse(*kind));
        errors.push(FieldError::not_supported(&path.child("kind"), kind, &allowed));
    }
    match text(obj, &["roleRef", "name"]) {
        "" => errors.push(FieldError::required(&path.child("name"), "")),
        role => {
            let messages = crate::shared::meta::name_messages(NameRule::PathSegment, role);
            errors.extend(invalid_each(&path.child("name"), role, messages));
        }
    }
    for (index, subject) in list(obj, &["subjects"]).iter().enumerate() {
        errors.extend(validate_subject(subject, namespaced, &Path::new("subjects").index(index)));
    }
    errors
}

fn validate_subject(subject: &Value, namespaced: bool, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, subject_name) = (text(subject, &["kind"]), text(subject, &["name"]));
    if subject_name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let group = text(subject, &["apiGroup"]);
    match kind {
        "ServiceAccount" => {
            if !subject_name.is_empty() {
                let messages = names::is_dns1123_subdomain(subject_name);
                errors.extend(invalid_each(&path.child("name"), subject_name, messages));
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && text(subject, &["namespace"]).is_empty() {
                errors.push(FieldError::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" if group != GROUP => {
            errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
        }
        "User" | "Group" => {}
        other => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&path.child("kind"), other, &kinds));
        }
    }
    errors
}

fn row(obj: &Value, now: Timestamp) -> Vec<Value> {
    let of = |kind: &str| {
        let subjects = list(obj, &["subjects"]).iter().filter(|subject| text(subject, &["kind"]) == kind);
        let names = subjects.map(|subject| match (kind, text(subject, &["namespace"])) {
            ("ServiceAccount", namespace) => format!("{namespace}/{}", text(subject, &["name"])),
            _ => text(subject, &["name"]).to_owned(),
        });
        json!(names.collect::<Vec<_>>().join(", "))
    };
    let role = format!("{}/{}", text(obj, &["roleRef", "kind"]), text(obj, &["roleRef", "name"]));
    vec![name(obj), json!(role), age(obj, now), of("User"), of("Group"), of("ServiceAccount")]
}
