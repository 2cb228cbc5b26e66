//! Strategic merge patch: a merge patch that knows which lists are maps, and obeys directives.
//!
//! Facts (which list merges, by which key) come from `data/strategic-merge.json`; the shape of nested types from
//! [`crate::types`]. Authority: k8s.io/apimachinery/pkg/util/strategicpatch and the API conventions.

use super::PatchError;
use crate::types::{self, Kind, Message};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// How one field merges.
#[derive(Clone, Debug, Default)]
struct Rule {
    merge: bool,
    replace: bool,
    key: Option<String>,
}

/// Rules by the protobuf name of the type, then by field.
static RULES: LazyLock<HashMap<&'static str, HashMap<String, Rule>>> = LazyLock::new(|| {
    let data: Value =
        serde_json::from_str(include_str!("../../data/strategic-merge.json")).unwrap_or(Value::Null);
    let rule = |fact: &Value| {
        let has = |word: &str| fact["s"].as_array().is_some_and(|s| s.iter().any(|w| w == word));
        Rule { merge: has("merge"), replace: has("replace"), key: fact["k"].as_str().map(str::to_owned) }
    };
    let fields = |fields: &Value| {
        fields.as_object().into_iter().flatten().map(|(name, fact)| (name.clone(), rule(fact))).collect()
    };
    let types = data["types"].as_object().into_iter().flatten();
    types.filter_map(|(name, facts)| Some((types::by_name(name)?.name, fields(facts)))).collect()
});

/// The type of the value being merged; `None` inside maps of plain values and untyped parts.
type Type = Option<&'static Message>;

/// The rule of a field and the type of its value or elements.
fn lookup(owner: Type, field: &str) -> (Rule, Type) {
    let Some(message) = owner else { return (Rule::default(), None) };
    let Some((declared_in, found)) = message.field_by_json(field) else { return (Rule::default(), None) };
    let inner = match found.shape.kind() {
        Kind::Message(id) if types::message(id).special.is_none() => Some(types::message(id)),
        _ => None,
    };
    // A type that embeds another carries the facts of both: look at the outer one first.
    let rule = [message, declared_in]
        .iter()
        .find_map(|m| RULES.get(m.name)?.get(field).cloned())
        .unwrap_or_default();
    (rule, inner)
}

/// Applies a strategic merge patch to an object of the named type (`io.k8s.api.core.v1.Pod` or `k8s.io.api.core.v1.Pod`).
pub fn strategic_merge(original: &Value, patch: &Value, type_name: &str) -> Result<Value, PatchError> {
    let message = types::by_name(type_name).ok_or_else(|| PatchError::UnknownType(type_name.to_owned()))?;
    merge_root(original, patch, message)
}

/// The same, with the type given as apiVersion and kind. [`PatchError::UnknownType`] for custom resources.
pub fn strategic_merge_for(
    api_version: &str,
    kind: &str,
    original: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    let message = types::by_api_version(api_version, kind)
        .ok_or_else(|| PatchError::UnknownType(format!("{api_version} {kind}")))?;
    merge_root(original, patch, message)
}

fn merge_root(original: &Value, patch: &Value, message: &'static Message) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else { return Err(PatchError::NotAnObject("the patch")) };
    let Value::Object(original) = original else { return Err(PatchError::NotAnObject("the object")) };
    let merged = Value::Object(merge_map(original.clone(), patch.clone(), Some(message))?);
    if crate::schema::is_shallow(&merged) { Ok(merged) } else { Err(PatchError::TooDeep) }
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    owner: Type,
) -> Result<Map<String, Value>, PatchError> {
    if let Some(directive) = patch.remove(PATCH) {
        match directive.as_str() {
            Some("replace") => return Ok(without_directives_in_map(patch)),
            Some("delete") => return Ok(Map::new()),
            Some("merge") => {}
            _ => return Err(PatchError::BadDirective(directive.to_string())),
        }
    }
    if let Some(keep) = patch.remove(RETAIN_KEYS) {
        retain_keys(&mut original, &patch, &keep)?;
    }
    apply_orders(&mut original, &mut patch, owner)?;
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            let gone = value.as_array().ok_or(PatchError::BadFormat("$deleteFromPrimitiveList"))?;
            if let Some(Value::Array(list)) = original.get_mut(field) {
                list.retain(|v| !gone.contains(v));
            }
        } else if value.is_null() {
            original.remove(&key);
        } else {
            let merged = match original.remove(&key) {
                Some(current) => merge_field(current, value, owner, &key)?,
                None => without_directives(value),
            };
            original.insert(key, merged);
        }
    }
    Ok(original)
}

