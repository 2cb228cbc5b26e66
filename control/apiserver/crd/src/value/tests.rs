//! Validation, rule by rule, with upstream's messages; and what an update forgives.

use proptest::prelude::*;
use serde_json::{Value, json};
use xebec_api::field::Path;

use super::{Correlated, errors, formats, go_float, list_errors, update_errors};
use crate::schema::Schema;

fn schema(value: Value) -> Schema {
    Schema::parse(&value).unwrap()
}

/// A resource whose `spec.x` has the schema.
fn with_x(x: Value) -> Schema {
    schema(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": x}}}}))
}

fn found(x_schema: Value, x: Value) -> Vec<String> {
    let object = json!({"spec": {"x": x}});
    errors(&object, &with_x(x_schema), &Path::root()).iter().map(ToString::to_string).collect()
}

#[test]
fn types() {
    let cases = [
        ("integer", json!(1), None),
        ("integer", json!(1.0), None),
        ("integer", json!("1"), Some(("string", "integer"))),
        ("number", json!(1), None),
        ("number", json!(1.5), None),
        ("string", json!(1), Some(("integer", "string"))),
        ("boolean", json!("true"), Some(("string", "boolean"))),
        ("object", json!([]), Some(("array", "object"))),
        ("array", json!({}), Some(("object", "array"))),
        ("string", json!(null), Some(("null", "string"))),
    ];
    for (kind, value, wrong) in cases {
        let want: Vec<String> = wrong
            .iter()
            .map(|(got, want)| {
                format!("spec.x: Invalid value: \"{got}\": spec.x in body must be of type {want}: \"{got}\"")
            })
            .collect();
        assert_eq!(found(json!({"type": kind}), value.clone()), want, "{kind} {value}");
    }
    assert_eq!(found(json!({"type": "string", "nullable": true}), json!(null)), Vec::<String>::new());
    assert_eq!(
        found(json!({"type": "integer"}), json!(1.5)),
        [
            "spec.x: Invalid value: \"number\": spec.x in body must be of type integer: \"number\"",
            "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.x",
        ]
    );
    let int_or_string = json!({"x-kubernetes-int-or-string": true});
    assert_eq!(found(int_or_string.clone(), json!("25%")), Vec::<String>::new());
    assert_eq!(found(int_or_string.clone(), json!(3)), Vec::<String>::new());
    assert_eq!(
        found(int_or_string, json!(true)),
        ["spec.x: Invalid value: \"boolean\": spec.x in body must be of type integer,string: \"boolean\""]
    );
}

#[test]
fn each_rule_has_upstreams_words() {
    let cases: Vec<(Value, Value, &[&str])> = vec![
        (json!({"type": "object", "required": ["a"]}), json!({}), &["spec.x.a: Required value"]),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            &["spec.x: Unsupported value: \"c\": supported values: \"a\", \"b\""],
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            json!(3),
            &["spec.x: Unsupported value: 3: supported values: \"1\", \"2\""],
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            &["spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'"],
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            &["spec.x: Too long: may not be more than 2 bytes"],
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("ä"),
            &["spec.x: Invalid value: \"ä\": spec.x in body should be at least 2 chars long"],
        ),
        (
            json!({"type": "integer", "maximum": 10}),
            json!(11),
            &["spec.x: Invalid value: 11: spec.x in body should be less than or equal to 10"],
        ),
        (
            json!({"type": "integer", "maximum": 10, "exclusiveMaximum": true}),
            json!(10),
            &["spec.x: Invalid value: 10: spec.x in body should be less than 10"],
        ),
        (
            json!({"type": "number", "minimum": 0.5}),
            json!(0.25),
            &["spec.x: Invalid value: 0.25: spec.x in body should be greater than or equal to 0.5"],
        ),
        (
            json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            &["spec.x: Invalid value: 1: spec.x in body should be greater than 1"],
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            &["spec.x: Invalid value: 7: spec.x in body should be a multiple of 5"],
        ),
        (
            json!({"type": "number", "multipleOf": 0.1}),
            json!(0.25),
            &["spec.x: Invalid value: 0.25: spec.x in body should be a multiple of 0.1"],
        ),
        (json!({"type": "number", "multipleOf": 0.1}), json!(0.3), &[]),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_i64),
            &[
                "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.x",
            ],
        ),
        (
            json!({"type": "integer", "maximum": 1.5}),
            json!(1),
            &[
                "<nil>: Invalid value: \"\": Maximum boundary value must be of type integer (default format) in spec.x",
            ],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", 1]),
            &[
                "spec.x[1]: Invalid value: \"integer\": spec.x[1] in body must be of type string: \"integer\"",
                "spec.x: Too many: 2: must have at most 1 item",
            ],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
            json!([]),
            &["spec.x: Invalid value: 0: spec.x in body should have at least 1 items"],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            json!(["a", "a"]),
            &["spec.x: Invalid value: \"\": spec.x in body shouldn't contain duplicates"],
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}),
            json!({"a": "1", "b": 2}),
            &[
                "spec.x: Too many: 2: must have at most 1 item",
                "spec.x.a: Invalid value: \"string\": spec.x.a in body must be of type integer: \"string\"",
            ],
        ),
        (
            json!({"type": "object", "minProperties": 1}),
            json!({}),
            &["spec.x: Invalid value: 0: spec.x in body should have at least 1 properties"],
        ),
        (
            json!({"type": "object", "additionalProperties": false}),
            json!({"a": 1}),
            &["spec.x: Invalid value: \"a\": spec.x.a in body is a forbidden property"],
        ),
        (
            json!({"type": "string", "format": "uuid"}),
            json!("no"),
            &["spec.x: Invalid value: \"no\": spec.x in body must be of type uuid: \"no\""],
        ),
        (json!({"type": "string", "format": "unheard-of"}), json!("x"), &[]),
        (
            json!({"type": "integer", "anyOf": [{"minimum": 5}, {"enum": [1]}]}),
            json!(2),
            &[
                "<nil>: Invalid value: \"\": \"spec.x\" must validate at least one schema (anyOf)",
                "spec.x: Invalid value: 2: spec.x in body should be greater than or equal to 5",
            ],
        ),
        (
            json!({"type": "integer", "oneOf": [{"minimum": 1}, {"minimum": 2}]}),
            json!(2),
            &[
                "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({}),
            &[
                "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found none valid",
                "spec.x.a: Required value",
            ],
        ),
        (
            json!({"type": "integer", "allOf": [{"minimum": 1}, {"maximum": 5}]}),
            json!(9),
            &[
                "spec.x: Invalid value: 9: spec.x in body should be less than or equal to 5",
                "<nil>: Invalid value: \"\": \"spec.x\" must validate all the schemas (allOf)",
            ],
        ),
        (
            json!({"type": "integer", "not": {"minimum": 1}}),
            json!(9),
            &["<nil>: Invalid value: \"\": \"spec.x\" must not validate the schema (not)"],
        ),
    ];
    for (x_schema, x, want) in cases {
        assert_eq!(found(x_schema.clone(), x.clone()), want, "{x_schema} {x}");
    }
}

