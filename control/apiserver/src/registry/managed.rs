//! Who owns which fields: `metadata.managedFields`, kept by every write. Pure, but for conversions.
//!
//! Enters: the object before and after a write, or a configuration to apply. Leaves: the managers after it, and for an
//! apply the merged object. Called by the registry's writes (`track`, `apply`). Authority: apimachinery's managedfields.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::status::ApiError;
use xebec_api::time;

use super::fieldset::{self, FieldPath, FieldSet, Step};
use super::updater::{Failure, Manager, Managers, Owned, Scope};
use super::{last_applied, metadata};

/// Most managers that update one object; older ones become one.
pub const MAX_UPDATERS: usize = 10;
/// The one the oldest updaters become.
const ANCIENT: &str = "ancient-changes";
/// Who owned everything before the first apply to an object without managers.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes, through what, when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The manager's name.
    pub name: &'a str,
    /// The subresource; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: Timestamp,
}

impl Writer<'_> {
    fn manager(&self, applies: bool, version: &str) -> Manager {
        let version = if applies { String::new() } else { version.to_owned() };
        Manager { name: self.name.to_owned(), applies, version, subresource: self.subresource.to_owned() }
    }

    fn time(&self) -> String {
        time::format_rfc3339_seconds(self.now)
    }
}

/// The managers of an object; what is wrong with them when they are not well-formed.
pub fn decode(value: &Value) -> Result<Managers, String> {
    let mut managers = Managers::new();
    let list = match &value["metadata"]["managedFields"] {
        Value::Null => return Ok(managers),
        list => list.as_array().ok_or("managedFields must be a list")?,
    };
    for (at, entry) in list.iter().enumerate() {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let applies = match text("operation") {
            "Apply" => true,
            "Update" => false,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let version = text("apiVersion").to_owned();
        if version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {at}")),
        }
        let fields = fieldset::decode(&entry["fieldsV1"])
            .ok_or_else(|| format!("error decoding set: fieldsV1 of managed fields entry {at}"))?;
        let manager = Manager {
            name: text("manager").to_owned(),
            applies,
            version: if applies { String::new() } else { version.clone() },
            subresource: text("subresource").to_owned(),
        };
        let time = Some(text("time")).filter(|time| !time.is_empty()).map(str::to_owned);
        managers.insert(manager, Owned { version, fields, time });
    }
    Ok(managers)
}

/// Writes the managers into the object, without those that own nothing.
pub fn encode(value: &mut Value, managers: &Managers) {
    let mut entries: Vec<(&Manager, &Owned)> =
        managers.iter().filter(|(_, owned)| !owned.fields.is_empty()).collect();
    let updates = |manager: &Manager| !manager.applies;
    entries.sort_by(|(a, x), (b, y)| {
        let order = |m: &Manager| (updates(m), m.name.clone());
        updates(a)
            .cmp(&updates(b))
            .then_with(|| x.time.cmp(&y.time))
            .then_with(|| order(a).cmp(&order(b)))
            .then_with(|| (&x.version, &a.subresource).cmp(&(&y.version, &b.subresource)))
    });
    let encoded: Vec<Value> = entries.into_iter().map(|(manager, owned)| entry(manager, owned)).collect();
    let metadata = metadata::metadata(value);
    if encoded.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), Value::Array(encoded));
    }
}

fn entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = json!({
        "manager": manager.name, "operation": if manager.applies { "Apply" } else { "Update" },
        "apiVersion": owned.version, "fieldsType": "FieldsV1", "fieldsV1": fieldset::encode(&owned.fields),
    });
    if let Some(time) = &owned.time {
        entry["time"] = json!(time);
    }
    if !manager.subresource.is_empty() {
        entry["subresource"] = json!(manager.subresource);
    }
    entry
}

/// The managers a write that is no apply begins with: those it sends, which is how a client edits them, or those of the
/// live object. A list of nothing, or of one empty entry, takes all managers away.
fn sent_or_live(live: Option<&Value>, new: &Value, subresource: &str) -> Managers {
    let live = || live.and_then(|live| decode(live).ok()).unwrap_or_default();
    if !subresource.is_empty() {
        return live();
    }
    let is_nothing = |entry: &Value| entry.as_object().is_some_and(serde_json::Map::is_empty);
    match new["metadata"]["managedFields"].as_array().map(Vec::as_slice) {
        Some([]) => Managers::new(),
        Some([entry]) if is_nothing(entry) => Managers::new(),
        _ => decode(new).ok().filter(|managers| !managers.is_empty()).unwrap_or_else(live),
    }
}

