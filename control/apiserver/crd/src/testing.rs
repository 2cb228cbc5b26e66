//! Generators of the property tests.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

const NAMES: [&str; 6] = ["a", "b", "spec", "status", "metadata", "kind"];

/// A JSON value of any shape, with the field names schemas know too.
pub fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5i64..5).prop_map(Value::from),
        (-2.0f64..2.0).prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(&NAMES[..]), inner), 0..4).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

/// A schema of any shape, structural or not.
pub fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = (
        prop::sample::select(vec!["string", "integer", "number", "boolean", "", "object", "array"]),
        any_extras(),
    )
        .prop_map(|(kind, extras)| schema_of(kind, extras));
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), any_extras()).prop_map(|(items, mut extras)| {
                extras.insert("items".to_owned(), items);
                schema_of("array", extras)
            }),
            (prop::collection::vec((prop::sample::select(&NAMES[..]), inner.clone()), 0..4), any_extras())
                .prop_map(|(fields, mut extras)| {
                    let fields: Map<String, Value> =
                        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
                    extras.insert("properties".to_owned(), Value::Object(fields));
                    schema_of("object", extras)
                }),
            (inner.clone(), any_extras()).prop_map(|(other, mut extras)| {
                extras.insert("additionalProperties".to_owned(), other);
                schema_of("object", extras)
            }),
            (prop::sample::select(vec!["allOf", "anyOf", "oneOf"]), prop::collection::vec(inner, 1..3))
                .prop_map(|(junctor, list)| json!({"type": "object", junctor: list})),
        ]
    })
}

fn schema_of(kind: &str, mut extras: Map<String, Value>) -> Value {
    if !kind.is_empty() {
        extras.insert("type".to_owned(), json!(kind));
    }
    Value::Object(extras)
}

fn any_extras() -> impl Strategy<Value = Map<String, Value>> {
    let extra = prop_oneof![
        Just(("nullable", json!(true))),
        Just(("x-kubernetes-preserve-unknown-fields", json!(true))),
        Just(("x-kubernetes-int-or-string", json!(true))),
        Just(("x-kubernetes-embedded-resource", json!(true))),
        Just(("x-kubernetes-list-type", json!("set"))),
        Just(("required", json!(["a"]))),
        Just(("maximum", json!(1))),
        Just(("multipleOf", json!(0.5))),
        Just(("maxLength", json!(2))),
        Just(("pattern", json!("^a"))),
        Just(("maxItems", json!(2))),
        Just(("format", json!("uuid"))),
        (-2i64..2).prop_map(|number| ("default", json!(number))),
        Just(("default", json!("a"))),
        Just(("default", json!({"a": "a"}))),
    ];
    prop::collection::vec(extra, 0..3)
        .prop_map(|extras| extras.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A structural schema with good defaults, and an object it accepts, unknown fields among its fields.
pub fn valid() -> impl Strategy<Value = (Value, Value)> {
    let leaf = prop_oneof![
        ("[a-c]{0,3}", "[a-c]{0,3}").prop_map(|(value, default)| {
            (json!({"type": "string", "maxLength": 3, "default": default}), json!(value))
        }),
        (-9i64..9)
            .prop_map(|number| (json!({"type": "integer", "minimum": -9, "default": 0}), json!(number))),
        any::<bool>().prop_map(|flag| (json!({"type": "boolean", "nullable": true}), json!(flag))),
        Just((json!({"type": "boolean", "nullable": true}), Value::Null)),
        (0i64..9).prop_map(|number| (json!({"x-kubernetes-int-or-string": true}), json!(number))),
        any_value().prop_map(|value| {
            (json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}), json!({"any": value}))
        }),
    ];
    let tree = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            object(inner.clone()),
            (inner.clone(), 0usize..3).prop_map(|((schema, value), count)| {
                (json!({"type": "array", "maxItems": 3, "items": schema}), json!(vec![value; count]))
            }),
            inner.prop_map(|(schema, value)| {
                (json!({"type": "object", "additionalProperties": schema}), json!({"k": value}))
            }),
        ]
    });
    object(tree)
}

fn object(inner: impl Strategy<Value = (Value, Value)> + 'static) -> impl Strategy<Value = (Value, Value)> {
    let field = (prop::sample::select(vec!["a", "b", "c"]), inner, any::<bool>());
    (prop::collection::vec(field, 0..4), any::<bool>()).prop_map(|(fields, unknown)| {
        let (mut properties, mut value) = (Map::new(), Map::new());
        for (name, (schema, field), given) in fields {
            if given {
                value.insert(name.to_owned(), field);
            } else {
                value.remove(name);
            }
            properties.insert(name.to_owned(), schema);
        }
        let required: Vec<String> = value.keys().cloned().collect();
        if unknown {
            value.insert("unknown".to_owned(), json!({"x": 1}));
        }
        let schema = if required.is_empty() {
            json!({"type": "object", "properties": properties})
        } else {
            json!({"type": "object", "properties": properties, "required": required})
        };
        (schema, Value::Object(value))
    })
}
