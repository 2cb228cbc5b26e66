//! Roles and ClusterRoles.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{drop_nulls, has, list};
use crate::shared::labels::validate_selector;
use crate::table::{NAME_CREATED, name_created_row};
use crate::{Column, Facts, NameRule, Strategy, generic};

const GROUP: &str = "rbac.authorization.k8s.io";
static ROLE: Facts = Facts::namespaced(GROUP, "Role", "roles").with_name(NameRule::PathSegment);
static CLUSTER_ROLE: Facts =
    Facts::cluster(GROUP, "ClusterRole", "clusterroles").with_name(NameRule::PathSegment);

/// The strategy of Roles.
pub struct Role;
/// The strategy of ClusterRoles.
pub struct ClusterRole;

impl Strategy for Role {
    fn facts(&self) -> &Facts {
        &ROLE
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&ROLE, obj);
        errors.extend(validate_rules(obj, true));
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        NAME_CREATED
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        name_created_row(obj)
    }
}

impl Strategy for ClusterRole {
    fn facts(&self) -> &Facts {
        &CLUSTER_ROLE
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&CLUSTER_ROLE, obj);
        errors.extend(validate_rules(obj, false));
        if has(obj, &["aggregationRule"]) {
            let path = Path::new("aggregationRule").child("clusterRoleSelectors");
            let selectors = list(obj, &["aggregationRule", "clusterRoleSelectors"]);
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.push(FieldError::required(&path, detail));
            }
            for (index, selector) in selectors.iter().enumerate() {
                let path = path.index(index);
                let found = validate_selector(selector, &path);
                let unusable = !found.is_empty();
                errors.extend(found);
                if unusable {
                    // As upstream, which shows the selector that could not be made.
                    errors.push(FieldError::invalid(&path, Value::Null, "invalid label selector."));
                }
            }
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        NAME_CREATED
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        name_created_row(obj)
    }
}

fn validate_rules(obj: &Value, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in list(obj, &["rules"]).iter().enumerate() {
        let path = Path::new("rules").index(index);
        if list(rule, &["verbs"]).is_empty() {
            errors.push(FieldError::required(&path.child("verbs"), "verbs must contain at least one value"));
        }
        let urls = list(rule, &["nonResourceURLs"]);
        if !urls.is_empty() {
            let path = path.child("nonResourceURLs");
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(&path, urls, detail));
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|key| !list(rule, &[key]).is_empty()) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(&path, json!(urls), detail));
            }
            continue;
        }
        if list(rule, &["apiGroups"]).is_empty() {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(&path.child("apiGroups"), detail));
        }
        if list(rule, &["resources"]).is_empty() {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(&path.child("resources"), detail));
        }
    }
    errors
}
