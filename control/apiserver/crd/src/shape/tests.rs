//! Pruning, nulls, defaults, metadata and embedded resources.

use proptest::prelude::*;
use serde_json::{Value, json};
use xebec_api::field::Path;

use super::{BadMetadata, apply_defaults, decode, drop_nulls, embedded_errors, prune, prune_defaults};
use crate::schema::Schema;

fn schema(value: Value) -> Schema {
    Schema::parse(&value).unwrap()
}

fn pruned(schema: &Schema, mut value: Value) -> (Value, Vec<String>) {
    let unknown = prune(&mut value, schema);
    (value, unknown)
}

#[test]
fn unknown_fields_go_and_are_named() {
    let root = schema(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
        "any": {"type": "object", "additionalProperties": true},
        "keep": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "known": {"type": "object", "properties": {"x": {"type": "string"}}}}}}}}}));
    let (value, unknown) = pruned(
        &root,
        json!({"other": 1, "spec": {
            "list": [{"x": "1", "y": 2}, {"y": {"z": 1}}],
            "map": {"k": {"x": "1", "y": 2}},
            "any": {"k": "v", "o": {"p": 1}},
            "keep": {"unknown": {"deep": 1}, "known": {"x": "1", "y": 2}}}}),
    );
    assert_eq!(
        value,
        json!({"spec": {"list": [{"x": "1"}, {}], "map": {"k": {"x": "1"}}, "any": {"k": "v", "o": {}},
            "keep": {"unknown": {"deep": 1}, "known": {"x": "1"}}}})
    );
    assert_eq!(
        unknown,
        ["other", "spec.any.o.p", "spec.keep.known.y", "spec.list[0].y", "spec.list[1].y", "spec.map.k.y"]
    );
}

#[test]
fn type_and_metadata_of_embedded_resources_stay() {
    let root = schema(json!({"type": "object", "properties": {"pod": {"type": "object",
        "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}}));
    let object =
        json!({"pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"x": 1}}});
    let (value, unknown) = pruned(&root, object);
    assert_eq!(
        value,
        json!({"pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}}})
    );
    assert_eq!(unknown, ["pod.spec.x"]);
}

#[test]
fn defaults_fill_what_is_missing_or_null() {
    let root = schema(
        json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
        "n": {"type": "integer", "default": 1}, "nil": {"type": "string", "nullable": true, "default": "x"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string", "default": "d"}}}}}}),
    );
    let cases = [
        (json!({}), json!({"spec": {"n": 1, "nil": "x"}})),
        (
            json!({"spec": {"n": null, "nil": null, "list": [{}, {"p": "UDP"}], "map": {"a": null}}}),
            json!({"spec": {"n": 1, "nil": null, "list": [{"p": "TCP"}, {"p": "UDP"}], "map": {"a": "d"}}}),
        ),
    ];
    for (mut value, want) in cases {
        apply_defaults(&mut value, &root);
        assert_eq!(value, want);
    }
}

#[test]
fn nulls_without_a_default_go() {
    let root = schema(
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "nullable": true},
        "c": {"type": "string", "default": "x"}, "d": {"type": "object", "additionalProperties": {"type": "string"}}}}),
    );
    let mut value = json!({"a": null, "b": null, "c": null, "d": {"e": null}, "unknown": null});
    drop_nulls(&mut value, &root);
    assert_eq!(value, json!({"b": null, "c": null, "d": {}, "unknown": null}));
}

#[test]
fn decoding_cleans_metadata_and_numbers() {
    let root = schema(
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}),
    );
    let mut value = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "foo": 1, "labels": {}},
        "spec": {"n": 2.0, "z": 1}});
    let unknown = decode(&mut value, Some(&root), BadMetadata::Refuse).unwrap();
    assert_eq!(unknown, ["metadata.foo", "spec.z"]);
    assert_eq!(
        value,
        json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "spec": {"n": 2}})
    );
}

