//! Tolerations: what one covers of another, and the plug-ins that add or limit them.
//!
//! DefaultTolerationSeconds, PodTolerationRestriction, ExtendedResourceToleration. Pure over the reader.
//! Authority: pkg/util/tolerations and the three plug-ins upstream.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xebec_api::status::{ApiError, Reason};
use xebec_api::{meta, names};
use xebec_quota::pod;

use crate::{Call, Operation};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// PodTolerationRestriction's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TolerationConfig {
    /// What pods of namespaces without the annotation get.
    pub default: Vec<Value>,
    /// What pods of namespaces without the annotation may have; empty: anything.
    pub whitelist: Vec<Value>,
}

fn of(pod: &Value) -> Vec<Value> {
    meta::list_at(pod, "/spec/tolerations").to_vec()
}

fn set(pod: &mut Value, tolerations: Vec<Value>) {
    if pod["spec"].is_object() {
        pod["spec"]["tolerations"] = Value::Array(tolerations);
    }
}

/// A toleration without fields that say nothing.
fn same(a: &Value, b: &Value) -> bool {
    ["key", "operator", "value", "effect"]
        .iter()
        .all(|f| meta::str_at(a, &format!("/{f}")) == meta::str_at(b, &format!("/{f}")))
        && meta::int_at(a, "/tolerationSeconds") == meta::int_at(b, "/tolerationSeconds")
}

/// Whether `wide` tolerates all that `narrow` does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if same(wide, narrow) {
        return true;
    }
    let text = |t: &Value, field: &str| t[field].as_str().unwrap_or_default().to_owned();
    let (key, operator) = (text(wide, "key"), text(wide, "operator"));
    if key != text(narrow, "key") && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    let effect = text(wide, "effect");
    if !effect.is_empty() && effect != text(narrow, "effect") {
        return false;
    }
    if effect == "NoExecute"
        && let Some(seconds) = meta::int_at(wide, "/tolerationSeconds")
        && meta::int_at(narrow, "/tolerationSeconds").is_none_or(|own| own > seconds)
    {
        return false;
    }
    match operator.as_str() {
        "Exists" => true,
        "Equal" | "" => {
            let exact = matches!(text(narrow, "operator").as_str(), "Equal" | "");
            exact && text(narrow, "value") == text(wide, "value")
        }
        _ => false,
    }
}

/// Both lists without what another entry covers; of equal ones the first stays.
pub(crate) fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (i, one) in all.iter().enumerate() {
        let before = merged.iter().any(|kept| covers(kept, one));
        let after = all[i + 1..].iter().any(|later| !same(later, one) && covers(later, one));
        if !before && !after {
            merged.push((*one).clone());
        }
    }
    merged
}

/// Pods stay a while (five minutes, unless configured) on a node that went away.
pub(crate) fn default_seconds(call: &Call<'_>, pod: &mut Value) {
    if !(call.request.creates_pod() || call.request.updates_pod()) {
        return;
    }
    let mut tolerations = of(pod);
    let before = tolerations.len();
    let config = call.config;
    for (key, seconds) in [(NOT_READY, config.not_ready_seconds), (UNREACHABLE, config.unreachable_seconds)] {
        let tolerated = tolerations[..before].iter().any(|t| {
            let (own, effect) = (meta::str_at(t, "/key"), meta::str_at(t, "/effect"));
            (own == key || own.is_empty()) && matches!(effect, "NoExecute" | "")
        });
        if !tolerated {
            tolerations.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}),
            );
        }
    }
    if tolerations.len() != before {
        set(pod, tolerations);
    }
}

/// Nodes with special devices are often tainted with the device's name: pods that ask for one tolerate that.
pub(crate) fn extended_resources(call: &Call<'_>, pod: &mut Value) {
    if !(call.request.creates_pod() || call.request.updates_pod()) {
        return;
    }
    let extended = |name: &&String| {
        name.contains('/')
            && !name.contains("kubernetes.io/")
            && !name.starts_with("requests.")
            && names::is_qualified_name(&format!("requests.{name}")).is_empty()
    };
    let lists = ["/spec/containers", "/spec/initContainers"];
    let requested: BTreeSet<String> = lists
        .iter()
        .flat_map(|at| meta::list_at(pod, at))
        .filter_map(|container| container["resources"]["requests"].as_object())
        .flat_map(|requests| requests.keys())
        .filter(extended)
        .cloned()
        .collect();
    let mut tolerations = of(pod);
    for key in &requested {
        let wanted = json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
        let matching = |t: &&mut Value| {
            ["key", "operator", "value", "effect"]
                .iter()
                .all(|f| meta::str_at(t, &format!("/{f}")) == meta::str_at(&wanted, &format!("/{f}")))
        };
        match tolerations.iter_mut().find(matching) {
            Some(there) => *there = wanted,
            None => tolerations.push(wanted),
        }
    }
    if !requested.is_empty() {
        set(pod, tolerations);
    }
}

