//! How Xebec's programs begin and end: the log, the runtime, signals, parts that live and die together, and the one line
//! that says why a program ended.
//!
//! Enters: a program's name and its work. Leaves: an exit code. Called by the `main` of `xebec-control` and
//! `xebec-agent`.

mod failure;
mod listen;

use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

pub use failure::{Failure, chain};
pub use listen::every_family;

/// What is left running in the background when the work is done has this long.
const REST: Duration = Duration::from_secs(2);

/// A program that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name, in front of the line that says why it ended.
    pub name: &'static str,
    /// The least that is logged, where RUST_LOG does not say.
    pub level: &'static str,
    /// Whether a line of the log is JSON.
    pub json: bool,
    /// What the log says when a signal ends it.
    pub stopping: &'static str,
}

impl Program {
    /// Starts the log, on stderr, in colours if that is a terminal. Once in a process.
    pub fn start_log(self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| self.level.into());
        let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
        let log = log.with_ansi(std::io::stderr().is_terminal());
        if self.json { log.json().init() } else { log.init() }
    }

    /// Does the work, which ends when its token is cancelled (by SIGTERM or SIGINT), and says why it failed: exit code 1.
    pub fn run<F>(self, work: impl FnOnce(CancellationToken) -> F) -> ExitCode
    where
        F: Future<Output = Result<(), Failure>>,
    {
        // One TLS implementation for the whole process; a second call can only mean that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return self.fail(&format!("cannot start the runtime: {error}")),
        };
        let outcome = runtime.block_on(async {
            let stop = CancellationToken::new();
            cancel_by_signal(stop.clone(), self.stopping)?;
            work(stop).await
        });
        runtime.shutdown_timeout(REST);
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => self.fail(&failure.to_string()),
        }
    }

    #[expect(clippy::print_stderr, reason = "the one line that says why the program ends")]
    fn fail(self, message: &str) -> ExitCode {
        eprintln!("{}: {message}", self.name);
        ExitCode::FAILURE
    }
}

fn cancel_by_signal(stop: CancellationToken, stopping: &'static str) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::part("signals")(&error))?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("{stopping}");
        stop.cancel();
    });
    Ok(())
}

/// Waits for all parts of `whole`, and stops them when the first one ends. One that ends by itself is a failure: half a
/// program that looks alive is worse than one that whoever supervises it starts again.
pub async fn first_end(
    whole: &'static str,
    mut parts: JoinSet<Result<(), Failure>>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        let early = !stop.is_cancelled();
        stop.cancel();
        let result = ended.unwrap_or_else(|error| Err(Failure::part("a part")(&error)));
        let early_end = || Failure::Part { part: whole, reason: "a part ended by itself".to_owned() };
        let result = if early { result.and_then(|()| Err(early_end())) } else { result };
        outcome = outcome.and(result);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(
        results: impl IntoIterator<Item = Option<Result<(), Failure>>>,
        stop: &CancellationToken,
    ) -> JoinSet<Result<(), Failure>> {
        let mut parts = JoinSet::new();
        for result in results {
            let stop = stop.clone();
            parts.spawn(async move {
                match result {
                    Some(result) => result,
                    None => {
                        stop.cancelled().await;
                        Ok(())
                    }
                }
            });
        }
        parts
    }

    #[tokio::test]
    async fn the_first_end_is_everybodys() {
        let failed = || Some(Err(Failure::Option("a wrong value".to_owned())));
        for (results, expected) in [
            (vec![None, Some(Ok(()))], "whole: a part ended by itself"),
            (vec![None, failed(), None], "a wrong value"),
        ] {
            let stop = CancellationToken::new();
            let ended = first_end("whole", parts(results, &stop), &stop).await;
            assert_eq!(ended.unwrap_err().to_string(), expected);
            assert!(stop.is_cancelled());
        }
        let stop = CancellationToken::new();
        stop.cancel();
        first_end("whole", parts([None, None], &stop), &stop).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_of_a_part_is_told() {
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        parts.spawn(async { panic!("out of order") });
        let error = first_end("whole", parts, &stop).await.unwrap_err().to_string();
        assert!(error.starts_with("a part: ") && error.contains("panicked"), "{error}");
    }
}
