//! GET and LIST, answered from memory with upstream's resourceVersion semantics.
//!
//! Unset means the newest (the cache is first brought to the store's head), `0` means whatever is there, anything
//! else at least that revision. `Exact` and the pages after the first are as of their revision, from the store's history
//! once the cache has moved on; below compaction they are 410, with a token that goes on regardless.

use std::sync::Arc;

use xebec_api::status::ApiError;
use xebec_store::StoreError;

use super::resume::Resume;
use super::{Registry, Target, past};
use crate::watch::{Cut, Listed, Object, Selection};

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionMatch {
    /// Not given.
    #[default]
    Unset,
    /// At least the given revision.
    NotOlderThan,
    /// Exactly the given revision.
    Exact,
}

/// Options of a LIST.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// `resourceVersion` as sent.
    pub resource_version: String,
    /// `resourceVersionMatch`.
    pub version_match: VersionMatch,
    /// Page size, 0 for no limit.
    pub limit: usize,
    /// Continue token of the page before.
    pub continue_token: String,
}

/// A page of a LIST.
pub struct ListPage {
    /// The objects, in key order.
    pub objects: Vec<Arc<Object>>,
    /// The revision the page shows.
    pub revision: u64,
    /// Token for the next page, if there is one.
    pub continue_token: Option<String>,
    /// How many objects follow, when that is known (no selectors).
    pub remaining: Option<u64>,
}

impl Registry {
    /// The object, at least as new as `resource_version` asks.
    pub async fn get(&self, target: &Target, resource_version: &str) -> Result<Arc<Object>, ApiError> {
        self.reach(resource_version).await?;
        target.read().await?.ok_or_else(|| target.not_found())
    }

    /// A page of the chosen objects.
    pub async fn list(
        &self,
        target: &Target,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<ListPage, ApiError> {
        let resume = match options.continue_token.as_str() {
            "" => None,
            token => Some(Resume::decode(token)?),
        };
        let first = Cut { limit: options.limit, ..Cut::default() };
        if let Some(resume) = &resume {
            if !options.resource_version.is_empty() && options.resource_version != "0" {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue".to_owned(),
                ));
            }
            if let Some(wanted) = resume.revision {
                let expired = || past::too_old_to_continue(resume.regardless().encode());
                return self.list_at(target, selection, resume.cut(options.limit), wanted, expired).await;
            }
        } else {
            self.reach(&options.resource_version).await?;
            if options.version_match == VersionMatch::Exact {
                let wanted = parse_version(&options.resource_version)?;
                return self.list_at(target, selection, first, wanted, past::too_old).await;
            }
        }
        let applied = self.caches.applied();
        let cut = resume.as_ref().map_or(first, |resume| resume.cut(options.limit));
        let listed = target.select(selection, cut).await?;
        let revision = applied.max(listed.revision);
        Ok(page(selection, revision, listed))
    }

    /// A page as of `revision`: from the cache while nothing has changed since, else from the store's history.
    async fn list_at(
        &self,
        target: &Target,
        selection: &Selection,
        cut: Cut<'_>,
        revision: u64,
        expired: impl Fn() -> ApiError,
    ) -> Result<ListPage, ApiError> {
        if target.cache.revision() <= revision && revision <= self.caches.applied() {
            let listed = target.select(selection, cut).await?;
            // A change may have come in between; history then tells.
            if listed.revision <= revision {
                return Ok(page(selection, revision, listed));
            }
        }
        let (choice, limit) = target.asks(selection, cut.limit);
        let then =
            match past::list(&*self.store, &target.cache, &choice, revision, Cut { limit, ..cut }).await {
                Ok(then) => then,
                Err(StoreError::Compacted { .. }) => return Err(expired()),
                Err(error) => return Err(super::store_error(error)),
            };
        Ok(page(selection, revision, target.choose(selection, cut.limit, then).await?))
    }

    /// Brings the caches to where a read of `resource_version` may be answered.
    pub async fn reach(&self, resource_version: &str) -> Result<(), ApiError> {
        match resource_version {
            "" => self.settle().await,
            "0" => Ok(()),
            text => self.settle_at(parse_version(text)?).await,
        }
    }
}

fn page(selection: &Selection, revision: u64, listed: Listed) -> ListPage {
    let more = listed.remaining > 0;
    let remaining = (more && selection.is_whole()).then_some(listed.remaining);
    let next = |after| Resume { revision: Some(revision), after, left: remaining }.encode();
    ListPage {
        continue_token: listed.last_key.filter(|_| more).map(next),
        remaining,
        objects: listed.objects,
        revision,
    }
}

/// A resourceVersion as a revision; 400 when it is not a number.
pub fn parse_version(text: &str) -> Result<u64, ApiError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        ApiError::bad_request(format!("invalid resource version {text:?}: must be a whole number"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(parse_version("12").unwrap(), 12);
        assert_eq!(parse_version("x").unwrap_err().code, 400);
    }
}
