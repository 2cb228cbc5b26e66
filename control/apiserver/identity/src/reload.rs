//! Configuration files, followed while the server runs.
//!
//! Enters: a file's path and who takes its text over ([`Follower`]). Leaves: a follower that does as the file says, and
//! [`Reloads`], which tells how that went. A changed file that is wrong is logged, counted and changes nothing. Called by
//! the API server for the files of authentication and authorization.
//!
//! Authority: KEP-3221, KEP-3331; `k8s.io/apiserver/pkg/server/options/{authentication,authorization}config/metrics`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use xebec_api::config_file;

use crate::authn::config::ConfigError;

/// How often the files are looked at. Upstream is woken by the kernel and looks once a minute besides; reading a small
/// file this often costs a few microseconds a second and needs no watch that a replaced file or mount would break.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Takes the text of a configuration file over.
#[async_trait]
pub trait Follower: Send + Sync {
    /// Does as the text says from now on; false if that is what it did before.
    ///
    /// # Errors
    /// What is wrong with the text; nothing has changed then.
    async fn take(&self, text: &str) -> Result<bool, ConfigError>;
}

/// How one outcome came about so far.
#[derive(Clone, Copy, Default)]
struct Outcome {
    count: u64,
    /// Seconds since 1970.
    last: f64,
}

#[derive(Default)]
struct State {
    success: Outcome,
    failure: Outcome,
    in_force: String,
}

/// How reloads of one file went; `subject` is `authentication` or `authorization`.
pub struct Reloads {
    subject: &'static str,
    state: Mutex<State>,
}

/// `sha256:` and the hexadecimal hash of a text; empty for an empty one.
fn hash(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut shown = "sha256:".to_owned();
    for byte in digest(&SHA256, text.as_bytes()).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(shown, "{byte:02x}");
    }
    shown
}

impl Reloads {
    /// Of a file whose `text` has been taken over at the start, which is no reload.
    pub fn new(subject: &'static str, text: &str) -> Reloads {
        Reloads { subject, state: Mutex::new(State { in_force: hash(text), ..State::default() }) }
    }

    /// Counts the start as a first success, as upstream does for authorization only.
    #[must_use]
    pub fn with_start(self) -> Reloads {
        self.state.lock().success = Outcome::default().again();
        self
    }

    fn succeeded(&self, text: &str) {
        let mut state = self.state.lock();
        state.success = state.success.again();
        state.in_force = hash(text);
    }

    fn failed(&self) {
        let mut state = self.state.lock();
        state.failure = state.failure.again();
    }

    /// Adds the metrics in the Prometheus text format; `server` is this server's identity.
    pub fn describe(&self, server: &str, text: &mut String) {
        let state = self.state.lock();
        let server = hash(server);
        let outcomes = [("failure", state.failure), ("success", state.success)];
        let outcomes = outcomes.into_iter().filter(|(_, outcome)| outcome.count > 0);
        let prefix = format!("apiserver_{}_config_controller", self.subject);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# TYPE {prefix}_automatic_reload_last_timestamp_seconds gauge");
        for (status, Outcome { last, .. }) in outcomes.clone() {
            let labels = format!("apiserver_id_hash=\"{server}\",status=\"{status}\"");
            let _ = writeln!(text, "{prefix}_automatic_reload_last_timestamp_seconds{{{labels}}} {last}");
        }
        let _ = writeln!(text, "# TYPE {prefix}_automatic_reloads_total counter");
        for (status, Outcome { count, .. }) in outcomes {
            let labels = format!("apiserver_id_hash=\"{server}\",status=\"{status}\"");
            let _ = writeln!(text, "{prefix}_automatic_reloads_total{{{labels}}} {count}");
        }
        let _ = writeln!(text, "# TYPE {prefix}_last_config_info gauge");
        let labels = format!("apiserver_id_hash=\"{server}\",hash=\"{}\"", state.in_force);
        let _ = writeln!(text, "{prefix}_last_config_info{{{labels}}} 1");
    }
}

