//! Declarations from schemas, and JSON under them.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::{Bindings, Budget, Decl, Env, SizeHints, Type, Value};

fn decl(schema: Json) -> Arc<Decl> {
    Decl::from_schema(&schema, "selfType", false).unwrap()
}

#[test]
fn schemas_have_types() {
    for (schema, ty) in [
        (json!({"type": "string"}), "string"),
        (json!({"type": "string", "format": "byte"}), "bytes"),
        (json!({"type": "string", "format": "date"}), "timestamp"),
        (json!({"type": "string", "format": "date-time"}), "timestamp"),
        (json!({"type": "string", "format": "duration"}), "duration"),
        (json!({"type": "string", "format": "uuid"}), "string"),
        (json!({"type": "integer"}), "int"),
        (json!({"type": "number"}), "double"),
        (json!({"type": "boolean"}), "bool"),
        (json!({"x-kubernetes-int-or-string": true}), "dyn"),
        (json!({"type": "array", "items": {"type": "integer"}}), "list(int)"),
        (json!({"type": "object", "additionalProperties": {"type": "integer"}}), "map(string, int)"),
        (json!({"type": "object", "properties": {}}), "selfType"),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}),
            "list(selfType.@idx)",
        ),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), "dyn"),
        (json!({"type": "array"}), "dyn"),
    ] {
        assert_eq!(Type::from_schema(&schema).to_string(), ty, "{schema}");
    }
}

#[test]
fn what_a_schema_does_not_expose() {
    let decl = decl(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "known": {"type": "string"},
        "free": {"x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": true}},
        "bad name": {"type": "string"}, "embedded": {"type": "object", "x-kubernetes-embedded-resource": true}}}));
    let env = Env::kubernetes().declare("self", decl.type_of()).declare("oldSelf", decl.type_of());
    for field in ["free", "list", "unknown"] {
        assert!(env.compile(&format!("self.{field} == self.{field}")).is_err(), "{field}");
    }
    let program = env.compile("self == oldSelf && self.embedded.metadata.name == 'x'").unwrap();
    let make =
        |free: i64| json!({"known": "a", "free": {"x": free}, "embedded": {"metadata": {"name": "x"}}});
    let (a, b, c) = (make(1), make(1), make(2));
    let eval = |old: &Json| {
        let bindings =
            Bindings::new().with("self", decl.value(&a).unwrap()).with("oldSelf", decl.value(old).unwrap());
        program.eval(&bindings, &mut Budget::new(crate::BUDGET)).unwrap().as_bool()
    };
    assert_eq!(eval(&b), Some(true));
    assert_eq!(eval(&c), Some(false));
}

#[test]
fn json_that_does_not_match_is_an_error_where_it_is_read() {
    let decl = decl(json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "s": {"type": "string"}, "t": {"type": "string", "format": "date-time"},
        "l": {"type": "array", "items": {"type": "integer"}}, "p": {"x-kubernetes-int-or-string": true},
        "d": {"type": "string", "format": "duration"}, "b": {"type": "string", "format": "byte"}}}));
    let env = Env::kubernetes().declare("self", decl.type_of());
    let object = json!({"n": "x", "s": 1, "t": "yesterday", "l": [null], "p": 1.5, "d": "soon", "b": "!"});
    for (source, text) in [
        ("self.n == 1", "invalid data, expected int, got string"),
        ("self.s == ''", "invalid data, expected string, got int64"),
        ("self.t == self.t", "Invalid date-time formatted string yesterday: not RFC 3339"),
        ("self.l[0] == 1", "invalid data, got null for schema with nullable=false"),
        ("self.p == 1", "invalid data, expected XIntOrString value to be either a string or integer"),
        ("self.d == self.d", "Invalid duration soon: unable to parse \"soon\""),
    ] {
        let bindings = Bindings::new().with("self", decl.value(&object).unwrap());
        let error =
            env.compile(source).unwrap().eval(&bindings, &mut Budget::new(crate::BUDGET)).unwrap_err();
        assert_eq!(error.to_string(), text, "{source}");
    }
    assert!(decl.value(&json!([])).is_err());
}

#[test]
fn sizes_come_from_the_schema() {
    let cost = |schema: Json, source: &str| {
        let decl = decl(schema);
        let env = Env::kubernetes().declare("self", decl.type_of());
        env.compile(source).unwrap().cost_estimate(&SizeHints::new().with("self", decl)).max
    };
    let list = |items: Json, max: Option<u64>| {
        let mut list = json!({"type": "array", "items": items});
        list["maxItems"] = max.map_or(Json::Null, |max| json!(max));
        json!({"type": "object", "properties": {"l": list}})
    };
    // Reading the list (2), each item at 3, the result.
    assert_eq!(cost(list(json!({"type": "integer"}), Some(10)), "self.l.all(x, true)"), 2 + 10 * 3 + 1);
    // Without a bound, as many as a request of 3 MiB can hold: an item takes two octets or more.
    let most = (3 * 1024 * 1024 - 2) / 2;
    assert_eq!(cost(list(json!({"type": "integer"}), None), "self.l.all(x, true)"), 2 + most * 3 + 1);
    let objects = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
    let most = (3 * 1024 * 1024 - 2) / (2 + 4 + 2 + 4 + 1);
    assert_eq!(cost(list(objects, None), "self.l.all(x, true)"), 2 + most * 3 + 1);
    let text =
        |max: u64| json!({"type": "object", "properties": {"s": {"type": "string", "maxLength": max}}});
    assert_eq!(cost(text(100), "self.s.startsWith('a')"), 2 + 1);
    assert_eq!(cost(text(100), "self.s.matches('^a+$')"), 2 + 41);
    let with_enum =
        json!({"type": "object", "properties": {"s": {"type": "string", "enum": ["a", "abcdefghijk"]}}});
    assert_eq!(cost(with_enum, "self.s == self.s"), 2 + 2 + 2);
}

#[test]
fn a_large_object_is_read_without_copying_it() {
    let items: Vec<Json> = (0..20_000).map(|n| json!({"name": format!("item-{n}"), "weight": n})).collect();
    let object = json!({"spec": {"items": items, "blob": "x".repeat(1 << 20)}});
    let program = Env::kubernetes().declare("object", Type::Dyn).compile("object.spec.items[19999]").unwrap();
    let bindings = Bindings::new().with("object", Value::from_json(&object));
    let value = program.eval(&bindings, &mut Budget::new(crate::BUDGET)).unwrap();
    let Value::Map(crate::Map::Json(found, None)) = &value else { panic!("{value:?}") };
    assert!(std::ptr::eq(*found, object["spec"]["items"][19999].as_object().unwrap()));
    let blob = Env::kubernetes().declare("object", Type::Dyn).compile("object.spec.blob").unwrap();
    let Value::String(crate::Str::Borrowed(text)) = blob.eval(&bindings, &mut Budget::new(9)).unwrap() else {
        panic!("the text was copied")
    };
    assert!(std::ptr::eq(text, object["spec"]["blob"].as_str().unwrap()));
}
