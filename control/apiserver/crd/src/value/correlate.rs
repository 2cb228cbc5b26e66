//! Pairing a value with the one before, by structure: what is paired and equal has not changed.
//!
//! Authority: apiserver, pkg/cel/common/equality.go: properties pair by name, elements of a map list by their keys,
//! elements of any other list not at all.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::schema::Schema;

/// A value, the one before, and the schema that says how their parts pair.
#[derive(Clone, Copy, Debug)]
pub struct Correlated<'a> {
    /// The value.
    pub new: &'a Value,
    /// The value before.
    pub old: &'a Value,
    /// The structure of both.
    pub schema: &'a Schema,
}

impl<'a> Correlated<'a> {
    /// Pairs two values.
    pub fn new(new: &'a Value, old: &'a Value, schema: &'a Schema) -> Self {
        Self { new, old, schema }
    }

    /// The pair of member `name`, if both have it and the schema knows it.
    pub fn member(self, name: &str) -> Option<Self> {
        let (new, old) = (self.new.as_object()?.get(name)?, self.old.as_object()?.get(name)?);
        Some(Self { new, old, schema: self.schema.property(name)? })
    }

    /// For each element the pair with the element before that has its keys; none for lists that are no maps.
    pub fn items(self) -> Vec<Option<Self>> {
        let (Some(new), Some(old), Some(schema)) =
            (self.new.as_array(), self.old.as_array(), self.schema.items.as_deref())
        else {
            return Vec::new();
        };
        let Some(keys) = self.schema.map_keys() else { return Vec::new() };
        let before = by_key(old, keys);
        new.iter()
            .map(|item| {
                let old = before.get(&key_of(item, keys)?)?;
                Some(Self { new: item, old, schema })
            })
            .collect()
    }

    /// Whether the value equals the one before; the order of a map list does not count.
    pub fn is_unchanged(self) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                if self.schema.map_keys().is_none() || self.schema.items.is_none() {
                    return new == old;
                }
                self.items().into_iter().all(|pair| pair.is_some_and(Self::is_unchanged))
            }
            (Value::Object(new), Value::Object(old)) => self.same_members(new, old),
            (new, old) => new == old,
        }
    }

    fn same_members(self, new: &Map<String, Value>, old: &Map<String, Value>) -> bool {
        // Members the schema does not know cannot be paired, so upstream takes them for changed.
        new.len() == old.len() && new.keys().all(|name| self.member(name).is_some_and(Self::is_unchanged))
    }
}

/// The identity of a map list's element: its keys' values. `None` when a key is missing or no scalar, or when the
/// element is no object.
pub fn key_of(item: &Value, keys: &[String]) -> Option<String> {
    let map = item.as_object()?;
    let scalar = |key: &String| {
        map.get(key).filter(|value| !value.is_array() && !value.is_object() && !value.is_null())
    };
    let values: Option<Vec<Value>> = keys.iter().map(|key| scalar(key).cloned()).collect();
    Some(Value::Array(values?).to_string())
}

fn by_key<'a>(items: &'a [Value], keys: &[String]) -> HashMap<String, &'a Value> {
    let mut found = HashMap::with_capacity(items.len());
    for item in items {
        if let Some(key) = key_of(item, keys) {
            found.entry(key).or_insert(item);
        }
    }
    found
}
