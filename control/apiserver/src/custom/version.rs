//! One served version of a definition: what it does its own way.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use xebec_api::field::FieldError;
use xebec_api::meta;
use xebec_api::schema::Finding;
use xebec_api::status::{ApiError, Reason};
use xebec_crd::definition::Definition;
use xebec_crd::resource::{CustomStrategy, ScaleError};
use xebec_crd::{merge, served};

use super::convert::Converter;
use super::rules::is_of;
use crate::registry::MergeSchema;
use crate::resources::{Custom, Scaled};
use crate::watch::Object;

/// How far a definition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// It is being deleted: nothing new is created.
    pub(super) terminating: bool,
    /// Discovery tells of it.
    pub(super) established: bool,
}

/// A version.
pub(super) struct Version {
    name: &'static str,
    strategy: Arc<CustomStrategy>,
    converter: Arc<Converter>,
    merge: Arc<MergeSchema>,
    deprecation: Option<String>,
    hash: Option<String>,
    has_scale: bool,
    state: State,
}

impl Version {
    /// The version `name` of the converter's definition.
    pub(super) fn new(
        name: &'static str,
        strategy: Arc<CustomStrategy>,
        converter: Arc<Converter>,
        merge: Arc<MergeSchema>,
        state: State,
    ) -> Self {
        let definition = &converter.rules.definition;
        let deprecation = served::deprecation_warning(definition, name);
        let hash = served::storage_version_hash(definition);
        let has_scale = definition.version(name).is_some_and(|version| version.scale().is_some());
        Self { name, strategy, converter, merge, deprecation, hash, has_scale, state }
    }

    fn definition_of(&self) -> &Arc<Definition> {
        &self.converter.rules.definition
    }
}

/// How the fields of a version merge.
pub(super) fn merge_schema(definition: &Definition, strategy: &CustomStrategy) -> MergeSchema {
    let types = merge::types(strategy.schema().map(|schema| &**schema), definition.preserve_unknown);
    MergeSchema::new(types, merge::ROOT.to_owned())
}

#[async_trait]
impl Custom for Version {
    fn check_fields(&self, value: &mut Value) -> Vec<Finding> {
        self.strategy.check_fields(value)
    }

    fn merge_schema(&self) -> &MergeSchema {
        &self.merge
    }

    async fn decode(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, ApiError> {
        self.converter.decode(self.name, &self.strategy, objects).await
    }

    async fn encode(&self, value: Value) -> Result<Value, ApiError> {
        self.converter.encode(value).await
    }

    fn scale(&self) -> Option<&dyn Scaled> {
        self.has_scale.then_some(self)
    }

    fn selects_decoded(&self) -> bool {
        self.converter.asks_webhook()
    }

    fn is_current(&self, stored: &Object) -> bool {
        let rules = &self.converter.rules;
        is_of(&stored.bytes, &rules.definition.api_version(rules.storage_version))
    }

    fn check_update(&self, value: &Value, old: &Value) -> Option<(Vec<FieldError>, Vec<String>)> {
        Some(self.strategy.check_update(value, old))
    }

    fn list_kind(&self) -> Option<&str> {
        Some(&self.definition_of().accepted.list_kind)
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn storage_version_hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    fn is_terminating(&self) -> bool {
        self.state.terminating
    }

    fn is_discovered(&self) -> bool {
        self.state.established
    }

    fn definition(&self) -> Option<&Arc<Definition>> {
        Some(self.definition_of())
    }
}

impl Scaled for Version {
    fn replicas_path(&self) -> Vec<&str> {
        self.strategy.replicas_path().unwrap_or_default()
    }

    fn read(&self, object: &Value) -> Result<Value, ApiError> {
        answered(self.strategy.scale_of(object), object)
    }

    fn shown(&self, object: &Value) -> Result<Value, ApiError> {
        answered(self.strategy.scale_shown(object), object)
    }

    fn scaled(&self, object: &Value, wanted: &Value) -> Result<Value, ApiError> {
        answered(self.strategy.scaled(object, wanted), object)
    }
}

/// A Scale, or the error upstream answers.
fn answered(scale: Option<Result<Value, ScaleError>>, object: &Value) -> Result<Value, ApiError> {
    let error = match scale {
        None => return Err(ApiError::generic_404()),
        Some(Ok(scale)) => return Ok(scale),
        Some(Err(error)) => error,
    };
    Err(match error {
        ScaleError::NoReplicas(_) => ApiError::internal(error.to_string()),
        ScaleError::Empty(_) => ApiError::bad_request(error.to_string()),
        ScaleError::WrongType(_) => ApiError::new(500, Reason::Unknown, error.to_string()),
        ScaleError::Invalid(error) => {
            ApiError::invalid("autoscaling", "Scale", meta::name(object), vec![error])
        }
    })
}
