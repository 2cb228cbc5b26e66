//! Old events go, many at once, and nothing else does.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::json;
use xebec_store::Expect;

use super::harness::Cluster;
use crate::maintenance::{Expiry, delete_expired};

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_old_events_are_deleted_in_batches() {
    const OLD: usize = 5000;
    let cluster = Cluster::start().await;
    let registry = &cluster.server.registry;
    let event = |name: String, age: SignedDuration| {
        let time = (registry.now() - age).to_string();
        let value = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default",
            "creationTimestamp": time}, "involvedObject": {}, "reason": "Tested"});
        (format!("/registry/core/events/default/{name}"), Bytes::from(value.to_string()))
    };
    let old = (0..OLD).map(|index| event(format!("old-{index}"), SignedDuration::from_hours(2)));
    let young = (0..10).map(|index| event(format!("young-{index}"), SignedDuration::from_mins(50)));
    let puts = old.chain(young).map(|(key, value)| {
        let store = cluster.store.clone();
        async move { store.put(&key, value, Expect::Absent).await.unwrap() }
    });
    join_all(puts).await;
    registry.settle().await.unwrap();
    let before = cluster.store.head().await.unwrap();

    let mut expiry = Expiry::new(SignedDuration::from_hours(1));
    assert_eq!(delete_expired(registry, &mut expiry).await, OLD);
    // The server writes other objects meanwhile: only the events' own changes count.
    let watch = cluster.store.watch("/registry/core/events/", before).await.unwrap();
    let mut deleted: Vec<String> = watch.take(OLD).map(|event| event.unwrap().entry.key).collect().await;
    deleted.sort_unstable();
    deleted.dedup();
    assert_eq!(deleted.len(), OLD, "each was deleted once");
    registry.settle().await.unwrap();
    assert_eq!(delete_expired(registry, &mut expiry).await, 0, "the young ones stay");
    let (left, _) = cluster.store.list("/registry/core/events").await.unwrap();
    assert_eq!(left.iter().filter(|entry| entry.key.contains("/young-")).count(), 10);
    assert!(left.iter().all(|entry| !entry.key.contains("/old-")));
}
