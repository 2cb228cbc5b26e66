//! The document is read back with a decoder that shares nothing with the encoder.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;

/// A field's content.
enum Got<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a message in their order.
fn read(bytes: &[u8]) -> Vec<(u64, Got<'_>)> {
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let tag = varint(bytes, &mut at);
        let got = match tag & 7 {
            0 => Got::Number(varint(bytes, &mut at)),
            2 => {
                let length = usize::try_from(varint(bytes, &mut at)).expect("a length");
                at += length;
                Got::Bytes(&bytes[at - length..at])
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, got));
    }
    found
}

/// Every content of a field of bytes.
fn all(bytes: &[u8], field: u64) -> Vec<&[u8]> {
    let of_field = |(number, got)| match got {
        Got::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    };
    read(bytes).into_iter().filter_map(of_field).collect()
}

/// The content of the fields of bytes along a path, each of which must be there once.
fn one<'a>(bytes: &'a [u8], path: &[u64]) -> &'a [u8] {
    path.iter().fold(bytes, |bytes, field| {
        let found = all(bytes, *field);
        assert_eq!(found.len(), 1, "field {field} of {path:?}");
        found[0]
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// NamedX{name = 1, value = 2} in a repeated field.
fn pairs(bytes: &[u8], field: u64) -> Vec<(String, &[u8])> {
    all(bytes, field).into_iter().map(|pair| (text(one(pair, &[1])), one(pair, &[2]))).collect()
}

fn extensions(bytes: &[u8], field: u64) -> Map<String, Value> {
    let parse = |any| serde_json::from_slice(one(any, &[2])).expect("YAML that is JSON");
    pairs(bytes, field).into_iter().map(|(name, any)| (name, parse(any))).collect()
}

/// A Schema message as the JSON it was made from.
fn schema(bytes: &[u8]) -> Value {
    let mut found = extensions(bytes, 31);
    let mut required = Vec::new();
    for (field, got) in read(bytes) {
        let Got::Bytes(content) = got else { panic!("field {field} is a number") };
        let (key, value) = match field {
            1 => ("$ref", json!(text(content))),
            2 => ("format", json!(text(content))),
            4 => ("description", json!(text(content))),
            19 => {
                required.push(text(content));
                ("required", json!(required))
            }
            21 => ("additionalProperties", schema(one(content, &[1]))),
            22 => ("type", json!(text(one(content, &[1])))),
            23 => ("items", schema(one(content, &[1]))),
            25 => {
                let properties = pairs(content, 1).into_iter().map(|(name, bytes)| (name, schema(bytes)));
                ("properties", properties.collect())
            }
            31 => continue,
            other => panic!("field {other}"),
        };
        found.insert(key.to_owned(), value);
    }
    Value::Object(found)
}

fn document() -> Value {
    serde_json::from_slice(&Documents::defaults().v2_json().body).expect("JSON")
}

fn definitions() -> Map<String, Value> {
    document()["definitions"].as_object().expect("definitions").clone()
}

#[test]
fn every_definition_survives_protobuf() {
    let documents = Documents::defaults();
    let bytes = &documents.v2_protobuf().body;
    assert_eq!(one(bytes, &[1]), b"2.0");
    assert_eq!(text(one(bytes, &[2, 1])), "Kubernetes");
    let read: Map<String, Value> =
        pairs(one(bytes, &[9]), 1).into_iter().map(|(name, bytes)| (name, schema(bytes))).collect();
    let expected = definitions();
    assert_eq!(read.keys().collect::<BTreeSet<_>>(), expected.keys().collect::<BTreeSet<_>>());
    for (name, schema) in &expected {
        // An empty text is proto3's default: it is not sent.
        let mut schema = schema.clone();
        drop_empty_descriptions(&mut schema);
        assert_eq!(read[name], schema, "{name}");
    }
}

fn drop_empty_descriptions(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("description") == Some(&json!("")) {
                map.remove("description");
            }
            map.values_mut().for_each(drop_empty_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty_descriptions),
        _ => {}
    }
}

#[test]
fn operations_survive_protobuf() {
    let documents = Documents::defaults();
    let bytes = &documents.v2_protobuf().body;
    let paths = pairs(one(bytes, &[8]), 2);
    assert_eq!(paths.len(), document()["paths"].as_object().expect("paths").len());
    let (_, item) = paths
        .iter()
        .find(|(path, _)| path == "/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        .expect("the path of a deployment");
    // ParametersItem -> Parameter -> NonBodyParameter -> PathParameterSubSchema.
    let named: Vec<String> =
        all(item, 9).iter().flat_map(|p| all(one(p, &[1, 2]), 4)).map(|path| text(one(path, &[4]))).collect();
    assert_eq!(named, ["namespace", "name"]);
    let patch = one(item, &[8]);
    assert_eq!(
        Value::Object(extensions(patch, 13)),
        json!({"x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": "apps", "version": "v1", "kind": "Deployment"}})
    );
    assert!(all(patch, 7).contains(&b"application/strategic-merge-patch+json".as_slice()));
    let (body, queries): (Vec<&[u8]>, Vec<&[u8]>) =
        all(patch, 8).into_iter().partition(|item| !all(one(item, &[1]), 1).is_empty());
    assert_eq!(body.len(), 1);
    let body = one(body[0], &[1, 1]);
    assert_eq!(text(one(body, &[3])), "body");
    assert!(read(body).iter().any(|(field, got)| *field == 4 && matches!(got, Got::Number(1))));
    assert_eq!(
        schema(one(body, &[5])),
        json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Patch"})
    );
    let names: Vec<String> = queries.iter().map(|query| text(one(query, &[1, 2, 3, 4]))).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let (code, ok) = pairs(one(patch, &[9]), 1).remove(0);
    assert_eq!(code, "200");
    assert_eq!(schema(one(ok, &[1, 2, 1])), json!({"$ref": "#/definitions/io.k8s.api.apps.v1.Deployment"}));
}

#[test]
fn every_reference_leads_to_a_definition() {
    fn check(value: &Value, definitions: &Map<String, Value>, seen: &mut usize) {
        match value {
            Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                    let name = target.strip_prefix("#/definitions/").expect("a reference of v2");
                    assert!(definitions.contains_key(name), "{name} is missing");
                    *seen += 1;
                }
                map.values().for_each(|value| check(value, definitions, seen));
            }
            Value::Array(items) => items.iter().for_each(|value| check(value, definitions, seen)),
            _ => {}
        }
    }
    let mut seen = 0;
    check(&document(), &definitions(), &mut seen);
    assert!(seen > 1000, "{seen}");
}

