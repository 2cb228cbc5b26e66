//! What a DELETE does to an object. Pure.
//!
//! Upstream's rules: `rest.BeforeDelete` and `Store.updateForGracefulDeletionAndFinalizers` in k8s.io/apiserver.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use xebec_api::status::ApiError;
use xebec_api::{meta, time};

use super::metadata;

/// What becomes of objects owned by the deleted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are collected afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

/// `DeleteOptions`, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Requested grace period in seconds.
    pub grace: Option<i64>,
    /// Requested propagation.
    pub propagation: Option<Propagation>,
    /// Only delete the object with this uid.
    pub uid: Option<String>,
    /// Only delete the object at this resourceVersion.
    pub resource_version: Option<String>,
    /// Only try.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// The requested propagation by its name.
    #[must_use]
    pub fn propagation_name(&self) -> Option<&'static str> {
        self.propagation.map(|propagation| match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        })
    }

    /// Reads `DeleteOptions` from its JSON form.
    pub fn from_value(value: &Value) -> Result<Self, ApiError> {
        let invalid = |message: String| Err(ApiError::bad_request(message));
        let grace = value["gracePeriodSeconds"].as_i64();
        if grace.is_some_and(|seconds| seconds < 0) {
            return invalid(
                "gracePeriodSeconds: Invalid value: must be greater than or equal to 0".to_owned(),
            );
        }
        let orphan = value["orphanDependents"].as_bool();
        let policy = value["propagationPolicy"].as_str().filter(|text| !text.is_empty());
        if orphan.is_some() && policy.is_some() {
            return invalid("orphanDependents and deletionPropagation cannot be both set".to_owned());
        }
        let propagation = match (policy, orphan) {
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, None) => None,
            (Some(other), _) => {
                return invalid(format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {other:?}: \
                     supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                ));
            }
        };
        let dry: Vec<&str> =
            value["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if dry.iter().any(|value| *value != "All") {
            return invalid("DeleteOptions: dryRun: Unsupported value: supported values: \"All\"".to_owned());
        }
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            grace,
            propagation,
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            dry_run: !dry.is_empty(),
        })
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum DeletePlan {
    /// Remove it now.
    Remove,
    /// Write this; something (a kubelet, a finalizer) removes it later.
    Mark(Value),
    /// It is already on its way.
    Nothing,
}

/// Decides; `graceful` is the kind's grace period for this object (none: kinds that go at once), `orphan_default`
/// whether the kind orphans by default (Jobs and replication controllers of v1).
#[must_use]
pub fn plan(
    old: &Value,
    options: &DeleteOptions,
    graceful: Option<i64>,
    orphan_default: bool,
    now: Timestamp,
) -> DeletePlan {
    let mut new = old.clone();
    let began = old["metadata"]["deletionTimestamp"].as_str();
    let mut grace_left = None;
    if let Some(began) = began {
        match old["metadata"]["deletionGracePeriodSeconds"].as_i64() {
            None | Some(0) => {}
            Some(running) => match options.grace {
                Some(wanted) if wanted < running => {
                    let at = time::parse_rfc3339(began).unwrap_or(now)
                        - SignedDuration::from_secs(running - wanted);
                    set_deletion(&mut new, at, wanted);
                    grace_left = Some(wanted);
                }
                _ => return DeletePlan::Nothing,
            },
        }
    } else if let Some(grace) = graceful {
        set_deletion(&mut new, now + SignedDuration::from_secs(grace), grace);
        bump_generation(&mut new);
        grace_left = Some(grace);
    }
    set_finalizers(&mut new, options, orphan_default);
    let held = !meta::finalizers(&new).is_empty();
    match (grace_left, held) {
        (Some(1..), _) => DeletePlan::Mark(new),
        (_, false) => DeletePlan::Remove,
        (_, true) => {
            if new["metadata"]["deletionTimestamp"].is_null() {
                bump_generation(&mut new);
                set_deletion(&mut new, now, 0);
            }
            if new == *old { DeletePlan::Nothing } else { DeletePlan::Mark(new) }
        }
    }
}

fn set_deletion(value: &mut Value, at: Timestamp, grace: i64) {
    let metadata = metadata::metadata(value);
    metadata.insert("deletionTimestamp".to_owned(), Value::String(time::format_rfc3339_seconds(at)));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
}

fn bump_generation(value: &mut Value) {
    if let Some(generation) = value["metadata"]["generation"].as_i64().filter(|g| *g > 0) {
        value["metadata"]["generation"] = json!(generation + 1);
    }
}

