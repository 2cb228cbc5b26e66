//! NamespaceLifecycle and NamespaceExists. Pure over the reader.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;

use crate::{Call, Operation};

const KEPT: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Nothing new in a namespace that is missing or going away; three namespaces stay.
pub(crate) fn lifecycle(call: &Call<'_>, object: &Value) -> Result<(), ApiError> {
    let request = &call.request;
    if request.is("", "namespaces", "") {
        if request.operation == Operation::Delete && KEPT.contains(&request.name) {
            return Err(call.forbidden(object, "this namespace may not be deleted"));
        }
        return Ok(());
    }
    // A review of access must not tell which namespaces there are.
    let review = request.group == "authorization.k8s.io";
    let namespace = request.namespace;
    if namespace.is_empty() || request.operation != Operation::Create || review {
        return Ok(());
    }
    let Some(stored) = call.reader.get("", "namespaces", "", namespace) else {
        return Err(ApiError::not_found("", "namespaces", namespace));
    };
    if stored["status"]["phase"] == "Terminating" || meta::is_being_deleted(&stored) {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = format!("namespace {namespace} is being terminated");
        return Err(call.forbidden(object, why).with_cause(
            "NamespaceTerminating",
            &cause,
            "metadata.namespace",
        ));
    }
    Ok(())
}

/// Every write into a namespace needs it to be there.
pub(crate) fn exists(call: &Call<'_>) -> Result<(), ApiError> {
    let request = &call.request;
    let itself = request.group.is_empty() && request.plural == "namespaces";
    let within = !(request.namespace.is_empty() || itself);
    let written = request.operation != Operation::Connect;
    if within && written && call.reader.get("", "namespaces", "", request.namespace).is_none() {
        return Err(ApiError::not_found("", "namespaces", request.namespace));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};
    use serde_json::json;

    #[test]
    fn creates_need_a_living_namespace() {
        let world = World::default();
        let pod = json!({"metadata": {"name": "p"}});
        let create = request(Operation::Create, "", "pods", "ns", "p");
        let check = || lifecycle(&world.call(create, None), &pod);
        assert_eq!(check().unwrap_err().message, "namespaces \"ns\" not found");
        world.put("", "namespaces", json!({"metadata": {"name": "ns"}, "status": {"phase": "Active"}}));
        check().unwrap();
        world.put("", "namespaces", json!({"metadata": {"name": "ns"}, "status": {"phase": "Terminating"}}));
        let error = check().unwrap_err();
        assert_eq!(
            error.message,
            "pods \"p\" is forbidden: unable to create new content in namespace ns because it is being terminated"
        );
        assert_eq!(error.details.unwrap().causes[0].reason, "NamespaceTerminating");
        let update = request(Operation::Update, "", "pods", "ns", "p");
        lifecycle(&world.call(update, None), &pod).unwrap();
    }

    #[test]
    fn some_namespaces_stay() {
        let world = World::default();
        let delete = request(Operation::Delete, "", "namespaces", "kube-system", "kube-system");
        assert_eq!(
            lifecycle(&world.call(delete, None), &Value::Null).unwrap_err().message,
            "namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
        );
        let other = request(Operation::Delete, "", "namespaces", "x", "x");
        lifecycle(&world.call(other, None), &Value::Null).unwrap();
    }

    #[test]
    fn existence() {
        let world = World::default();
        let update = request(Operation::Update, "", "pods", "ns", "p");
        assert_eq!(exists(&world.call(update, None)).unwrap_err().code, 404);
        exists(&world.call(request(Operation::Create, "", "namespaces", "ns", "ns"), None)).unwrap();
    }
}