/// Merges one field that both sides have.
fn merge_field(current: Value, patch: Value, owner: Type, field: &str) -> Result<Value, PatchError> {
    let (rule, inner) = lookup(owner, field);
    match (current, patch) {
        (Value::Object(current), Value::Object(patch)) if !rule.replace => {
            merge_map(current, patch, inner).map(Value::Object)
        }
        (Value::Array(current), Value::Array(patch)) if rule.merge => {
            merge_list(current, patch, inner, rule.key.as_deref()).map(Value::Array)
        }
        (_, patch) => Ok(without_directives(patch)),
    }
}

/// Keeps only the listed keys of the original; the patch may set no others.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    keep: &Value,
) -> Result<(), PatchError> {
    let keep = keep.as_array().ok_or(PatchError::BadFormat(RETAIN_KEYS))?;
    let listed = |key: &str| keep.iter().any(|k| k == key);
    if let Some((key, _)) = patch.iter().find(|(k, v)| !k.starts_with('$') && !v.is_null() && !listed(k)) {
        return Err(PatchError::NotRetained(key.clone()));
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

/// Merges and orders every list the patch has a `$setElementOrder` for, taking both out of the patch.
fn apply_orders(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    owner: Type,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let field = &directive[ORDER.len()..];
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(PatchError::BadFormat("$setElementOrder"));
        };
        let (rule, inner) = lookup(owner, field);
        let key = rule.key.as_deref();
        // The plain list goes first: deletions from it must not depend on the order of the patch's keys.
        let change = match patch.get(field) {
            Some(Value::Array(_)) => patch.remove(field),
            _ => None,
        };
        let before = match original.get(field) {
            Some(Value::Array(list)) => list.clone(),
            _ => Vec::new(),
        };
        if before.is_empty() && change.is_none() {
            continue;
        }
        let merged = match change {
            Some(Value::Array(change)) => {
                check_order(field, &change, &order, key)?;
                match original.remove(field) {
                    Some(Value::Array(current)) => merge_list(current, change, inner, key)?,
                    _ => as_list(without_directives(Value::Array(change))),
                }
            }
            _ => before.clone(),
        };
        original.insert(field.to_owned(), Value::Array(arrange(merged, &order, &before, key)));
    }
    Ok(())
}

fn as_list(value: Value) -> Vec<Value> {
    if let Value::Array(list) = value { list } else { Vec::new() }
}

