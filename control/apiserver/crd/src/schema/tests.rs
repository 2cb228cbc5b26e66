//! Structural schemas and field paths, rule by rule.

use serde_json::{Value, json};
use xebec_api::field::Path;

use super::{ParseError, Schema, resolve, structural_errors};

fn parse(value: Value) -> Schema {
    Schema::parse(&value).unwrap()
}

fn errors(value: Value) -> Vec<String> {
    structural_errors(&parse(value), &Path::new("s")).iter().map(ToString::to_string).collect()
}

#[test]
fn structural_schemas_have_no_errors() {
    let good = [
        json!({"type": "object"}),
        json!({"type": "object", "properties": {"spec": {"type": "object", "additionalProperties": {"type": "string"}}}}),
        json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true}}}),
        json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}]}}}),
        json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true,
            "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^1$"}]}}}),
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}}}),
        json!({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}},
            "oneOf": [{"required": ["b"]}, {"properties": {"b": {"enum": ["x"]}}}]}}}),
    ];
    for schema in good {
        assert_eq!(errors(schema.clone()), Vec::<String>::new(), "{schema}");
    }
}

#[test]
fn each_violation_has_upstreams_words() {
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({}), &["s.type: Required value: must not be empty at the root"]),
        (json!({"type": "string"}), &["s.type: Invalid value: \"string\": must be object at the root"]),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            &["s.additionalProperties: Forbidden: must not be used at the root"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array"}, "b": {"type": "array", "items": {}}, "c": {}}}),
            &[
                "s.properties[a].items: Required value: must be specified",
                "s.properties[b].items.type: Required value: must not be empty for specified array items",
                "s.properties[c].type: Required value: must not be empty for specified object fields",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            &[
                "s.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}}}),
            &[
                "s.properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"x-kubernetes-embedded-resource": true}}}),
            &[
                "s.properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
                "s.properties[a].type: Required value: must be object if x-kubernetes-embedded-resource is true",
            ],
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}, "kind": {"type": "integer"}}}),
            &[
                "s.properties[kind].type: Invalid value: \"integer\": must be string",
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"type": "object", "title": "t", "description": "d",
                "nullable": true, "default": {}, "additionalProperties": {}, "properties": {"metadata": {}, "b": {}},
                "x-kubernetes-validations": [{"rule": "true"}]}]}),
            &[
                "s.anyOf[0].additionalProperties: Forbidden: must be undefined to be structural",
                "s.anyOf[0].default: Forbidden: must be undefined to be structural",
                "s.anyOf[0].description: Forbidden: must be empty to be structural",
                "s.anyOf[0].nullable: Forbidden: must be false to be structural",
                "s.anyOf[0].properties[metadata]: Forbidden: must not be specified in a nested context",
                "s.anyOf[0].title: Forbidden: must be empty to be structural",
                "s.anyOf[0].type: Forbidden: must be empty to be structural",
                "s.anyOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural",
                "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
                "s.properties[metadata]: Required value: because it is defined in s.anyOf[0].properties[metadata]",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "not": {"properties": {"a": {"items": {"enum": [1]}}}}}),
            &["s.properties[a].items: Required value: because it is defined in s.not.properties[a].items"],
        ),
    ];
    for (schema, want) in cases {
        assert_eq!(errors(schema.clone()), want, "{schema}");
    }
}

#[test]
fn some_keywords_are_not_supported() {
    let cases = [
        (json!({"$ref": "#/x"}), "OpenAPIV3Schema '$ref' is not supported"),
        (
            json!({"properties": {"a": {"definitions": {"b": {}}}}}),
            "OpenAPIV3Schema 'definitions' is not supported",
        ),
        (json!({"items": [{}]}), "OpenAPIV3Schema 'items' must be a schema, but is an array"),
        (
            json!({"not": {"patternProperties": {"b": {}}}}),
            "OpenAPIV3Schema 'patternProperties' is not supported",
        ),
    ];
    for (schema, want) in cases {
        assert_eq!(parse(schema).unsupported().as_deref(), Some(want));
    }
    assert_eq!(parse(json!({"type": "object"})).unsupported(), None);
}

#[test]
fn depth_is_bounded() {
    let mut schema = json!({"type": "string"});
    for _ in 0..200 {
        schema = json!({"type": "object", "properties": {"a": schema}});
    }
    assert_eq!(Schema::parse(&schema), Err(ParseError::TooDeep));
}

#[test]
fn paths_lead_to_fields() {
    let schema = parse(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"a.b": {"type": "string"}, "n": {"type": "integer"},
            "m": {"type": "object", "additionalProperties": {"type": "boolean"}}}}}}));
    let found = |path: &str, brackets: bool| match resolve(path, &schema, brackets) {
        Ok(found) => format!("{} {}", found.shown, found.kind),
        Err(error) => error.to_string(),
    };
    let cases = [
        (".spec.n", true, "spec.n integer"),
        (".spec['a.b']", true, "spec.a.b string"),
        (".spec.m['x y']", true, "spec.m[x y] boolean"),
        (".spec.m.k", true, "spec.m[k] boolean"),
        (".spec['n']", false, "array notation is not allowed"),
        (".spec.none", true, "does not refer to a valid field"),
        (".spec.n.x", true, "does not refer to a valid field"),
        ("spec", true, "expected [ or . but got: spec"),
        (".spec.", true, "unexpected end of JSON path"),
        (".spec[n]", true, "expected single quoted string but got n"),
        (".spec['n'", true, "unexpected end of JSON path"),
        (".spec['n'x", true, "expected ] but got x"),
        (".spec['\\q']", true, "invalid string literal: invalid escape char \\q"),
    ];
    for (path, brackets, want) in cases {
        assert_eq!(found(path, brackets), want, "{path}");
    }
}