#[test]
fn bad_metadata_is_refused_from_a_client_and_dropped_from_the_store() {
    let bad = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "labels": {"a": 1}, "generation": 2}});
    let error = decode(&mut bad.clone(), None, BadMetadata::Refuse).unwrap_err().to_string();
    assert!(
        error.starts_with("json: cannot unmarshal number into Go struct field ObjectMeta.labels"),
        "{error}"
    );
    let mut kept = bad;
    decode(&mut kept, None, BadMetadata::Drop).unwrap();
    assert_eq!(kept["metadata"], json!({"name": "a", "generation": 2}));
    let error = decode(&mut json!({"kind": 1}), None, BadMetadata::Refuse).unwrap_err();
    assert_eq!(error.to_string(), ".kind accessor error: 1 is of the type int64, expected string");
}

#[test]
fn embedded_metadata_must_be_metadata() {
    let root = schema(json!({"type": "object", "properties": {"t": {"type": "object",
        "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}));
    let mut value = json!({"t": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "odd": 1}}});
    assert_eq!(decode(&mut value, Some(&root), BadMetadata::Refuse).unwrap(), ["t.metadata.odd"]);
    assert_eq!(value["t"]["metadata"], json!({"name": "a"}));
    let mut value = json!({"t": {"kind": 1}});
    let error = decode(&mut value, Some(&root), BadMetadata::Refuse).unwrap_err();
    assert_eq!(error.to_string(), "t.kind: Invalid value: 1: must be a string");
    let found: Vec<String> = embedded_errors(
        &json!({"t": {"kind": "Bad Kind", "metadata": {"name": "a/b", "labels": {"-": "x"}}}}),
        &root,
        &Path::root(),
    )
    .iter()
    .map(ToString::to_string)
    .collect();
    assert_eq!(found[0], "t.apiVersion: Required value");
    assert!(found[1].starts_with("t.kind: Invalid value: \"Bad Kind\": may have mixed case, but should otherwise match: a DNS-1035 label"));
    assert_eq!(found[2], "t.metadata.name: Invalid value: \"a/b\": may not contain '/'");
    assert!(found[3].starts_with("t.metadata.labels: Invalid value: \"-\""), "{found:?}");
}

#[test]
fn defaults_are_pruned_themselves() {
    let mut root = schema(
        json!({"type": "object", "properties": {"spec": {"type": "object", "default": {"a": "x", "z": 1},
        "properties": {"a": {"type": "string"}}}}}),
    );
    prune_defaults(&mut root);
    assert_eq!(root.properties["spec"].default, Some(json!({"a": "x"})));
}

proptest! {
    #[test]
    fn pruning_and_defaulting_are_idempotent(
        schema in crate::testing::any_schema(), mut value in crate::testing::any_value(),
    ) {
        let schema = Schema::parse(&schema).unwrap();
        prune(&mut value, &schema);
        let once = value.clone();
        prop_assert!(prune(&mut value, &schema).is_empty());
        prop_assert_eq!(&value, &once);
        drop_nulls(&mut value, &schema);
        apply_defaults(&mut value, &schema);
        let once = value.clone();
        apply_defaults(&mut value, &schema);
        prop_assert_eq!(&value, &once);
        let _ = decode(&mut value, Some(&schema), BadMetadata::Drop);
        let _ = embedded_errors(&value, &schema, &Path::root());
        let _ = crate::schema::structural_errors(&schema, &Path::root());
    }

    #[test]
    fn a_valid_object_stays_valid((schema, mut value) in crate::testing::valid()) {
        let schema = Schema::parse(&schema).unwrap();
        prop_assert!(crate::schema::structural_errors(&schema, &Path::root()).is_empty());
        let defaults = crate::definition::default_errors(&schema, &Path::root());
        prop_assert!(defaults.is_empty(), "{:?}", defaults);
        let errors = crate::value::errors(&value, &schema, &Path::root());
        prop_assert!(errors.is_empty(), "{:?}", errors);
        let mut decoded = value.clone();
        decode(&mut decoded, Some(&schema), BadMetadata::Refuse).unwrap();
        prune(&mut value, &schema);
        apply_defaults(&mut value, &schema);
        for value in [&value, &decoded] {
            let errors = crate::value::errors(value, &schema, &Path::root());
            prop_assert!(errors.is_empty(), "{:?}", errors);
        }
    }
}
