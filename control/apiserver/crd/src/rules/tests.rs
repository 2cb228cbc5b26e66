//! Rules on objects: messages, reasons, transitions, lists, budgets, forgiveness.

use serde_json::{Value, json};
use xebec_api::field::Path;

use super::Rules;
use crate::schema::Schema;
use crate::value::Correlated;

fn schema(value: Value) -> Schema {
    Schema::parse(&value).unwrap()
}

/// A resource whose `spec` has properties and rules.
fn with_rules(properties: Value, rules: Value) -> Schema {
    schema(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": properties, "x-kubernetes-validations": rules}}}))
}

fn check(schema: &Schema, spec: Value, old: Option<Value>) -> (Vec<String>, Vec<String>) {
    let of =
        |spec: Value| json!({"apiVersion": "g.io/v1", "kind": "K", "metadata": {"name": "a"}, "spec": spec});
    let (new, old) = (of(spec), old.map(of));
    let rules = Rules::compile(schema, true).unwrap();
    let was = old.as_ref().map(|old| Correlated::new(&new, old, schema));
    let found = rules.check(&new, old.as_ref(), was, &Path::root());
    let texts = |errors: &[xebec_api::field::FieldError]| errors.iter().map(ToString::to_string).collect();
    (texts(&found.errors), texts(&found.warnings))
}

fn errors(schema: &Schema, spec: Value) -> Vec<String> {
    check(schema, spec, None).0
}

#[test]
fn broken_rules_are_told_as_their_author_wants() {
    let properties = json!({"min": {"type": "integer"}, "max": {"type": "integer"}});
    let cases = [
        (json!({"rule": "self.min <= self.max"}), "spec: Invalid value: failed rule: self.min <= self.max"),
        (json!({"rule": "self.min <= self.max", "message": "too small "}), "spec: Invalid value: too small"),
        (
            json!({"rule": "self.min <= self.max", "messageExpression": "'min is ' + string(self.min)"}),
            "spec: Invalid value: min is 3",
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "plain", "messageExpression": "''"}),
            "spec: Invalid value: plain",
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "m", "fieldPath": ".max", "reason": "FieldValueForbidden"}),
            "spec.max: Forbidden: m",
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "m", "reason": "FieldValueRequired"}),
            "spec: Required value: m",
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "m", "reason": "FieldValueDuplicate"}),
            "spec: Duplicate value",
        ),
        (
            json!({"rule": "self.min / (self.max - 1) > 0"}),
            "spec: Invalid value: \"object\": division by zero evaluating rule: self.min / (self.max - 1) > 0",
        ),
    ];
    for (rule, want) in cases {
        let schema = with_rules(properties.clone(), json!([rule]));
        assert_eq!(errors(&schema, json!({"min": 3, "max": 1})), [want], "{rule}");
    }
    let good = with_rules(properties, json!([{"rule": "self.min <= self.max"}]));
    assert_eq!(errors(&good, json!({"min": 1, "max": 3})), Vec::<String>::new());
}

#[test]
fn scalars_show_their_value_and_elements_their_place() {
    let schema = schema(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'x'", "message": "no x"}]}},
        "map": {"type": "object", "additionalProperties": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "positive"}]}}}}},
        "x-kubernetes-validations": [{"rule": "self.metadata.name == 'a'"}, {"rule": "self.kind == 'K'"}]}));
    assert_eq!(
        errors(&schema, json!({"list": ["a", "x", null], "map": {"k": 0}})),
        ["spec.list[1]: Invalid value: \"x\": no x", "spec.map[k]: Invalid value: 0: positive"]
    );
}

#[test]
fn transition_rules_need_a_past() {
    let schema = with_rules(
        json!({"n": {"type": "integer"}}),
        json!([{"rule": "self.n >= oldSelf.n", "message": "may only grow"}]),
    );
    assert_eq!(errors(&schema, json!({"n": 1})), Vec::<String>::new());
    assert_eq!(
        check(&schema, json!({"n": 1}), Some(json!({"n": 2}))).0,
        ["spec: Invalid value: may only grow"]
    );
    assert_eq!(check(&schema, json!({"n": 2}), Some(json!({"n": 1}))).0, Vec::<String>::new());
    let optional = with_rules(
        json!({"n": {"type": "integer"}}),
        json!([{"rule": "oldSelf.hasValue() || self.n == 0", "message": "starts at 0", "optionalOldSelf": true}]),
    );
    assert_eq!(errors(&optional, json!({"n": 1})), ["spec: Invalid value: starts at 0"]);
    assert_eq!(check(&optional, json!({"n": 1}), Some(json!({"n": 0}))).0, Vec::<String>::new());
}

#[test]
fn elements_of_a_map_list_have_a_past() {
    let list = |list_type: Value| {
        let mut items = json!({"type": "array", "items": {"type": "object", "required": ["k"],
            "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.v == oldSelf.v", "message": "fixed"}]}});
        if !list_type.is_null() {
            items["x-kubernetes-list-type"] = list_type;
            items["x-kubernetes-list-map-keys"] = json!(["k"]);
        }
        schema(
            json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"list": items}}}}),
        )
    };
    let old = json!({"list": [{"k": "a", "v": 1}, {"k": "b", "v": 2}]});
    let new = json!({"list": [{"k": "b", "v": 3}, {"k": "c", "v": 9}, {"k": "a", "v": 1}]});
    assert_eq!(
        check(&list(json!("map")), new.clone(), Some(old.clone())).0,
        ["spec.list[0]: Invalid value: fixed"]
    );
    assert_eq!(check(&list(Value::Null), new, Some(old)).0, Vec::<String>::new());
}

#[test]
fn unchanged_parts_are_forgiven_with_a_warning() {
    let schema = with_rules(
        json!({"n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5", "message": "below 5"}]},
            "m": {"type": "integer"}}),
        json!([]),
    );
    let old = json!({"n": 9, "m": 1});
    let want = "spec.n: Invalid value: 9: below 5".to_owned();
    assert_eq!(check(&schema, json!({"n": 9, "m": 2}), Some(old.clone())), (vec![], vec![want]));
    assert_eq!(check(&schema, json!({"n": 8, "m": 2}), Some(old)).0, ["spec.n: Invalid value: 8: below 5"]);
}

#[test]
fn limits_end_the_checking() {
    let schema = schema(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a != b || b != c || true)))"}, {"rule": "false"}]}}}}}));
    let many: Vec<String> = (0..400).map(|n| format!("value-{n}")).collect();
    let found = errors(&schema, json!({"list": many}));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("spec.list: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.all("),
        "{found:?}"
    );
}

#[test]
fn a_rule_that_does_not_compile_is_an_error() {
    let schema = with_rules(json!({"n": {"type": "integer"}}), json!([{"rule": "self.n +"}, {"rule": ""}]));
    let found = errors(&schema, json!({"n": 1}));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("spec: Invalid value: \"object\": rule compile error: compilation failed: ERROR: <input>:1:9: Syntax error"),
        "{found:?}"
    );
    assert!(Rules::compile(&self::schema(json!({"type": "object"})), true).is_none());
}
