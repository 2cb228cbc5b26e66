//! MutatingAdmissionWebhook: one after the other, each sees what the ones before it made of the object.

use std::time::Instant;

use serde_json::{Value, json};
use xebec_api::gotext::quote;
use xebec_api::patch::{self, PatchError};
use xebec_api::status::ApiError;

use super::config::Hook;
use super::error::HookError;
use super::review::Answer;
use super::{Flavor, Round, Webhooks};
use crate::reinvoke::{Calls, Reinvocation};
use crate::versions::{Versioned, Working};
use crate::{Attributes, Decoding, Record, World};

const MUTATION: &str = "mutation.webhook.admission.k8s.io/";
const PATCH: &str = "patch.webhook.admission.k8s.io/";
const FAILED_OPEN: &str = "failed-open.mutation.webhook.admission.k8s.io/";

fn calls(state: &mut Reinvocation) -> &mut Calls {
    &mut state.webhooks
}

impl Webhooks {
    /// Asks every concerned mutating webhook; `object` is changed in place, in the version it came in.
    pub(crate) async fn mutate(
        &self,
        world: &World,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        state: &mut Reinvocation,
        record: &dyn Record,
    ) -> Result<(), ApiError> {
        let hooks = self.hooks(Flavor::Mutating, world);
        if hooks.is_empty() {
            return Ok(());
        }
        let round = Round { world, client: &self.client, attributes, record, flavor: Flavor::Mutating };
        state.start(calls, object.as_deref());
        let mut working = Working::new(world.types.as_ref(), attributes, object.as_deref());
        for (index, hook) in hooks.iter().enumerate() {
            round.one(hook, index, &mut working, state).await?;
        }
        let changed = working.finish().await?;
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
    async fn one(
        &self,
        hook: &Hook,
        index: usize,
        working: &mut Working<'_>,
        state: &mut Reinvocation,
    ) -> Result<(), ApiError> {
        let Some(matched) = self.matched(hook, working.object())? else { return Ok(()) };
        let objects = working.get(&matched.kind).await?;
        if !self.conditions_hold(hook, &matched, &objects)? {
            return Ok(());
        }
        // In the second round nobody is called for the first time, nor anybody after whom nothing changed.
        if state.is_second() && !state.webhooks.wants(&hook.id) {
            return Ok(());
        }
        self.attributes.check_deadline()?;
        let round = u8::from(state.is_second());
        let key = |prefix: &str| format!("{prefix}round_{round}_index_{index}");
        let started = Instant::now();
        let outcome = match self.ask(hook, &matched, &objects).await {
            Ok(answer) => self.patched(hook, &objects, &answer),
            Err(error) => Err(error),
        };
        self.count(hook, started, outcome.as_ref().err());
        let mutated = matches!(&outcome, Ok(Some(patched)) if patched.changed);
        let about = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated});
        self.record.annotate(&key(MUTATION), &about.to_string());
        if let Ok(Some(patched)) = &outcome {
            let about = json!({
                "configuration": hook.configuration, "webhook": hook.name, "patch": patched.patch,
                "patchType": "JSONPatch",
            });
            self.record.annotate_request(&key(PATCH), &about.to_string());
        }
        if mutated {
            state.webhooks.changed();
            state.need();
        }
        if hook.reinvocable {
            state.webhooks.called(&hook.id);
        }
        match outcome {
            Ok(Some(patched)) => {
                working.set(patched.object);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => self.settle(hook, error, &key(FAILED_OPEN)),
        }
    }

    /// The object after the answer's patch; none when there is no patch.
    fn patched(
        &self,
        hook: &Hook,
        objects: &Versioned,
        answer: &Answer,
    ) -> Result<Option<Patched>, HookError> {
        if answer.patch.is_empty() {
            return Ok(None);
        }
        let undecodable = |why: String| HookError::Calling {
            reason: format!("received undecodable patch in webhook response: {why}"),
            code: 503,
        };
        let operations: Value =
            serde_json::from_slice(&answer.patch).map_err(|error| undecodable(error.to_string()))?;
        let Some(list) = operations.as_array() else {
            return Err(undecodable(
                "json: cannot unmarshal the patch into Go value of type jsonpatch.Patch".to_owned(),
            ));
        };
        if list.is_empty() {
            return Ok(None);
        }
        let fatal = |why: String| HookError::Fatal(ApiError::internal(why));
        let Some(object) = objects.object.as_deref() else {
            return Err(fatal(format!(
                "admission webhook {} attempted to modify the object, which is not supported for this operation",
                quote(&hook.name)
            )));
        };
        if answer.patch_type != "JSONPatch" {
            let reason = format!("unsupported patch type {}", quote(&answer.patch_type));
            return Err(HookError::Calling { reason, code: 400 });
        }
        let new = patch::json_patch(object, &operations).map_err(|error| fatal(patch_text(&error)))?;
        let new = self.world.types.decode(&objects.kind, new, Decoding::Lenient).map_err(fatal)?;
        let changed = new != *object;
        Ok(Some(Patched { object: new, changed, patch: operations }))
    }
}

/// What a webhook's patch made of an object.
struct Patched {
    object: Value,
    changed: bool,
    patch: Value,
}

/// The error of a patch that does not fit, in the words of upstream's library where those are known.
pub(crate) fn patch_text(error: &PatchError) -> String {
    match error {
        PatchError::Test(path) => format!("testing value {path} failed: test failed"),
        PatchError::Apply(why) => why.clone(),
        other => other.to_string(),
    }
}
