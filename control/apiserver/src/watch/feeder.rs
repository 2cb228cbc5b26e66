//! The one task that reads the store's watch and applies it to the caches, in order.
//!
//! Enters: the store. Leaves: nothing but the caches' state. Started once by `ApiServer::build`. When the store's
//! watch breaks (compaction overtook it, connection lost) every cache is reconciled from a fresh list.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};
use xebec_store::{Entry, EventKind, Revision, Store, StoreError, WatchEvent};

use super::publisher::Publisher;
use super::{Cache, Caches, Change, Object};

const PREFIX: &str = "/registry/";
/// Most changes that are taken in before watchers and writers hear of them.
const BATCH: usize = 64;

/// The caches could not be filled from the store.
#[derive(Debug, thiserror::Error)]
#[error("cannot fill the watch cache of {resource}: {source}")]
pub struct FeederError {
    resource: String,
    source: StoreError,
}

/// Fills every cache and keeps them following the store until `stop`; returns once they are filled.
pub async fn start(
    store: Arc<dyn Store>,
    caches: Arc<Caches>,
    stop: CancellationToken,
) -> Result<(), FeederError> {
    let from = fill(&*store, &caches, false).await?;
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow(store, caches, from) => {}
        }
    });
    Ok(())
}

async fn fill(store: &dyn Store, caches: &Caches, again: bool) -> Result<Revision, FeederError> {
    let mut oldest = Revision::MAX;
    for cache in caches.all() {
        let revision = fill_one(store, &cache, again).await?;
        oldest = oldest.min(revision);
    }
    let oldest = if oldest == Revision::MAX { 0 } else { oldest };
    caches.advance(oldest);
    Ok(oldest)
}

/// Adds the cache of a resource that is served from now on, filled; changes reach it like any other from then on. The
/// cache that was there before is closed.
pub async fn add(store: &dyn Store, caches: &Caches, cache: Arc<Cache>) -> Result<(), FeederError> {
    // First known to the feeder, then filled: what changes in between waits in the cache. Until it is filled, the one
    // before it is kept up to date.
    caches.announce(&cache);
    let filled = fill_one(store, &cache, false).await;
    if let Some(before) = caches.settle(cache, filled.is_ok()) {
        before.close();
    }
    filled.map(drop)
}

async fn fill_one(store: &dyn Store, cache: &Cache, again: bool) -> Result<Revision, FeederError> {
    let failed = |source| FeederError { resource: cache.plural.to_owned(), source };
    let (entries, revision) = store.list(cache.prefix()).await.map_err(failed)?;
    let objects = entries.into_iter().filter_map(|entry| {
        let object = object_of(cache, &entry, entry.mod_revision)?;
        Some((entry.key, object))
    });
    if again {
        cache.reconcile(objects.collect(), revision);
    } else {
        cache.fill(objects, revision);
    }
    Ok(revision)
}

async fn follow(store: Arc<dyn Store>, caches: Arc<Caches>, mut from: Revision) {
    let mut pause = Duration::from_millis(50);
    loop {
        match run(&*store, &caches, &mut from).await {
            Err(StoreError::Closed) => {
                debug!("the store was closed, the watch cache stops following it");
                return;
            }
            Err(error) => warn!(%error, revision = from, "the store's watch broke, listing afresh"),
            Ok(()) => warn!(revision = from, "the store's watch ended, listing afresh"),
        }
        tokio::time::sleep(pause).await;
        match fill(&*store, &caches, true).await {
            Ok(revision) => {
                from = revision;
                pause = Duration::from_millis(50);
            }
            Err(error) => {
                error!(%error, "the watch cache cannot be refreshed");
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

async fn run(store: &dyn Store, caches: &Caches, from: &mut Revision) -> Result<(), StoreError> {
    let mut watch = store.watch(PREFIX, *from).await?.fuse();
    let mut publisher = Publisher::default();
    loop {
        let first = match publisher.next() {
            None => watch.next().await,
            Some(due) => match tokio::time::timeout_at(due, watch.next()).await {
                Ok(first) => first,
                Err(_) => {
                    publisher.publish(Instant::now());
                    continue;
                }
            },
        };
        if first.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        let mut outcome = Ok(());
        let mut next = first;
        // What is there already is taken in at once: a commit of many writes then wakes each watcher a few times only.
        for left in (0..BATCH).rev() {
            match next.take() {
                Some(Ok(event)) => {
                    take_in(caches, &event, |cache| publisher.changed(cache, now));
                    *from = event.revision;
                }
                Some(Err(error)) => outcome = Err(error),
                None => break,
            }
            if left > 0 && outcome.is_ok() {
                next = watch.next().now_or_never().flatten();
            }
        }
        publisher.publish(now);
        caches.advance(*from);
        outcome?;
    }
}

/// Applies one change to the caches it belongs to.
fn take_in(caches: &Caches, event: &WatchEvent, mut changed: impl FnMut(&Arc<Cache>)) {
    let change = match event.kind {
        EventKind::Put => Change::Put,
        EventKind::Delete => Change::Delete,
    };
    let mut draft = caches.take(&event.entry.value);
    for cache in caches.of_key(&event.entry.key).into_iter().flatten() {
        let object = match draft.take() {
            Some(draft) => Some(draft.at(event.revision)),
            None => object_of(&cache, &event.entry, event.revision),
        };
        let Some(object) = object else { continue };
        cache.apply(&event.entry.key, change, object);
        changed(&cache);
    }
}

fn object_of(cache: &Cache, entry: &Entry, revision: Revision) -> Option<Object> {
    match serde_json::from_slice::<Value>(&entry.value) {
        Ok(value) if value.get("metadata").is_some_and(Value::is_object) => {
            Some(Object::new(value, revision, cache.strategy.as_deref()))
        }
        Ok(_) => {
            error!(key = entry.key, "stored object has no metadata, it is not served");
            None
        }
        Err(error) => {
            error!(key = entry.key, %error, "stored object is not JSON, it is not served");
            None
        }
    }
}