/// The managers after a write made `new` of `live`. An existing object without managers stays without: they are kept
/// from its creation, or else from its first apply on.
pub async fn updated(
    scope: &Scope<'_>,
    live: Option<&Value>,
    new: &Value,
    writer: Writer<'_>,
) -> Result<Managers, ApiError> {
    let mut managers = sent_or_live(live, new, writer.subresource);
    if managers.is_empty() && live.is_some() {
        return Ok(managers);
    }
    let nothing = json!({});
    record(scope, live.unwrap_or(&nothing), new, &mut managers, writer).await?;
    merge_oldest(&mut managers);
    Ok(managers)
}

/// Gives what changed to the writer.
async fn record(
    scope: &Scope<'_>,
    old: &Value,
    new: &Value,
    managers: &mut Managers,
    writer: Writer<'_>,
) -> Result<(), ApiError> {
    let mut changed = scope.update(old, new, managers).await?;
    changed.retain(|path| !is_bookkeeping(path) && scope.is_own(path));
    if changed.is_empty() {
        return Ok(());
    }
    let fresh = Owned { version: scope.version.to_owned(), fields: FieldSet::new(), time: None };
    let owned = managers.entry(writer.manager(false, scope.version)).or_insert(fresh);
    owned.fields.extend(changed);
    owned.time = Some(writer.time());
    Ok(())
}

/// Makes one of the oldest updaters (of each version) while there are more than [`MAX_UPDATERS`].
fn merge_oldest(managers: &mut Managers) {
    let mut updaters: Vec<Manager> = managers.keys().filter(|manager| !manager.applies).cloned().collect();
    let mut left = updaters.len();
    updaters.sort_by(|a, b| managers[a].time.cmp(&managers[b].time).then_with(|| a.cmp(b)));
    let mut first_of: BTreeMap<String, Manager> = BTreeMap::new();
    for manager in updaters {
        if left <= MAX_UPDATERS {
            return;
        }
        let version = manager.version.clone();
        let Some(first) = first_of.get(&version) else {
            first_of.insert(version, manager);
            continue;
        };
        let bucket =
            Manager { name: ANCIENT.to_owned(), applies: false, version, subresource: String::new() };
        if !managers.contains_key(&bucket)
            && let Some(owned) = managers.remove(first)
        {
            managers.insert(bucket.clone(), owned);
        }
        if manager == bucket {
            continue;
        }
        if let Some(owned) = managers.remove(&manager) {
            left -= 1;
            if let Some(ancient) = managers.get_mut(&bucket) {
                ancient.fields.extend(owned.fields);
                ancient.time = owned.time;
            }
        }
    }
}

/// The object and its managers after `config` was applied to `live`, which is an object without uid for a new one.
pub async fn applied(
    scope: &Scope<'_>,
    live: &Value,
    config: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, Failure> {
    let mut managers =
        decode(live).map_err(|why| unclassified(format!("failed to decode managed fields: {why}")))?;
    if managers.is_empty() {
        let before = Writer { name: BEFORE_FIRST_APPLY, ..writer };
        record(scope, &json!({}), live, &mut managers, before).await?;
    }
    let me = writer.manager(true, scope.version);
    let mut settled = managers.clone();
    let new = match scope.apply(live, config, &mut settled, &me, force).await {
        Err(Failure::Conflicts(conflicts)) if writer.name == last_applied::KUBECTL => {
            let schema = scope.schema()?;
            let Some(allowed) = last_applied::still_true(live, scope.version, schema.root()) else {
                return Err(Failure::Conflicts(conflicts));
            };
            let left: Vec<_> =
                conflicts.into_iter().filter(|conflict| !allowed.contains(&conflict.path)).collect();
            if !left.is_empty() {
                return Err(Failure::Conflicts(left));
            }
            settled = managers;
            scope.apply(live, config, &mut settled, &me, true).await?
        }
        result => result?,
    };
    let changed = new != *live;
    if let Some(owned) = settled.get_mut(&me) {
        owned.fields.retain(|path| !is_bookkeeping(path));
        if changed {
            owned.time = Some(writer.time());
        }
    }
    let mut new = new;
    if writer.name == last_applied::KUBECTL {
        last_applied::renew(&mut new, config);
    }
    encode(&mut new, &settled);
    Ok(new)
}

/// 500 with the message alone, as upstream reports what it has no code for.
pub fn unclassified(message: String) -> ApiError {
    ApiError::new(500, xebec_api::status::Reason::Unknown, message)
}

/// What is always the server's or the object's identity, and never anybody's.
fn is_bookkeeping(path: &FieldPath) -> bool {
    let field = |at: usize| match path.get(at) {
        Some(Step::Field(name)) => name.as_str(),
        _ => "",
    };
    match (path.len(), field(0)) {
        (1, name) => matches!(name, "apiVersion" | "kind" | "metadata"),
        (2, "metadata") => matches!(
            field(1),
            "name"
                | "namespace"
                | "creationTimestamp"
                | "selfLink"
                | "uid"
                | "clusterName"
                | "generation"
                | "managedFields"
                | "resourceVersion"
        ),
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

#[cfg(test)]
#[path = "managed_tests.rs"]
mod tests;
