//! The `continue` token of a list: where the next page starts, and as of when.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use xebec_api::status::ApiError;

use crate::watch::Cut;

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    /// The revision all pages show; without one the next is cut from the state at that time (upstream's inconsistent
    /// continue, rv -1).
    pub revision: Option<u64>,
    /// Key suffix of the last object of the page before.
    pub after: String,
    /// How many objects follow it, where that is known.
    pub left: Option<u64>,
}

/// The token's form: upstream's, and what is left, so that no page but the first counts.
#[derive(Deserialize, Serialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl Resume {
    /// The same place without its revision.
    pub fn regardless(&self) -> Self {
        Self { revision: None, after: self.after.clone(), left: None }
    }

    /// The next page.
    pub fn cut(&self, limit: usize) -> Cut<'_> {
        Cut { after: Some(&self.after), limit, left: self.left }
    }

    pub fn encode(&self) -> String {
        let token = Token {
            v: "meta.k8s.io/v1".to_owned(),
            rv: self.revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX)),
            start: self.after.clone(),
            left: self.left,
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// 400 unless the token is one of ours.
    pub fn decode(token: &str) -> Result<Self, ApiError> {
        let invalid = || ApiError::bad_request("continue key is not valid: malformed token".to_owned());
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|_| invalid())?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        let revision = match token.rv {
            -1 => None,
            revision => Some(u64::try_from(revision).map_err(|_| invalid())?),
        };
        Ok(Self { revision, after: token.start, left: token.left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for (revision, left) in [(Some(7), Some(3)), (Some(7), None), (None, None)] {
            let resume = Resume { revision, after: "ns/a".to_owned(), left };
            assert_eq!(Resume::decode(&resume.encode()).unwrap(), resume);
        }
        assert_eq!(Resume::decode("%%%").unwrap_err().code, 400);
        assert_eq!(Resume::decode("e30").unwrap_err().code, 400);
    }

    #[test]
    fn upstreams_token_is_read() {
        let token = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":12,"start":"ns/b"}"#);
        let resume = Resume { revision: Some(12), after: "ns/b".to_owned(), left: None };
        assert_eq!(Resume::decode(&token).unwrap(), resume);
    }
}
