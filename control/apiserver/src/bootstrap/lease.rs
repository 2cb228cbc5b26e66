//! The Lease that tells that this API server lives, and the end of the Leases of those that do not.
//!
//! Enters: the server's identity. Leaves: a Lease in kube-system, renewed every [`RENEW`]; Leases of API servers that
//! have expired are deleted every [`COLLECT`], by whichever server sees them first. A Lease that cannot be renewed is
//! tried again at the next turn.
//!
//! Authority: KEP-1965; `pkg/controlplane/{instance,controller/apiserverleasegc}`.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;
use xebec_api::{names, time};

use super::{BootstrapError, Existing, ensure, own_context};
use crate::id;
use crate::registry::{DeleteOptions, Registry, Target};
use crate::watch::{Cut, Selection};

const RENEW: Duration = Duration::from_secs(10);
const COLLECT: Duration = Duration::from_secs(3600);
/// For how long a Lease is good, in seconds.
const GOOD_FOR: i64 = 3600;
const NAMESPACE: &str = "kube-system";
const COMPONENT_LABEL: &str = "apiserver.kubernetes.io/identity";
const COMPONENT: &str = "kube-apiserver";

/// One run of one server.
struct Holder {
    /// The server's identity, the Lease's name.
    id: String,
    host: String,
    /// Other than the identity, it changes with every start.
    run: Uuid,
}

/// Keeps the Lease until `stop`.
pub(super) fn keep(registry: Arc<Registry>, stop: CancellationToken) {
    let holder = Holder { id: id::of_this_host(), host: id::this_host(), run: Uuid::new_v4() };
    let work = async move {
        let mut collected = Instant::now();
        loop {
            if let Err(error) = renew(&registry, &holder).await {
                warn!(%error, "the API server's own Lease is not renewed, it is tried again");
            }
            if collected.elapsed() >= COLLECT {
                collected = Instant::now();
                collect(&registry).await;
            }
            tokio::time::sleep(RENEW).await;
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(work));
}

async fn renew(registry: &Registry, holder: &Holder) -> Result<(), BootstrapError> {
    ensure(registry, &own_context(), lease(holder, registry.now()), Existing::Overwrite).await
}

/// The Lease as renewed at `now`. PURE.
fn lease(holder: &Holder, now: Timestamp) -> Value {
    let mut labels = json!({COMPONENT_LABEL: COMPONENT});
    // A host's name may be longer than a label's value.
    if names::is_label_value(&holder.host).is_empty() {
        labels["kubernetes.io/hostname"] = json!(holder.host);
    }
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": holder.id, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "holderIdentity": format!("{}_{}", holder.id, holder.run),
            "leaseDurationSeconds": GOOD_FOR,
            "renewTime": time::format_rfc3339_micro(now),
        },
    })
}

/// Whether nobody holds the Lease at `now`. PURE.
fn is_expired(lease: &Value, now: Timestamp) -> bool {
    let spec = &lease["spec"];
    let renewed = spec["renewTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let (Some(renewed), Some(seconds)) = (renewed, spec["leaseDurationSeconds"].as_i64()) else {
        return true;
    };
    renewed.saturating_add(SignedDuration::from_secs(seconds)).is_ok_and(|end| end < now)
}

/// Deletes the expired Leases of API servers.
async fn collect(registry: &Registry) {
    let resources = registry.resources();
    let Ok(leases) = Target::find(resources, "coordination.k8s.io", "leases", NAMESPACE, "") else { return };
    let all = Selection::everything(Some(NAMESPACE.to_owned()));
    for object in leases.cache.list(&all, Cut::default()).objects {
        let ours = object.labels.get(COMPONENT_LABEL).is_some_and(|component| component == COMPONENT);
        if !ours || !is_expired(&object.value(), registry.now()) {
            continue;
        }
        // One that is renewed meanwhile stays.
        let options =
            DeleteOptions { resource_version: Some(object.revision.to_string()), ..DeleteOptions::default() };
        let target = leases.named(NAMESPACE, &object.name);
        if let Err(error) = registry.delete(&own_context(), &target, &options).await {
            warn!(lease = object.name, %error, "the expired Lease of an API server is not deleted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::harness::Cluster;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_lease_expires_an_hour_after_it_was_renewed() {
        let holder = Holder { id: "apiserver-x".to_owned(), host: "h".repeat(64), run: Uuid::nil() };
        let lease = lease(&holder, at("2026-01-01T00:00:00.5Z"));
        assert_eq!(lease["spec"]["renewTime"], "2026-01-01T00:00:00.500000Z");
        assert_eq!(lease["spec"]["holderIdentity"], format!("apiserver-x_{}", Uuid::nil()));
        assert_eq!(lease["metadata"]["labels"], json!({COMPONENT_LABEL: COMPONENT}), "the name is too long");
        assert!(!is_expired(&lease, at("2026-01-01T01:00:00Z")));
        assert!(is_expired(&lease, at("2026-01-01T01:00:01Z")));
        assert!(is_expired(&json!({"spec": {}}), at("2026-01-01T00:00:00Z")), "one never renewed");
    }

    #[tokio::test]
    async fn the_leases_of_servers_that_are_gone_go_too() {
        let cluster = Cluster::start().await;
        let registry = &cluster.server.registry;
        let gone = |name: &str| Holder { id: name.to_owned(), host: "h".to_owned(), run: Uuid::nil() };
        let long_ago = at("2020-01-01T00:00:00Z");
        let mut other = lease(&gone("somebody-else"), long_ago);
        other["metadata"]["labels"] = json!({});
        for lease in [other, lease(&gone("apiserver-gone"), long_ago)] {
            ensure(registry, &own_context(), lease, Existing::Keep).await.unwrap();
        }
        let mine = gone("apiserver-mine");
        renew(registry, &mine).await.unwrap();
        renew(registry, &mine).await.unwrap();
        collect(registry).await;
        let names = |name: &str| {
            let leases = registry.caches().of("coordination.k8s.io", "leases").unwrap();
            leases.get(NAMESPACE, name).is_some()
        };
        assert!(names("somebody-else") && names("apiserver-mine"));
        assert!(!names("apiserver-gone"));
        while !names(&id::of_this_host()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
