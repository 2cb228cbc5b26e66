//! Scopes: which objects a quota is about.

use serde_json::Value;
use xebec_api::meta;

use crate::pod;

/// One requirement on an object: `spec.scopes` as `Exists`, `spec.scopeSelector.matchExpressions` as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeSelector {
    /// `Terminating`, `BestEffort`, `PriorityClass`, ...
    pub scope: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: String,
    /// The values of `In` and `NotIn`.
    pub values: Vec<String>,
}

impl ScopeSelector {
    /// Reads a `matchExpressions` entry.
    pub fn from_value(value: &Value) -> Self {
        Self {
            scope: meta::str_at(value, "/scopeName").to_owned(),
            operator: meta::str_at(value, "/operator").to_owned(),
            values: meta::list_at(value, "/values")
                .iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect(),
        }
    }

    /// Whether a set of names (none or one priority class, up to three volume attributes classes) is selected.
    fn selects(&self, names: &[&str]) -> bool {
        let listed = |name: &&str| self.values.iter().any(|v| v == name);
        match self.operator.as_str() {
            "Exists" => !names.is_empty(),
            "DoesNotExist" => names.is_empty(),
            "In" => names.iter().any(listed),
            // A label selector over one name at a time: true as soon as one name is outside the list.
            "NotIn" => names.is_empty() || !names.iter().all(listed),
            _ => false,
        }
    }

    /// Whether a pod is selected; scopes of other kinds select no pod.
    pub(crate) fn selects_pod(&self, pod: &Value) -> bool {
        match self.scope.as_str() {
            "Terminating" => is_terminating(pod),
            "NotTerminating" => !is_terminating(pod),
            "BestEffort" => pod::is_best_effort(pod),
            "NotBestEffort" => !pod::is_best_effort(pod),
            "PriorityClass" => {
                let name = meta::str_at(pod, "/spec/priorityClassName");
                let names = [name];
                self.selects(if name.is_empty() { &[] } else { &names })
            }
            "CrossNamespacePodAffinity" => crosses_namespaces(pod),
            _ => false,
        }
    }

    /// Whether a persistent volume claim is selected.
    pub(crate) fn selects_claim(&self, claim: &Value) -> bool {
        let at = [
            "/spec/volumeAttributesClassName",
            "/status/currentVolumeAttributesClassName",
            "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
        ];
        let mut names: Vec<&str> =
            at.iter().map(|p| meta::str_at(claim, p)).filter(|n| !n.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        self.scope == "VolumeAttributesClass" && self.selects(&names)
    }
}

/// Every requirement of a quota; an object counts when it satisfies all of them.
pub fn selectors(quota: &Value) -> Vec<ScopeSelector> {
    let scopes = meta::list_at(quota, "/spec/scopes").iter().filter_map(Value::as_str);
    let plain = scopes.map(|scope| ScopeSelector {
        scope: scope.to_owned(),
        operator: "Exists".to_owned(),
        values: Vec::new(),
    });
    let expressions = meta::list_at(quota, "/spec/scopeSelector/matchExpressions");
    plain.chain(expressions.iter().map(ScopeSelector::from_value)).collect()
}

fn is_terminating(pod: &Value) -> bool {
    meta::int_at(pod, "/spec/activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0)
}

fn crosses_namespaces(pod: &Value) -> bool {
    let crosses = |term: &Value| {
        !meta::list_at(term, "/namespaces").is_empty()
            || term.get("namespaceSelector").is_some_and(|selector| !selector.is_null())
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|affinity| {
        let affinity = &pod["spec"]["affinity"][*affinity];
        let required = meta::list_at(affinity, "/requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = meta::list_at(affinity, "/preferredDuringSchedulingIgnoredDuringExecution");
        required.iter().any(crosses) || preferred.iter().any(|term| crosses(&term["podAffinityTerm"]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope(scope: &str, operator: &str, values: &[&str]) -> ScopeSelector {
        ScopeSelector::from_value(&json!({"scopeName": scope, "operator": operator, "values": values}))
    }

    #[test]
    fn pods_by_scope() {
        let plain = json!({"spec": {"containers": [{"name": "a"}]}});
        let busy = json!({"spec": {"activeDeadlineSeconds": 0, "priorityClassName": "high", "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}}}],
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "x", "namespaceSelector": {}}}]}}}});
        for (selector, of_plain, of_busy) in [
            (scope("Terminating", "Exists", &[]), false, true),
            (scope("NotTerminating", "Exists", &[]), true, false),
            (scope("BestEffort", "Exists", &[]), true, false),
            (scope("NotBestEffort", "Exists", &[]), false, true),
            (scope("PriorityClass", "Exists", &[]), false, true),
            (scope("PriorityClass", "DoesNotExist", &[]), true, false),
            (scope("PriorityClass", "In", &["high", "low"]), false, true),
            (scope("PriorityClass", "In", &["low"]), false, false),
            (scope("PriorityClass", "NotIn", &["high"]), true, false),
            (scope("CrossNamespacePodAffinity", "Exists", &[]), false, true),
            (scope("VolumeAttributesClass", "Exists", &[]), false, false),
        ] {
            assert_eq!(selector.selects_pod(&plain), of_plain, "{selector:?}");
            assert_eq!(selector.selects_pod(&busy), of_busy, "{selector:?}");
        }
    }

    #[test]
    fn claims_by_attributes_class() {
        let claim = json!({"spec": {"volumeAttributesClassName": "gold"},
            "status": {"currentVolumeAttributesClassName": "silver"}});
        assert!(scope("VolumeAttributesClass", "In", &["silver"]).selects_claim(&claim));
        assert!(scope("VolumeAttributesClass", "NotIn", &["gold"]).selects_claim(&claim));
        assert!(!scope("VolumeAttributesClass", "In", &["iron"]).selects_claim(&claim));
        assert!(!scope("PriorityClass", "DoesNotExist", &[]).selects_claim(&claim));
        assert!(scope("VolumeAttributesClass", "DoesNotExist", &[]).selects_claim(&json!({})));
    }

    #[test]
    fn of_a_quota() {
        let quota = json!({"spec": {"scopes": ["BestEffort"], "scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["a"]}]}}});
        assert_eq!(
            selectors(&quota),
            [scope("BestEffort", "Exists", &[]), scope("PriorityClass", "In", &["a"])]
        );
    }
}
