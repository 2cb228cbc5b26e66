//! CEL's `authorizer`, answered by the API server's own.

use std::sync::Arc;

use futures::FutureExt;
use tokio::runtime::{Handle, RuntimeFlavor};
use xebec_cel::{Attributes, Decision, ResourceAttributes, User, Value};
use xebec_identity::Authorizer;
use xebec_identity::authz::{Evaluation, selectors};

use super::Input;

/// The server's authorizer as expressions ask it.
struct Asked(Arc<Authorizer>);

impl Asked {
    /// The decision. Expressions are evaluated without waiting and local authorizers answer at once; a webhook's answer
    /// is waited for on this thread, whose other tasks move on. None where the runtime has no other thread for them.
    fn decide(&self, attributes: &xebec_identity::Attributes) -> Option<Evaluation> {
        if let Some(evaluation) = self.0.evaluate(attributes).now_or_never() {
            return Some(evaluation);
        }
        let runtime = Handle::try_current().ok()?;
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return None;
        }
        Some(tokio::task::block_in_place(|| runtime.block_on(self.0.evaluate(attributes))))
    }
}

impl xebec_cel::Authorizer for Asked {
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        let user = xebec_identity::User {
            name: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.iter().cloned().collect(),
        };
        let attributes = match attributes {
            Attributes::Path(path) => xebec_identity::Attributes::path(&user, &path.verb, &path.path),
            Attributes::Resource(check) => {
                let (group, resource) = (&check.group, &check.resource);
                let (namespace, name) = (&check.namespace, &check.name);
                let mut attributes = xebec_identity::Attributes::resource(
                    &user,
                    &check.verb,
                    group,
                    resource,
                    namespace,
                    name,
                )
                .with_subresource(&check.subresource);
                attributes.field_selector = selectors::fields(&check.field_selector);
                attributes.label_selector = selectors::labels(&check.label_selector);
                attributes
            }
        };
        let Some(Evaluation { decision, error }) = self.decide(&attributes) else {
            let error = Some("the authorizer cannot be waited for here".to_owned());
            return Decision { error, ..Decision::default() };
        };
        let error = (!error.is_empty()).then_some(error);
        Decision { allowed: decision.allowed(), reason: decision.reason().to_owned(), error }
    }
}

fn user(input: &Input<'_>) -> User {
    let user = input.attributes.user;
    User {
        name: user.name.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.iter().map(|(key, values)| (key.clone(), values.clone())).collect(),
    }
}

/// The variable `authorizer`.
pub(super) fn authorizer<'a>(input: &Input<'_>) -> Value<'a> {
    Value::authorizer(Arc::new(Asked(Arc::clone(input.authorizer))), user(input))
}

/// The variable `authorizer.requestResource`: a check of what the request itself is about.
pub(super) fn request_resource<'a>(input: &Input<'_>) -> Value<'a> {
    let attributes = input.attributes;
    let resource = ResourceAttributes {
        group: attributes.resource.group.clone(),
        resource: attributes.resource.resource.clone(),
        subresource: attributes.subresource.clone(),
        namespace: attributes.namespace.clone(),
        name: attributes.name.clone(),
        ..ResourceAttributes::default()
    };
    Value::request_resource(Arc::new(Asked(Arc::clone(input.authorizer))), user(input), resource)
}