#[test]
fn a_part_of_an_object_is_named_from_its_base() {
    let status =
        schema(json!({"type": "object", "required": ["a"], "properties": {"n": {"type": "integer"}}}));
    let found: Vec<String> =
        errors(&json!({"n": "x"}), &status, &Path::new("status")).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "status.n: Invalid value: \"string\": n in body must be of type integer: \"string\"",
            "status.a: Required value"
        ]
    );
}

#[test]
fn sets_and_maps_hold_nothing_twice() {
    let root = schema(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
            "items": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}},
        "one": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
            "items": {"type": "object"}}}}}}));
    let object = json!({"spec": {
        "set": ["x", "y", "x", "x"],
        "map": [{"a": "1", "b": 1}, {"a": "1", "b": 2}, {"a": "1", "b": 1, "c": true}],
        "one": [{}, {"z": 1}, {"a": 1}]}});
    let found: Vec<String> =
        list_errors(&object, &root, &Path::root()).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "spec.map[2]: Duplicate value: {\"a\":\"1\",\"b\":1}",
            "spec.one[1]: Duplicate value: {}",
            "spec.set[2]: Duplicate value: \"x\"",
        ]
    );
    let odd = json!({"spec": {"one": [1, {"a": 1}]}});
    assert_eq!(
        list_errors(&odd, &root, &Path::root())[0].to_string(),
        "spec.one[0]: Invalid value: 1: must be an object for an array of list-type map"
    );
}

#[test]
fn an_update_forgives_what_it_does_not_touch() {
    let root = schema(
        json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["must"], "properties": {
        "n": {"type": "integer", "maximum": 5}, "m": {"type": "integer", "maximum": 5},
        "atomic": {"type": "array", "items": {"type": "integer", "maximum": 5}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 5}}}}}}}}),
    );
    let update = |new: Value, old: Value| -> Vec<String> {
        let was = Correlated::new(&new, &old, &root);
        update_errors(&new, &root, Some(was), &Path::root()).iter().map(ToString::to_string).collect()
    };
    let old = json!({"spec": {"n": 9, "atomic": [1, 9], "map": [{"k": "a", "v": 9}, {"k": "b", "v": 1}]}});
    // Nothing changed: everything is forgiven, the missing field too.
    assert_eq!(update(old.clone(), old.clone()), Vec::<String>::new());
    // A change beside it: the field is still forgiven, the object around is not.
    let mut new = old.clone();
    new["spec"]["m"] = json!(1);
    assert_eq!(update(new, old.clone()), ["spec.must: Required value"]);
    let mut new = old.clone();
    new["spec"]["must"] = json!("x");
    new["spec"]["n"] = json!(8);
    assert_eq!(
        update(new, old.clone()),
        ["spec.n: Invalid value: 8: spec.n in body should be less than or equal to 5"]
    );
    // An atomic list is one thing.
    let mut new = old.clone();
    new["spec"]["must"] = json!("x");
    new["spec"]["atomic"] = json!([1, 9, 1]);
    assert_eq!(
        update(new, old.clone()),
        ["spec.atomic[1]: Invalid value: 9: spec.atomic[1] in body should be less than or equal to 5"]
    );
    // Elements of a map list are found again by their key, wherever they stand.
    let mut new = old.clone();
    new["spec"]["must"] = json!("x");
    new["spec"]["map"] = json!([{"k": "c", "v": 7}, {"k": "b", "v": 1}, {"k": "a", "v": 9}]);
    assert_eq!(
        update(new, old),
        ["spec.map[0].v: Invalid value: 7: spec.map[0].v in body should be less than or equal to 5"]
    );
}