/// The elements a patch list changes must stand in the order the directive gives.
fn check_order(field: &str, change: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    let mut at = 0;
    for element in change.iter().filter(|e| e.get(PATCH).is_none()) {
        match order[at..].iter().position(|o| same(o, element, key)) {
            Some(found) => at += found + 1,
            None => {
                return Err(PatchError::OrderMismatch {
                    field: field.to_owned(),
                    patch: Value::Array(change.to_vec()).to_string(),
                    order: Value::Array(order.to_vec()).to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Whether two elements are the same one: by key, or by value where the list holds plain values.
fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a.get(key).is_some_and(|v| Some(v) == b.get(key)),
        None => a == b,
    }
}

fn index_of(list: &[Value], element: &Value, key: Option<&str>) -> Option<usize> {
    list.iter().position(|v| same(v, element, key))
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    inner: Type,
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let Some(key) = key else {
        return Ok(merge_plain(original, patch));
    };
    let before = original.clone();
    let (mut merged, changes, replace) = apply_special(original, patch, key)?;
    if replace {
        return Ok(as_list(without_directives(Value::Array(changes))));
    }
    for change in &changes {
        require_key(change, key)?;
        match (index_of(&merged, change, Some(key)), change) {
            (Some(at), Value::Object(patch)) => {
                if let Value::Object(current) = std::mem::take(&mut merged[at]) {
                    merged[at] = Value::Object(merge_map(current, patch.clone(), inner)?);
                }
            }
            _ => merged.push(without_directives(change.clone())),
        }
    }
    Ok(arrange(merged, &changes, &before, Some(key)))
}

fn require_key(element: &Value, key: &str) -> Result<(), PatchError> {
    if element.get(key).is_some() {
        return Ok(());
    }
    Err(PatchError::NoMergeKey { key: key.to_owned(), element: element.to_string() })
}

/// Carries out the `$patch` elements: the list left, the ordinary elements, and whether the whole list is replaced.
fn apply_special(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>, bool), PatchError> {
    let (mut changes, mut replace) = (Vec::with_capacity(patch.len()), false);
    for mut element in patch {
        match element.get(PATCH).map(|d| d.as_str().unwrap_or_default().to_owned()) {
            None => changes.push(element),
            Some(directive) => match directive.as_str() {
                "delete" => {
                    require_key(&element, key)?;
                    original.retain(|v| !same(v, &element, Some(key)));
                }
                "replace" => replace = true,
                "merge" => {
                    if let Some(map) = element.as_object_mut() {
                        map.remove(PATCH);
                    }
                    // A bare `{$patch: merge}` marks the list and is no element of it.
                    if element.get(key).is_some() {
                        changes.push(element);
                    }
                }
                other => return Err(PatchError::BadDirective(other.to_owned())),
            },
        }
    }
    Ok((original, changes, replace))
}

/// The union of two lists of plain values, the patch's in the patch's order.
fn merge_plain(original: Vec<Value>, patch: Vec<Value>) -> Vec<Value> {
    let before = original.clone();
    let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
    for value in original.into_iter().chain(patch.iter().cloned()) {
        if !merged.contains(&value) {
            merged.push(value);
        }
    }
    arrange(merged, &patch, &before, None)
}

/// Orders a merged list: elements in `order` stand as there, the others as they stood `before`, interleaved so that an
/// element the patch does not know stays in front of the first one it stood in front of.
fn arrange(merged: Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) -> Vec<Value> {
    let (mut known, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|v| index_of(order, v, key).is_some());
    known.sort_by_key(|v| index_of(order, v, key));
    others.sort_by_key(|v| index_of(before, v, key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(known.len() + others.len());
    let mut known = known.into_iter().peekable();
    let mut others = others.into_iter().peekable();
    loop {
        let take_other = match (others.peek(), known.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(known)) => {
                match (index_of(before, other, key), index_of(before, known, key)) {
                    (Some(a), Some(b)) => a < b,
                    _ => false,
                }
            }
        };
        out.extend(if take_other { others.next() } else { known.next() });
    }
}

/// A patch's value where the object has none: without directives, nulls, and elements to delete.
fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives_in_map(map)),
        Value::Array(list) => {
            Value::Array(list.into_iter().filter(|v| !is_marker(v)).map(without_directives).collect())
        }
        other => other,
    }
}

/// An element that only says what to do: a deletion, or a `$patch` with nothing else.
fn is_marker(element: &Value) -> bool {
    element.get(PATCH).is_some_and(|d| d == "delete" || element.as_object().is_some_and(|m| m.len() == 1))
}

fn without_directives_in_map(map: Map<String, Value>) -> Map<String, Value> {
    if map.get(PATCH).is_some_and(|d| d == "delete") {
        return Map::new();
    }
    map.into_iter()
        .filter(|(key, value)| {
            let directive =
                key == PATCH || key == RETAIN_KEYS || key.starts_with(ORDER) || key.starts_with(DELETE_FROM);
            !directive && !value.is_null()
        })
        .map(|(key, value)| (key, without_directives(value)))
        .collect()
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
