//! A definition that is deleted: its objects first, then it.
//!
//! Authority: apiextensions-apiserver, pkg/controller/finalizer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};
use xebec_api::status::{ApiError, Reason};
use xebec_crd::status::{Deletion, InstancesGone, deletion_step, finish_deletion};
use xebec_identity::User;

use crate::registry::{DeleteOptions, Registry, Sub, Target, UpdateOptions, WriteContext};
use crate::resources::Kind;
use crate::watch::Selection;

/// How long deleted objects may stay before the definition says that they do.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first and the longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often remaining objects are looked for when nothing says that they changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The kinds definitions' objects are stored as, by the definition's name.
pub(super) type StoredKinds = Arc<Mutex<HashMap<String, Arc<Kind>>>>;

/// Who the server is when it writes definitions and deletes their objects.
pub(super) fn own_context() -> WriteContext {
    WriteContext::new(User::system_master("system:apiserver"), "kube-apiserver".to_owned(), false)
}

/// A definition as the API has it now.
pub(super) fn definition(registry: &Registry, name: &str) -> Option<Arc<Value>> {
    let cache = registry.caches().of(super::definitions::GROUP, super::definitions::PLURAL)?;
    Some(cache.get("", name)?.value())
}

/// Writes a definition over the one it was made of, its finalizers too where `part` says so; a conflict when there is a
/// newer one.
pub(super) async fn write(registry: &Registry, name: &str, next: &Value, part: Sub) -> Result<(), ApiError> {
    let resources = registry.resources();
    let target = Target::find(resources, super::definitions::GROUP, super::definitions::PLURAL, "", name)?;
    let editor = |_: &Value| Ok(next.clone());
    registry.update(&own_context(), &target, part, UpdateOptions::default(), &editor).await.map(drop)
}

/// Takes a definition through its deletion; returns when it is gone or nothing is left to do.
pub(super) async fn finish(registry: Arc<Registry>, name: String, kinds: StoredKinds) {
    let mut pause = PAUSES.0;
    while let Some(crd) = definition(&registry, &name) {
        let (next, done) = match deletion_step(&crd, registry.now()) {
            Deletion::Nothing => return,
            Deletion::Announce(next) | Deletion::Finish(next) => (*next, true),
            Deletion::DeleteInstances => {
                let gone = delete_objects(&registry, &name, &kinds).await;
                let Some(crd) = definition(&registry, &name) else { return };
                if gone != InstancesGone::All {
                    warn!(definition = name, ?gone, "custom resources could not be deleted");
                }
                (finish_deletion(&crd, &gone, registry.now()), gone == InstancesGone::All)
            }
        };
        // With `Other` the registry takes the object as it is: the finalizer goes too.
        let written = write(&registry, &name, &next, Sub::Other("status")).await;
        match written {
            Ok(()) if done => continue,
            Err(error) if error.reason == Reason::Conflict => continue,
            Err(error) if error.is_not_found() => return,
            Err(error) => warn!(definition = name, %error, "the definition could not be written"),
            Ok(()) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    info!(definition = name, "custom resource definition deleted");
}

async fn delete_objects(registry: &Registry, name: &str, kinds: &StoredKinds) -> InstancesGone {
    let target = || {
        let kind = kinds.lock().get(name).cloned();
        kind.and_then(|kind| Target::new(&kind, "", ""))
    };
    let Some(first) = target() else {
        return InstancesGone::CannotList("the resource is not served".to_owned());
    };
    let (everything, options) = (Selection::everything(None), DeleteOptions::default());
    if let Err(error) = registry.delete_collection(&own_context(), &first, &everything, &options).await {
        return InstancesGone::CannotDelete(error.to_string());
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Some(target) = target() else {
            return InstancesGone::CannotList("the resource is not served".to_owned());
        };
        let mut head = target.cache.subscribe();
        if target.cache.is_empty() {
            return InstancesGone::All;
        }
        if Instant::now() >= deadline {
            return InstancesGone::Remaining("timed out waiting for the condition".to_owned());
        }
        // An answer that never comes is no reason to wait longer.
        let _ = tokio::time::timeout(LOOK_EVERY, head.changed()).await;
    }
}
