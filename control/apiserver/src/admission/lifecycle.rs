//! NamespaceLifecycle: nothing new in a namespace that is missing or going away; three namespaces stay.

use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_identity::ObjectReader;

use super::{Attributes, Operation};

/// Creates need a namespace that exists and is not terminating.
pub(super) fn check(attributes: &Attributes<'_>, reader: &dyn ObjectReader) -> Result<(), ApiError> {
    let target = attributes.target;
    if attributes.operation != Operation::Create || !target.served.namespaced {
        return Ok(());
    }
    let name = &target.namespace;
    let Some(namespace) = reader.get("", "namespaces", "", name) else {
        return Err(ApiError::not_found("", "namespaces", name));
    };
    if namespace["status"]["phase"] == "Terminating" || meta::is_being_deleted(&namespace) {
        let message =
            format!("unable to create new content in namespace {name} because it is being terminated");
        return Err(target.forbidden(&message).with_cause(
            "NamespaceTerminating",
            &format!("namespace {name} is being terminated"),
            "metadata.namespace",
        ));
    }
    Ok(())
}

/// `default`, `kube-system` and `kube-public` cannot be deleted.
pub(super) fn check_delete(attributes: &Attributes<'_>) -> Result<(), ApiError> {
    let kept = ["default", "kube-system", "kube-public"].contains(&attributes.target.name.as_str());
    if attributes.operation == Operation::Delete && attributes.is_core("namespaces", "") && kept {
        return Err(attributes.target.forbidden("this namespace may not be deleted"));
    }
    Ok(())
}
