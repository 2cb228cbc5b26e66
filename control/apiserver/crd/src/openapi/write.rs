//! A [`Schema`] as JSON again.

use serde_json::{Map, Value, json};

use crate::schema::{Additional, Rules, Schema};

/// The schema as an OpenAPI object.
pub fn schema(schema: &Schema) -> Map<String, Value> {
    let mut out = Out(Map::new());
    out.text("type", &schema.kind);
    out.text("title", &schema.title);
    out.text("description", &schema.description);
    out.text("format", &schema.format);
    out.option("default", schema.default.as_ref());
    out.option("example", schema.example.as_ref());
    out.option("externalDocs", schema.external_docs.as_ref());
    out.flag("nullable", schema.nullable);
    rules(&schema.rules, &mut out);
    if let Some(items) = &schema.items {
        out.set("items", Value::Object(self::schema(items)));
    }
    if !schema.properties.is_empty() {
        let properties: Map<String, Value> = schema
            .properties
            .iter()
            .map(|(name, one)| (name.clone(), Value::Object(self::schema(one))))
            .collect();
        out.set("properties", Value::Object(properties));
    }
    match &schema.additional {
        Some(Additional::Allowed(allowed)) => out.set("additionalProperties", json!(allowed)),
        Some(Additional::Schema(other)) => {
            out.set("additionalProperties", Value::Object(self::schema(other)))
        }
        None => {}
    }
    let ext = &schema.ext;
    out.flag("x-kubernetes-preserve-unknown-fields", schema.preserves_unknown());
    out.flag("x-kubernetes-embedded-resource", ext.embedded);
    out.flag("x-kubernetes-int-or-string", ext.int_or_string);
    out.list("x-kubernetes-list-map-keys", &ext.list_map_keys);
    out.option("x-kubernetes-list-type", ext.list_type.as_ref());
    out.option("x-kubernetes-map-type", ext.map_type.as_ref());
    let validations: Vec<&Value> = ext.validations.iter().map(|rule| &rule.source).collect();
    out.list("x-kubernetes-validations", &validations);
    out.0
}

fn rules(rules: &Rules, out: &mut Out) {
    out.option("maximum", rules.maximum.as_ref().map(number));
    out.flag("exclusiveMaximum", rules.exclusive_maximum);
    out.option("minimum", rules.minimum.as_ref().map(number));
    out.flag("exclusiveMinimum", rules.exclusive_minimum);
    out.option("maxLength", rules.max_length);
    out.option("minLength", rules.min_length);
    out.text("pattern", rules.pattern.as_ref().map_or("", |pattern| pattern.source()));
    out.option("maxItems", rules.max_items);
    out.option("minItems", rules.min_items);
    out.flag("uniqueItems", rules.unique_items);
    out.option("multipleOf", rules.multiple_of.as_ref().map(number));
    out.list("enum", &rules.allowed);
    out.option("maxProperties", rules.max_properties);
    out.option("minProperties", rules.min_properties);
    out.list("required", &rules.required);
    for (key, list) in [("allOf", &rules.all_of), ("oneOf", &rules.one_of), ("anyOf", &rules.any_of)] {
        let list: Vec<Value> = list.iter().map(|one| Value::Object(schema(one))).collect();
        out.list(key, &list);
    }
    if let Some(not) = &rules.not {
        out.set("not", Value::Object(schema(not)));
    }
}

/// Whole numbers are written without a fraction.
#[expect(clippy::cast_possible_truncation, reason = "within the exact range, checked just before")]
fn number(float: &f64) -> Value {
    if float.trunc() == *float && float.abs() < 9e15 { json!(*float as i64) } else { json!(float) }
}

struct Out(Map<String, Value>);

impl Out {
    fn set(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.set(key, json!(text));
        }
    }

    fn flag(&mut self, key: &str, flag: bool) {
        if flag {
            self.set(key, json!(true));
        }
    }

    fn option<T: serde::Serialize>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.set(key, json!(value));
        }
    }

    fn list<T: serde::Serialize>(&mut self, key: &str, list: &[T]) {
        if !list.is_empty() {
            self.set(key, json!(list));
        }
    }
}
