//! Nobody grants rights they do not hold: the check itself is identity's.

use serde_json::Value;
use xebec_api::status::ApiError;
use xebec_identity::Authorizer;
use xebec_identity::authz::EscalationError;

use super::{Attributes, Operation};

pub(super) async fn check(
    attributes: &Attributes<'_>,
    value: Option<&Value>,
    old: Option<&Value>,
    authorizer: &Authorizer,
) -> Result<(), ApiError> {
    let stored = attributes.stored;
    let (Some(value), true) = (value, stored.group == "rbac.authorization.k8s.io") else { return Ok(()) };
    if attributes.operation == Operation::Delete {
        return Ok(());
    }
    let result = if stored.plural.ends_with("bindings") {
        authorizer.check_binding_write(attributes.user, value, old).await
    } else {
        authorizer.check_role_write(attributes.user, stored.plural, value, old).await
    };
    result.map_err(|error| match error {
        EscalationError::RoleNotFound { plural, name } => ApiError::not_found(stored.group, &plural, &name),
        error => {
            let served = attributes.served;
            ApiError::forbidden(served.group, served.plural, attributes.name, error.to_string())
        }
    })
}
