//! Keeps `status.typeChecking` of ValidatingAdmissionPolicies: whoever writes a policy learns where its expressions do
//! not fit the kinds it names. What is to be written is decided by `xebec_dynamic_admission::plan_type_checking`.
//!
//! Upstream runs this as a controller; here it stands beside the schemas it needs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use xebec_api::meta;
use xebec_dynamic_admission::plan_type_checking;
use xebec_identity::User;

use super::ServedTypes;
use crate::registry::{Registry, Sub, Target, UpdateOptions, WriteContext};
use crate::watch::{Cut, Selection};

const GROUP: &str = "admissionregistration.k8s.io";
const PLURAL: &str = "validatingadmissionpolicies";
/// Pause after a failed write.
const PAUSE: Duration = Duration::from_secs(5);

/// Starts the task; it ends with `stop`.
pub(crate) fn start(registry: Arc<Registry>, stop: CancellationToken) {
    tokio::spawn(stop.run_until_cancelled_owned(run(registry)));
}

async fn run(registry: Arc<Registry>) {
    let Some(cache) = registry.caches().of(GROUP, PLURAL) else { return };
    let types = ServedTypes::new(Arc::clone(registry.resources()));
    let mut changes = cache.subscribe();
    loop {
        changes.borrow_and_update();
        let mut failed = false;
        for policy in cache.list(&Selection::everything(None), Cut::default()).objects {
            let policy = policy.value();
            if let Some(status) = plan_type_checking(&policy, &types) {
                failed |= !write(&registry, &policy, status).await;
            }
        }
        if failed {
            tokio::time::sleep(PAUSE).await;
        } else if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn write(registry: &Registry, policy: &Value, status: Value) -> bool {
    let name = meta::name(policy);
    let user = User::service_account("kube-system", "validatingadmissionpolicy-status-controller");
    let context = WriteContext::new(user, "kube-controller-manager".to_owned(), false);
    let generation = meta::generation(policy);
    let edit = |old: &Value| {
        let mut new = old.clone();
        // A newer generation is looked at in its own turn.
        if meta::generation(old) == generation {
            new["status"] = status.clone();
        }
        Ok(new)
    };
    let target = match Target::find(registry.resources(), GROUP, PLURAL, "", name) {
        Ok(target) => target,
        Err(_) => return true,
    };
    let written = registry.update(&context, &target, Sub::Status, UpdateOptions::default(), &edit).await;
    match written {
        Ok(_) => true,
        Err(error) if error.is_not_found() => true,
        Err(error) => {
            warn!(policy = name, %error, "the result of type checking was not written");
            false
        }
    }
}
