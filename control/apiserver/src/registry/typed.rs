//! What can be done with a value whose merging is known: check it, compare it with another, take fields out. Pure.
//!
//! Enters: values and the [`Node`] that says how they merge. Leaves: [`Comparison`]s, reduced values, complaints. Used by
//! the ownership of fields (`updater`, `managed`); merging itself is `apply::merged`. Authority: structured-merge-diff, typed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::fieldset::{self, FieldPath, FieldSet, Step};
use super::merge_schema::Node;

/// How two values differ; no path is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// In the new value alone.
    pub added: FieldSet,
    /// In both, but different.
    pub modified: FieldSet,
    /// In the old value alone.
    pub removed: FieldSet,
}

impl Comparison {
    /// Keeps the paths `keep` says.
    pub fn retain(&mut self, keep: impl Fn(&FieldPath) -> bool) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.retain(&keep);
        }
    }

    /// The fields the new value says something else about.
    #[must_use]
    pub fn changed(&self) -> FieldSet {
        self.added.union(&self.modified).cloned().collect()
    }
}

/// What a value is where it stands: null is whatever the type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Fields or keys, each for itself.
    Map,
    /// Items, each for itself.
    List,
    /// A whole.
    Leaf,
}

/// The form of `value` under `node`.
#[must_use]
pub fn form(node: Node<'_>, value: &Value) -> Form {
    match (node, value) {
        (Node::Struct(..) | Node::Map(..), Value::Object(_) | Value::Null) => Form::Map,
        (Node::List { .. } | Node::Set, Value::Array(_) | Value::Null) => Form::List,
        _ => Form::Leaf,
    }
}

/// Whether a list, a map or null has nothing in it.
#[must_use]
pub fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// How `new` differs from `old`.
#[must_use]
pub fn compare(old: &Value, new: &Value, node: Node<'_>) -> Comparison {
    let mut walk = Compare { path: Vec::new(), result: Comparison::default() };
    walk.values(Some(old), Some(new), node);
    walk.result
}

struct Compare {
    path: FieldPath,
    result: Comparison,
}

impl Compare {
    fn values(&mut self, old: Option<&Value>, new: Option<&Value>, node: Node<'_>) {
        let forms = (old.map(|old| form(node, old)), new.map(|new| form(node, new)));
        if let (Some(before), Some(after)) = forms
            && before != after
        {
            self.contents(old, None, node, before);
            self.contents(None, new, node, after);
            self.note(old, new);
            return;
        }
        let Some(form) = forms.1.or(forms.0) else { return };
        if form == Form::Leaf || is_empty(old) && is_empty(new) {
            self.note(old, new);
            return;
        }
        self.contents(old, new, node, form);
        if old.is_none() || new.is_none() {
            self.note(old, new);
        }
    }

    /// Notes how the value at the path differs as a whole.
    fn note(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let set = match (old, new) {
            _ if self.path.is_empty() => return,
            (None, _) => &mut self.result.added,
            (_, None) => &mut self.result.removed,
            (Some(old), Some(new)) if old != new => &mut self.result.modified,
            _ => return,
        };
        set.insert(self.path.clone());
    }

    fn contents(&mut self, old: Option<&Value>, new: Option<&Value>, node: Node<'_>, form: Form) {
        match form {
            Form::Map => self.fields(old.and_then(Value::as_object), new.and_then(Value::as_object), node),
            Form::List => {
                self.items(items_of(old), items_of(new), node);
            }
            Form::Leaf => {}
        }
    }

    fn fields(&mut self, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>, node: Node<'_>) {
        let only_old = old.into_iter().flat_map(Map::keys);
        let only_old = only_old.filter(|name| new.is_none_or(|new| !new.contains_key(*name)));
        for name in new.into_iter().flat_map(Map::keys).chain(only_old) {
            let side = |map: Option<&Map<String, Value>>| {
                map.and_then(|map| map.get(name).cloned().or_else(|| node.zero(name).cloned()))
            };
            // Most fields are the same in both: those are seen without a copy.
            if let (Some(old), Some(new)) = (old.and_then(|m| m.get(name)), new.and_then(|m| m.get(name)))
                && old == new
            {
                continue;
            }
            let (old, new) = (side(old), side(new));
            self.path.push(Step::Field(name.clone()));
            self.values(old.as_ref(), new.as_ref(), node.field(name));
            self.path.pop();
        }
    }

    fn items(&mut self, old: &[Value], new: &[Value], node: Node<'_>) {
        let (before, after) = (grouped(old, node), grouped(new, node));
        let steps: BTreeSet<&Step> = before.keys().chain(after.keys()).collect();
        for step in steps {
            self.path.push(step.clone());
            let (old, new) = (before.get(step), after.get(step));
            let old = old.map(Vec::as_slice).unwrap_or_default();
            self.item(old, new.map(Vec::as_slice).unwrap_or_default(), node.element());
            self.path.pop();
        }
    }