impl Outcome {
    fn again(self) -> Outcome {
        let now = Timestamp::now().as_millisecond();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 stay below 2^53 for long")]
        let last = now as f64 / 1000.0;
        Outcome { count: self.count + 1, last }
    }
}

/// Reads a file's text.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    Ok(std::fs::read_to_string(path).map_err(config_file::ConfigError::file(path))?)
}

/// Follows the file for ever, looking every `every`; `seen` is the text that is in force. Runs in a task of its own.
///
/// Each state of the file is tried once: one that is wrong, or gone, counts once and not again until it changes.
pub async fn follow(
    path: PathBuf,
    seen: String,
    every: Duration,
    follower: Arc<dyn Follower>,
    reloads: Arc<Reloads>,
) {
    let mut last = Ok(seen);
    loop {
        tokio::time::sleep(every).await;
        let found = read(&path).map_err(|error| error.to_string());
        if found == last {
            continue;
        }
        let outcome = match &found {
            Ok(text) => follower.take(text).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match (outcome, &found) {
            (Ok(true), Ok(text)) => {
                tracing::info!(path = %path.display(), "{} configuration reloaded", reloads.subject);
                reloads.succeeded(text);
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                tracing::error!(path = %path.display(), error, "keeping the old {} configuration", reloads.subject);
                reloads.failed();
            }
        }
        last = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes texts over that are numbers.
    struct Number(Mutex<u32>);

    #[async_trait]
    impl Follower for Number {
        async fn take(&self, text: &str) -> Result<bool, ConfigError> {
            let number =
                text.trim().parse().map_err(|_| config_file::ConfigError::Form("no number".to_owned()))?;
            let before = std::mem::replace(&mut *self.0.lock(), number);
            Ok(before != number)
        }
    }

    fn counts(reloads: &Reloads) -> (u64, u64) {
        let state = reloads.state.lock();
        (state.success.count, state.failure.count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_file_is_taken_over_and_a_bad_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "1").unwrap();
        let number = Arc::new(Number(Mutex::new(1)));
        let reloads = Arc::new(Reloads::new("authorization", "1"));
        let follower: Arc<dyn Follower> = Arc::clone(&number) as _;
        let follow = follow(path.clone(), "1".to_owned(), LOOK_EVERY, follower, Arc::clone(&reloads));
        let task = tokio::spawn(follow);
        for (text, in_force, wanted) in [
            (Some("1"), 1, (0, 0)),
            (Some("2"), 2, (1, 0)),
            (Some("two"), 2, (1, 1)),
            (Some("three"), 2, (1, 2)),
            (None, 2, (1, 3)),
            (Some("3"), 3, (2, 3)),
            (Some("3\n"), 3, (2, 3)),
        ] {
            match text {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            tokio::time::sleep(LOOK_EVERY * 3).await;
            assert_eq!((*number.0.lock(), counts(&reloads)), (in_force, wanted), "{text:?}");
        }
        task.abort();
    }

    #[test]
    fn metrics_have_upstreams_names() {
        let reloads = Reloads::new("authentication", "text").with_start();
        reloads.state.lock().success.last = 1.5;
        let mut text = String::new();
        reloads.describe("apiserver-x", &mut text);
        let id = hash("apiserver-x");
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        let prefix = "apiserver_authentication_config_controller";
        assert_eq!(
            text,
            format!(
                "# TYPE {prefix}_automatic_reload_last_timestamp_seconds gauge\n\
                 {prefix}_automatic_reload_last_timestamp_seconds{{apiserver_id_hash=\"{id}\",status=\"success\"}} 1.5\n\
                 # TYPE {prefix}_automatic_reloads_total counter\n\
                 {prefix}_automatic_reloads_total{{apiserver_id_hash=\"{id}\",status=\"success\"}} 1\n\
                 # TYPE {prefix}_last_config_info gauge\n\
                 {prefix}_last_config_info{{apiserver_id_hash=\"{id}\",hash=\"{}\"}} 1\n",
                hash("text")
            )
        );
        assert_eq!(hash("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
