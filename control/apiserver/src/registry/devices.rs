//! Claims to devices that need to know their namespace: whether it allows access as an administrator.
//!
//! Enters: a claim or claim template on its way into the store. Leaves: the errors. Called by `create` and, for a claim's
//! status, by `update`, before the kind's own validation. The rules stand in `xebec_kinds::resource::admin`.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_kinds::resource::admin;

use super::{Registry, Target};

impl Registry {
    /// The errors of a new claim or template that asks for admin access.
    pub(super) async fn check_admin_request(&self, target: &Target, value: &Value) -> Vec<FieldError> {
        if target.stored.group != "resource.k8s.io" {
            return Vec::new();
        }
        self.check_admin(target, admin::asked(target.stored.plural, value)).await
    }

    /// The errors of a claim's status that is given admin access.
    pub(super) async fn check_admin_grant(
        &self,
        target: &Target,
        value: &Value,
        old: &Value,
    ) -> Vec<FieldError> {
        if (target.stored.group, target.stored.plural) != ("resource.k8s.io", "resourceclaims") {
            return Vec::new();
        }
        self.check_admin(target, admin::granted(value, old)).await
    }

    async fn check_admin(&self, target: &Target, path: Option<Path>) -> Vec<FieldError> {
        let Some(path) = path else { return Vec::new() };
        let namespace = Target::find(&self.resources, "", "namespaces", "", &target.namespace);
        let read = async {
            let namespace = namespace?;
            namespace.read().await?.ok_or_else(|| namespace.not_found())
        };
        match read.await {
            Ok(namespace) => {
                admin::refused(&path, &namespace.value()["metadata"]["labels"]).into_iter().collect()
            }
            Err(error) => {
                let detail = format!("could not retrieve namespace to verify admin access: {error}");
                vec![FieldError::internal(&path, detail)]
            }
        }
    }
}
