//! LIST of the past: pages that fit together and exact revisions, from the store's own history.
//!
//! Enters: a revision, and the key the page before ended with. Leaves: the chosen objects as they were then. Called by
//! [`super::read`] where the cache has moved on since; a revision below compaction is 410.

use std::sync::Arc;

use xebec_api::status::ApiError;
use xebec_store::{Entry, ListAt, Store, StoreError};

use crate::watch::{Cache, Cut, Listed, Object, Selection};

/// Entries read from the store at once when a selector may leave most of them out.
const CHUNK: usize = 1000;

/// The chosen objects of `cut`, as of `revision`.
pub(super) async fn list(
    store: &dyn Store,
    cache: &Cache,
    selection: &Selection,
    revision: u64,
    cut: Cut<'_>,
) -> Result<Listed, StoreError> {
    let prefix = match &selection.namespace {
        Some(namespace) => format!("{}{namespace}/", cache.prefix()),
        None => cache.prefix().to_owned(),
    };
    let mut then = Listed { objects: Vec::new(), last_key: None, remaining: 0, revision };
    let mut after = cut.after.map(|suffix| format!("{}{suffix}", cache.prefix()));
    let (limit, mut left) = (cut.limit, cut.left);
    loop {
        let wanted = if limit == 0 { CHUNK } else { limit - then.objects.len() };
        let chunk = if selection.is_whole() && limit > 0 { wanted } else { wanted.max(CHUNK) };
        let page =
            store.list_at(&prefix, ListAt { revision: Some(revision), after, limit: chunk, left }).await?;
        let read = page.entries.len() as u64;
        let mut passed = 0;
        for entry in &page.entries {
            passed += 1;
            let Some(object) = object(cache, entry).filter(|object| selection.matches(object)) else {
                continue;
            };
            then.last_key = entry.key.strip_prefix(cache.prefix()).map(str::to_owned);
            then.objects.push(Arc::new(object));
            if then.objects.len() == limit {
                break;
            }
        }
        then.remaining = page.remaining + (read - passed);
        left = Some(page.remaining);
        after = page.entries.last().map(|entry| entry.key.clone());
        if then.remaining == 0 || (limit > 0 && then.objects.len() == limit) {
            return Ok(then);
        }
    }
}

fn object(cache: &Cache, entry: &Entry) -> Option<Object> {
    Object::stored(&entry.value, entry.mod_revision, cache.strategy.as_ref()).ok()
}

/// 410 for a page that can no longer fit to those before it; `resume` continues without fitting.
pub(super) fn too_old_to_continue(resume: String) -> ApiError {
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.resume = Some(resume);
    error
}

/// 410 for an exact revision that is gone.
pub(super) fn too_old() -> ApiError {
    ApiError::expired("The resourceVersion for the provided list is too old.")
}