#[test]
fn formats_accept_and_refuse() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "uuid",
            &["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6BA7B8109DAD11D180B400C04FD430C8"],
            &["", "6ba7b810-9dad-11d1-80b4-00c04fd430c", "6ba7b810--9dad-11d1-80b4-00c04fd430c8"],
        ),
        (
            "uuid4",
            &["6ba7b810-9dad-41d1-80b4-00c04fd430c8"],
            &["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-41d1-70b4-00c04fd430c8"],
        ),
        ("ipv4", &["10.0.0.1", "010.0.0.1"], &["10.0.0", "256.0.0.1", "::1"]),
        ("ipv6", &["::1", "2001:db8::1"], &["10.0.0.1", "fe80::1%eth0"]),
        ("cidr", &["10.0.0.0/8", "2001:db8::/64"], &["10.0.0.0", "10.0.0.0/33"]),
        (
            "mac",
            &["01:23:45:67:89:ab", "01-23-45-67-89-ab-cd-ef", "0123.4567.89ab"],
            &["01:23:45:67:89", "01:23:45:67:89:zz"],
        ),
        (
            "uri",
            &["http://a/b", "/a", "mailto:x", "https://[::1]:80/x?y=%zz"],
            &["a", "", ":x", "http://a:b/", "http://a/%zz"],
        ),
        ("email", &["a@b", "Bob <bob@example.com>"], &["a", "a@", "@b", "a b@c"]),
        (
            "hostname",
            &["a", "example.com", "a-b.example.com", "1a.io", "a-b"],
            &["-a", "a.b.", "a..b", "a_b", "example.1", "a-b-c"],
        ),
        ("date", &["2026-02-28"], &["2026-02-30", "2026-2-3", "20260228"]),
        (
            "date-time",
            &["2026-02-28T01:02:03Z", "2026-02-28t01:02:03.5+01:00"],
            &["2026-02-28", "2026-02-28T25:02:03Z"],
        ),
        ("duration", &["1h30m", "22 ns", "3 weeks", "1.5s"], &["x", "3", "3 years"]),
        ("byte", &["YQ==", "YWJj"], &["", "YQ", "Y%=="]),
        ("password", &["anything"], &[]),
        ("hexcolor", &["#fff", "FFFFFF"], &["#ff"]),
        ("rgbcolor", &["rgb(0, 255,1)"], &["rgb(256,0,0)"]),
        ("creditcard", &["4111 1111 1111 1111"], &["4111111111111112"]),
        ("ssn", &["111-11-1111"], &["111111111"]),
        ("isbn", &["0321751043", "978-0321751041"], &["0321751044", "978-0321751042"]),
        ("bsonobjectid", &["507f1f77bcf86cd799439011"], &["507f1f77bcf86cd79943901"]),
        ("k8s-short-name", &["a-b"], &["A", "a.b"]),
        ("k8s-long-name", &["a.b"], &["A.b"]),
    ];
    for (format, good, bad) in cases {
        let check = formats::checker(format).unwrap();
        good.iter().for_each(|text| assert!(check(text), "{format} {text}"));
        bad.iter().for_each(|text| assert!(!check(text), "{format} {text}"));
    }
}

#[test]
fn floats_print_as_go_prints_them() {
    let cases = [
        (1.0, "1"),
        (0.1, "0.1"),
        (10.5, "10.5"),
        (1_000_000.0, "1e+06"),
        (1_234_567.0, "1.234567e+06"),
        (999_999.0, "999999"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1e100, "1e+100"),
        (-2.0, "-2"),
    ];
    for (float, want) in cases {
        assert_eq!(go_float(float), want);
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_an_unchanged_object_is_forgiven(
        schema in crate::testing::any_schema(), value in crate::testing::any_value(),
    ) {
        let schema = Schema::parse(&schema).unwrap();
        let found = errors(&value, &schema, &Path::root());
        prop_assert!(found.len() <= super::MAX_ERRORS + 1);
        let _ = list_errors(&value, &schema, &Path::root());
        let was = Correlated::new(&value, &value, &schema);
        if was.is_unchanged() {
            prop_assert!(update_errors(&value, &schema, Some(was), &Path::root()).is_empty());
        }
    }
}
