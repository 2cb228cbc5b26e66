//! GET and LIST, answered from memory with upstream's resourceVersion semantics.
//!
//! Unset means the newest (the cache is first brought to the store's head), `0` means whatever is there, anything
//! else at least that revision; `Exact` is possible for the present revision only, an older one is 410.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use xebec_api::status::ApiError;

use super::{Registry, Target};
use crate::watch::{Object, Selection};

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
            token => Some(decode_continue(token)?),
        };
        if resume.is_some() {
            if !options.resource_version.is_empty() && options.resource_version != "0" {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue".to_owned(),
                ));
            }
        } else {
            self.reach(&options.resource_version).await?;
        }
        let applied = self.caches.applied();
        let after = resume.as_ref().map(|(_, key)| key.as_str());
        let listed = target.select(selection, after, options.limit).await?;
        let now = applied.max(listed.revision);
        // Pages are cut from the present state. Every page carries the revision of the first one: a client that
        // watches from there sees all that changed between the pages.
        let revision = resume.as_ref().map_or(now, |(revision, _)| *revision);
        if options.version_match == VersionMatch::Exact && resume.is_none() {
            let wanted = parse_version(&options.resource_version)?;
            if wanted != now && listed.revision > wanted {
                return Err(ApiError::expired(format!(
                    "The provided resource version {wanted} is no longer available, the current one is {now}"
                )));
            }
        }
        let more = listed.remaining > 0;
        let next = listed.last_key.filter(|_| more);
        Ok(ListPage {
            continue_token: next.map(|key| encode_continue(revision, &key)),
            remaining: (more && selection.is_whole()).then_some(listed.remaining),
            objects: listed.objects,
            revision,
        })
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

/// A resourceVersion as a revision; 400 when it is not a number.
pub fn parse_version(text: &str) -> Result<u64, ApiError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        ApiError::bad_request(format!("invalid resource version {text:?}: must be a whole number"))
    })
}

fn encode_continue(revision: u64, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": key}).to_string())
}

fn decode_continue(token: &str) -> Result<(u64, String), ApiError> {
    let invalid = || ApiError::bad_request("continue key is not valid: malformed token".to_owned());
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|_| invalid())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    let revision = value["rv"].as_u64().ok_or_else(invalid)?;
    let key = value["start"].as_str().ok_or_else(invalid)?;
    Ok((revision, key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens_round_trip() {
        assert_eq!(decode_continue(&encode_continue(7, "ns/a")).unwrap(), (7, "ns/a".to_owned()));
        assert_eq!(decode_continue("%%%").unwrap_err().code, 400);
        assert_eq!(decode_continue("e30").unwrap_err().code, 400);
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(parse_version("12").unwrap(), 12);
        assert_eq!(parse_version("x").unwrap_err().code, 400);
    }
}
