//! The harness of the whole-cluster tests.
//!
//! Enters: a cluster that `cargo xtask test` started (`XEBEC_E2E`, `KUBECONFIG`, `XEBEC_KUBECTL`, `XEBEC_PYTHON`,
//! `XEBEC_CONTROL`, `XEBEC_AGENT`, `XEBEC_XTASK`). Leaves: errors that show the command, what it said and what the
//! namespace looked like. Every test in `tests/` calls it; without `XEBEC_E2E` a test says why it is skipped.
//!
//! Rules of these tests: real clients against a real cluster; a wait is for a condition with a deadline, never a
//! fixed sleep; no duration is asserted; a namespace of one's own, removed at the end (kept with `XEBEC_KEEP=1`).

mod call;
mod http;
mod manifest;
mod namespace;
mod outage;
mod outside;
mod process;
mod wait;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};

pub use call::{Call, Output, Stream, kubectl, program};
pub use http::{Proxy, Response, get};
pub use manifest::{PodManifest, shell_pod, web};
pub use namespace::Namespace;
pub use outage::{OtherAgent, Outage};
pub use outside::{Outside, Reply};
pub use process::{kill, pod_process};
pub use wait::until;

/// How long anything that a healthy cluster does in a second or two may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test that needs the cluster, or says why it is skipped.
///
/// # Errors
/// Whatever the test returns.
pub fn cluster(test: impl FnOnce() -> Result<()>) -> Result<()> {
    if std::env::var_os("XEBEC_E2E").is_none() {
        // Straight to the stream: the test runner hides what a passing test prints.
        writeln!(
            std::io::stderr(),
            "skipped: no cluster (XEBEC_E2E is unset); `cargo xtask test --only e2e`"
        )?;
        return Ok(());
    }
    test()
}

/// Runs a test in a namespace of its own; an error carries the namespace's pods and events.
///
/// # Errors
/// Whatever the test returns, or that the namespace could not be made.
pub fn namespaced(label: &str, test: impl FnOnce(&Namespace) -> Result<()>) -> Result<()> {
    cluster(|| {
        let namespace = Namespace::create(label)?;
        test(&namespace).with_context(|| namespace.picture())
    })
}

/// The cluster's only node.
///
/// # Errors
/// The API server does not answer, or there is not exactly one node.
pub fn node() -> Result<String> {
    let names = kubectl("get nodes -o jsonpath={.items[*].metadata.name}").ok()?;
    anyhow::ensure!(names.split_whitespace().count() == 1, "expected one node, found {names:?}");
    Ok(names.trim().to_owned())
}

/// An environment variable that `cargo xtask test` sets.
///
/// # Errors
/// It is not set.
pub fn setting(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run `cargo xtask test --only e2e`"))
}
