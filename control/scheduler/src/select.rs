//! Selectors as pod specs write them. PURE; used by `filter` and `score`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector;
use xebec_api::selector::LabelSelector;

/// Whether any term matches; a term without expressions and fields matches nothing.
pub fn node_selector(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| node_term(term, node))
}

/// Whether all of a term's expressions and fields match.
pub fn node_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let labels = node.metadata.labels.as_ref();
    expressions
        .iter()
        .all(|want| requirement(want, labels.and_then(|labels| labels.get(&want.key)).map(String::as_str)))
        && fields
            .iter()
            .all(|want| want.key == "metadata.name" && requirement(want, node.metadata.name.as_deref()))
}

fn requirement(want: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = want.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = || values.first().and_then(|bound| number(bound));
    match want.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(bound()).is_some_and(|(value, bound)| value > bound),
        "Lt" => value.and_then(number).zip(bound()).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Whether a label selector object selects these labels; an absent selector selects nothing.
pub fn labels(selector: Option<&ApiSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return false };
    serde_json::to_value(selector)
        .ok()
        .and_then(|value| LabelSelector::from_object(&value).ok())
        .is_some_and(|parsed| parsed.matches(labels))
}

/// Whether a toleration covers a taint (KEP: taint-based scheduling; an empty key with Exists covers all).
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let effect = set(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = set(&toleration.key).is_none_or(|key| key == taint.key);
    let value = match set(&toleration.operator).as_deref() {
        Some("Exists") => true,
        None | Some("Equal") => {
            set(&toleration.key).is_some()
                && toleration.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default()
        }
        Some(_) => false,
    };
    effect && key && value
}

/// The first taint of these effects that no toleration covers.
pub fn untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Taint> {
    taints.iter().find(|taint| {
        effects.contains(&taint.effect.as_str())
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node() -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}}}))
            .unwrap()
    }

    #[test]
    fn node_terms() {
        let table = [
            (json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}), true),
            (json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}), false),
            (json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["a"]}]}), true),
            (
                json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"}]}),
                false,
            ),
            (json!({"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}), true),
            (json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}), true),
            (json!({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}), false),
            (json!({"matchExpressions": [{"key": "zone", "operator": "Gt", "values": ["4"]}]}), false),
            (json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}), true),
            (json!({}), false),
        ];
        for (term, expected) in table {
            assert_eq!(
                node_term(&serde_json::from_value(term.clone()).unwrap(), &node()),
                expected,
                "{term}"
            );
        }
    }

    #[test]
    fn tolerations() {
        let taint: Taint =
            serde_json::from_value(json!({"key": "k", "value": "v", "effect": "NoSchedule"})).unwrap();
        let table = [
            (json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}), true),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "value": "w"}), false),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
        ];
        for (toleration, expected) in table {
            let parsed: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&parsed, &taint), expected, "{toleration}");
        }
    }
}
