//! The node's heartbeat: its Lease in kube-node-lease, renewed four times in its life on a task of its own, so that
//! no other work can delay it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-node-lease";
/// A renewal must not wait longer than this for its answer.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Renews until `cancel`.
pub async fn run(client: Client, node: String, duration: Duration, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(duration / 4);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = cancel.cancelled() => return,
        }
        // at once after a failure, then with the rhythm of the ticks
        for pause in [Duration::from_millis(200), Duration::from_secs(1), Duration::ZERO] {
            let renewed = tokio::time::timeout(CALL_LIMIT, renew(&client, &node, duration)).await;
            match renewed {
                Ok(Ok(())) => break,
                Ok(Err(error)) => tracing::warn!(%error, "the node's lease is not renewed"),
                Err(_) => tracing::warn!("the node's lease is not renewed: no answer in time"),
            }
            tokio::time::sleep(pause).await;
        }
    }
}

async fn renew(client: &Client, node: &str, duration: Duration) -> Result<(), kube::Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let now = MicroTime(Timestamp::now());
    let patch = json!({"spec": {"renewTime": now}});
    match api.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => return other.map(drop),
    }
    // owned by the Node, so that it goes with it
    let owner = Api::<Node>::all(client.clone()).get_opt(node).await?.and_then(|n| n.metadata.uid);
    let owner = owner.map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid,
        ..OwnerReference::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.to_owned()),
            lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
