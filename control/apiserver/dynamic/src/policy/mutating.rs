//! MutatingAdmissionPolicy: the concerned policies change the object one after the other.
//!
//! Authority: pkg/admission/plugin/policy/{generic/policy_dispatcher,mutating/dispatcher}.go.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::{ApiError, Reason};

use super::decision::error_type;
use super::mutator::{MutationError, Mutator};
use super::source::{Binding, Policy};
use super::{Policies, params};
use crate::cel::{Input, Verdict};
use crate::matching::Matched;
use crate::reinvoke::{Calls, Reinvocation};
use crate::versions::Working;
use crate::{Attributes, Enforcement, Operation, World};

fn calls(state: &mut Reinvocation) -> &mut Calls {
    &mut state.policies
}

/// A policy with a binding and its parameters, that concerns the request.
struct Invocation<'a> {
    policy: &'a Policy<Mutator>,
    binding: &'a Binding,
    matched: Matched,
    param: Option<Arc<Value>>,
}

/// A reason to refuse the request.
struct Failure {
    message: String,
    reason: Option<Reason>,
}

/// One request's mutation by policies.
struct Round<'a> {
    world: &'a World,
    attributes: &'a Attributes<'a>,
    failures: Vec<Failure>,
}

impl Policies {
    /// Applies every concerned policy; `object` is changed in place, in the version it came in.
    pub(crate) async fn mutate(
        &self,
        world: &World,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        state: &mut Reinvocation,
    ) -> Result<(), ApiError> {
        // A delete has no object to change.
        if attributes.operation == Operation::Delete {
            return Ok(());
        }
        let policies = self.mutating.policies(world.reader.as_ref());
        if policies.is_empty() {
            return Ok(());
        }
        let mut round = Round { world, attributes, failures: Vec::new() };
        let mut invocations = Vec::new();
        for policy in policies.iter() {
            invocations.extend(round.invocations(policy, object.as_deref()).await);
        }
        let changed = if invocations.is_empty() {
            None
        } else {
            round.invoke(&invocations, object.as_deref(), state).await?
        };
        round.finish(object.as_deref())?;
        match (object, changed) {
            (Some(object), Some(changed)) => {
                *object = changed;
                state.finish(calls, Some(object));
            }
            (object, _) => state.finish(calls, object.as_deref()),
        }
        Ok(())
    }
}

