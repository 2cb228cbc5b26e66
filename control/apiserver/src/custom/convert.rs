//! Objects of one version of a definition become those of another: by name alone, or by a webhook.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;
use xebec_api::status::{ApiError, Reason};
use xebec_crd::conversion::Plan;
use xebec_crd::definition::Conversion;
use xebec_crd::resource::CustomStrategy;
use xebec_kinds::{Facts, Strategy};

use super::hook::Hook;
use super::memo::Memo;
use super::rules::{Rules, is_of};
use crate::watch::Object;

/// Most objects one question to a webhook carries.
const MAX_BATCH: usize = 500;

/// Converts the objects of one definition, as it is now.
pub(super) struct Converter {
    pub(super) rules: Arc<Rules>,
    hook: Arc<dyn Hook>,
    memo: Arc<Memo>,
    /// Names the definition in this state for the memo.
    id: u64,
}

impl Converter {
    /// A converter; no other has its `id`.
    pub(super) fn new(rules: Arc<Rules>, hook: Arc<dyn Hook>, memo: Arc<Memo>, id: u64) -> Self {
        Self { rules, hook, memo, id }
    }

    /// Whether conversion may change more than the version's name.
    pub(super) fn asks_webhook(&self) -> bool {
        matches!(self.rules.definition.conversion, Conversion::Webhook { .. })
    }

    /// Cached objects in `version`, in their order; the same where they are of that version already.
    pub(super) async fn decode(
        &self,
        version: &'static str,
        strategy: &CustomStrategy,
        mut objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, ApiError> {
        let wanted = self.rules.definition.api_version(version);
        let mut missing = Vec::new();
        for (at, object) in objects.iter_mut().enumerate() {
            if is_of(&object.bytes, &wanted) {
                continue;
            }
            match self.memo.get(self.id, version, &object.bytes) {
                Some(known) => *object = known,
                None => missing.push(at),
            }
        }
        for batch in missing.chunks(MAX_BATCH) {
            let values = batch.iter().map(|at| objects[*at].parse()).collect();
            let converted = self.convert(values, &wanted, batch.len() > 1).await?;
            for (at, mut value) in batch.iter().zip(converted) {
                shape(strategy, &mut value)?;
                let before = &objects[*at];
                let object = Arc::new(Object::new(value, before.revision, Some(&Selectable(strategy))));
                self.memo.put(self.id, version, &before.bytes, &object);
                objects[*at] = object;
            }
        }
        Ok(objects)
    }

    /// An object in the version objects are stored in.
    pub(super) async fn encode(&self, value: Value) -> Result<Value, ApiError> {
        let wanted = self.rules.definition.api_version(self.rules.storage_version);
        if value["apiVersion"] == wanted.as_str() {
            return Ok(value);
        }
        let mut converted = self.convert(vec![value], &wanted, false).await?;
        let Some(mut stored) = converted.pop() else {
            return Err(ApiError::internal("the conversion returned no object"));
        };
        shape(self.rules.storage(), &mut stored)?;
        Ok(stored)
    }

    async fn convert(&self, objects: Vec<Value>, wanted: &str, list: bool) -> Result<Vec<Value>, ApiError> {
        let conversion = &self.rules.definition.conversion;
        let uid = Uuid::new_v4().to_string();
        let review = match Plan::of(conversion, objects, wanted, list, &uid).map_err(failed)? {
            Plan::Done(objects) => return Ok(objects),
            Plan::Ask(review) => review,
        };
        let Conversion::Webhook { client: Some(place), .. } = conversion else {
            return Err(failed(review.failed("webhook configuration must have either service or URL")));
        };
        match self.hook.ask(place, &review.body).await {
            Ok(answer) => review.read(&answer).map_err(failed),
            Err(reason) => Err(failed(review.failed(&reason))),
        }
    }
}

/// 500 without a reason, as upstream answers an error that is no API error.
fn failed(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(500, Reason::Unknown, error.to_string())
}

/// What the version's schema does not know is not shown, nor stored.
fn shape(strategy: &CustomStrategy, value: &mut Value) -> Result<(), ApiError> {
    strategy.decode(value).map(drop).map_err(failed)
}

/// Only the selectable fields of a strategy: the object is in shape already.
struct Selectable<'a>(&'a CustomStrategy);

impl Strategy for Selectable<'_> {
    fn facts(&self) -> &Facts {
        self.0.facts()
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(String, String)> {
        self.0.selectable_fields(object)
    }
}
