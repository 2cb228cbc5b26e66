//! Server-side apply: merge what a manager wants into the object, with field ownership.
//!
//! Authority: KEP-555 and structured-merge-diff's Updater.Apply: conflicts are fields another manager owns and this
//! configuration changes; fields the manager applied before and no longer names are removed unless others own them.

use jiff::Timestamp;
use serde_json::{Map, Value};
use xebec_api::field::{FieldError, Path};
use xebec_api::status::{ApiError, Cause, Details, Reason};
use xebec_api::time;

use super::fieldset::{self, FieldSet, Step};
use super::managed::{self, Entry};
use super::merge_schema::Node;
use super::{Registry, Sub, Target, UpdateOptions, WriteContext, Written, metadata};

impl Registry {
    /// Applies `config` (stored version) as the context's field manager.
    pub async fn apply(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        config: Value,
        force: bool,
    ) -> Result<Written, ApiError> {
        if !config["metadata"]["managedFields"].is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        if context.field_manager.is_empty() {
            let error = FieldError::required(&Path::new("fieldManager"), "is required for apply patch");
            return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", vec![error]));
        }
        let now = self.now();
        let editor = |old: &Value| merge(old, &config, target, sub, &context.field_manager, force, now);
        self.update(
            context,
            target,
            sub,
            UpdateOptions { create: sub == Sub::Main, admitted: false },
            &editor,
        )
        .await
    }
}

/// The object after `manager` applied `config` to `old` (null when there is none).
fn merge(
    old: &Value,
    config: &Value,
    target: &Target,
    sub: Sub,
    manager: &str,
    force: bool,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let node = target.merge_root();
    let wanted = managed::owned_part(config, node);
    let mut entries = managed::decode(old);
    let api_version = target.stored.api_version();
    let is_mine = |entry: &Entry| {
        entry.manager == manager && entry.operation == "Apply" && entry.subresource == sub.name()
    };
    let before = entries.iter().find(|entry| is_mine(entry)).cloned();
    let mut new = merged(old, config, node);
    if !old.is_null() {
        let metadata = metadata::metadata(&mut new);
        if metadata::wanted_version(config).is_none()
            && let Some(version) = old["metadata"].get("resourceVersion")
        {
            metadata.insert("resourceVersion".to_owned(), version.clone());
        }
    }
    let differs =
        |path: &Vec<Step>| fieldset::value_at(old, node, path) != fieldset::value_at(&new, node, path);
    let mut conflicts: Vec<(Entry, Vec<Step>)> = Vec::new();
    for entry in entries.iter().filter(|entry| !is_mine(entry)) {
        let lost =
            entry.fields.iter().filter(|path| wanted.contains(*path) && leaf(&wanted, path) && differs(path));
        conflicts.extend(lost.map(|path| (entry.clone(), path.clone())));
    }
    if !conflicts.is_empty() && !force {
        return Err(conflict_error(target, &conflicts));
    }
    for entry in entries.iter_mut().filter(|entry| !is_mine(entry)) {
        entry.fields.retain(|path| !conflicts.iter().any(|(_, lost)| lost == path));
    }
    entries.retain(|entry| !is_mine(entry));
    if let Some(before) = &before {
        prune(&mut new, node, before, &wanted, &entries);
    }
    let unchanged =
        before.as_ref().filter(|before| before.fields == wanted).map(|before| before.time.clone());
    entries.push(Entry {
        manager: manager.to_owned(),
        operation: "Apply".to_owned(),
        api_version,
        time: unchanged.unwrap_or_else(|| time::format_rfc3339_seconds(now)),
        subresource: sub.name().to_owned(),
        fields: wanted,
    });
    managed::encode(&mut new, entries);
    Ok(new)
}

