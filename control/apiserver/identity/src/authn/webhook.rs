//! Tokens somebody else knows: a TokenReview posted to a webhook (`--authentication-token-webhook-config-file`).
//!
//! Enters: a bearer token and the audiences wanted. Leaves: the user the webhook names, or nothing. Answers, good and
//! bad, are remembered for the cache time; failures of the webhook itself are not.
//!
//! Authority: `k8s.io/apiserver/plugin/pkg/authenticator/token/webhook`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::TokenUser;
use crate::remote::{Remote, RemoteError};
use crate::ttl::TtlCache;
use crate::{User, strings, text};

/// How long an answer is remembered unless `--authentication-token-webhook-cache-ttl` says otherwise.
pub const DEFAULT_CACHE: Duration = Duration::from_secs(120);
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers remembered at most.
const CACHE_LIMIT: usize = 4096;

/// Why the webhook has no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It could not be asked.
    #[error("[invalid bearer token, webhook: {0}]")]
    Remote(#[from] RemoteError),
    /// It says why the token is refused.
    #[error("{0}")]
    Refused(String),
}

type Answer = Result<Option<TokenUser>, String>;

/// A webhook that reviews tokens.
pub struct TokenWebhook {
    remote: Remote,
    version: String,
    cache: TtlCache<[u8; 32], Answer>,
    ttl: Duration,
}

/// The key of an answer: the token and the audiences, neither of which is kept.
fn digest(token: &str, audiences: &[String]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl TokenWebhook {
    /// The webhook of a kubeconfig file; `version` is `v1` or `v1beta1`
    /// (`--authentication-token-webhook-version`), a zero `ttl` remembers nothing.
    pub async fn load(path: &Path, version: &str, ttl: Duration) -> Result<TokenWebhook, RemoteError> {
        if !matches!(version, "v1" | "v1beta1") {
            return Err(RemoteError::Kubeconfig {
                path: path.to_owned(),
                reason: format!(
                    "unsupported authentication webhook version {version:?}, supported versions are v1, v1beta1"
                ),
            });
        }
        let remote = Remote::from_kubeconfig(path, PATIENCE).await?;
        Ok(TokenWebhook { remote, version: version.to_owned(), cache: TtlCache::new(CACHE_LIMIT), ttl })
    }

    /// The user of a token meant for one of `audiences`; `Ok(None)` if the webhook does not know it.
    pub(super) async fn user(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<TokenUser>, WebhookError> {
        let key = digest(token, audiences);
        let answer = match self.cache.get(&key) {
            Some(answer) => answer,
            None => {
                let answer = self.ask(token, audiences).await?;
                self.cache.insert(key, answer.clone(), self.ttl);
                answer
            }
        };
        answer.map_err(WebhookError::Refused)
    }

    async fn ask(&self, token: &str, audiences: &[String]) -> Result<Answer, RemoteError> {
        let mut spec = json!({"token": token});
        if !audiences.is_empty() {
            spec["audiences"] = json!(audiences);
        }
        let review = json!({
            "apiVersion": format!("authentication.k8s.io/{}", self.version),
            "kind": "TokenReview",
            "metadata": {},
            "spec": spec,
        });
        Ok(read(&self.remote.post(&review).await?, audiences))
    }
}

/// The answer in a reviewed TokenReview.
fn read(review: &Value, audiences: &[String]) -> Answer {
    let status = &review["status"];
    if status["authenticated"] != true {
        let error = text(status, "/error");
        return if error.is_empty() { Ok(None) } else { Err(error.to_owned()) };
    }
    // A webhook that names no audiences answers for all that were asked for.
    let named = strings(status, "/audiences");
    let shared: Vec<String> = if named.is_empty() {
        audiences.to_vec()
    } else {
        audiences.iter().filter(|audience| named.contains(audience)).cloned().collect()
    };
    if shared.is_empty() && !audiences.is_empty() {
        return Ok(None);
    }
    let extra = status["user"]["extra"].as_object().into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> =
        extra.map(|(key, values)| (key.clone(), strings(values, ""))).collect();
    let user = User {
        name: text(status, "/user/username").to_owned(),
        uid: text(status, "/user/uid").to_owned(),
        groups: strings(status, "/user/groups"),
        extra,
    };
    Ok(Some(TokenUser { user, audiences: shared }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let wanted = ["api".to_owned(), "b".to_owned()];
        let good = json!({"status": {"authenticated": true, "user": {
            "username": "ann", "uid": "7", "groups": ["g"], "extra": {"k": ["v", "w"]}}}});
        let found = read(&good, &wanted).unwrap().unwrap();
        assert_eq!((found.user.name.as_str(), found.user.extra["k"].len()), ("ann", 2));
        assert_eq!(found.audiences, wanted);
        let narrowed =
            json!({"status": {"authenticated": true, "user": {"username": "ann"}, "audiences": ["b", "x"]}});
        assert_eq!(read(&narrowed, &wanted).unwrap().unwrap().audiences, ["b"]);
        let elsewhere =
            json!({"status": {"authenticated": true, "user": {"username": "ann"}, "audiences": ["x"]}});
        assert_eq!(read(&elsewhere, &wanted), Ok(None));
        assert_eq!(read(&json!({"status": {"authenticated": false}}), &wanted), Ok(None));
        assert_eq!(read(&json!({"status": {"error": "gone"}}), &wanted), Err("gone".to_owned()));
        assert_eq!(read(&json!({}), &wanted), Ok(None));
    }

    #[test]
    fn what_is_remembered_depends_on_token_and_audiences() {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_ne!(digest("t", &list(&["a"])), digest("t", &list(&["a", "b"])));
        assert_ne!(digest("ta", &[]), digest("t", &list(&["a"])));
        assert_eq!(digest("t", &list(&["a"])), digest("t", &list(&["a"])));
    }
}
