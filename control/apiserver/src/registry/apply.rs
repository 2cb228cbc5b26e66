//! Server-side apply: merge what a manager wants into the object, with field ownership.
//!
//! Enters: a configuration in the version it was sent in. Leaves: the written object, or the conflicts as 409. The rules
//! are in `updater` and `managed`; here is the merge, the way into the registry's writes, and the error's form.
//! Authority: KEP-555 and structured-merge-diff: conflicts are fields another manager owns and this configuration
//! changes; fields the manager applied before and no longer names are removed unless others own them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::meta;
use xebec_api::status::{ApiError, Cause, Details, Reason};

use super::fieldset::{self, FieldPath, Step};
use super::managed::{self, Writer};
use super::merge_schema::Node;
use super::typed::{self, Form};
use super::updater::{Conflict, Failure, Manager, Scope};
use super::versions::{Served, reach, single};
use super::{Registry, Sub, Target, UpdateOptions, WriteContext, Written, from_storage, to_storage};

/// Attempts against others writing the same object.
const ATTEMPTS: usize = 16;

impl Registry {
    /// Applies `config` (served version, nulls and unknown fields included) as the context's field manager.
    pub async fn apply(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        config: Value,
        force: bool,
    ) -> Result<Written, ApiError> {
        if config["metadata"].get("managedFields").is_some_and(|managers| !managers.is_null()) {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        if context.field_manager.is_empty() {
            let error = FieldError::required(&Path::new("fieldManager"), "is required for apply patch");
            return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", vec![error]));
        }
        let options = UpdateOptions { create: sub == Sub::Main, ..UpdateOptions::default() };
        for _ in 0..ATTEMPTS {
            let current = self.current(target).await?.map(|current| current.value());
            if current.is_none() {
                check_new(target, sub, &config)?;
            }
            let new = self.merge(context, target, sub, current.as_deref(), &config, force).await?;
            let read = current.as_deref().map_or("", meta::resource_version).to_owned();
            // Conversions may take a webhook, so the merge is made before the write: of an object that may change meanwhile.
            let stale = AtomicBool::new(false);
            let editor = |old: &Value| {
                if meta::resource_version(old) == read {
                    return Ok(new.clone());
                }
                stale.store(true, Ordering::Relaxed);
                Err(target.modified())
            };
            match self.update(context, target, sub, options, &editor).await {
                Err(_) if stale.load(Ordering::Relaxed) => {}
                result => return result,
            }
        }
        Err(target.modified())
    }

    /// The object (stored version) after `config` was applied to it.
    async fn merge(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        current: Option<&Value>,
        config: &Value,
        force: bool,
    ) -> Result<Value, ApiError> {
        let version = target.served.api_version();
        let versions = Served::new(self.resources(), target);
        let single = single(context, target);
        let scope =
            Scope { versions: &versions, version: &version, reach: reach(target, sub.name()), single };
        let complaints = typed::complaints(config, scope.schema()?.root());
        if !complaints.is_empty() {
            return Err(untyped(target, &typed::complaint_text(&complaints)));
        }
        let live = match current {
            Some(current) => from_storage(target.served, target.stored, current.clone()),
            None => json!({"apiVersion": version, "kind": target.served.kind}),
        };
        let writer =
            Writer { name: &context.field_manager, subresource: context.subresource(sub), now: self.now() };
        let mut new = match managed::applied(&scope, &live, config, writer, force).await {
            Ok(new) => new,
            Err(Failure::Conflicts(conflicts)) if scope.single.is_some() => {
                return Err(conflict_error(&of_scale(conflicts)));
            }
            Err(Failure::Conflicts(conflicts)) => return Err(conflict_error(&conflicts)),
            Err(Failure::Api(error)) => return Err(error),
        };
        if target.custom.is_none() {
            // Null in a configuration is a field its manager wants empty.
            meta::drop_nulls(&mut new);
        }
        Ok(to_storage(target.served, target.stored, new))
    }
}

/// What only an existing object may lack or have.
fn check_new(target: &Target, sub: Sub, config: &Value) -> Result<(), ApiError> {
    if sub != Sub::Main {
        return Err(target.not_found());
    }
    if meta::name(config).is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        )));
    }
    let uid = meta::uid(config);
    if !uid.is_empty() {
        return Err(target.conflict(&format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        )));
    }
    Ok(())
}

/// 500, as upstream answers a configuration its schema does not have.
pub fn untyped(target: &Target, why: &str) -> ApiError {
    let served = target.served;
    managed::unclassified(format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {why}",
        target.namespace,
        target.name,
        served.api_version(),
        served.kind
    ))
}

