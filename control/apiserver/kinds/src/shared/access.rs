//! Reading and setting fields of JSON values by path.
//!
//! A missing field, a null and a field of another type read alike (empty); nothing here panics.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// The value at a path of object keys, null when missing.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(value, |value, key| value.get(key)).unwrap_or(&NULL)
}

/// The text at a path, empty when missing.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The integer at a path.
pub fn int(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).as_i64()
}

/// The boolean at a path, false when missing.
pub fn flag(value: &Value, path: &[&str]) -> bool {
    at(value, path).as_bool().unwrap_or_default()
}

/// The elements of the list at a path, none when missing.
pub fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The strings of the list at a path.
pub fn texts<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    list(value, path).iter().filter_map(Value::as_str).collect()
}

/// True when there is a value other than null at the path.
pub fn has(value: &Value, path: &[&str]) -> bool {
    !at(value, path).is_null()
}

/// The entries of the object at a path, none when missing.
pub fn entries<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(value, path).as_object().into_iter().flatten()
}

/// Sets the value at a path, making the objects on the way.
pub fn set(value: &mut Value, path: &[&str], new: Value) {
    let Some((last, parents)) = path.split_last() else {
        *value = new;
        return;
    };
    let mut here = value;
    for key in parents {
        here = object(here).entry((*key).to_owned()).or_insert(Value::Null);
    }
    object(here).insert((*last).to_owned(), new);
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

/// Removes the value at a path, if there is one.
pub fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    if let Some(Value::Object(map)) = at_mut(value, parents) {
        map.remove(*last);
    }
}

/// Takes the value at a path from another object, missing included.
pub fn keep(value: &mut Value, from: &Value, path: &[&str]) {
    match at(from, path) {
        Value::Null => remove(value, path),
        kept => set(value, path, kept.clone()),
    }
}

/// The value at a path for change, `None` when it is missing or null.
pub fn at_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    let found = path.iter().try_fold(value, |value, key| value.get_mut(key))?;
    (!found.is_null()).then_some(found)
}

/// The elements of the list at a path for change.
pub fn list_mut<'a>(value: &'a mut Value, path: &[&str]) -> impl Iterator<Item = &'a mut Value> {
    at_mut(value, path).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets a field that is missing or null.
pub fn default_to(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    if !has(value, path) {
        set(value, path, new.into());
    }
}

/// Sets a text field that is missing or empty.
pub fn default_text(value: &mut Value, path: &[&str], new: &str) {
    if text(value, path).is_empty() {
        set(value, path, Value::String(new.to_owned()));
    }
}

/// Sets a number that is missing or 0, for fields upstream holds as plain integers.
pub fn default_number(value: &mut Value, path: &[&str], new: i64) {
    if int(value, path).unwrap_or(0) == 0 {
        set(value, path, Value::from(new));
    }
}

/// Removes nulls everywhere: a null field is a missing one, as Go's decoder reads it.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn set_makes_the_objects_on_the_way() {
        let mut value = json!({"spec": null});
        set(&mut value, &["spec", "a", "b"], json!(1));
        assert_eq!(value, json!({"spec": {"a": {"b": 1}}}));
        remove(&mut value, &["spec", "a", "b"]);
        assert_eq!(value, json!({"spec": {"a": {}}}));
    }

    #[test]
    fn defaults_do_not_replace() {
        let mut value = json!({"a": 0, "b": "", "c": null});
        default_to(&mut value, &["a"], 5);
        default_text(&mut value, &["b"], "x");
        default_to(&mut value, &["c"], true);
        assert_eq!(value, json!({"a": 0, "b": "x", "c": true}));
        default_number(&mut value, &["a"], 5);
        assert_eq!(value["a"], 5);
    }

    #[test]
    fn nulls_go() {
        let mut value = json!({"a": null, "b": [{"c": null, "d": 1}]});
        drop_nulls(&mut value);
        assert_eq!(value, json!({"b": [{"d": 1}]}));
    }
}
