//! Claims to devices, by more than the claim: whether its namespace allows access as an administrator, and whether who
//! writes its status may write those parts of it.
//!
//! Enters: a claim or claim template on its way into the store. Leaves: the errors. Called by `create` and, for a claim's
//! status, by `update`. The rules stand in `xebec_kinds::resource::{admin, rights}`.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_identity::User;
use xebec_identity::authz::Attributes;
use xebec_kinds::resource::{admin, rights};

use super::{Registry, Target, WriteContext};

const GROUP: &str = "resource.k8s.io";
const CLAIMS: &str = "resourceclaims";

impl Registry {
    /// The errors of a new claim or template that asks for admin access.
    pub(super) async fn check_admin_request(&self, target: &Target, value: &Value) -> Vec<FieldError> {
        if target.stored.group != GROUP {
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
        if !is_claim(target) {
            return Vec::new();
        }
        self.check_admin(target, admin::granted(value, old)).await
    }

    /// The errors of a claim's status whose writer lacks the rights to what changes in it: `resourceclaims/binding` of
    /// all claims for allocation and reservations, `resourceclaims/driver` of the driver for its devices' status.
    pub(super) async fn check_claim_rights(
        &self,
        context: &WriteContext,
        target: &Target,
        value: &Value,
        old: &Value,
    ) -> Vec<FieldError> {
        if !is_claim(target) {
            return Vec::new();
        }
        let (user, verb) = (&context.user, context.verb);
        let right = |verb: &str, subresource: &str, namespace: &str, name: &str| {
            let attributes = Attributes::resource(user, verb, GROUP, CLAIMS, namespace, name);
            let version = target.served.version.to_owned();
            Attributes { version, ..attributes.with_subresource(subresource) }
        };
        let mut errors = Vec::new();
        if rights::binding_changes(value, old) {
            let refused = self.refused(&[right(verb, "binding", "", "")]).await;
            errors.extend(refused.map(|why| {
                let detail = format!(
                    "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", \
                     verb=\"{verb}\" permission: {why}"
                );
                FieldError::forbidden(&Path::new("status"), detail)
            }));
        }
        let local = rights::allocated_node(value).is_some_and(|node| is_service_account_on(user, node));
        let prefixes: &[&str] =
            if local { &["associated-node:", "arbitrary-node:"] } else { &["arbitrary-node:"] };
        let verbs: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix}{verb}")).collect();
        for driver in rights::changed_drivers(value, old) {
            let any_of: Vec<Attributes> =
                verbs.iter().map(|verb| right(verb, "driver", &target.namespace, &driver)).collect();
            let refused = self.refused(&any_of).await;
            errors.extend(refused.map(|why| {
                let detail = format!(
                    "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {why}",
                    verbs.join(" ")
                );
                FieldError::forbidden(&Path::new("status"), detail)
            }));
        }
        errors
    }

    /// Why none of these is allowed, in the words of a 403 about the first; none if one is.
    async fn refused(&self, any_of: &[Attributes]) -> Option<String> {
        let mut first = None;
        for attributes in any_of {
            let decision = self.admission.authorizer().decide(attributes).await;
            if decision.allowed() {
                return None;
            }
            first.get_or_insert_with(|| attributes.forbidden(&decision).message);
        }
        first
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

fn is_claim(target: &Target) -> bool {
    (target.stored.group, target.stored.plural) == (GROUP, CLAIMS)
}

/// Whether the user is a service account whose token is bound to `node`.
fn is_service_account_on(user: &User, node: &str) -> bool {
    let nodes = user.extra.get("authentication.kubernetes.io/node-name").map(Vec::as_slice);
    user.name.starts_with("system:serviceaccount:") && matches!(nodes, Some([one]) if one == node)
}
