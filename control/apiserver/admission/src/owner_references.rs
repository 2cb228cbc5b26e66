//! OwnerReferencesPermissionEnforcement: who makes the collector delete something must be allowed to delete it.
//!
//! Pure over the reader. Authority: plugin/pkg/admission/gc upstream.

use serde_json::Value;
use xebec_api::status::ApiError;
use xebec_api::{meta, resource};
use xebec_identity::Attributes;

use crate::{Call, Operation, Question};

/// What to ask, or 403 for an owner of a kind nobody serves.
pub(crate) fn check(call: &Call<'_>, object: &Value) -> Result<Vec<Question>, ApiError> {
    let request = &call.request;
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    // Old kubelets break the references in status writes; the pod's strategy keeps the stored ones anyway.
    if !writes || request.is("", "pods", "status") {
        return Ok(Vec::new());
    }
    let after = meta::owner_references(object);
    let before = call.old.map(meta::owner_references).unwrap_or_default();
    if after == before {
        return Ok(Vec::new());
    }
    let mut delete = Attributes::resource(
        request.user,
        "delete",
        request.group,
        request.plural,
        request.namespace,
        request.name,
    )
    .with_subresource(request.subresource);
    request.version.clone_into(&mut delete.version);
    let why = format!("cannot set an ownerRef on a resource you can't delete: {}, <nil>", Question::REASON);
    let mut questions = vec![Question { any_of: vec![delete], refusal: call.forbidden(object, why) }];
    let blocking = |reference: &&Value| reference["blockOwnerDeletion"] == true;
    for reference in after.iter().filter(blocking) {
        let blocked_before = before.iter().any(|old| old["uid"] == reference["uid"] && blocking(&old));
        if !blocked_before {
            questions.push(finalize(call, object, reference)?);
        }
    }
    Ok(questions)
}

/// Holding up an owner's deletion takes the right to update its finalizers.
fn finalize(call: &Call<'_>, object: &Value, reference: &Value) -> Result<Question, ApiError> {
    let (api_version, kind) = (meta::api_version(reference), meta::kind(reference));
    let (group, version) = resource::split_api_version(api_version);
    let Some((plural, namespaced)) = served(call, api_version, kind) else {
        let why = format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {api_version} Kind \
             {kind}"
        );
        return Err(call.forbidden(object, why));
    };
    let namespace = if namespaced { call.request.namespace } else { "" };
    let name = meta::str_at(reference, "/name");
    let mut ask = Attributes::resource(call.request.user, "update", group, &plural, namespace, name)
        .with_subresource("finalizers");
    version.clone_into(&mut ask.version);
    let why = format!(
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>",
        Question::REASON
    );
    Ok(Question { any_of: vec![ask], refusal: call.forbidden(object, why) })
}

/// The resource of a kind, built in or custom, and whether it lives in namespaces.
fn served(call: &Call<'_>, api_version: &str, kind: &str) -> Option<(String, bool)> {
    if let Some(found) = resource::by_api_version(api_version, kind) {
        return Some((found.plural.to_owned(), found.namespaced));
    }
    let (group, version) = resource::split_api_version(api_version);
    let definitions = call.reader.list("apiextensions.k8s.io", "customresourcedefinitions", None);
    definitions.iter().find_map(|definition| {
        let spec = &definition["spec"];
        let mut versions = meta::list_at(spec, "/versions").iter();
        let known = spec["group"] == group
            && spec["names"]["kind"] == kind
            && versions.any(|v| v["name"] == version && v["served"] == true);
        known.then(|| (meta::str_at(spec, "/names/plural").to_owned(), spec["scope"] == "Namespaced"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};
    use serde_json::json;

    fn texts(world: &World, object: &Value, old: Option<&Value>) -> Result<Vec<String>, String> {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let call = world.call(request(operation, "apps", "replicasets", "ns", "r"), old);
        let questions = check(&call, object).map_err(|error| error.message)?;
        let one = |q: &Question| {
            let a = &q.any_of[0];
            let asked =
                format!("{} {}/{}/{} {}/{}", a.verb, a.group, a.resource, a.subresource, a.namespace, a.name);
            format!("{asked}: {}", q.refuse("because").message)
        };
        Ok(questions.iter().map(one).collect())
    }

    #[test]
    fn asks_about_the_object_and_blocked_owners() {
        let world = World::default();
        let owned = |block: bool| {
            json!({"metadata": {"name": "r", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment",
                "name": "d", "uid": "1", "blockOwnerDeletion": block}]}})
        };
        let plain = json!({"metadata": {"name": "r"}});
        assert_eq!(texts(&world, &plain, None), Ok(vec![]));
        assert_eq!(texts(&world, &owned(true), Some(&owned(true))), Ok(vec![]));
        assert_eq!(
            texts(&world, &owned(false), Some(&plain)).unwrap(),
            [
                "delete apps/replicasets/ ns/r: replicasets.apps \"r\" is forbidden: cannot set an ownerRef on a resource \
              you can't delete: because, <nil>"
            ]
        );
        assert_eq!(
            texts(&world, &owned(true), None).unwrap()[1],
            "update apps/deployments/finalizers ns/d: replicasets.apps \"r\" is forbidden: cannot set blockOwnerDeletion \
             if an ownerReference refers to a resource you can't set finalizers on: because, <nil>"
        );
    }

    #[test]
    fn custom_and_unknown_owners() {
        let world = World::default();
        let owned = json!({"metadata": {"name": "r", "ownerReferences": [{"apiVersion": "example.com/v1",
            "kind": "Widget", "name": "w", "uid": "1", "blockOwnerDeletion": true}]}});
        assert_eq!(
            texts(&world, &owned, None).unwrap_err(),
            "replicasets.apps \"r\" is forbidden: cannot set blockOwnerDeletion in this case because cannot find \
             RESTMapping for APIVersion example.com/v1 Kind Widget"
        );
        world.put(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
                "names": {"kind": "Widget", "plural": "widgets"}, "versions": [{"name": "v1", "served": true}]}}),
        );
        assert!(
            texts(&world, &owned, None).unwrap()[1].starts_with("update example.com/widgets/finalizers /w: ")
        );
    }
}
