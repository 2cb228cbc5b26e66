//! From v3 documents to one v2 document. Pure.
//!
//! Authority: the OpenAPI 2.0 specification; for what Kubernetes makes of it, k8s.io/kube-openapi.

use serde_json::{Map, Value, json};

use super::super::VERSION;

const GVK: &str = "x-kubernetes-group-version-kind";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
/// Any JSON at all, not only an object.
const ANYTHING: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";

/// One document of all of these.
pub fn merge(documents: impl IntoIterator<Item = Value>) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for document in documents {
        for (path, item) in object(&document["paths"]) {
            paths.insert(path.clone(), path_item(item));
        }
        for (name, schema) in object(&document["components"]["schemas"]) {
            add_definition(&mut definitions, name, definition(name, schema));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {
            "BearerToken": {"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}
        },
        "security": [{"BearerToken": []}]
    })
}

/// The paths of a v3 document.
pub fn paths(document: &Value) -> Map<String, Value> {
    object(&document["paths"]).map(|(path, item)| (path.clone(), path_item(item))).collect()
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A type stands in every document that uses it, but only those that serve it say so: these win, and what several
/// of them say is put together.
fn add_definition(definitions: &mut Map<String, Value>, name: &str, mut new: Value) {
    if let Some(old) = definitions.get_mut(name) {
        let Some(known) = old.get_mut(GVK).and_then(Value::as_array_mut) else {
            *old = new;
            return;
        };
        if let Some(more) = new.get_mut(GVK).and_then(Value::as_array_mut) {
            more.retain(|kind| !known.contains(kind));
            known.append(more);
        }
        return;
    }
    definitions.insert(name.to_owned(), new);
}

fn definition(name: &str, v3: &Value) -> Value {
    let mut found = schema(v3);
    if let Some(map) = found.as_object_mut() {
        if map.remove(INT_OR_STRING).is_some() {
            map.insert("type".to_owned(), json!("string"));
            if name != QUANTITY {
                map.insert("format".to_owned(), json!("int-or-string"));
            }
        }
        if name == ANYTHING {
            map.remove("type");
        }
    }
    found
}

/// v2 has no `oneOf`: what v3 says so stays open. A description stands beside its `$ref`, without an `allOf`.
fn schema(v3: &Value) -> Value {
    let mut found = Map::new();
    for (key, value) in object(v3) {
        match key.as_str() {
            "oneOf" | "anyOf" | "not" | "nullable" => {}
            "$ref" => {
                found.insert(key.clone(), target(value));
            }
            "allOf" => match value.as_array().map(Vec::as_slice) {
                Some([only]) if only.get("$ref").is_some() => {
                    found.insert("$ref".to_owned(), target(&only["$ref"]));
                }
                _ => {
                    found.insert(key.clone(), value.as_array().into_iter().flatten().map(schema).collect());
                }
            },
            "properties" => {
                let properties = object(value).map(|(name, value)| (name.clone(), schema(value)));
                found.insert(key.clone(), properties.collect());
            }
            "items" | "additionalProperties" if value.is_object() => {
                found.insert(key.clone(), schema(value));
            }
            _ => {
                found.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(found)
}

fn target(reference: &Value) -> Value {
    let reference = reference.as_str().unwrap_or_default();
    json!(reference.replacen("#/components/schemas/", "#/definitions/", 1))
}

fn path_item(v3: &Value) -> Value {
    let item = object(v3).map(|(key, value)| {
        let value = if key == "parameters" { parameters(value).into() } else { operation(value) };
        (key.clone(), value)
    });
    Value::Object(item.collect())
}

fn operation(v3: &Value) -> Value {
    let mut found = Map::new();
    let mut all = parameters(&v3["parameters"]);
    let mut consumes = vec![json!("*/*")];
    let mut produces: Vec<Value> = Vec::new();
    for (key, value) in object(v3) {
        match key.as_str() {
            "parameters" => {}
            "requestBody" => {
                let mut body = json!({"name": "body", "in": "body"});
                if value["required"] == true {
                    body["required"] = json!(true);
                }
                if let Some((_, content)) = object(&value["content"]).next() {
                    body["schema"] = schema(&content["schema"]);
                }
                all.insert(0, body);
                consumes = object(&value["content"]).map(|(media, _)| json!(media)).collect();
            }
            "responses" => {
                let responses = object(value).map(|(code, v3)| (code.clone(), response(v3, &mut produces)));
                found.insert(key.clone(), responses.collect());
            }
            _ => {
                found.insert(key.clone(), value.clone());
            }
        }
    }
    found.insert("consumes".to_owned(), consumes.into());
    found.insert("produces".to_owned(), produces.into());
    found.insert("schemes".to_owned(), json!(["https"]));
    if !all.is_empty() {
        found.insert("parameters".to_owned(), all.into());
    }
    Value::Object(found)
}

fn response(v3: &Value, produces: &mut Vec<Value>) -> Value {
    let mut found = json!({"description": v3["description"]});
    for (media, content) in object(&v3["content"]) {
        let media = json!(media);
        if !produces.contains(&media) {
            produces.push(media);
        }
        found["schema"] = schema(&content["schema"]);
    }
    found
}

/// In v2 a parameter says its type itself.
fn parameters(v3: &Value) -> Vec<Value> {
    let flat = |parameter: &Value| {
        let mut found: Map<String, Value> = object(parameter)
            .filter(|(key, _)| *key != "schema")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        found.extend(object(&parameter["schema"]).map(|(key, value)| (key.clone(), value.clone())));
        Value::Object(found)
    };
    v3.as_array().into_iter().flatten().map(flat).collect()
}