    /// One key of a list; more than one item with it count as a whole.
    fn item(&mut self, old: &[&Value], new: &[&Value], element: Node<'_>) {
        match (old, new) {
            ([] | [_], [] | [_]) => self.values(old.first().copied(), new.first().copied(), element),
            ([_, _, ..], [_, _, ..]) => {
                if old != new {
                    self.result.modified.insert(self.path.clone());
                }
            }
            ([_, _, ..], _) => {
                self.values(None, new.first().copied(), element);
                self.result.added.remove(&self.path);
                self.result.removed.insert(self.path.clone());
            }
            (_, _) => {
                self.values(old.first().copied(), None, element);
                self.result.removed.remove(&self.path);
                self.result.added.insert(self.path.clone());
            }
        }
    }
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A list's items by their identity.
fn grouped<'v>(items: &'v [Value], node: Node<'_>) -> BTreeMap<Step, Vec<&'v Value>> {
    let mut groups: BTreeMap<Step, Vec<&Value>> = BTreeMap::new();
    for item in items {
        if let Some(step) = node.step_of(item) {
            groups.entry(step).or_default().push(item);
        }
    }
    groups
}

/// `value` without what is at the paths; lists and maps that lost all they had go too.
#[must_use]
pub fn without(value: &Value, node: Node<'_>, gone: &FieldSet) -> Value {
    reduced(value, node, gone, &mut Vec::new()).unwrap_or_else(|| Value::Object(Map::new()))
}

fn reduced(value: &Value, node: Node<'_>, gone: &FieldSet, path: &mut FieldPath) -> Option<Value> {
    let mut keep = |step: Step, child: &Value, node: Node<'_>| {
        path.push(step);
        let kept = if gone.contains(path) {
            None
        } else if fieldset::below(gone, path) {
            reduced(child, node, gone, path)
        } else {
            Some(child.clone())
        };
        path.pop();
        kept
    };
    match (form(node, value), value) {
        (Form::Map, Value::Object(map)) => {
            let fields = map.iter().filter_map(|(name, child)| {
                Some((name.clone(), keep(Step::Field(name.clone()), child, node.field(name))?))
            });
            Some(fields.collect::<Map<_, _>>()).filter(|map| !map.is_empty()).map(Value::Object)
        }
        (Form::List, Value::Array(items)) => {
            let items = items.iter().filter_map(|item| match node.step_of(item) {
                Some(step) => keep(step, item, node.element()),
                None => Some(item.clone()),
            });
            Some(items.collect::<Vec<_>>()).filter(|items| !items.is_empty()).map(Value::Array)
        }
        (Form::Leaf, value) if !value.is_array() && !value.is_object() => Some(value.clone()),
        _ => None,
    }
}

/// What structured-merge-diff objects to in a configuration: list items without an identity or with one that is taken.
/// Each complaint with the path of its list.
#[must_use]
pub fn complaints(value: &Value, node: Node<'_>) -> Vec<String> {
    fn walk(value: &Value, node: Node<'_>, path: &mut FieldPath, found: &mut Vec<String>) {
        match (node, value) {
            (Node::Struct(..) | Node::Map(..), Value::Object(map)) => {
                for (name, child) in map {
                    path.push(Step::Field(name.clone()));
                    walk(child, node.field(name), path, found);
                    path.pop();
                }
            }
            (Node::List { .. } | Node::Set, Value::Array(items)) => {
                let mut seen: BTreeSet<Step> = BTreeSet::new();
                for (at, item) in items.iter().enumerate() {
                    let here = fieldset::display(path);
                    let Some(step) = node.step_of(item) else {
                        let why = node.misfit(item).unwrap_or_default();
                        found.push(format!("{here}: element {at}: {why}"));
                        return;
                    };
                    path.push(step.clone());
                    if seen.contains(&step) {
                        let key = fieldset::display(&path[path.len() - 1..]);
                        found.push(format!("{here}: duplicate entries for key {key}"));
                    }
                    seen.insert(step);
                    walk(item, node.element(), path, found);
                    path.pop();
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, node, &mut Vec::new(), &mut found);
    found
}

/// One complaint as it is, more of them as a list, as structured-merge-diff prints its errors.
#[must_use]
pub fn complaint_text(complaints: &[String]) -> String {
    match complaints {
        [one] => one.clone(),
        many => many.iter().fold("errors:".to_owned(), |text, one| format!("{text}\n  {one}")),
    }
}

/// `spec.containers[0].foo`, as the schema's findings name a field, as structured-merge-diff names it in `value`:
/// `.spec.containers[name="c"].foo`.
#[must_use]
pub fn path_of(finding: &str, value: &Value, root: Node<'_>) -> String {
    let (mut at, mut node, mut path) = (value, root, FieldPath::new());
    for part in finding.split('.') {
        let (name, indices) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        path.push(Step::Field(name.to_owned()));
        (at, node) = (&at[name], node.field(name));
        for index in indices.split('[').filter_map(|text| text.trim_end_matches(']').parse::<usize>().ok()) {
            let item = &at[index];
            path.push(node.step_of(item).unwrap_or_else(|| Step::Index(index.to_string())));
            (at, node) = (item, node.element());
        }
    }
    fieldset::display(&path)
}
