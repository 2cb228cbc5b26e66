//! Who owns which fields: `metadata.managedFields`. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::time;

use super::fieldset::{self, FieldSet, Step};
use super::merge_schema::Node;
use super::{Target, metadata};

/// One manager's fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Manager name.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// Version the fields are recorded in.
    pub api_version: String,
    /// When they changed last.
    pub time: String,
    /// Subresource they were written through.
    pub subresource: String,
    /// The fields.
    pub fields: FieldSet,
}

/// The object's managers.
#[must_use]
pub fn decode(value: &Value) -> Vec<Entry> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entries = value["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .filter(|entry| entry["operation"].is_string())
        .map(|entry| Entry {
            manager: text(entry, "manager"),
            operation: text(entry, "operation"),
            api_version: text(entry, "apiVersion"),
            time: text(entry, "time"),
            subresource: text(entry, "subresource"),
            fields: fieldset::decode(&entry["fieldsV1"]),
        })
        .collect()
}

/// Writes the managers into the object, without those that own nothing.
pub fn encode(value: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| (&a.operation, &a.time, &a.manager).cmp(&(&b.operation, &b.time, &b.manager)));
    let encoded: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut encoded = json!({
                "manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version,
                "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": fieldset::encode(&entry.fields),
            });
            if !entry.subresource.is_empty() {
                encoded["subresource"] = json!(entry.subresource);
            }
            encoded
        })
        .collect();
    let metadata = metadata::metadata(value);
    if encoded.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), Value::Array(encoded));
    }
}

/// Whether the client itself changed the managers (kubectl's migration to server-side apply does).
#[must_use]
pub fn client_changed(value: &Value, old: &Value) -> bool {
    let sent = &value["metadata"]["managedFields"];
    !sent.is_null() && sent != &old["metadata"]["managedFields"]
}

/// Gives the fields this write changed to `manager`, and takes them from all others.
pub fn track_update(
    value: &mut Value,
    old: Option<&Value>,
    manager: &str,
    target: &Target,
    subresource: &str,
    now: Timestamp,
) {
    let node = target.merge_root();
    let sent = value["metadata"]["managedFields"].as_array();
    if sent.is_some_and(|list| list.len() == 1 && list[0].as_object().is_some_and(serde_json::Map::is_empty))
    {
        metadata::metadata(value).remove("managedFields");
        return;
    }
    let mut entries = decode(value);
    if entries.is_empty()
        && let Some(old) = old
    {
        entries = decode(old);
    }
    let present = owned_part(value, node);
    let changed: FieldSet = match old {
        None => present.clone(),
        Some(old) => {
            let differs = |path: &&Vec<Step>| {
                let (new, old) = (fieldset::value_at(value, node, path), fieldset::value_at(old, node, path));
                is_leaf(&present, path) && new != old || old.is_none()
            };
            present.iter().filter(differs).cloned().collect()
        }
    };
    let gone = |path: &Vec<Step>| fieldset::value_at(value, node, path).is_none();
    for entry in &mut entries {
        entry.fields.retain(|path| !changed.contains(path) && !gone(path));
    }
    if !changed.is_empty() {
        let api_version = target.stored.api_version();
        let mine = entries.iter_mut().find(|entry| {
            entry.manager == manager
                && entry.operation == "Update"
                && entry.api_version == api_version
                && entry.subresource == subresource
        });
        let stamp = time::format_rfc3339_seconds(now);
        match mine {
            Some(entry) => {
                entry.fields.extend(changed);
                entry.time = stamp;
            }
            None => entries.push(Entry {
                manager: manager.to_owned(),
                operation: "Update".to_owned(),
                api_version,
                time: stamp,
                subresource: subresource.to_owned(),
                fields: changed,
            }),
        }
    }
    encode(value, entries);
}

/// The fields of an object that can be owned.
#[must_use]
pub fn owned_part(value: &Value, node: Node<'_>) -> FieldSet {
    let mut set = fieldset::fields_of(value, node);
    set.retain(|path| !is_bookkeeping(path));
    set
}

/// Whether nothing in the set lies below `path`: then its value is compared as a whole.
fn is_leaf(set: &FieldSet, path: &[Step]) -> bool {
    let path = path.to_vec();
    let next =
        set.range::<Vec<Step>, _>((std::ops::Bound::Excluded(&path), std::ops::Bound::Unbounded)).next();
    !next.is_some_and(|next| next.starts_with(&path))
}

fn is_bookkeeping(path: &[Step]) -> bool {
    let field = |at: usize| match path.get(at) {
        Some(Step::Field(name)) => name.as_str(),
        _ => "",
    };
    match field(0) {
        "apiVersion" | "kind" => true,
        "metadata" => {
            path.len() == 1
                || matches!(
                    field(1),
                    "name"
                        | "namespace"
                        | "creationTimestamp"
                        | "selfLink"
                        | "uid"
                        | "generation"
                        | "managedFields"
                        | "resourceVersion"
                        | "deletionTimestamp"
                        | "deletionGracePeriodSeconds"
                )
        }
        _ => false,
    }
}

/// The manager's name for a client that gave none: its User-Agent up to the slash.
#[must_use]
pub fn manager_of(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}