/// The tolerations a namespace's annotation lists; none without it.
fn annotated(call: &Call<'_>, key: &str) -> Result<Option<Vec<Value>>, ApiError> {
    let name = call.request.namespace;
    let Some(namespace) = call.reader.get("", "namespaces", "", name) else {
        return Err(ApiError::not_found("", "namespaces", name));
    };
    let Some(text) = meta::annotation(&namespace, key) else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let wrong = |error: serde_json::Error| ApiError::new(500, Reason::Unknown, error.to_string());
    serde_json::from_str(text).map(Some).map_err(wrong)
}

/// Adds what the namespace gives its pods.
pub(crate) fn restrict(call: &Call<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !call.request.creates_pod() {
        return validate_restricted(call, pod);
    }
    let config = &call.config.tolerations;
    let defaults = annotated(call, "scheduler.alpha.kubernetes.io/defaultTolerations")?;
    let mut extra = defaults.unwrap_or_else(|| config.default.clone());
    if !pod::is_best_effort(pod) {
        extra.push(
            json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}),
        );
    }
    if !extra.is_empty() {
        let merged = merge(&of(pod), &extra);
        set(pod, merged);
    }
    validate_restricted(call, pod)
}

/// Refuses what the namespace does not allow its pods.
pub(crate) fn validate_restricted(call: &Call<'_>, pod: &Value) -> Result<(), ApiError> {
    let tolerations = of(pod);
    if !(call.request.creates_pod() || call.request.updates_pod()) || tolerations.is_empty() {
        return Ok(());
    }
    let annotated = annotated(call, "scheduler.alpha.kubernetes.io/tolerationsWhitelist")?;
    let allowed = annotated.unwrap_or_else(|| call.config.tolerations.whitelist.clone());
    let within = |t: &Value| allowed.iter().any(|wide| covers(wide, t));
    if allowed.is_empty() || tolerations.iter().all(within) {
        return Ok(());
    }
    // Upstream answers with a plain error here, not with a 403.
    Err(ApiError::new(
        500,
        Reason::Unknown,
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist",
    ))
}

/// Whether the operation is one tolerations are looked at for.
pub(crate) fn applies(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Update)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Value {
        let mut t = json!({});
        for (field, text) in [("key", key), ("operator", operator), ("value", value), ("effect", effect)] {
            if !text.is_empty() {
                t[field] = json!(text);
            }
        }
        t
    }

    #[test]
    fn covering_and_merging() {
        let all = toleration("", "Exists", "", "");
        let equal = toleration("a", "Equal", "1", "NoSchedule");
        let exists = toleration("a", "Exists", "", "NoSchedule");
        assert!(covers(&all, &equal) && covers(&exists, &equal) && !covers(&equal, &exists));
        assert!(!covers(&toleration("a", "Exists", "", "NoExecute"), &equal));
        let timed = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10});
        assert!(!covers(&timed, &toleration("a", "Exists", "", "NoExecute")));
        let (narrow, wide) = ([equal], [exists]);
        assert_eq!(merge(&narrow, &wide), wide);
        assert_eq!(merge(&wide, &[wide[0].clone(), narrow[0].clone()]), wide);
    }

    #[test]
    fn seconds_where_nothing_is_said() {
        let world = World::default();
        let call = world.call(request(Operation::Create, "", "pods", "ns", "p"), None);
        let mut pod = json!({"spec": {"tolerations": [{"key": NOT_READY, "operator": "Exists"}]}});
        default_seconds(&call, &mut pod);
        assert_eq!(
            pod["spec"]["tolerations"][1],
            json!({"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
        );
        assert_eq!(of(&pod).len(), 2);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        default_seconds(&call, &mut all);
        assert_eq!(of(&all).len(), 1);
    }

    #[test]
    fn devices() {
        let world = World::default();
        let call = world.call(request(Operation::Create, "", "pods", "ns", "p"), None);
        let mut pod = json!({"spec": {"containers": [{"resources": {"requests": {"example.com/gpu": "1", "cpu": "1",
            "node.kubernetes.io/x": "1"}}}]}});
        extended_resources(&call, &mut pod);
        extended_resources(&call, &mut pod);
        assert_eq!(of(&pod), [toleration("example.com/gpu", "Exists", "", "NoSchedule")]);
    }

    #[test]
    fn a_namespaces_own() {
        let world = World::default();
        world.put(
            "",
            "namespaces",
            json!({"metadata": {"name": "ns", "annotations": {
                "scheduler.alpha.kubernetes.io/defaultTolerations": "[{\"key\":\"a\",\"operator\":\"Exists\"}]",
                "scheduler.alpha.kubernetes.io/tolerationsWhitelist": "[{\"key\":\"a\",\"operator\":\"Exists\"}]"}}}),
        );
        let call = world.call(request(Operation::Create, "", "pods", "ns", "p"), None);
        let mut pod = json!({"spec": {"containers": []}});
        restrict(&call, &mut pod).unwrap();
        assert_eq!(of(&pod), [toleration("a", "Exists", "", "")]);
        let mut other = json!({"spec": {"tolerations": [{"key": "b", "operator": "Exists"}]}});
        assert_eq!(
            restrict(&call, &mut other).unwrap_err().message,
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"
        );
    }
}
