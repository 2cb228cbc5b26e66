//! One webhook, asked and counted.

use std::time::{Duration, Instant};

use tracing::warn;
use uuid::Uuid;
use xebec_api::status::ApiError;

use super::Round;
use super::config::Hook;
use super::error::{HookError, calling_text, dry_run_unsupported, rejection};
use super::review::{self, Answer, BadAnswer, ReviewVersion};
use crate::Rejection;
use crate::matching::Matched;
use crate::versions::Versioned;
use crate::webhook::Flavor;

impl Round<'_> {
    /// Asks the webhook. Its audit annotations and warnings are recorded, whatever it says.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        matched: &Matched,
        objects: &Versioned,
    ) -> Result<Answer, HookError> {
        let calling = |reason: String, code: u16| HookError::Calling { reason, code };
        if self.attributes.dry_run && !hook.dry_runnable {
            return Err(if hook.side_effects_known {
                HookError::Fatal(dry_run_unsupported(&hook.name))
            } else {
                calling("Webhook SideEffects is nil".to_owned(), 400)
            });
        }
        let Some(version) = ReviewVersion::choose(&hook.review_versions) else {
            let why = "could not create admission objects: webhook does not accept known AdmissionReview versions \
                       (v1, v1beta1)";
            return Err(calling(why.to_owned(), 400));
        };
        let uid = Uuid::new_v4().to_string();
        let question = review::question(version, &uid, self.attributes, matched, objects);
        let answered = self.client.ask(&hook.client, &question, self.patience(hook)).await;
        let answered = answered.map_err(|failure| calling(failure.reason, failure.code))?;
        let mutating = self.flavor == Flavor::Mutating;
        let answer = review::answer(version, &uid, mutating, &answered).map_err(|bad| match bad {
            BadAnswer::Undecodable(why) => calling(format!("failed to call webhook: {why}"), 503),
            BadAnswer::Invalid(why) => calling(format!("received invalid webhook response: {why}"), 503),
        })?;
        for (key, value) in &answer.audit_annotations {
            self.record.annotate(&format!("{}/{key}", hook.name), value);
        }
        for warning in &answer.warnings {
            self.record.warn(warning);
        }
        if answer.allowed {
            Ok(answer)
        } else {
            Err(HookError::Rejected(rejection(&hook.name, &answer.result)))
        }
    }

    /// How long the webhook may take: its own time, and no longer than the request has left.
    fn patience(&self, hook: &Hook) -> Duration {
        let own = Duration::from_secs(u64::from(hook.timeout_seconds));
        let now = tokio::time::Instant::now();
        self.attributes.deadline.map_or(own, |deadline| own.min(deadline.saturating_duration_since(now)))
    }

    /// Counts a call's end.
    pub(super) fn count(&self, hook: &Hook, started: Instant, error: Option<&HookError>) {
        let (metrics, operation, label) =
            (&self.world.metrics, self.attributes.operation, self.flavor.label());
        let rejection = match error {
            None => None,
            Some(HookError::Calling { code, .. }) if hook.ignores_failure => Some((None, *code)),
            Some(HookError::Calling { code, .. }) => Some((Some(Rejection::CallingWebhook), *code)),
            Some(HookError::Rejected(error)) => Some((Some(Rejection::NoError), error.code)),
            Some(HookError::Fatal(_)) => Some((Some(Rejection::ApiServerInternal), 0)),
        };
        let (why, code) = rejection.unwrap_or((None, 200));
        if let Some(why) = why {
            metrics.webhook_rejection(&hook.name, label, operation, why, code);
        }
        metrics.webhook(&hook.name, label, operation, code, why.is_some(), started.elapsed());
    }

    /// What a failed call is to the request: nothing, where the webhook's failures are ignored (noted under `key`).
    pub(super) fn settle(&self, hook: &Hook, error: HookError, key: &str) -> Result<(), ApiError> {
        match error {
            HookError::Calling { reason, .. } if hook.ignores_failure => {
                warn!(webhook = hook.name, error = calling_text(&hook.name, &reason), "failing open");
                self.world.metrics.webhook_fail_open(&hook.name, self.flavor.label());
                self.record.annotate(key, &hook.name);
                self.attributes.check_deadline()
            }
            HookError::Calling { reason, .. } => {
                warn!(webhook = hook.name, error = calling_text(&hook.name, &reason), "failing closed");
                Err(HookError::calling(&hook.name, &reason))
            }
            HookError::Rejected(error) | HookError::Fatal(error) => Err(error),
        }
    }
}
