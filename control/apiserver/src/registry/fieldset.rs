//! Sets of fields: which fields an object has, in the form managedFields records them (FieldsV1). Pure.
//!
//! Authority: sigs.k8s.io/structured-merge-diff, fieldpath.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::merge_schema::Node;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// `f:name`
    Field(String),
    /// `k:{"name":"c"}`
    Key(String),
    /// `v:"x"`
    Value(String),
    /// `i:3`, kept but never made.
    Index(String),
}

/// A path to a field.
pub type FieldPath = Vec<Step>;
/// A set of fields.
pub type FieldSet = BTreeSet<FieldPath>;

impl Step {
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let canonical = |rest: &str| serde_json::from_str::<Value>(rest).ok().map(|value| value.to_string());
        Some(match kind {
            "f" => Self::Field(rest.to_owned()),
            "k" => Self::Key(canonical(rest)?),
            "v" => Self::Value(canonical(rest)?),
            "i" => Self::Index(rest.to_owned()),
            _ => return None,
        })
    }
}

/// The fields `value` has under `node`.
#[must_use]
pub fn fields_of(value: &Value, node: Node<'_>) -> FieldSet {
    let mut set = FieldSet::new();
    collect(value, node, &mut Vec::new(), &mut set);
    set
}

fn collect(value: &Value, node: Node<'_>, path: &mut FieldPath, set: &mut FieldSet) {
    match (node, value) {
        (Node::Struct(..) | Node::Map(..), Value::Object(map)) => {
            for (name, child) in map {
                path.push(Step::Field(name.clone()));
                collect(child, node.field(name), path, set);
                let empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                if empty || !node.declares_fields() {
                    set.insert(path.clone());
                }
                path.pop();
            }
        }
        (Node::List { .. } | Node::Set, Value::Array(items)) => {
            if items.is_empty() {
                set.insert(path.clone());
            }
            for item in items {
                let Some(key) = node.key_of(item) else { continue };
                path.push(if matches!(node, Node::Set) { Step::Value(key) } else { Step::Key(key) });
                collect(item, node.element(), path, set);
                set.insert(path.clone());
                path.pop();
            }
        }
        _ => {
            if !path.is_empty() {
                set.insert(path.clone());
            }
        }
    }
}

/// The value at `path`, if the object has it.
#[must_use]
pub fn value_at<'a>(value: &'a Value, node: Node<'_>, path: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => value_at(value.get(name)?, node.field(name), rest),
        Step::Key(key) | Step::Value(key) => {
            let item = value.as_array()?.iter().find(|item| node.key_of(item).as_ref() == Some(key))?;
            value_at(item, node.element(), rest)
        }
        Step::Index(_) => None,
    }
}

/// Removes what is at `path`.
pub fn remove_at(value: &mut Value, node: Node<'_>, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                remove_at(child, node.field(name), rest);
            }
        }
        (Step::Key(key) | Step::Value(key), Value::Array(items)) => {
            let Some(at) = items.iter().position(|item| node.key_of(item).as_ref() == Some(key)) else {
                return;
            };
            if rest.is_empty() {
                items.remove(at);
            } else {
                remove_at(&mut items[at], node.element(), rest);
            }
        }
        _ => {}
    }
}

/// FieldsV1.
#[must_use]
pub fn encode(set: &FieldSet) -> Value {
    let mut root = Value::Object(Map::new());
    for path in set {
        let mut at = &mut root;
        for step in path {
            let Value::Object(map) = at else { break };
            at = map.entry(step.encode()).or_insert_with(|| json!({}));
        }
        if let Value::Object(map) = at {
            map.insert(".".to_owned(), json!({}));
        }
    }
    prune_dots(&mut root);
    root
}

/// A field without fields below it needs no dot.
fn prune_dots(value: &mut Value) {
    if let Value::Object(map) = value {
        if map.len() == 1 {
            map.remove(".");
        }
        map.values_mut().for_each(prune_dots);
    }
}

/// The set FieldsV1 describes; what is not understood is left out.
#[must_use]
pub fn decode(fields: &Value) -> FieldSet {
    fn walk(fields: &Value, path: &mut FieldPath, set: &mut FieldSet) {
        let Value::Object(map) = fields else { return };
        if (map.is_empty() || map.contains_key(".")) && !path.is_empty() {
            set.insert(path.clone());
        }
        for (text, child) in map {
            if let Some(step) = Step::decode(text) {
                path.push(step);
                walk(child, path, set);
                path.pop();
            }
        }
    }
    let mut set = FieldSet::new();
    walk(fields, &mut Vec::new(), &mut set);
    set
}

/// A path as error messages show it: `.spec.containers[name="c"].image`.
#[must_use]
pub fn display(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Key(key) => {
                let pairs: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let shown: Vec<String> =
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                text.push_str(&format!("[{}]", shown.join(",")));
            }
            Step::Value(value) => text.push_str(&format!("[={value}]")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::merge_schema;
    use super::*;
    use xebec_api::resource;

    fn deployment() -> Node<'static> {
        merge_schema::root(resource::lookup("apps", "v1", "deployments").unwrap())
    }

    #[test]
    fn records_fields_as_upstream_does() {
        let value = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"image": "nginx:1", "name": "c", "ports": [{"containerPort": 80}]}]}}}
        });
        let expected = json!({"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:replicas": {}, "f:selector": {},
            "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {
            "k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {
            "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}});
        let set = fields_of(&value, deployment());
        assert_eq!(encode(&set), expected);
        assert_eq!(decode(&expected), set);
    }

    #[test]
    fn finds_and_removes() {
        let mut value =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let path: FieldPath = [
            Step::Field("spec".into()),
            Step::Field("template".into()),
            Step::Field("spec".into()),
            Step::Field("containers".into()),
            Step::Key(r#"{"name":"c"}"#.into()),
            Step::Field("image".into()),
        ]
        .to_vec();
        assert_eq!(value_at(&value, deployment(), &path).unwrap(), "i");
        assert_eq!(display(&path), ".spec.template.spec.containers[name=\"c\"].image");
        remove_at(&mut value, deployment(), &path);
        assert!(value_at(&value, deployment(), &path).is_none());
    }
}
