//! Dropping fields the schema does not know.

use serde_json::{Map, Value};

use crate::schema::{Additional, Schema};

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops unknown fields; their paths, sorted: `spec.list[0].x`. Type and metadata of embedded resources stay.
pub fn prune(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut walk = Walk { path: String::new(), unknown: Vec::new() };
    walk.prune(value, Some(schema));
    walk.unknown.sort();
    walk.unknown
}

struct Walk {
    path: String,
    unknown: Vec<String>,
}

/// How the value of one field goes on.
enum Next<'a> {
    Keep,
    Into(Option<&'a Schema>),
    Unknown,
}

fn next<'a>(schema: &'a Schema, name: &str) -> Next<'a> {
    if schema.ext.embedded && META.contains(&name) {
        return Next::Keep;
    }
    if let Some(property) = schema.properties.get(name) {
        return Next::Into(Some(property));
    }
    match &schema.additional {
        Some(additional) => Next::Into(Additional::schema(additional)),
        None => Next::Unknown,
    }
}

impl Walk {
    fn prune(&mut self, value: &mut Value, schema: Option<&Schema>) {
        let preserves = schema.is_some_and(Schema::preserves_unknown);
        match value {
            Value::Object(map) => self.object(map, schema, preserves),
            Value::Array(items) => {
                let schema = schema.and_then(|schema| schema.items.as_deref());
                for (at, item) in items.iter_mut().enumerate() {
                    self.step(&format!("[{at}]"), |walk| match (preserves, schema) {
                        // Below a list that keeps what it does not know, only what is known is pruned.
                        (true, None) => {}
                        (true, Some(schema)) => walk.known_parts(item, schema),
                        (false, schema) => walk.prune(item, schema),
                    });
                }
            }
            _ => {}
        }
    }

    fn known_parts(&mut self, value: &mut Value, schema: &Schema) {
        match value {
            Value::Object(map) => self.object(map, Some(schema), true),
            Value::Array(items) => {
                let Some(schema) = schema.items.as_deref() else { return };
                for (at, item) in items.iter_mut().enumerate() {
                    self.step(&format!("[{at}]"), |walk| walk.known_parts(item, schema));
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>, schema: Option<&Schema>, preserves: bool) {
        map.retain(|name, value| {
            match schema.map_or(Next::Unknown, |schema| next(schema, name)) {
                Next::Keep => true,
                Next::Into(schema) => {
                    self.step(name, |walk| walk.prune(value, schema));
                    true
                }
                Next::Unknown if preserves => true,
                Next::Unknown => {
                    // At the root these are the object's own, which upstream puts back afterwards.
                    if !META.contains(&name.as_str()) || !self.path.is_empty() {
                        let path = self.path.clone();
                        self.unknown.push(if path.is_empty() {
                            name.clone()
                        } else {
                            format!("{path}.{name}")
                        });
                    }
                    false
                }
            }
        });
    }

    fn step(&mut self, step: &str, inner: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        inner(self);
        self.path.truncate(length);
    }
}
