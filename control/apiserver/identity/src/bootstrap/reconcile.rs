//! What an existing bootstrap object lacks, after an upgrade or an edit.
//!
//! Enters: the stored object and the one this version wants. Leaves: what to write. Rights and subjects are added,
//! never taken away.
//!
//! Authority: `k8s.io/component-helpers/auth/rbac/reconciliation`.

use serde_json::{Map, Value};

use super::AUTOUPDATE;
use crate::authz::{Rule, covers};
use crate::{items, text};

/// What to do with a stored bootstrap object.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconciled {
    /// Nothing: it has all it needs, or its annotation says `autoupdate: "false"`.
    InOrder,
    /// Write this over it.
    Update(Value),
    /// Delete it and create this: a binding's role cannot be changed.
    Recreate(Value),
}

/// Compares a stored object with the bootstrap object of the same name.
pub fn reconcile(stored: &Value, wanted: &Value) -> Reconciled {
    let annotations = stored.pointer("/metadata/annotations");
    if annotations.and_then(|a| a.get(AUTOUPDATE)).and_then(Value::as_str) == Some("false") {
        return Reconciled::InOrder;
    }
    if text(wanted, "/kind").ends_with("Binding") && stored.get("roleRef") != wanted.get("roleRef") {
        return Reconciled::Recreate(wanted.clone());
    }
    let mut new = stored.clone();
    for part in ["labels", "annotations"] {
        add_metadata(&mut new, wanted, part);
    }
    add_rules(&mut new, wanted);
    add_missing(&mut new, wanted, "subjects");
    if new == *stored { Reconciled::InOrder } else { Reconciled::Update(new) }
}

fn add_metadata(new: &mut Value, wanted: &Value, part: &str) {
    let Some(wanted) = wanted["metadata"][part].as_object() else { return };
    let own = &mut new["metadata"][part];
    if !own.is_object() {
        *own = Value::Object(Map::new());
    }
    for (key, value) in wanted {
        if own.get(key).is_none() {
            own[key] = value.clone();
        }
    }
}

/// Adds each rule that is not covered; of an aggregated role, the selectors instead.
fn add_rules(new: &mut Value, wanted: &Value) {
    if let Some(aggregation) = wanted.get("aggregationRule") {
        if !new.get("aggregationRule").is_some_and(Value::is_object) {
            new["aggregationRule"] = aggregation.clone();
        }
        add_missing(&mut new["aggregationRule"], aggregation, "clusterRoleSelectors");
        return;
    }
    let held = Rule::all_of(new);
    let lacking = items(wanted, "/rules").filter(|rule| !covers(&held, &[Rule::from_value(rule)]).is_empty());
    append(new, "rules", lacking.cloned().collect());
}

fn add_missing(new: &mut Value, wanted: &Value, list: &str) {
    let at = format!("/{list}");
    let lacking = items(wanted, &at).filter(|item| !items(new, &at).any(|own| own == *item));
    let lacking = lacking.cloned().collect();
    append(new, list, lacking);
}

fn append(object: &mut Value, list: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    match object[list].as_array_mut() {
        Some(own) => own.extend(more),
        None => object[list] = Value::Array(more),
    }
}
