//! Objects of a definition, from request to table.

use serde_json::{Value, json};
use xebec_kinds::{Context, Strategy};

use super::{CustomStrategy, ScaleError};
use crate::definition::Definition;

fn crd() -> Value {
    json!({"metadata": {"name": "tabs.g.io", "uid": "u"}, "spec": {"group": "g.io", "scope": "Namespaced",
        "names": {"plural": "tabs", "kind": "Tab"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
            "additionalPrinterColumns": [
                {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
                {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "description": "Is it?"},
                {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
            "selectableFields": [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.replicas"}],
            "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                "spec": {"type": "object", "properties": {"replicas": {"type": "integer", "default": 1, "maximum": 9},
                    "color": {"type": "string", "maxLength": 5},
                    "ports": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}}}},
                "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"},
                    "conditions": {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}}}}]},
        "status": {"acceptedNames": {"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList"}}})
}

fn strategy_of(crd: &Value) -> CustomStrategy {
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    CustomStrategy::new(&Definition::read(crd), "v1", &leak).unwrap()
}

fn strategy() -> CustomStrategy {
    strategy_of(&crd())
}

fn context() -> Context<'static> {
    Context::new("me", "ns", "2026-01-01T01:00:00Z".parse().unwrap())
}

fn tab(spec: Value) -> Value {
    json!({"apiVersion": "g.io/v1", "kind": "Tab", "spec": spec,
        "metadata": {"name": "a", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"}})
}

fn create(strategy: &CustomStrategy, mut object: Value) -> (Value, Vec<String>) {
    strategy.decode(&mut object).unwrap();
    strategy.defaults(&mut object);
    strategy.prepare_for_create(&context(), &mut object);
    let errors = strategy.validate(&object).iter().map(ToString::to_string).collect();
    (object, errors)
}

fn update(strategy: &CustomStrategy, mut object: Value, old: &Value) -> (Value, Vec<String>) {
    strategy.decode(&mut object).unwrap();
    strategy.defaults(&mut object);
    strategy.prepare_for_update(&context(), &mut object, old);
    let errors = strategy.validate_update(&object, old).iter().map(ToString::to_string).collect();
    (object, errors)
}

#[test]
fn creating_defaults_prunes_and_validates() {
    let mut object = tab(json!({"color": "red", "odd": 1}));
    object["status"] = json!({"replicas": 3});
    let strategy = strategy();
    let found = strategy.decode(&mut object.clone()).unwrap();
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["unknown field \"spec.odd\""]);
    let (created, errors) = create(&strategy, object);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(created["spec"], json!({"color": "red", "replicas": 1}));
    assert_eq!(created.get("status"), None);
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(strategy.facts().kind, "Tab");
}

#[test]
fn errors_come_in_upstreams_order() {
    let strategy = strategy();
    let (_, errors) = create(&strategy, tab(json!({"replicas": -1, "color": "purple", "ports": [1, 1]})));
    assert_eq!(
        errors,
        [
            "spec.color: Too long: may not be more than 5 bytes",
            ".spec.replicas: Invalid value: -1: should be a non-negative integer",
            "spec.ports[1]: Duplicate value: 1",
        ]
    );
    let mut other = tab(json!({}));
    other["kind"] = json!("Other");
    assert_eq!(create(&strategy, other).1, ["kind: Invalid value: \"Other\": must be Tab"]);
    let mut nameless = tab(json!({}));
    nameless["metadata"]["name"] = json!("A");
    nameless.as_object_mut().unwrap().remove("spec");
    let errors = create(&strategy, nameless).1;
    assert!(errors[0].starts_with("metadata.name: Invalid value: \"A\""), "{errors:?}");
    assert_eq!(errors[1], "spec: Required value");
}

#[test]
fn spec_and_status_are_written_apart() {
    let strategy = strategy();
    let (mut old, _) = create(&strategy, tab(json!({})));
    old["status"] = json!({"replicas": 1});
    let mut new = old.clone();
    new["status"] = json!({"replicas": 9});
    let (kept, errors) = update(&strategy, new.clone(), &old);
    assert_eq!((&kept["status"], errors), (&json!({"replicas": 1}), Vec::new()));
    assert_eq!(kept["metadata"]["generation"], 1);
    new["spec"]["color"] = json!("red");
    let (changed, _) = update(&strategy, new.clone(), &old);
    assert_eq!(changed["metadata"]["generation"], 2);
    new["metadata"]["labels"] = json!({"a": "b"});
    new["metadata"]["managedFields"] = json!([{"manager": "m"}]);
    strategy.prepare_for_status_update(&context(), &mut new, &old);
    assert_eq!((&new["spec"], &new["status"]), (&old["spec"], &json!({"replicas": 9})));
    assert_eq!(new["metadata"].get("labels"), None);
    assert_eq!(new["metadata"]["managedFields"], json!([{"manager": "m"}]));
    new["status"] = json!({"replicas": "x"});
    let errors: Vec<String> =
        strategy.validate_status_update(&new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "status.replicas: Invalid value: \"string\": replicas in body must be of type integer: \"string\"",
            ".status.replicas: Invalid value: 0: .status.replicas accessor error: x is of the type string, expected int64",
        ]
    );
}

#[test]
fn without_a_status_subresource_the_status_counts() {
    let mut crd = crd();
    crd["spec"]["versions"][0]["subresources"] = json!({});
    let strategy = strategy_of(&crd);
    let mut object = tab(json!({}));
    object["status"] = json!({"replicas": 1});
    let (old, _) = create(&strategy, object);
    assert_eq!(old["status"], json!({"replicas": 1}));
    let mut new = old.clone();
    new["status"]["replicas"] = json!(2);
    let (new, _) = update(&strategy, new, &old);
    assert_eq!((&new["status"]["replicas"], &new["metadata"]["generation"]), (&json!(2), &json!(2)));
    assert!(strategy.scale_of(&new).is_none());
}

#[test]
fn unchanged_mistakes_are_forgiven() {
    let strategy = strategy();
    let mut old = tab(json!({"replicas": 10, "color": "red", "ports": [1, 1]}));
    old["metadata"]["generation"] = json!(1);
    let mut new = old.clone();
    new["spec"]["color"] = json!("blue");
    assert_eq!(update(&strategy, new.clone(), &old).1, Vec::<String>::new());
    new["spec"]["replicas"] = json!(11);
    assert_eq!(
        update(&strategy, new, &old).1,
        ["spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 9"]
    );
}

#[test]
fn stored_objects_are_brought_up_to_date() {
    let mut stored = tab(json!({"gone": 1}));
    stored["metadata"]["labels"] = json!({"a": 1});
    strategy().read_stored(&mut stored).unwrap();
    assert_eq!(stored["spec"], json!({"replicas": 1}));
    assert_eq!(stored["metadata"]["generation"], 1);
    assert_eq!(stored["metadata"].get("labels"), None);
}

#[test]
fn scales() {
    let strategy = strategy();
    let mut object = tab(json!({"replicas": 3}));
    object["status"] = json!({"replicas": 2, "selector": "a=b"});
    let scale = strategy.scale_of(&object).unwrap().unwrap();
    assert_eq!(scale["spec"], json!({"replicas": 3}));
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
    assert_eq!(scale["metadata"]["name"], "a");
    let scaled =
        strategy.scaled(&object, &json!({"spec": {"replicas": 5}, "metadata": {"resourceVersion": "7"}}));
    let scaled = scaled.unwrap().unwrap();
    assert_eq!(
        (&scaled["spec"]["replicas"], &scaled["metadata"]["resourceVersion"]),
        (&json!(5), &json!("7"))
    );
    let none = tab(json!({}));
    let error = strategy.scale_of(&none).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the spec replicas field \".spec.replicas\" does not exist");
    let error = strategy.scaled(&none, &json!({"spec": {}})).unwrap().unwrap_err();
    assert_eq!(error, ScaleError::Empty(".spec.replicas".to_owned()));
    let error = strategy.scaled(&object, &json!({"spec": {"replicas": -1}})).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
    assert_eq!(strategy.replicas_path(), Some(vec!["spec", "replicas"]));
}

