//! What one evaluation sees of a request.

use std::sync::Arc;

use serde_json::{Value, json};
use xebec_identity::Authorizer;

use crate::Attributes;
use crate::matching::Matched;
use crate::versions::Versioned;

/// The request, as the matched kind, with the parameters of one binding.
pub(crate) struct Input<'a> {
    pub(crate) attributes: &'a Attributes<'a>,
    pub(crate) objects: &'a Versioned,
    pub(crate) params: Option<&'a Value>,
    pub(crate) namespace: Option<&'a Value>,
    pub(crate) authorizer: &'a Arc<Authorizer>,
    /// The variable `request`.
    pub(crate) request: Value,
}

impl<'a> Input<'a> {
    pub(crate) fn new(
        attributes: &'a Attributes<'a>,
        matched: &Matched,
        objects: &'a Versioned,
        authorizer: &'a Arc<Authorizer>,
    ) -> Self {
        let request = request(attributes, matched);
        Self { attributes, objects, params: None, namespace: None, authorizer, request }
    }

    /// The same with parameters and the namespace, for policies.
    pub(crate) fn with(mut self, params: Option<&'a Value>, namespace: Option<&'a Value>) -> Self {
        self.params = params;
        self.namespace = namespace;
        self
    }
}

/// An AdmissionRequest without its uid and objects.
pub(crate) fn request(attributes: &Attributes<'_>, matched: &Matched) -> Value {
    let mut request = json!({
        "kind": matched.kind.to_value(),
        "resource": matched.resource.to_value(),
        "requestKind": attributes.kind.to_value(),
        "requestResource": attributes.resource.to_value(),
        "operation": attributes.operation.as_str(),
        "userInfo": attributes.user.to_user_info(),
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    });
    let optional = [
        ("subResource", &attributes.subresource),
        ("requestSubResource", &attributes.subresource),
        ("name", &attributes.name),
        ("namespace", &attributes.namespace),
    ];
    for (field, text) in optional {
        if !text.is_empty() {
            request[field] = json!(text);
        }
    }
    request
}
