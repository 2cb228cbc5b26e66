//! ValidatingAdmissionPolicy: every bound policy that is concerned is evaluated; the first denial is the answer, with
//! warnings and audit annotations for the bindings that ask for those.
//!
//! Authority: pkg/admission/plugin/policy/validating/dispatcher.go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xebec_api::status::{ApiError, Reason};

use super::Policies;
use super::decision::{Annotation, Decided, Decision};
use super::params;
use super::source::{Binding, Policy};
use super::validator::Validator;
use crate::cel::Input;
use crate::matching::Matched;
use crate::versions::Versions;
use crate::{Attributes, Enforcement, Record, World};

/// Longest value of one audit annotation, in bytes.
const MAX_ANNOTATION: usize = 10 * 1024;
/// Most failures told in the audit annotation of validations that are audited only.
const MAX_FAILURES: usize = 50;
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A reason to refuse the request.
struct Denial {
    policy: String,
    binding: Option<String>,
    decision: Decision,
}

/// One request's validation.
struct Round<'a> {
    world: &'a World,
    attributes: &'a Attributes<'a>,
    record: &'a dyn Record,
    denials: Vec<Denial>,
    failures: Vec<Value>,
}

impl Policies {
    /// Evaluates every concerned policy.
    pub(crate) async fn validate(
        &self,
        world: &World,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        record: &dyn Record,
    ) -> Result<(), ApiError> {
        let policies = self.validating.policies(world.reader.as_ref());
        if policies.is_empty() {
            return Ok(());
        }
        let mut versions = Versions::new(world.types.as_ref(), attributes, object);
        let mut round = Round { world, attributes, record, denials: Vec::new(), failures: Vec::new() };
        for policy in policies.iter() {
            round.policy(policy, object, &mut versions).await?;
        }
        round.finish(object)
    }
}

impl Round<'_> {
    async fn policy(
        &mut self,
        policy: &Policy<Validator>,
        object: Option<&Value>,
        versions: &mut Versions<'_>,
    ) -> Result<(), ApiError> {
        let (reader, types) = (self.world.reader.clone(), self.world.types.clone());
        let matched = match policy.matched(self.attributes, object, reader.as_ref(), types.as_ref()) {
            Err(why) => {
                self.misconfigured(policy, None, &why);
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Ok(Some(matched)) => matched,
        };
        if let Some(kind) = &policy.param_kind
            && types.resource_for(kind).is_none()
        {
            let why = format!("failed to find resource referenced by paramKind: '{kind}'");
            self.misconfigured(policy, None, &why);
            return Ok(());
        }
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in &policy.bindings {
            match binding.matches(self.attributes, object, reader.as_ref(), types.as_ref()) {
                Err(why) => self.misconfigured(policy, Some(binding), &why),
                Ok(false) => {}
                Ok(true) => self.binding(policy, binding, &matched, versions, &mut annotations).await?,
            }
        }
        for (key, values) in annotations {
            self.record.annotate(&format!("{}/{key}", policy.name), &values.join(", "));
        }
        Ok(())
    }

    async fn binding(
        &mut self,
        policy: &Policy<Validator>,
        binding: &Binding,
        matched: &Matched,
        versions: &mut Versions<'_>,
        annotations: &mut BTreeMap<String, Vec<String>>,
    ) -> Result<(), ApiError> {
        let namespace = &self.attributes.namespace;
        let params = match params::collect(self.world, policy.param_kind.as_ref(), binding, namespace).await {
            Ok(params) => params,
            Err(why) => {
                self.misconfigured(policy, Some(binding), &why);
                return Ok(());
            }
        };
        if params.is_empty() {
            return Ok(());
        }
        let objects = match versions.get(&matched.kind).await {
            Ok(objects) => objects,
            Err(error) => {
                let why = format!("failed to convert object version: {error}");
                self.misconfigured(policy, Some(binding), &why);
                return Ok(());
            }
        };
        let namespace = super::namespace_object(self.world, self.attributes)?;
        for param in params {
            let input = Input::new(self.attributes, matched, &objects, &self.world.authorizer)
                .with(param.as_deref(), namespace.as_deref());
            let started = Instant::now();
            let decided = policy.compiled.validate(&input, policy.ignores_failure);
            self.decided(policy, binding, decided, started.elapsed(), annotations);
        }
        Ok(())
    }

    fn decided(
        &mut self,
        policy: &Policy<Validator>,
        binding: &Binding,
        decided: Decided,
        elapsed: Duration,
        annotations: &mut BTreeMap<String, Vec<String>>,
    ) {
        let count = |outcome: Enforcement, error: &str| {
            self.world.metrics.policy(&policy.name, &binding.name, outcome, error, elapsed);
        };
        for (index, decision) in decided.decisions.into_iter().enumerate() {
            if !decision.denies {
                if decision.is_error {
                    count(Enforcement::Allow, decision.error_type());
                }
                continue;
            }
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => {
                        count(Enforcement::Deny, decision.error_type());
                        self.denials.push(Denial::new(policy, Some(binding), decision.clone()));
                    }
                    "Audit" => {
                        count(Enforcement::Audit, decision.error_type());
                        self.failures.push(json!({
                            "message": decision.message, "policy": binding.policy(), "binding": binding.name,
                            "expressionIndex": index, "validationActions": binding.actions,
                        }));
                    }
                    "Warn" => {
                        count(Enforcement::Warn, decision.error_type());
                        self.record.warn(&format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                            policy.name, binding.name, decision.message
                        ));
                    }
                    _ => {}
                }
            }
        }
        for annotation in decided.annotations {
            match annotation {
                Annotation::Publish { key, mut value } => {
                    truncate(&mut value, MAX_ANNOTATION);
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                Annotation::Failed(message) => {
                    count(Enforcement::Deny, "invalid_error");
                    let decision = Decision { is_error: true, ..Decision::deny(message) };
                    self.denials.push(Denial::new(policy, Some(binding), decision));
                }
            }
        }
    }

    /// A mistake in a policy or binding: refuses the request unless the policy's failures are ignored.
    fn misconfigured(&mut self, policy: &Policy<Validator>, binding: Option<&Binding>, why: &str) {
        if policy.ignores_failure {
            return;
        }
        let what = if binding.is_some() { "binding" } else { "policy" };
        let decision = Decision::deny(format!("failed to configure {what}: {why}"));
        self.denials.push(Denial::new(policy, binding, decision));
    }

    fn finish(self, object: Option<&Value>) -> Result<(), ApiError> {
        if !self.failures.is_empty() {
            let shown = &self.failures[..self.failures.len().min(MAX_FAILURES)];
            self.record.annotate(FAILURES, &json!(shown).to_string());
        }
        let Some(first) = self.denials.into_iter().next() else { return Ok(()) };
        let with = first.binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
        let message = format!(
            "ValidatingAdmissionPolicy '{}'{with} denied request: {}",
            first.policy, first.decision.message
        );
        let mut error = self.attributes.forbidden(object, &message).with_cause("", &message, "");
        error.reason = first.decision.reason.unwrap_or(Reason::Invalid);
        error.code = match error.reason {
            Reason::Forbidden => 403,
            Reason::Unauthorized => 401,
            Reason::RequestEntityTooLarge => 413,
            _ => 422,
        };
        Err(error)
    }
}

impl Denial {
    fn new(policy: &Policy<Validator>, binding: Option<&Binding>, decision: Decision) -> Self {
        Self { policy: policy.name.clone(), binding: binding.map(|binding| binding.name.clone()), decision }
    }
}

fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}
