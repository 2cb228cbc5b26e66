//! The rules an aggregated role should have. Pure.
//!
//! Authority: `pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go`.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::ClusterRole;
use xebec_api::selector::LabelSelector;

/// The role with its rules put together; `None` if it has them already, or aggregates nothing.
///
/// Selectors are taken in order, the roles of each by name, each rule once. A selector that cannot be read chooses
/// nothing. A deleted source takes its rules with it.
pub fn aggregated(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<ClusterRole> {
    let rule = role.aggregation_rule.as_ref()?;
    let mut rules = Vec::new();
    for selector in rule.cluster_role_selectors.iter().flatten() {
        let Ok(value) = serde_json::to_value(selector) else { continue };
        let Ok(selector) = LabelSelector::from_object(&value) else { continue };
        let mut chosen: Vec<&Arc<ClusterRole>> = all
            .iter()
            .filter(|other| other.metadata.name != role.metadata.name)
            .filter(|other| selector.matches(other.metadata.labels.as_ref().unwrap_or(&Default::default())))
            .collect();
        chosen.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        for source in chosen.iter().flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(source) {
                rules.push(source.clone());
            }
        }
    }
    if role.rules.as_deref().unwrap_or_default() == rules {
        return None;
    }
    Some(ClusterRole { rules: Some(rules), ..role.clone() })
}
