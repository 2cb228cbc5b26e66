//! Which containers may come back to life: those that their policies and rules restart.
//!
//! Authority: upstream's ValidateContainerStateTransition and ContainerShouldRestart (KEP-5307, KEP-5532).

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, has, int, list, text};

/// The error of every container that ended for good and runs again.
pub fn validate(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let spec = at(old, &["spec"]);
    let mut errors = Vec::new();
    for (of, statuses) in [("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")] {
        let restarts = |name: &str, code: i64| {
            let container = list(spec, &[of]).iter().find(|container| text(container, &["name"]) == name);
            container.is_some_and(|container| restarts(container, spec, code))
        };
        if !all_may_restart(spec) {
            errors.extend(revived(obj, old, statuses, restarts, &path.child(statuses)));
        }
    }
    let statuses = "ephemeralContainerStatuses";
    errors.extend(revived(obj, old, statuses, |_, _| false, &path.child(statuses)));
    errors
}

fn revived(
    obj: &Value,
    old: &Value,
    statuses: &str,
    restarts: impl Fn(&str, i64) -> bool,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, before) in list(old, &["status", statuses]).iter().enumerate() {
        let ended = at(before, &["state", "terminated"]);
        let name = text(before, &["name"]);
        let alive =
            |status: &&Value| text(status, &["name"]) == name && !has(status, &["state", "terminated"]);
        let revived = list(obj, &["status", statuses]).iter().any(|status| alive(&status));
        if !ended.is_null() && revived && !restarts(name, int(ended, &["exitCode"]).unwrap_or(0)) {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(&path.index(index).child("state"), detail));
        }
    }
    errors
}

/// True when a rule of one container restarts all of them.
fn all_may_restart(spec: &Value) -> bool {
    let all = list(spec, &["containers"]).iter().chain(list(spec, &["initContainers"]));
    let rules = all.flat_map(|container| list(container, &["restartPolicyRules"]));
    rules.into_iter().any(|rule| text(rule, &["action"]) == "RestartAllContainers")
}

/// True when a container that ended with this code starts again.
fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    let own = text(container, &["restartPolicy"]);
    let ruled = list(container, &["restartPolicyRules"]).iter().any(|rule| applies(rule, code));
    match if own.is_empty() { text(spec, &["restartPolicy"]) } else { own } {
        _ if !own.is_empty() && ruled => true,
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

fn applies(rule: &Value, code: i64) -> bool {
    let named = list(rule, &["exitCodes", "values"]).iter().any(|value| value.as_i64() == Some(code));
    match text(rule, &["exitCodes", "operator"]) {
        "In" => named,
        "NotIn" => !named,
        _ => false,
    }
}