impl Round<'_> {
    /// The invocations of one policy: one for each binding that matches, and each of its parameters.
    async fn invocations<'p>(
        &mut self,
        policy: &'p Policy<Mutator>,
        object: Option<&Value>,
    ) -> Vec<Invocation<'p>> {
        let (reader, types) = (self.world.reader.clone(), self.world.types.clone());
        let mut invocations = Vec::new();
        let matched = match policy.matched(self.attributes, object, reader.as_ref(), types.as_ref()) {
            Ok(Some(matched)) => matched,
            Ok(None) => return invocations,
            Err(why) => {
                self.misconfigured(policy, None, &why);
                return invocations;
            }
        };
        if let Some(kind) = &policy.param_kind
            && types.resource_for(kind).is_none()
        {
            let why = format!("failed to find resource referenced by paramKind: '{kind}'");
            self.misconfigured(policy, None, &why);
            return invocations;
        }
        for binding in &policy.bindings {
            match binding.matches(self.attributes, object, reader.as_ref(), types.as_ref()) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    self.misconfigured(policy, Some(binding), &why);
                    continue;
                }
            }
            let namespace = &self.attributes.namespace;
            match params::collect(self.world, policy.param_kind.as_ref(), binding, namespace).await {
                Ok(params) => invocations.extend(params.into_iter().map(|param| Invocation {
                    policy,
                    binding,
                    matched: matched.clone(),
                    param,
                })),
                Err(why) => self.misconfigured(policy, Some(binding), &why),
            }
        }
        invocations
    }

    /// Runs the invocations; the changed object, if any changed it.
    async fn invoke(
        &mut self,
        invocations: &[Invocation<'_>],
        object: Option<&Value>,
        state: &mut Reinvocation,
    ) -> Result<Option<Value>, ApiError> {
        state.start(calls, object);
        let namespace = super::namespace_object(self.world, self.attributes)?;
        let mut working = Working::new(self.world.types.as_ref(), self.attributes, object);
        for invocation in invocations {
            self.one(invocation, namespace.as_deref(), &mut working, state).await?;
        }
        working.finish().await
    }

    async fn one(
        &mut self,
        invocation: &Invocation<'_>,
        namespace: Option<&Value>,
        working: &mut Working<'_>,
        state: &mut Reinvocation,
    ) -> Result<(), ApiError> {
        let mutator = &invocation.policy.compiled;
        let objects = working.get(&invocation.matched.kind).await?;
        let input = Input::new(self.attributes, &invocation.matched, &objects, &self.world.authorizer)
            .with(invocation.param.as_deref(), namespace);
        if let Some(conditions) = &mutator.conditions {
            match conditions.evaluate(&input, invocation.policy.ignores_failure).verdict {
                Verdict::Matches => {}
                Verdict::Excluded => return Ok(()),
                Verdict::Failed(why) => {
                    self.failed(invocation, &why);
                    return Ok(());
                }
            }
        }
        let id = invocation.id();
        if state.is_second() && !state.policies.wants(&id) {
            return Ok(());
        }
        let before = objects.object.clone();
        for index in 0..mutator.mutations.len() {
            self.mutation(invocation, index, namespace, working).await?;
        }
        if working.object() != before.as_deref() {
            state.policies.changed();
            state.need();
        }
        if mutator.reinvocable {
            state.policies.called(&id);
        }
        Ok(())
    }

    async fn mutation(
        &mut self,
        invocation: &Invocation<'_>,
        index: usize,
        namespace: Option<&Value>,
        working: &mut Working<'_>,
    ) -> Result<(), ApiError> {
        let kind = &invocation.matched.kind;
        let objects = working.get(kind).await?;
        let Some(object) = objects.object.as_deref() else { return Ok(()) };
        let input = Input::new(self.attributes, &invocation.matched, &objects, &self.world.authorizer)
            .with(invocation.param.as_deref(), namespace);
        let started = Instant::now();
        let mutator = &invocation.policy.compiled;
        let types = self.world.types.as_ref();
        let result = mutator.mutate(&mutator.mutations[index], &input, object, kind, types);
        let count = |outcome: Enforcement, error: &str| {
            let (policy, binding) = (&invocation.policy.name, &invocation.binding.name);
            self.world.metrics.mutating_policy(policy, binding, outcome, error, started.elapsed());
        };
        match result {
            Ok(new) => {
                count(Enforcement::Allow, "no_error");
                if new != *object {
                    working.set(new);
                }
            }
            Err(MutationError::Fatal(error)) => {
                count(Enforcement::Deny, "invalid_error");
                return Err(error);
            }
            Err(MutationError::Policy(why)) => {
                count(Enforcement::Deny, error_type(&why, true));
                self.failed(invocation, &why);
            }
        }
        Ok(())
    }

    /// A mistake in a policy or binding.
    fn misconfigured(&mut self, policy: &Policy<Mutator>, binding: Option<&Binding>, why: &str) {
        let what = if binding.is_some() { "binding" } else { "policy" };
        self.fail(policy, binding, &format!("failed to configure {what}: {why}"), None);
    }

    /// An evaluation that failed.
    fn failed(&mut self, invocation: &Invocation<'_>, why: &str) {
        self.fail(invocation.policy, Some(invocation.binding), why, Some(Reason::Invalid));
    }

    fn fail(
        &mut self,
        policy: &Policy<Mutator>,
        binding: Option<&Binding>,
        why: &str,
        reason: Option<Reason>,
    ) {
        if policy.ignores_failure {
            return;
        }
        let message = match binding {
            Some(binding) => {
                format!("policy '{}' with binding '{}' denied request: {why}", policy.name, binding.name)
            }
            None => format!("policy {:?} denied request: {why}", policy.name),
        };
        self.failures.push(Failure { message, reason });
    }

    /// 403 with the first failure's message and reason, and all of them as causes.
    fn finish(&mut self, object: Option<&Value>) -> Result<(), ApiError> {
        let failures = std::mem::take(&mut self.failures);
        let Some(first) = failures.first() else { return Ok(()) };
        let mut error = self.attributes.forbidden(object, "admission request denied by policy");
        error.message.clone_from(&first.message);
        if let Some(reason) = first.reason {
            error.reason = reason;
        }
        Err(failures.iter().fold(error, |error, failure| error.with_cause("", &failure.message, "")))
    }
}

impl Invocation<'_> {
    /// What tells it from others of the same request.
    fn id(&self) -> String {
        let param = self.param.as_deref().map(meta::key).unwrap_or_default();
        format!("{}\n{}\n{param}", self.policy.name, self.binding.name)
    }
}
