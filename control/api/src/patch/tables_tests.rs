//! The appendices of the RFCs as tables, and strategic merge against a differ.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{PatchError, json_patch, merge_patch, strategic_merge};

const POD: &str = "io.k8s.api.core.v1.Pod";

#[test]
fn rfc_6902_appendix() {
    let cases = [
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            Some(json!({"baz": "qux", "foo": "bar"})),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
            Some(json!({"foo": ["bar", "qux", "baz"]})),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            json!([{"op": "remove", "path": "/baz"}]),
            Some(json!({"foo": "bar"})),
        ),
        (
            json!({"foo": ["bar", "qux", "baz"]}),
            json!([{"op": "remove", "path": "/foo/1"}]),
            Some(json!({"foo": ["bar", "baz"]})),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
            Some(json!({"baz": "boo", "foo": "bar"})),
        ),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            Some(json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}})),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            Some(json!({"foo": ["all", "cows", "eat", "grass"]})),
        ),
        (
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}]),
            Some(json!({"baz": "qux", "foo": ["a", 2, "c"]})),
        ),
        (json!({"baz": "qux"}), json!([{"op": "test", "path": "/baz", "value": "bar"}]), None),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/child", "value": {"grandchild": {}}}]),
            Some(json!({"foo": "bar", "child": {"grandchild": {}}})),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}]),
            Some(json!({"foo": "bar", "baz": "qux"})),
        ),
        (json!({"foo": "bar"}), json!([{"op": "add", "path": "/baz/bat", "value": "qux"}]), None),
        (
            json!({"/": 9, "~1": 10}),
            json!([{"op": "test", "path": "/~01", "value": 10}]),
            Some(json!({"/": 9, "~1": 10})),
        ),
        (json!({"/": 9, "~1": 10}), json!([{"op": "test", "path": "/~01", "value": "10"}]), None),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]),
            Some(json!({"foo": ["bar", ["abc", "def"]]})),
        ),
        // Beyond the appendix: the whole document, ends and gaps of lists, a failure after a success.
        (json!({"a": 1}), json!([{"op": "replace", "path": "", "value": {"b": 2}}]), Some(json!({"b": 2}))),
        (json!({"a": [1]}), json!([{"op": "add", "path": "/a/1", "value": 2}]), Some(json!({"a": [1, 2]}))),
        (json!({"a": [1]}), json!([{"op": "add", "path": "/a/2", "value": 2}]), None),
        (json!({"a": [1]}), json!([{"op": "remove", "path": "/a/1"}]), None),
        (json!({"a": {"b": 1}}), json!([{"op": "move", "from": "/a", "path": "/a/b"}]), None),
        (json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), Some(json!({"a": 1, "b": 1}))),
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b", "value": 2}, {"op": "remove", "path": "/c"}]),
            None,
        ),
    ];
    for (object, patch, wanted) in cases {
        assert_eq!(json_patch(&object, &patch).ok(), wanted, "{object} with {patch}");
    }
}

#[test]
fn rfc_7386_appendix() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (mut object, patch, wanted) in cases {
        let before = object.clone();
        merge_patch(&mut object, &patch);
        assert_eq!(object, wanted, "{before} with {patch}");
    }
}

#[test]
fn strategic_directives() {
    let containers = |list: Value| json!({"spec": {"containers": list}});
    let two = json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]);
    let cases = [
        // A list merges by its key, new items at the end.
        (
            containers(two.clone()),
            containers(json!([{"name": "b", "image": "3"}, {"name": "c"}])),
            containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "3"}, {"name": "c"}])),
        ),
        (
            containers(two.clone()),
            containers(json!([{"name": "a", "$patch": "delete"}])),
            containers(json!([{"name": "b", "image": "2"}])),
        ),
        (
            containers(two.clone()),
            containers(json!([{"name": "c"}, {"$patch": "replace"}])),
            containers(json!([{"name": "c"}])),
        ),
        (
            containers(two.clone()),
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
            containers(json!([{"name": "b", "image": "2"}, {"name": "a", "image": "1"}])),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "merge", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"]}}),
            json!({"metadata": {"finalizers": ["d", "a", "c"]}}),
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
        ),
    ];
    for (object, patch, wanted) in cases {
        assert_eq!(strategic_merge(&object, &patch, POD), Ok(wanted), "{object} with {patch}");
    }
    let unkeyed = strategic_merge(&containers(two.clone()), &containers(json!([{"image": "x"}])), POD);
    assert!(matches!(unkeyed, Err(PatchError::NoMergeKey { .. })), "{unkeyed:?}");
}

