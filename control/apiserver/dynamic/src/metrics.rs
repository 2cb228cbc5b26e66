//! What is counted; the API server turns it into upstream's metric families.

use std::time::Duration;

use crate::Operation;

/// Why a webhook's caller was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The webhook could not be asked, or answered nonsense.
    CallingWebhook,
    /// The server itself failed (a patch that does not fit).
    ApiServerInternal,
    /// The webhook said no.
    NoError,
}

impl Rejection {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallingWebhook => "calling_webhook_error",
            Self::ApiServerInternal => "apiserver_internal_error",
            Self::NoError => "no_error",
        }
    }
}

/// What came of a policy's evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// The request passes.
    Allow,
    /// It is refused.
    Deny,
    /// It passes with an audit annotation.
    Audit,
    /// It passes with a warning.
    Warn,
}

/// Counters of dynamic admission. Every method does nothing by default.
pub trait Metrics: Send + Sync {
    /// One call of a webhook: `kind` is `admit` or `validating`, `code` the HTTP code the caller would see.
    fn webhook(
        &self,
        name: &str,
        kind: &str,
        operation: Operation,
        code: u16,
        rejected: bool,
        elapsed: Duration,
    ) {
        let _ = (name, kind, operation, code, rejected, elapsed);
    }

    /// A webhook led to a refusal.
    fn webhook_rejection(&self, name: &str, kind: &str, operation: Operation, why: Rejection, code: u16) {
        let _ = (name, kind, operation, why, code);
    }

    /// A webhook failed and its failure policy let the request pass.
    fn webhook_fail_open(&self, name: &str, kind: &str) {
        let _ = (name, kind);
    }

    /// Match conditions kept a webhook or policy from being asked.
    fn match_condition_exclusion(&self, name: &str, matcher: &str, kind: &str, operation: Operation) {
        let _ = (name, matcher, kind, operation);
    }

    /// A match condition failed to evaluate.
    fn match_condition_error(&self, name: &str, matcher: &str, kind: &str, operation: Operation) {
        let _ = (name, matcher, kind, operation);
    }

    /// A mutating policy with a binding was evaluated; otherwise as [`Metrics::policy`].
    fn mutating_policy(
        &self,
        policy: &str,
        binding: &str,
        outcome: Enforcement,
        error: &str,
        elapsed: Duration,
    ) {
        let _ = (policy, binding, outcome, error, elapsed);
    }

    /// A validating policy with a binding was evaluated; `error` is `no_error`, `compile_error`, `invalid_error` or
    /// `out_of_budget`.
    fn policy(&self, policy: &str, binding: &str, outcome: Enforcement, error: &str, elapsed: Duration) {
        let _ = (policy, binding, outcome, error, elapsed);
    }
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetrics;

impl Metrics for NoMetrics {}
