//! A definition goes when its objects are gone.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_kinds::shared::access::{at, set, text, texts};

use super::conditions::Condition;
use crate::definition::CLEANUP_FINALIZER;

/// Built-in resources whose objects stand where a definition's would: deleting them would be a disaster.
const OVERLAPPING: [(&str, &str); 2] =
    [("apiregistration.k8s.io", "apiservices"), ("apiextensions.k8s.io", "customresourcedefinitions")];

/// What to do about a definition that is being deleted.
#[derive(Clone, Debug, PartialEq)]
pub enum Deletion {
    /// It is not being deleted, or its objects have been taken care of.
    Nothing,
    /// Write this status; deleting will take a while.
    Announce(Box<Value>),
    /// Delete every object, wait until none is left, then call [`finish_deletion`].
    DeleteInstances,
    /// There is nothing to delete: write this definition, whose finalizer is gone.
    Finish(Box<Value>),
}

/// How deleting the objects went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstancesGone {
    /// None is left.
    All,
    /// They cannot be listed.
    CannotList(String),
    /// Some deletes failed.
    CannotDelete(String),
    /// Some are still there after a minute, held by finalizers.
    Remaining(String),
}

/// The definition as a first DELETE leaves it: marked, held by the finalizer, about to lose its objects.
pub fn begin_deletion(crd: &Value, now: Timestamp) -> Value {
    let mut next = crd.clone();
    if !at(crd, &["metadata", "deletionTimestamp"]).is_string() {
        set(
            &mut next,
            &["metadata", "deletionTimestamp"],
            json!(xebec_api::time::format_rfc3339_seconds(now)),
        );
    }
    let mut finalizers: Vec<&str> = texts(crd, &["metadata", "finalizers"]);
    if !finalizers.contains(&CLEANUP_FINALIZER) {
        finalizers.push(CLEANUP_FINALIZER);
    }
    set(&mut next, &["metadata", "finalizers"], json!(finalizers));
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    Condition::new("Terminating", "True", "InstanceDeletionPending", message).set(&mut next, now);
    next
}

/// The next step of a deletion.
pub fn deletion_step(crd: &Value, now: Timestamp) -> Deletion {
    let held = texts(crd, &["metadata", "finalizers"]).contains(&CLEANUP_FINALIZER);
    if !held || !at(crd, &["metadata", "deletionTimestamp"]).is_string() {
        return Deletion::Nothing;
    }
    let message = "CustomResource deletion is in progress";
    let progress = Condition::new("Terminating", "True", "InstanceDeletionInProgress", message);
    if !progress.is_set(crd) {
        let mut next = crd.clone();
        progress.set(&mut next, now);
        return Deletion::Announce(Box::new(next));
    }
    let resource = (text(crd, &["spec", "group"]), text(crd, &["spec", "names", "plural"]));
    if OVERLAPPING.contains(&resource) {
        let message = "instances overlap with built-in resources in storage";
        let done = Condition::new("Terminating", "False", "OverlappingBuiltInResource", message);
        return Deletion::Finish(Box::new(finished(crd, &done, now)));
    }
    if super::is_true(crd, "Established") {
        return Deletion::DeleteInstances;
    }
    let done = Condition::new("Terminating", "False", "NeverEstablished", "resource was never established");
    Deletion::Finish(Box::new(finished(crd, &done, now)))
}

/// The definition after its objects have been deleted, or not. With [`InstancesGone::All`] its finalizer is gone and
/// writing it removes it; otherwise try again later.
pub fn finish_deletion(crd: &Value, gone: &InstancesGone, now: Timestamp) -> Value {
    let failed = |reason: &'static str, message: String| {
        let mut next = crd.clone();
        Condition::new("Terminating", "True", reason, message).set(&mut next, now);
        next
    };
    match gone {
        InstancesGone::All => {
            let done =
                Condition::new("Terminating", "False", "InstanceDeletionCompleted", "removed all instances");
            finished(crd, &done, now)
        }
        InstancesGone::CannotList(error) => {
            failed("InstanceDeletionFailed", format!("could not list instances: {error}"))
        }
        InstancesGone::CannotDelete(error) => {
            failed("InstanceDeletionFailed", format!("could not issue all deletes: {error}"))
        }
        InstancesGone::Remaining(error) => failed(
            "InstanceDeletionCheck",
            format!("could not confirm zero CustomResources remaining: {error}"),
        ),
    }
}

fn finished(crd: &Value, condition: &Condition, now: Timestamp) -> Value {
    let mut next = crd.clone();
    condition.set(&mut next, now);
    let kept: Vec<String> = texts(crd, &["metadata", "finalizers"])
        .into_iter()
        .filter(|name| *name != CLEANUP_FINALIZER)
        .map(str::to_owned)
        .collect();
    set(&mut next, &["metadata", "finalizers"], json!(kept));
    next
}
