//! Service account tokens in volumes. Enters: what is wanted. Leaves: a token that is not about to end, asked for
//! again at 80 % of its life or after a day, whichever is first. On failure the old one is used while it lasts.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{SourceError, Token, TokenRequest, TokenSource};

const DAY_SECONDS: i64 = 24 * 3600;

/// True once a new token should be asked for (upstream's token manager, without its jitter).
fn due(token: &Token, now: Timestamp) -> bool {
    let (issued, expires, now) = (token.issued.as_second(), token.expires.as_second(), now.as_second());
    let life = expires - issued;
    now >= issued + life * 8 / 10 || now >= issued + DAY_SECONDS
}

/// Tokens by what was asked for.
#[derive(Default)]
pub(super) struct TokenCache {
    held: Mutex<HashMap<TokenRequest, Token>>,
}

impl TokenCache {
    /// The token to write now.
    pub async fn get(
        &self,
        source: &dyn TokenSource,
        request: &TokenRequest,
        now: Timestamp,
    ) -> Result<String, SourceError> {
        let held = self.held.lock().get(request).cloned();
        if let Some(token) = held.as_ref().filter(|token| !due(token, now)) {
            return Ok(token.token.clone());
        }
        match source.token(request).await {
            Ok(fresh) => {
                let text = fresh.token.clone();
                self.held.lock().insert(request.clone(), fresh);
                Ok(text)
            }
            Err(error) => match held.filter(|token| token.expires > now) {
                Some(token) => {
                    tracing::warn!(pod = request.pod_name, %error, "token not renewed, the old one still holds");
                    Ok(token.token)
                }
                None => Err(error),
            },
        }
    }

    /// Forgets the tokens of a pod.
    pub fn forget(&self, uid: &str) {
        self.held.lock().retain(|request, _| request.pod_uid != uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Mint {
        clock: AtomicI64,
        broken: std::sync::atomic::AtomicBool,
    }

    #[async_trait::async_trait]
    impl TokenSource for Mint {
        async fn token(&self, request: &TokenRequest) -> Result<Token, SourceError> {
            if self.broken.load(Ordering::Relaxed) {
                return Err(SourceError::Api("down".into()));
            }
            let at = self.clock.load(Ordering::Relaxed);
            let issued = Timestamp::from_second(at).unwrap();
            let expires = Timestamp::from_second(at + request.expiration_seconds).unwrap();
            Ok(Token { token: format!("t{at}"), issued, expires })
        }
    }

    #[tokio::test]
    async fn tokens_turn_over_at_80_percent_or_a_day() {
        let mint = Mint { clock: AtomicI64::new(0), broken: false.into() };
        let cache = TokenCache::default();
        let request = |seconds| TokenRequest {
            namespace: "n".into(),
            service_account: "s".into(),
            pod_name: "p".into(),
            pod_uid: "u".into(),
            audience: None,
            expiration_seconds: seconds,
        };
        let get = async |seconds: i64, at: i64| {
            mint.clock.store(at, Ordering::Relaxed);
            cache.get(&mint, &request(seconds), Timestamp::from_second(at).unwrap()).await
        };
        assert_eq!(get(1000, 0).await.unwrap(), "t0");
        assert_eq!(get(1000, 799).await.unwrap(), "t0");
        assert_eq!(get(1000, 800).await.unwrap(), "t800");
        assert_eq!(get(1_000_000, 900).await.unwrap(), "t900");
        assert_eq!(get(1_000_000, 900 + 86_399).await.unwrap(), "t900");
        assert_eq!(get(1_000_000, 900 + 86_400).await.unwrap(), "t87300");
        mint.broken.store(true, Ordering::Relaxed);
        assert_eq!(get(1_000_000, 87_300 + 999_999).await.unwrap(), "t87300");
        assert!(get(1_000_000, 87_300 + 1_000_000).await.is_err());
        cache.forget("u");
        assert!(get(1000, 801).await.is_err());
    }
}