#[test]
fn definitions_say_what_kubectl_goes_by() {
    let definitions = definitions();
    for resource in xebec_api::resource::defaults() {
        let gvk = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let serving = definitions.values().filter(|schema| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| kinds.contains(&gvk))
        });
        assert_eq!(serving.count(), 1, "{gvk}");
    }
    let spec = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"];
    assert_eq!(spec["containers"]["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(spec["affinity"]["$ref"], "#/definitions/io.k8s.api.core.v1.Affinity");
    assert!(spec["affinity"]["description"].is_string());
    let either = &definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!((&either["type"], &either["format"]), (&json!("string"), &json!("int-or-string")));
    let quantity = &definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!((&quantity["type"], quantity.get("format")), (&json!("string"), None));
    let anything = &definitions["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"];
    assert_eq!(anything.get("type"), None);
    // Served by core, only used by apps: core's word on what is required stands.
    assert_eq!(definitions["io.k8s.api.core.v1.PersistentVolumeClaim"].get("required"), None);
}

#[test]
fn what_serves_a_type_wins_and_kinds_add_up() {
    let serves = |kind: &str| {
        json!({"components": {"schemas": {"T": {"description": "served",
            "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": kind}]}}}})
    };
    let uses = json!({"components": {"schemas": {"T": {"description": "used", "required": ["metadata"]}}}});
    for documents in
        [[serves("A"), uses.clone(), serves("B"), serves("A")], [uses, serves("A"), serves("B"), serves("B")]]
    {
        let merged = convert::merge(documents);
        let definition = &merged["definitions"]["T"];
        assert_eq!(definition["description"], "served");
        assert_eq!(definition.get("required"), None);
        let kinds = definition["x-kubernetes-group-version-kind"].as_array().expect("kinds");
        assert_eq!(kinds.iter().map(|kind| kind["kind"].clone()).collect::<Vec<_>>(), ["A", "B"]);
    }
}
