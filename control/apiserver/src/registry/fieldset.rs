//! Sets of fields: which fields an object has, in the form managedFields records them (FieldsV1). Pure.
//!
//! Authority: sigs.k8s.io/structured-merge-diff, fieldpath.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

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
        let canonical = |rest: &str| serde_json::from_str::<Value>(rest).ok();
        Some(match kind {
            "f" => Self::Field(rest.to_owned()),
            "k" => Self::Key(canonical(rest).filter(Value::is_object)?.to_string()),
            "v" => Self::Value(canonical(rest)?.to_string()),
            "i" => Self::Index(rest.parse::<i64>().ok()?.to_string()),
            _ => return None,
        })
    }
}

/// The fields `value` has under `node`: every leaf, every list item, every key of a map; structures only through what is
/// in them. Of items that share a key only the key is recorded.
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
                if empty || !node.declares(name) {
                    set.insert(path.clone());
                }
                path.pop();
            }
        }
        (Node::List { .. } | Node::Set, Value::Array(items)) => {
            let mut groups: BTreeMap<Step, (usize, &Value)> = BTreeMap::new();
            for item in items {
                let Some(key) = node.step_of(item) else { continue };
                groups.entry(key).or_insert((0, item)).0 += 1;
            }
            for (key, (count, item)) in groups {
                path.push(key);
                if count == 1 {
                    collect(item, node.element(), path, set);
                }
                set.insert(path.clone());
                path.pop();
            }
        }
        // Null stands for a structure, map or list without anything in it: the parent records it.
        (Node::Struct(..) | Node::Map(..) | Node::List { .. } | Node::Set, Value::Null) => {}
        _ if path.is_empty() => {}
        _ => {
            set.insert(path.clone());
        }
    }
}

/// Whether the set has anything below `path`.
#[must_use]
pub fn below(set: &FieldSet, path: &FieldPath) -> bool {
    let mut after = set.range::<FieldPath, _>((Bound::Excluded(path), Bound::Unbounded));
    after.next().is_some_and(|next| next.starts_with(path))
}

/// The set and every declared field on the way to its members: who owns `.spec.replicas` has a part in `.spec`.
#[must_use]
pub fn with_parents(set: &FieldSet, root: Node<'_>) -> FieldSet {
    let mut result = set.clone();
    for path in set {
        let mut node = root;
        for (at, step) in path.iter().enumerate() {
            match step {
                Step::Field(name) => {
                    if node.declares(name) && at + 1 < path.len() {
                        result.insert(path[..=at].to_vec());
                    }
                    node = node.field(name);
                }
                Step::Key(_) => node = node.element(),
                Step::Value(_) | Step::Index(_) => break,
            }
        }
    }
    result
}

/// The set as a schema of today would have recorded it: what went into a list or map that is atomic now is the whole of
/// it. (From atomic to granular nothing has to be done.)
#[must_use]
pub fn reconciled(set: FieldSet, root: Node<'_>) -> FieldSet {
    let atomic_at = |path: &FieldPath| {
        let mut node = root;
        for (at, step) in path.iter().enumerate() {
            node = match (node, step) {
                (Node::Atomic, _) => return Some(at),
                (_, Step::Field(name)) => node.field(name),
                (_, Step::Key(_)) => node.element(),
                _ => return None,
            };
        }
        None
    };
    if set.iter().all(|path| atomic_at(path).is_none()) {
        return set;
    }
    set.into_iter().map(|path| atomic_at(&path).map_or(path.clone(), |at| path[..at].to_vec())).collect()
}

/// The set's paths as upstream walks them: the members of a level before what is below any of them.
#[must_use]
pub fn in_order(set: &FieldSet) -> Vec<&FieldPath> {
    let mut paths: Vec<&FieldPath> = set.iter().collect();
    paths.sort_by(|a, b| {
        let shared = a.iter().zip(b.iter()).take_while(|(a, b)| a == b).count();
        let ends = |path: &FieldPath| path.len() <= shared + 1;
        ends(b).cmp(&ends(a)).then_with(|| a.cmp(b))
    });
    paths
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

/// The set FieldsV1 describes; none when it is no FieldsV1.
#[must_use]
pub fn decode(fields: &Value) -> Option<FieldSet> {
    fn walk(fields: &Value, path: &mut FieldPath, set: &mut FieldSet) -> Option<()> {
        let map = fields.as_object()?;
        if (map.is_empty() || map.contains_key(".")) && !path.is_empty() {
            set.insert(path.clone());
        }
        for (text, child) in map.iter().filter(|(text, _)| *text != ".") {
            path.push(Step::decode(text)?);
            walk(child, path, set)?;
            path.pop();
        }
        Some(())
    }
    let mut set = FieldSet::new();
    match fields {
        Value::Null => {}
        fields => walk(fields, &mut Vec::new(), &mut set)?,
    }
    Some(set)
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
        assert_eq!(decode(&expected), Some(set));
    }

    #[test]
    fn shows_and_orders_paths() {
        let fields = json!({"f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}},
            "k:{\"name\":\"b\"}": {}}}, "f:zone": {}, "f:set": {"v:\"x\"": {}, "i:0": {}}});
        let set = decode(&fields).unwrap();
        let shown: Vec<String> = in_order(&set).into_iter().map(|path| display(path)).collect();
        let wanted = [
            ".zone",
            ".set[=\"x\"]",
            ".set[0]",
            ".spec.replicas",
            ".spec.containers[name=\"b\"]",
            ".spec.containers[name=\"c\"]",
            ".spec.containers[name=\"c\"].image",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(encode(&set), fields);
    }

    #[test]
    fn refuses_what_is_no_set() {
        for wrong in
            [json!([]), json!({"spec": {}}), json!({"f:a": 1}), json!({"k:name": {}}), json!({"i:x": {}})]
        {
            assert_eq!(decode(&wrong), None, "{wrong}");
        }
        assert_eq!(decode(&json!({})), Some(FieldSet::new()));
    }

    #[test]
    fn duplicates_and_empty_lists() {
        let value = json!({"spec": {"template": {"spec": {"volumes": [], "imagePullSecrets": null, "containers": [
            {"name": "c", "image": "1"}, {"name": "c", "image": "2"}, {"name": "d", "image": "3"}]}}}});
        let expected = json!({"f:spec": {"f:template": {"f:spec": {"f:imagePullSecrets": {}, "f:containers": {
            "k:{\"name\":\"c\"}": {}, "k:{\"name\":\"d\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}});
        assert_eq!(encode(&fields_of(&value, deployment())), expected);
    }

    #[test]
    fn a_list_that_became_atomic_is_owned_as_a_whole() {
        let fields = json!({"f:spec": {"f:template": {"f:spec": {"f:tolerations": {"k:{\"key\":\"a\"}": {"f:key": {}}}}}}});
        let expected = json!({"f:spec": {"f:template": {"f:spec": {"f:tolerations": {}}}}});
        assert_eq!(encode(&reconciled(decode(&fields).unwrap(), deployment())), expected);
        let parents = with_parents(&decode(&expected).unwrap(), deployment());
        assert_eq!(parents.len(), 4);
    }
}
