//! What a request narrows itself to, as authorizers see it.
//!
//! Enters: the text of a selector parameter, or the selector of a review's `resourceAttributes` (`rawSelector` or
//! `requirements`). Leaves: requirements, all of which hold; and, for a webhook, their form in a review. What cannot
//! be understood is left out: a selector only narrows, so that the question becomes a broader one and an answer to it
//! is right for the narrower one as well. Called by the API server for each request and review.
//!
//! Authority: KEP-4601; `pkg/registry/authorization/util/helpers.go`,
//! `k8s.io/apiserver/plugin/pkg/authorizer/webhook.resourceAttributesFrom`.

use serde_json::{Value, json};
use xebec_api::selector::{
    FieldOperator, FieldRequirement, FieldSelector, LabelSelector, Operator, Requirement,
};

use crate::{items, strings, text};

/// The requirements of a `fieldSelector` parameter; none if it is no selector (the request fails later by that).
pub fn fields(selector: &str) -> Vec<FieldRequirement> {
    FieldSelector::parse(selector).map(|parsed| parsed.requirements().to_vec()).unwrap_or_default()
}

/// The requirements of a `labelSelector` parameter; none if it is no selector (the request fails later by that).
pub fn labels(selector: &str) -> Vec<Requirement> {
    LabelSelector::parse(selector).map(|parsed| parsed.requirements().to_vec()).unwrap_or_default()
}

/// The requirements of a review's `fieldSelector`.
///
/// Fields are compared with one value only: requirements with more, and those with `Exists` and `DoesNotExist`, are
/// left out.
pub fn asked_fields(selector: &Value) -> Vec<FieldRequirement> {
    let known = items(selector, "/requirements").filter_map(|requirement| {
        let operator = match text(requirement, "/operator") {
            "In" => FieldOperator::Equals,
            "NotIn" => FieldOperator::NotEquals,
            _ => return None,
        };
        let [value] = <[String; 1]>::try_from(strings(requirement, "/values")).ok()?;
        Some(FieldRequirement { field: text(requirement, "/key").to_owned(), operator, value })
    });
    let known: Vec<FieldRequirement> = known.collect();
    if known.is_empty() { fields(text(selector, "/rawSelector")) } else { known }
}

/// The requirements of a review's `labelSelector`; those with an unknown operator or a bad value are left out.
pub fn asked_labels(selector: &Value) -> Vec<Requirement> {
    let known = items(selector, "/requirements").filter_map(|requirement| {
        let operator = match text(requirement, "/operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        Requirement::new(text(requirement, "/key"), operator, strings(requirement, "/values")).ok()
    });
    let known: Vec<Requirement> = known.collect();
    if known.is_empty() { labels(text(selector, "/rawSelector")) } else { known }
}

/// Requirements on fields as a review shows them.
pub(super) fn shown_fields(requirements: &[FieldRequirement]) -> Vec<Value> {
    let terms = requirements.iter().map(|term| {
        let operator = if term.operator == FieldOperator::NotEquals { "NotIn" } else { "In" };
        json!({"key": term.field, "operator": operator, "values": [term.value]})
    });
    terms.collect()
}

/// Requirements on labels as a review shows them, those that it has words for (not `<` and `>`).
pub(super) fn shown_labels(requirements: &[Requirement]) -> Vec<Value> {
    let terms = requirements.iter().filter_map(|term| {
        let operator = match term.operator() {
            Operator::In | Operator::Equals | Operator::DoubleEquals => "In",
            Operator::NotIn | Operator::NotEquals => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            Operator::GreaterThan | Operator::LessThan => return None,
        };
        let mut requirement = json!({"key": term.key(), "operator": operator});
        if !term.values().is_empty() {
            requirement["values"] = json!(term.values());
        }
        Some(requirement)
    });
    terms.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"key": key, "operator": operator, "values": values})
    }

    #[test]
    fn a_reviews_fields_are_those_that_can_be_compared() {
        let equal = requirement("spec.nodeName", "In", &["n1"]);
        let unequal = requirement("status.phase", "NotIn", &["Failed"]);
        for (selector, shown) in [
            (json!({"rawSelector": "spec.nodeName=n1,status.phase!=Failed"}), vec![&equal, &unequal]),
            (json!({"requirements": [equal, unequal]}), vec![&equal, &unequal]),
            (
                json!({"requirements": [
                    requirement("a", "In", &["x", "y"]), requirement("a", "In", &[]),
                    requirement("b", "Exists", &[]), requirement("b", "DoesNotExist", &[]),
                    requirement("c", "Newer", &["x"]), equal]}),
                vec![&equal],
            ),
            (json!({"rawSelector": "spec.nodeName=n1,nonsense"}), vec![]),
            (json!({"requirements": [requirement("a", "In", &["x", "y"])]}), vec![]),
            (Value::Null, vec![]),
        ] {
            let found = shown_fields(&asked_fields(&selector));
            assert_eq!(found.iter().collect::<Vec<_>>(), shown, "{selector}");
        }
    }

    #[test]
    fn a_reviews_labels_are_those_that_are_understood() {
        let one_of = requirement("a", "In", &["x", "y"]);
        let none_of = requirement("b", "NotIn", &["z"]);
        let (with, without) =
            (json!({"key": "c", "operator": "Exists"}), json!({"key": "d", "operator": "DoesNotExist"}));
        for (selector, shown) in [
            (json!({"rawSelector": "a in (x,y),b!=z,c,!d"}), vec![&one_of, &none_of, &with, &without]),
            (
                json!({"requirements": [one_of, none_of, with, without]}),
                vec![&one_of, &none_of, &with, &without],
            ),
            (
                json!({"requirements": [
                    requirement("a", "In", &[]), requirement("a", "Newer", &["x"]),
                    requirement("no key!", "Exists", &[]), requirement("a", "In", &["no value!"]), one_of]}),
                vec![&one_of],
            ),
            (json!({"rawSelector": "a in (x"}), vec![]),
            (Value::Null, vec![]),
        ] {
            let found = shown_labels(&asked_labels(&selector));
            assert_eq!(found.iter().collect::<Vec<_>>(), shown, "{selector}");
        }
    }
}
