//! A container's own restart policy and rules, and its resize policy.
//!
//! Authority: KEP-5307 (container restart rules), KEP-1287 (in-place resize).

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, has, list, text};
use crate::shared::rules::one_of_given;

const MAX_RULES: usize = 20;
const MAX_CODES: usize = 255;

/// Every error of `restartPolicy` and `restartPolicyRules`.
pub fn validate_restarts(container: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rules = list(container, &["restartPolicyRules"]);
    if has(container, &["restartPolicy"]) {
        errors.extend(one_of_given(container, "restartPolicy", &["Always", "Never", "OnFailure"], path));
    } else if !rules.is_empty() {
        let detail = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(&path.child("restartPolicy"), detail));
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(&path, rules.len(), MAX_RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        errors.extend(one_of_given(rule, "action", &["Restart", "RestartAllContainers"], &path));
        let codes_path = path.child("exitCodes");
        if !has(rule, &["exitCodes"]) {
            errors.push(FieldError::required(&codes_path, "must be specified"));
            continue;
        }
        let codes = at(rule, &["exitCodes"]);
        errors.extend(one_of_given(codes, "operator", &["In", "NotIn"], &codes_path));
        let values = list(codes, &["values"]);
        if values.len() > MAX_CODES {
            errors.push(FieldError::too_many(&codes_path.child("values"), values.len(), MAX_CODES));
        }
    }
    errors
}

/// Every error of `resizePolicy`; a pod that never restarts has no container to restart.
pub fn validate_resize(container: &Value, pod_restart_policy: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, policy) in list(container, &["resizePolicy"]).iter().enumerate() {
        let resource = text(policy, &["resourceName"]);
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(&path.index(index), resource));
        }
        let restart = text(policy, &["restartPolicy"]);
        for (value, allowed) in
            [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])]
        {
            if value.is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if !allowed.contains(&value) {
                errors.push(FieldError::not_supported(path, value, &allowed));
            }
        }
        if pod_restart_policy == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, restart, detail));
        }
    }
    errors
}
