//! POST serviceaccounts/X/token.

use serde_json::Value;
use xebec_api::field::{ErrorKind, FieldError};
use xebec_api::status::ApiError;
use xebec_identity::token::{TokenRequestError, TokenRequestOptions, token_request};

use super::{Registry, Target, WriteContext};
use crate::admission::{Attributes, Operation};

impl Registry {
    /// Answers a TokenRequest for the account.
    pub async fn token(
        &self,
        context: &WriteContext,
        target: &Target,
        request: &Value,
    ) -> Result<Value, ApiError> {
        self.settle().await?;
        let attributes = Attributes::new(context, target, "token", Operation::Create);
        let request = &self.admission.subresource(&attributes, request).await?;
        let options = TokenRequestOptions {
            api_audiences: vec![self.signer.issuer().to_owned()],
            extend_expiration: true,
        };
        let account = (target.namespace.as_str(), target.name.as_str());
        token_request(&*self.caches, &self.signer, &options, account, request, self.now())
            .map_err(token_error)
    }
}

fn token_error(error: TokenRequestError) -> ApiError {
    match error {
        TokenRequestError::NotFound { plural, name } => ApiError::not_found("", plural, &name),
        TokenRequestError::Conflict { plural, name, message } => {
            ApiError::conflict("", plural, &name, message)
        }
        TokenRequestError::BadRequest(message) => ApiError::bad_request(message),
        TokenRequestError::Invalid { field, value, detail } => {
            let error = FieldError {
                kind: ErrorKind::Invalid,
                field: field.to_owned(),
                value: Some(value),
                detail: detail.to_owned(),
            };
            ApiError::invalid("authentication.k8s.io", "TokenRequest", "", vec![error])
        }
        TokenRequestError::Token(error) => ApiError::internal(error.to_string()),
    }
}
