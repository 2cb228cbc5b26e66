//! What every engine must do, as a suite that runs on any of them.
//!
//! Enters: a function that makes a store. Leaves: nothing, or a panic that names the broken promise. Called by this
//! crate's tests for the embedded engine and for a real etcd, and by whoever writes another engine. Each check uses
//! keys of its own, so that the stores may share one file or cluster; checks run one after another, since some compact.

mod history;
mod oddities;
mod pages;
mod reads;
mod watches;
mod writes;

use crate::{Entry, Expect, ListAt, Page, Revision, Store, StoreError, Watch, WatchEvent};
use bytes::Bytes;
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long an event may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

static SPACE: AtomicU64 = AtomicU64::new(0);

/// Runs every check, each on a store from `make`.
///
/// # Panics
///
/// When the engine breaks a promise; the message says which.
pub async fn run_all<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    writes::revisions_are_ordered(&Space::new(make().await)).await;
    writes::compare_and_swap(&Space::new(make().await)).await;
    writes::one_of_many_racing_writers_wins(&Space::new(make().await)).await;
    writes::concurrent_increments_are_all_counted(&Space::new(make().await)).await;
    writes::deletes(&Space::new(make().await)).await;
    writes::sizes(&Space::new(make().await)).await;
    reads::create_and_mod_revisions(&Space::new(make().await)).await;
    reads::prefixes_are_paths(&Space::new(make().await)).await;
    reads::lists_are_snapshots(&Space::new(make().await)).await;
    reads::large_lists_are_whole(&Space::new(make().await)).await;
    pages::every_revision_can_be_read(&Space::new(make().await)).await;
    pages::fit_together_while_others_write(&Space::new(make().await)).await;
    pages::outside_of_history(&Space::new(make().await)).await;
    oddities::keys(&Space::new(make().await)).await;
    oddities::values(&Space::new(make().await)).await;
    watches::from_a_revision(&Space::new(make().await)).await;
    watches::previous_values(&Space::new(make().await)).await;
    watches::are_scoped(&Space::new(make().await)).await;
    watches::list_then_watch_misses_nothing(&Space::new(make().await)).await;
    watches::a_slow_watcher_loses_nothing(&Space::new(make().await)).await;
    watches::progress_is_never_ahead_of_the_events(&Space::new(make().await)).await;
    watches::many_small_watches_of_one_key_each(&Space::new(make().await)).await;
    history::the_future_is_refused(&Space::new(make().await)).await;
    history::compaction(&Space::new(make().await)).await;
}

/// A store and the part of its key space one check uses.
struct Space {
    store: Arc<dyn Store>,
    root: String,
}

impl Space {
    fn new(store: Arc<dyn Store>) -> Self {
        Self { store, root: format!("/contract/{}", SPACE.fetch_add(1, Ordering::Relaxed)) }
    }

    fn key(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    async fn put(&self, path: &str, value: &str, expect: Expect) -> Result<Revision, StoreError> {
        self.store.put(&self.key(path), Bytes::copy_from_slice(value.as_bytes()), expect).await
    }

    async fn set(&self, path: &str, value: &str) -> Revision {
        self.put(path, value, Expect::Any).await.expect("an unconditional put succeeds")
    }

    async fn remove(&self, path: &str) -> Revision {
        self.store.delete(&self.key(path), Expect::Any).await.expect("an existing key is deleted").0
    }

    async fn get(&self, path: &str) -> Option<Entry> {
        self.store.get(&self.key(path)).await.expect("a get succeeds").0
    }

    async fn list(&self, path: &str) -> (Vec<Entry>, Revision) {
        self.store.list(&self.key(path)).await.expect("a list succeeds")
    }

    async fn page(&self, path: &str, page: ListAt) -> Page {
        self.store.list_at(&self.key(path), page).await.expect("a page is read")
    }

    async fn head(&self) -> Revision {
        self.store.head().await.expect("the head can be read")
    }

    async fn watch(&self, path: &str, after: Revision) -> Watch {
        self.store.watch(&self.key(path), after).await.expect("a watch starts")
    }
}

/// The next event, which must come in time.
async fn next(watch: &mut Watch) -> WatchEvent {
    let event = tokio::time::timeout(PATIENCE, watch.next()).await;
    event.expect("an event arrives in time").expect("the watch goes on").expect("the watch does not fail")
}

/// Nothing comes for a moment.
async fn silent(watch: &mut Watch) {
    if let Ok(event) = tokio::time::timeout(Duration::from_millis(300), watch.next()).await {
        panic!("an event nobody caused: {event:?}");
    }
}
