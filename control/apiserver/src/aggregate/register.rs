//! Which APIServices are written for the groups this server serves itself. Pure.
//!
//! Authority: k8s.io/kube-aggregator/pkg/controllers/autoregister.

use std::collections::HashSet;

use serde_json::Value;
use xebec_api::meta;

use super::priority::{ALWAYS, MANAGED, ON_START};

/// A write that is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A new APIService.
    Create(Value),
    /// This one gets another spec.
    Update(Value),
    /// The one of this name and uid goes.
    Delete(String, String),
}

fn managed(object: &Value) -> &str {
    object["metadata"]["labels"][MANAGED].as_str().unwrap_or_default()
}

/// What makes `current` as `wanted`. `settled` names the wanted ones that were in order once: those of built-in groups
/// are an operator's from then on.
#[must_use]
pub fn plan(current: &[Value], wanted: &[Value], settled: &HashSet<String>) -> Vec<Action> {
    let mut actions = Vec::new();
    for wish in wanted {
        let name = meta::name(wish);
        if managed(wish) == ON_START && settled.contains(name) {
            continue;
        }
        match current.iter().find(|object| meta::name(object) == name) {
            None => actions.push(Action::Create(wish.clone())),
            // Someone took it over.
            Some(present) if !matches!(managed(present), ON_START | ALWAYS) => {}
            Some(present) if present["spec"] == wish["spec"] => {}
            Some(present) => {
                let mut new = present.clone();
                new["spec"] = wish["spec"].clone();
                actions.push(Action::Update(new));
            }
        }
    }
    let unwanted = |object: &&Value| !wanted.iter().any(|wish| meta::name(wish) == meta::name(object));
    for object in current.iter().filter(|object| managed(object) == ALWAYS).filter(unwanted) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        actions.push(Action::Delete(meta::name(object).to_owned(), uid.to_owned()));
    }
    actions
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::priority::automatic;
    use super::*;

    #[test]
    fn built_in_ones_are_made_once_and_custom_ones_kept() {
        let apps = automatic("apps", "v1", false).unwrap();
        let custom = automatic("example.com", "v1", true).unwrap();
        let wanted = [apps.clone(), custom.clone()];
        let none = HashSet::new();
        assert_eq!(plan(&[], &wanted, &none), [Action::Create(apps.clone()), Action::Create(custom.clone())]);
        assert_eq!(plan(&wanted, &wanted, &none), []);
        let settled = HashSet::from(["v1.apps".to_owned(), "v1.example.com".to_owned()]);
        assert_eq!(plan(&[], &wanted, &settled), [Action::Create(custom.clone())]);
        let mut old = apps.clone();
        old["spec"]["versionPriority"] = json!(1);
        assert_eq!(plan(std::slice::from_ref(&old), &wanted[..1], &none), [Action::Update(apps.clone())]);
        old["metadata"]["labels"] = json!({});
        assert_eq!(plan(&[old], &wanted[..1], &none), []);
        let mut gone = custom;
        gone["metadata"]["uid"] = json!("u");
        let delete = Action::Delete("v1.example.com".into(), "u".into());
        assert_eq!(plan(&[apps.clone(), gone], &wanted[..1], &settled), [delete]);
        // A built-in group of an older release stays.
        assert_eq!(plan(&[apps], &[], &none), []);
    }
}