/// `config` laid over `live`. Null takes the place of what is a whole, and adds nothing to a list or map.
pub(crate) fn merged(live: &Value, config: &Value, node: Node<'_>) -> Value {
    let form = typed::form(node, config);
    if typed::form(node, live) != form || typed::is_empty(Some(live)) && typed::is_empty(Some(config)) {
        return config.clone();
    }
    match (form, live, config) {
        (Form::Leaf, _, config) => config.clone(),
        (_, live, config) if typed::is_empty(Some(config)) => live.clone(),
        (_, Value::Object(live), Value::Object(config)) => {
            let mut result: Map<String, Value> = live.clone();
            for (name, wanted) in config {
                let child = match live.get(name) {
                    Some(present) => merged(present, wanted, node.field(name)),
                    None => wanted.clone(),
                };
                result.insert(name.clone(), child);
            }
            Value::Object(result)
        }
        (_, Value::Array(live), Value::Array(config)) => Value::Array(merged_list(live, config, node)),
        (_, _, config) => config.clone(),
    }
}

/// The configuration's elements in its order, the others where they stood among them. Elements that share a key in the
/// live list are none of the configuration's: they are replaced by its one, or stay.
fn merged_list(live: &[Value], config: &[Value], node: Node<'_>) -> Vec<Value> {
    let keys = |items: &[Value]| items.iter().map(|item| node.key_of(item)).collect::<Vec<_>>();
    let (live_keys, keys) = (keys(live), keys(config));
    let wanted_keys: BTreeSet<&Option<String>> = keys.iter().collect();
    let mut at: BTreeMap<&Option<String>, Vec<usize>> = BTreeMap::new();
    live_keys.iter().enumerate().for_each(|(index, key)| at.entry(key).or_default().push(index));
    let present = |key: &Option<String>| match at.get(key).map(Vec::as_slice) {
        Some([index]) => live.get(*index),
        _ => None,
    };
    // The elements both lists have, in the configuration's order: the live list waits for the next of them.
    let mut shared = keys.iter().filter(|key| at.contains_key(key)).peekable();
    let mut taken: BTreeSet<&Option<String>> = BTreeSet::new();
    let mut result = Vec::with_capacity(live.len().max(config.len()));
    let (mut from_live, mut from_config) = (0, 0);
    while from_live < live.len() || from_config < config.len() {
        if let Some(key) = live_keys.get(from_live) {
            if !wanted_keys.contains(key) {
                result.push(live[from_live].clone());
                from_live += 1;
                continue;
            }
            let is_next = shared.peek().is_some_and(|next| *next == key);
            if taken.contains(key) || from_config < config.len() && !is_next {
                from_live += 1;
                continue;
            }
        }
        let Some(wanted) = config.get(from_config) else { break };
        let key = &keys[from_config];
        result.push(present(key).map_or_else(|| wanted.clone(), |item| merged(item, wanted, node.element())));
        taken.insert(key);
        shared.next_if(|next| *next == key);
        from_config += 1;
        if live_keys.get(from_live) == Some(key) {
            from_live += 1;
        }
    }
    result
}

fn who(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", manager.subresource));
    }
    if !manager.applies {
        text.push_str(&format!(" using {}", manager.version));
    }
    text
}

/// Conflicts about an object's replicas as those about its Scale, which is what the client applied.
fn of_scale(conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let path: FieldPath = ["spec", "replicas"].map(|name| Step::Field(name.to_owned())).to_vec();
    let of_scale = |conflict: Conflict| {
        let version = if conflict.with.applies { String::new() } else { "autoscaling/v1".to_owned() };
        Conflict { with: Manager { version, ..conflict.with }, path: path.clone() }
    };
    conflicts.into_iter().map(of_scale).collect()
}

fn conflict_error(conflicts: &[Conflict]) -> ApiError {
    let causes: Vec<Cause> = conflicts
        .iter()
        .map(|conflict| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", who(&conflict.with)),
            field: fieldset::display(&conflict.path),
        })
        .collect();
    let message = if let [one] = causes.as_slice() {
        format!("Apply failed with 1 conflict: {}: {}", one.message, one.field)
    } else {
        let mut lines: Vec<String> = Vec::with_capacity(conflicts.len() + 1);
        let mut last: Option<&Manager> = None;
        for conflict in conflicts {
            if last != Some(&conflict.with) {
                lines.push(format!("conflicts with {}:", who(&conflict.with)));
                last = Some(&conflict.with);
            }
            lines.push(format!("- {}", fieldset::display(&conflict.path)));
        }
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
    };
    let mut error = ApiError::new(409, Reason::Conflict, message);
    error.details = Some(Details { causes, ..Details::default() });
    error
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
