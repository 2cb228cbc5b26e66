//! Subresources with an object of their own (Scale, Binding, Eviction, TokenRequest): admission is asked about that one.

use serde_json::Value;
use xebec_api::status::ApiError;

use super::{Registry, Target, WriteContext};
use crate::admission::{Attributes, Operation};

impl Registry {
    /// The subresource's object as admission leaves it; `old` is what it replaces, if anything.
    pub(super) async fn admit_own(
        &self,
        context: &WriteContext,
        target: &Target,
        subresource: &'static str,
        mut object: Value,
        old: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let attributes = Attributes::new(context, target, subresource, operation);
        self.admission.mutate(&attributes, &mut object, old).await?;
        self.admission.validate(&attributes, Some(&object), old).await?;
        Ok(object)
    }
}