fn set_finalizers(value: &mut Value, options: &DeleteOptions, orphan_default: bool) {
    let present: Vec<String> = meta::finalizers(value).into_iter().map(str::to_owned).collect();
    let has = |name: &str| present.iter().any(|finalizer| *finalizer == name);
    let propagation = options.propagation.unwrap_or_else(|| {
        if has("orphan") {
            Propagation::Orphan
        } else if has("foregroundDeletion") {
            Propagation::Foreground
        } else if orphan_default {
            Propagation::Orphan
        } else {
            Propagation::Background
        }
    });
    let mut wanted: Vec<String> = present
        .iter()
        .filter(|name| !matches!(name.as_str(), "orphan" | "foregroundDeletion"))
        .cloned()
        .collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => wanted.push("foregroundDeletion".to_owned()),
        Propagation::Orphan => wanted.push("orphan".to_owned()),
    }
    if wanted != present {
        let metadata = metadata::metadata(value);
        if wanted.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), json!(wanted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T02:00:00Z".parse().unwrap()
    }

    fn with(propagation: Propagation) -> DeleteOptions {
        DeleteOptions { propagation: Some(propagation), ..Default::default() }
    }

    fn mark(plan: DeletePlan) -> Value {
        match plan {
            DeletePlan::Mark(value) => value["metadata"].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_objects_go_at_once() {
        let old = json!({"metadata": {"name": "a"}});
        assert_eq!(plan(&old, &DeleteOptions::default(), None, false, now()), DeletePlan::Remove);
    }

    #[test]
    fn finalizers_hold() {
        let old = json!({"metadata": {"finalizers": ["x/y"], "generation": 2}});
        let marked = mark(plan(&old, &DeleteOptions::default(), None, false, now()));
        assert_eq!(
            marked,
            json!({"finalizers": ["x/y"], "generation": 3, "deletionTimestamp": "2026-11-24T02:00:00Z", "deletionGracePeriodSeconds": 0})
        );
        let again = plan(&json!({ "metadata": marked }), &DeleteOptions::default(), None, false, now());
        assert_eq!(again, DeletePlan::Nothing);
    }

    #[test]
    fn propagation_is_a_finalizer() {
        let old = json!({"metadata": {"name": "a"}});
        let foreground = mark(plan(&old, &with(Propagation::Foreground), None, false, now()));
        assert_eq!(foreground["finalizers"], json!(["foregroundDeletion"]));
        let orphan = mark(plan(&old, &DeleteOptions::default(), None, true, now()));
        assert_eq!(orphan["finalizers"], json!(["orphan"]));
        assert_eq!(plan(&old, &with(Propagation::Background), None, true, now()), DeletePlan::Remove);
    }

    #[test]
    fn pods_get_their_grace() {
        let old = json!({"metadata": {"name": "a"}});
        let marked = mark(plan(&old, &DeleteOptions::default(), Some(30), false, now()));
        assert_eq!(marked["deletionTimestamp"], "2026-11-24T02:00:30Z");
        assert_eq!(marked["deletionGracePeriodSeconds"], 30);
        let running = json!({ "metadata": marked });
        let shorter = DeleteOptions { grace: Some(10), ..Default::default() };
        let shortened = mark(plan(&running, &shorter, Some(10), false, now()));
        assert_eq!(shortened["deletionTimestamp"], "2026-11-24T02:00:10Z");
        assert_eq!(plan(&running, &DeleteOptions::default(), Some(30), false, now()), DeletePlan::Nothing);
        let at_once = DeleteOptions { grace: Some(0), ..Default::default() };
        assert_eq!(plan(&running, &at_once, Some(0), false, now()), DeletePlan::Remove);
    }

    #[test]
    fn options_are_checked() {
        let read = |value: Value| DeleteOptions::from_value(&value);
        assert_eq!(read(json!({"propagationPolicy": "Nope"})).unwrap_err().code, 400);
        assert_eq!(
            read(json!({"propagationPolicy": "Orphan", "orphanDependents": true})).unwrap_err().code,
            400
        );
        let options =
            read(json!({"preconditions": {"uid": "u"}, "gracePeriodSeconds": 5, "dryRun": ["All"]})).unwrap();
        assert_eq!((options.uid.as_deref(), options.grace, options.dry_run), (Some("u"), Some(5), true));
    }
}
