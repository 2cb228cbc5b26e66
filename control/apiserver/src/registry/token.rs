//! POST serviceaccounts/X/token.

use serde_json::Value;
use xebec_api::field::{ErrorKind, FieldError};
use xebec_api::status::ApiError;
use xebec_identity::token::{TokenRequestError, TokenRequestOptions, complete_token_request, token_request};

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
        let mut request = request.clone();
        self.admission.mutate(&attributes, &mut request, None).await?;
        let options = TokenRequestOptions {
            api_audiences: vec![self.signer.issuer().to_owned()],
            extend_expiration: true,
        };
        let account = (target.namespace.as_str(), target.name.as_str());
        let (now, failed) = (self.now(), |error| token_error(&target.name, error));
        let request =
            complete_token_request(&*self.caches, &options, account, &request, now).map_err(failed)?;
        self.admission.validate(&attributes, Some(&request), None).await?;
        token_request(&*self.caches, &self.signer, &options, account, &request, now).map_err(failed)
    }
}

/// The answer to a request about this account that failed.
fn token_error(account: &str, error: TokenRequestError) -> ApiError {
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
            // Upstream names the account where its name is what is wrong.
            let name = if field == "metadata.name" { account } else { "" };
            ApiError::invalid("authentication.k8s.io", "TokenRequest", name, vec![error])
        }
        TokenRequestError::Token(error) => ApiError::internal(error.to_string()),
    }
}