/// What makes `modified` of `original`: fields that go are null, lists with a key say what goes and their order.
fn diff(original: &Value, modified: &Value) -> Value {
    let (Value::Object(original), Value::Object(modified)) = (original, modified) else {
        return modified.clone();
    };
    let mut patch = Map::new();
    for name in original.keys().filter(|name| !modified.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, new) in modified {
        match (original.get(name), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Array(old)), Value::Array(new))
                if matches!(name.as_str(), "containers" | "finalizers") =>
            {
                patch.extend(diff_list(old, new, name));
            }
            (Some(old), new) => drop(patch.insert(name.clone(), diff(old, new))),
            (None, new) => drop(patch.insert(name.clone(), new.clone())),
        }
    }
    Value::Object(patch)
}

fn diff_list(old: &[Value], new: &[Value], name: &str) -> Map<String, Value> {
    let key = |item: &Value| if name == "containers" { json!({"name": item["name"]}) } else { item.clone() };
    let find = |list: &[Value], item: &Value| list.iter().find(|other| key(other) == key(item)).cloned();
    let gone: Vec<Value> = old.iter().filter(|item| find(new, item).is_none()).map(key).collect();
    let mut patch = Map::new();
    let mut changes = Vec::new();
    for item in new {
        match find(old, item) {
            Some(before) if before == *item => {}
            Some(before) => {
                let mut change = diff(&before, item);
                change["name"] = item["name"].clone();
                changes.push(change);
            }
            None => changes.push(item.clone()),
        }
    }
    if name == "containers" {
        changes.extend(gone.into_iter().map(|mut key| {
            key["$patch"] = json!("delete");
            key
        }));
    } else if !gone.is_empty() {
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), Value::Array(gone));
    }
    if !changes.is_empty() {
        patch.insert(name.to_owned(), Value::Array(changes));
    }
    patch.insert(format!("$setElementOrder/{name}"), new.iter().map(key).collect());
    patch
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(names, 0..=names.len()).prop_shuffle()
}

fn pod() -> impl Strategy<Value = Value> {
    let container = |name: &'static str| {
        (
            "[12]",
            proptest::option::of(proptest::collection::vec("[xy]", 0..3)),
            proptest::option::of(any::<bool>()),
        )
            .prop_map(move |(image, args, tty)| {
                let mut container = json!({"name": name, "image": image});
                if let Some(args) = args {
                    container["args"] = json!(args);
                }
                if let Some(tty) = tty {
                    container["tty"] = json!(tty);
                }
                container
            })
    };
    let containers = some_of(&["a", "b", "c", "d"])
        .prop_flat_map(move |names| names.into_iter().map(container).collect::<Vec<_>>());
    let labels = proptest::collection::btree_map("[abc]", "[12]", 0..4);
    (containers, some_of(&["x/1", "x/2", "x/3"]), labels, proptest::option::of("[mn]")).prop_map(
        |(containers, finalizers, labels, node)| {
            let mut pod = json!({"metadata": {"finalizers": finalizers, "labels": labels}, "spec": {"containers": containers}});
            if let Some(node) = node {
                pod["spec"]["nodeName"] = json!(node);
            }
            pod
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_makes_the_one_of_the_other(original in pod(), modified in pod()) {
        let patch = diff(&original, &modified);
        let patched = strategic_merge(&original, &patch, POD).unwrap();
        prop_assert_eq!(&patched, &modified, "{}", patch);
        prop_assert_eq!(&strategic_merge(&patched, &patch, POD).unwrap(), &modified);
    }
}
