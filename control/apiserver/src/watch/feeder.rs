//! The one task that reads the store's watch and applies it to the caches, in order.
//!
//! Enters: the store. Leaves: nothing but the caches' state. Started once by `ApiServer::build`. When the store's
//! watch breaks (compaction overtook it, connection lost) every cache is reconciled from a fresh list.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};
use xebec_store::{Entry, EventKind, Revision, Store, StoreError, WatchEvent};

use super::{Cache, Caches, Change, Object};
use crate::resources::StrategyRef;

const PREFIX: &str = "/registry/";
/// Most changes that are taken in before watchers and writers hear of them.
const BATCH: usize = 64;
/// Fewer objects are not worth another thread.
const LEAST_SHARE: usize = 512;

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
    let objects = objects_of(cache, entries).await;
    if again {
        cache.reconcile(objects, revision);
    } else {
        cache.fill(objects, revision);
    }
    Ok(revision)
}

/// The objects that can be served, in their order; many are read on all processors, since at a start nothing else is to
/// be done.
async fn objects_of(cache: &Cache, mut entries: Vec<Entry>) -> Vec<(String, Object)> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = entries.len().div_ceil(workers).max(LEAST_SHARE);
    let mut shares = Vec::new();
    while entries.len() > share {
        let (rest, strategy) = (entries.split_off(share), cache.strategy.clone());
        let first = std::mem::replace(&mut entries, rest);
        shares.push(tokio::task::spawn_blocking(move || read(first, strategy.as_ref())));
    }
    let last = read(entries, cache.strategy.as_ref());
    let mut objects = Vec::new();
    for share in shares {
        match share.await {
            Ok(read) => objects.extend(read),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
    objects.extend(last);
    objects
}

fn read(entries: Vec<Entry>, strategy: Option<&StrategyRef>) -> Vec<(String, Object)> {
    let read = |entry: Entry| {
        let object = object_of(strategy, &entry, entry.mod_revision)?;
        Some((entry.key, object))
    };
    entries.into_iter().filter_map(read).collect()
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
    while let Some(first) = watch.next().await {
        let mut touched = Vec::new();
        let mut outcome = Ok(());
        let mut next = Some(first);
        // What is there already is taken in at once: a commit of many writes then wakes each watcher a few times only.
        for left in (0..BATCH).rev() {
            match next.take() {
                Some(Ok(event)) => {
                    take_in(caches, &event, &mut touched);
                    *from = event.revision;
                }
                Some(Err(error)) => outcome = Err(error),
                None => break,
            }
            if left > 0 && outcome.is_ok() {
                next = watch.next().now_or_never().flatten();
            }
        }
        touched.iter().for_each(|cache: &Arc<Cache>| cache.publish());
        caches.advance(*from);
        outcome?;
    }
    Ok(())
}

/// Applies one change to the caches it belongs to.
fn take_in(caches: &Caches, event: &WatchEvent, touched: &mut Vec<Arc<Cache>>) {
    let change = match event.kind {
        EventKind::Put => Change::Put,
        EventKind::Delete => Change::Delete,
    };
    let mut draft = caches.take(&event.entry.value);
    for cache in caches.of_key(&event.entry.key).into_iter().flatten() {
        let object = match draft.take() {
            Some(draft) => Some(draft.at(event.revision)),
            None => object_of(cache.strategy.as_ref(), &event.entry, event.revision),
        };
        let Some(object) = object else { continue };
        cache.apply(&event.entry.key, change, object);
        if !touched.iter().any(|known| Arc::ptr_eq(known, &cache)) {
            touched.push(cache);
        }
    }
}

fn object_of(strategy: Option<&StrategyRef>, entry: &Entry, revision: Revision) -> Option<Object> {
    let read = Object::stored(&entry.value, revision, strategy);
    read.inspect_err(|error| error!(key = entry.key, "{error}; it is not served")).ok()
}
