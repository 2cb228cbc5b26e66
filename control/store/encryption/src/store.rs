//! A store whose values are encrypted below it and plain above it.
//!
//! Enters: operations of the API server. Leaves: the same operations on the engine, values in their stored form. A
//! value that no key opens is an error that names the object; nothing overwrites or deletes it unseen, so that the
//! right key still finds it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::RwLock;
use xebec_store::{Entry, Expect, ListAt, Page, Revision, Store, StoreError, Watch, WatchEvent};

use crate::transform::{Opened, Transformers};

/// The name of the health check among [`Store::checks`].
const HEALTH_CHECK: &str = "encryption-providers";

/// A [`Store`] over another one; see the module's description.
pub struct EncryptedStore {
    inner: Arc<dyn Store>,
    transformers: Arc<RwLock<Arc<Transformers>>>,
    /// Why the configuration's file was refused at the last look, if it was.
    refused: RwLock<Option<String>>,
}

fn open(transformers: &Transformers, key: &str, stored: &Bytes) -> Result<Opened, StoreError> {
    transformers
        .chain(key)
        .open(key, stored)
        .map_err(|error| StoreError::Undecryptable { key: key.to_owned(), reason: error.to_string() })
}

fn open_entry(transformers: &Transformers, mut entry: Entry) -> Result<Entry, StoreError> {
    entry.value = open(transformers, &entry.key, &entry.value)?.plain;
    Ok(entry)
}

fn open_event(transformers: &Transformers, mut event: WatchEvent) -> Result<WatchEvent, StoreError> {
    event.entry = open_entry(transformers, event.entry)?;
    if let Some(previous) = event.previous {
        event.previous = Some(open(transformers, &event.entry.key, &previous)?.plain);
    }
    Ok(event)
}

impl EncryptedStore {
    /// Encryption over a store.
    pub fn new(inner: Arc<dyn Store>, transformers: Transformers) -> Arc<EncryptedStore> {
        let transformers = Arc::new(RwLock::new(Arc::new(transformers)));
        Arc::new(EncryptedStore { inner, transformers, refused: RwLock::default() })
    }

    /// Takes over another configuration; running watches follow it too.
    pub fn replace(&self, transformers: Transformers) {
        *self.transformers.write() = Arc::new(transformers);
        *self.refused.write() = None;
    }

    /// Notes that the configuration's file was refused; [`EncryptedStore::health`] tells it.
    pub fn refuse(&self, reason: String) {
        *self.refused.write() = Some(reason);
    }

    /// Notes that the file says again what is in force.
    pub(crate) fn unrefuse(&self) {
        *self.refused.write() = None;
    }

    /// Whether values can be written and read again, and the file is the one in force; else what is wrong.
    pub fn health(&self) -> Result<(), String> {
        if let Some(reason) = &*self.refused.read() {
            return Err(format!("the encryption configuration was not reloaded: {reason}"));
        }
        self.current().check()
    }

    fn current(&self) -> Arc<Transformers> {
        Arc::clone(&self.transformers.read())
    }

    fn seal(&self, key: &str, value: Bytes) -> Result<Bytes, StoreError> {
        let sealed = self.current().chain(key).seal(key, value);
        sealed.map_err(|error| StoreError::Unavailable(format!("{key}: {error}")))
    }

    /// Refuses to touch a value that cannot be read, unless the caller has seen what it is about to lose.
    async fn guard(&self, key: &str, expect: Expect) -> Result<(), StoreError> {
        if matches!(expect, Expect::Any)
            && let (Some(entry), _) = self.inner.get(key).await?
        {
            open(&self.current(), key, &entry.value)?;
        }
        Ok(())
    }

    /// A conflict shows the entry that stood in the way; it is opened as any other.
    fn failed(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Conflict { key, current: Some(entry) } => match open_entry(&self.current(), entry) {
                Ok(entry) => StoreError::Conflict { key, current: Some(entry) },
                Err(error) => error,
            },
            other => other,
        }
    }
}

#[async_trait]
impl Store for EncryptedStore {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        let (entry, head) = self.inner.get(key).await?;
        let transformers = self.current();
        Ok((entry.map(|entry| open_entry(&transformers, entry)).transpose()?, head))
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let (entries, head) = self.inner.list(prefix).await?;
        let transformers = self.current();
        let opened = entries.into_iter().map(|entry| open_entry(&transformers, entry));
        Ok((opened.collect::<Result<_, _>>()?, head))
    }

    async fn list_at(&self, prefix: &str, page: ListAt) -> Result<Page, StoreError> {
        let page = self.inner.list_at(prefix, page).await?;
        let transformers = self.current();
        let opened = page.entries.into_iter().map(|entry| open_entry(&transformers, entry));
        Ok(Page { entries: opened.collect::<Result<_, _>>()?, ..page })
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        self.guard(key, expect).await?;
        let sealed = self.seal(key, value)?;
        self.inner.put(key, sealed, expect).await.map_err(|error| self.failed(error))
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<(Revision, Entry), StoreError> {
        self.guard(key, expect).await?;
        let (revision, entry) = self.inner.delete(key, expect).await.map_err(|error| self.failed(error))?;
        Ok((revision, open_entry(&self.current(), entry)?))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let inner = self.inner.watch(prefix, after).await?;
        let progress = inner.progress();
        let transformers = Arc::clone(&self.transformers);
        // An error is a watch's last item, also one found here.
        let events = futures::stream::unfold(Some(inner), move |inner| {
            let transformers = Arc::clone(&transformers);
            async move {
                let mut inner = inner?;
                let event = inner.next().await?;
                let current = Arc::clone(&transformers.read());
                let opened = event.and_then(|event| open_event(&current, event));
                let rest = opened.is_ok().then_some(inner);
                Some((opened, rest))
            }
        });
        Ok(Watch::new(events, progress))
    }

    async fn head(&self) -> Result<Revision, StoreError> {
        self.inner.head().await
    }

    async fn compact(&self, up_to: Revision) -> Result<(), StoreError> {
        self.inner.compact(up_to).await
    }

    async fn is_stale(&self, key: &str) -> Result<bool, StoreError> {
        let transformers = self.current();
        let (entry, _) = self.inner.get(key).await?;
        let Some(entry) = entry else { return Ok(false) };
        Ok(open(&transformers, key, &entry.value)?.is_stale)
    }

    fn checks(&self) -> Vec<(&'static str, Result<(), String>)> {
        let mut checks = self.inner.checks();
        checks.push((HEALTH_CHECK, self.health()));
        checks
    }
}

#[cfg(test)]
mod tests;
