//! Remembers what [`Access`] said. Enters: questions. Leaves: answers, of the last minutes where there is one.
//!
//! Times are those of the upstream kubelet's webhooks. Failures to ask are never remembered. At most
//! [`CAPACITY`] answers of each sort are kept, so that a flood of tokens cannot fill the memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Access, AccessError, Attributes, User, Verdict};

const ALLOWED_FOR: Duration = Duration::from_secs(5 * 60);
const DENIED_FOR: Duration = Duration::from_secs(30);
const TOKEN_FOR: Duration = Duration::from_secs(2 * 60);
const BAD_TOKEN_FOR: Duration = Duration::from_secs(10);
/// How many answers of each sort are kept.
const CAPACITY: usize = 4096;

/// [`Access`] with a memory.
pub(crate) struct Cache {
    access: Arc<dyn Access>,
    tokens: Mutex<Answers<[u8; 32], Option<User>>>,
    verdicts: Mutex<Answers<(User, Attributes), Verdict>>,
}

impl Cache {
    pub(crate) fn new(access: Arc<dyn Access>) -> Self {
        Self { access, tokens: Mutex::default(), verdicts: Mutex::default() }
    }

    /// As [`Access::authenticate`]; only a hash of the token is kept.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<Option<User>, AccessError> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.tokens.lock().get(&key) {
            return Ok(known);
        }
        let user = self.access.authenticate(token).await?;
        let life = if user.is_some() { TOKEN_FOR } else { BAD_TOKEN_FOR };
        self.tokens.lock().put(key, user.clone(), life);
        Ok(user)
    }

    /// As [`Access::authorize`].
    pub(crate) async fn authorize(
        &self,
        user: &User,
        attributes: &Attributes,
    ) -> Result<Verdict, AccessError> {
        let key = (user.clone(), attributes.clone());
        if let Some(known) = self.verdicts.lock().get(&key) {
            return Ok(known);
        }
        let verdict = self.access.authorize(user, attributes).await?;
        let life = if verdict.allowed { ALLOWED_FOR } else { DENIED_FOR };
        self.verdicts.lock().put(key, verdict.clone(), life);
        Ok(verdict)
    }
}

struct Answers<K, V>(HashMap<K, (Instant, V)>);

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Clone> Answers<K, V> {
    fn get(&mut self, key: &K) -> Option<V> {
        let (end, value) = self.0.get(key)?;
        (*end > Instant::now()).then(|| value.clone())
    }

    fn put(&mut self, key: K, value: V, life: Duration) {
        let now = Instant::now();
        if self.0.len() >= CAPACITY {
            self.0.retain(|_, (end, _)| *end > now);
        }
        if self.0.len() >= CAPACITY {
            // all are fresh: forgetting costs only questions
            self.0.clear();
        }
        self.0.insert(key, (now + life, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;

    /// Allows `stats`, knows tokens that start with "good", fails for the user "lost"; counts questions.
    #[derive(Default)]
    struct Counting(Mutex<usize>);

    #[async_trait]
    impl Access for Counting {
        async fn authenticate(&self, token: &str) -> Result<Option<User>, AccessError> {
            *self.0.lock() += 1;
            Ok(token.starts_with("good").then(|| User { name: token.to_owned(), ..User::default() }))
        }
        async fn authorize(&self, user: &User, attributes: &Attributes) -> Result<Verdict, AccessError> {
            *self.0.lock() += 1;
            if user.name == "lost" {
                return Err(AccessError { operation: "review access", cause: "gone".to_owned() });
            }
            Ok(Verdict { allowed: attributes.subresource == "stats", reason: String::new() })
        }
    }

    async fn ask(cache: &Cache, user: &str, subresource: &'static str) -> Option<bool> {
        let user = User { name: user.to_owned(), ..User::default() };
        let attributes = Attributes { verb: "get", subresource, node: "n1".to_owned() };
        cache.authorize(&user, &attributes).await.ok().map(|verdict| verdict.allowed)
    }

    #[tokio::test(start_paused = true)]
    async fn allows_last_five_minutes_denials_thirty_seconds_failures_nothing() {
        let access = Arc::new(Counting::default());
        let cache = Cache::new(access.clone());
        for _ in 0..3 {
            assert_eq!(ask(&cache, "ann", "stats").await, Some(true));
            assert_eq!(ask(&cache, "ann", "proxy").await, Some(false));
        }
        assert_eq!(*access.0.lock(), 2);
        assert_eq!(ask(&cache, "bob", "stats").await, Some(true), "another user is another question");
        assert_eq!(*access.0.lock(), 3);
        tokio::time::advance(Duration::from_secs(31)).await;
        ask(&cache, "ann", "proxy").await;
        ask(&cache, "ann", "stats").await;
        assert_eq!(*access.0.lock(), 4, "the denial has ended, the allow has not");
        tokio::time::advance(Duration::from_secs(270)).await;
        ask(&cache, "ann", "stats").await;
        assert_eq!(*access.0.lock(), 5);
        assert_eq!(ask(&cache, "lost", "stats").await, None);
        assert_eq!(ask(&cache, "lost", "stats").await, None);
        assert_eq!(*access.0.lock(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_remembered_and_their_number_is_bounded() {
        let access = Arc::new(Counting::default());
        let cache = Cache::new(access.clone());
        for _ in 0..2 {
            assert_eq!(cache.authenticate("good").await.unwrap().unwrap().name, "good");
            assert_eq!(cache.authenticate("bad").await.unwrap(), None);
        }
        assert_eq!(*access.0.lock(), 2);
        for n in 0..3 * CAPACITY {
            cache.authenticate(&format!("bad{n}")).await.unwrap();
            assert!(cache.tokens.lock().0.len() <= CAPACITY);
        }
        tokio::time::advance(TOKEN_FOR + Duration::from_secs(1)).await;
        let before = *access.0.lock();
        cache.authenticate("good").await.unwrap();
        assert_eq!(*access.0.lock(), before + 1);
    }
}