fn leaf(set: &FieldSet, path: &[Step]) -> bool {
    let path = path.to_vec();
    let mut below = set.range::<Vec<Step>, _>((std::ops::Bound::Excluded(&path), std::ops::Bound::Unbounded));
    !below.next().is_some_and(|next| next.starts_with(&path))
}

/// Removes what the manager named before, names no longer, and nobody else owns.
fn prune(new: &mut Value, node: Node<'_>, before: &Entry, wanted: &FieldSet, others: &[Entry]) {
    let owned_below = |path: &Vec<Step>| {
        let held =
            |set: &FieldSet| set.range(path.clone()..).next().is_some_and(|next| next.starts_with(path));
        held(wanted) || others.iter().any(|entry| held(&entry.fields))
    };
    for path in before.fields.iter().filter(|path| !wanted.contains(*path)) {
        if !owned_below(path) {
            fieldset::remove_at(new, node, path);
        }
    }
}

/// `config` laid over `live`.
pub(crate) fn merged(live: &Value, config: &Value, node: Node<'_>) -> Value {
    match (node, live, config) {
        (Node::Struct(..) | Node::Map(..), Value::Object(live), Value::Object(config)) => {
            let mut result: Map<String, Value> = live.clone();
            for (name, wanted) in config {
                if wanted.is_null() {
                    result.remove(name);
                } else {
                    let present = live.get(name).unwrap_or(&Value::Null);
                    result.insert(name.clone(), merged(present, wanted, node.field(name)));
                }
            }
            Value::Object(result)
        }
        (Node::List { .. } | Node::Set, Value::Array(live), Value::Array(config)) => {
            Value::Array(merged_list(live, config, node))
        }
        (_, _, config) => config.clone(),
    }
}

/// The configuration's elements in its order, the others where they stood among them.
fn merged_list(live: &[Value], config: &[Value], node: Node<'_>) -> Vec<Value> {
    let keys: Vec<Option<String>> = config.iter().map(|item| node.key_of(item)).collect();
    let mut result = Vec::with_capacity(live.len().max(config.len()));
    let (mut from_live, mut from_config) = (0, 0);
    loop {
        let next_live = live.get(from_live).map(|item| (item, node.key_of(item)));
        match next_live {
            Some((item, key)) if !keys.contains(&key) => {
                result.push(item.clone());
                from_live += 1;
            }
            Some((_, key)) if keys[..from_config].contains(&key) => from_live += 1,
            _ => {
                let Some(wanted) = config.get(from_config) else { break };
                let present = live.iter().find(|item| node.key_of(item) == keys[from_config]);
                result.push(merged(present.unwrap_or(&Value::Null), wanted, node.element()));
                from_config += 1;
            }
        }
    }
    result
}

fn conflict_error(target: &Target, conflicts: &[(Entry, Vec<Step>)]) -> ApiError {
    let who = |entry: &Entry| {
        let mut text = format!("{:?}", entry.manager);
        if !entry.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", entry.subresource));
        }
        format!("{text} using {}", entry.api_version)
    };
    let causes: Vec<Cause> = conflicts
        .iter()
        .map(|(entry, path)| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", who(entry)),
            field: fieldset::display(path),
        })
        .collect();
    let message = if let [(entry, path)] = conflicts {
        format!("Apply failed with 1 conflict: conflict with {}: {}", who(entry), fieldset::display(path))
    } else {
        let mut text = format!("Apply failed with {} conflicts:", conflicts.len());
        let mut last = String::new();
        for (entry, path) in conflicts {
            let name = who(entry);
            if name != last {
                text.push_str(&format!(" conflicts with {name}:"));
                last = name;
            }
            text.push_str(&format!("\n- {}", fieldset::display(path)));
        }
        text
    };
    let mut error = ApiError::new(409, Reason::Conflict, message);
    let served = target.served;
    error.details = Some(Details {
        name: target.name.clone(),
        group: served.group.to_owned(),
        kind: served.plural.to_owned(),
        causes,
        ..Default::default()
    });
    error
}