#[test]
fn tables_show_the_columns() {
    let strategy = strategy();
    let columns = strategy.column_definitions();
    let names: Vec<&str> = columns.iter().filter_map(|column| column["name"].as_str()).collect();
    assert_eq!(names, ["Name", "Replicas", "Ready", "Age"]);
    assert_eq!(columns[1]["priority"], 1);
    assert_eq!(
        columns[1]["description"],
        "Custom resource definition column (in JSONPath format): .spec.replicas"
    );
    let mut object = tab(json!({"replicas": 3}));
    object["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    assert_eq!(strategy.row(&object, context().now), [json!("a"), json!(3), json!("True"), json!("60m")]);
    assert_eq!(
        strategy.row(&tab(json!({})), context().now),
        [json!("a"), Value::Null, Value::Null, json!("60m")]
    );
    let mut plain = crd();
    plain["spec"]["versions"][0]["additionalPrinterColumns"] = Value::Null;
    let plain = strategy_of(&plain);
    assert_eq!(plain.column_definitions()[1]["type"], "date");
    assert_eq!(plain.row(&object, context().now), [json!("a"), json!("60m")]);
}

#[test]
fn fields_can_be_selected() {
    let strategy = strategy();
    assert_eq!(strategy.selectable_field_names(), ["spec.color", "spec.replicas"]);
    assert_eq!(
        strategy.selectable_fields(&tab(json!({"replicas": 2}))),
        [("spec.color".to_owned(), String::new()), ("spec.replicas".to_owned(), "2".to_owned())]
    );
}

#[test]
fn finalizers_somebody_else_might_choose_are_warned_of() {
    let strategy = strategy();
    let mut object = tab(json!({}));
    object["metadata"]["finalizers"] = json!(["mine", "a.b", "x.io/y", "orphan"]);
    assert_eq!(
        strategy.warnings(&object),
        [
            "metadata.finalizers: \"a.b\": prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers",
            "metadata.finalizers: \"mine\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers",
        ]
    );
    assert_eq!(strategy.update_warnings(&object, &object), Vec::<String>::new());
}

#[test]
fn nothing_panics_on_odd_objects() {
    let strategy = strategy();
    for odd in [
        json!({}),
        json!([]),
        json!({"metadata": 1, "spec": "x"}),
        json!({"spec": {"replicas": {}}, "status": []}),
    ] {
        let mut object = odd.clone();
        let _ = strategy.decode(&mut object);
        strategy.defaults(&mut object);
        if object.is_object() {
            strategy.prepare_for_create(&context(), &mut object);
            let _ = strategy.validate(&object);
            let _ = strategy.validate_update(&object, &odd);
            let _ = strategy.validate_status_update(&object, &odd);
            strategy.prepare_for_status_update(&context(), &mut object, &json!({}));
        }
        let _ = strategy.row(&odd, context().now);
        let _ = strategy.selectable_fields(&odd);
        let _ = strategy.scale_of(&odd);
    }
}

#[test]
fn rules_are_tried_on_sound_objects() {
    let mut crd = crd();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    crd.pointer_mut(spec).unwrap()["x-kubernetes-validations"] =
        json!([{"rule": "self.replicas != 7", "message": "seven is taken"}]);
    let strategy = strategy_of(&crd);
    assert_eq!(create(&strategy, tab(json!({"replicas": 7}))).1, ["spec: Invalid value: seven is taken"]);
    let (_, errors) = create(&strategy, tab(json!({"replicas": 7, "color": "purple"})));
    assert_eq!(
        errors,
        [
            "spec.color: Too long: may not be more than 5 bytes",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
    let old = tab(json!({"replicas": 7}));
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    let (errors, warnings) = strategy.check_update(&new, &old);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(warnings, ["spec: Invalid value: seven is taken"]);
}

#[test]
fn depth_costs_no_stack() {
    let (mut schema, mut value) = (json!({"type": "string", "default": "x"}), json!("y"));
    for _ in 0..crate::schema::MAX_DEPTH - 4 {
        schema = json!({"type": "array", "items": schema, "anyOf": [{"minItems": 1}, {"maxItems": 0}]});
        value = json!([value]);
    }
    let mut crd = crd();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["deep"] =
        schema;
    let strategy = strategy_of(&crd);
    let (created, errors) = create(&strategy, tab(json!({"deep": value})));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(update(&strategy, created.clone(), &created).1, Vec::<String>::new());
}
