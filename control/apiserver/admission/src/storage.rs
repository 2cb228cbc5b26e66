//! DefaultStorageClass, StorageObjectInUseProtection, PersistentVolumeClaimResize. Pure over the reader.

use std::sync::Arc;

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_quota::ResourceList;

use crate::{Call, Operation};

const GROUP: &str = "storage.k8s.io";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Of the classes an annotation marks as the default, the newest; of equally old ones the first by name.
pub(crate) fn default_class(classes: Vec<Arc<Value>>, annotations: &[&str]) -> Option<Arc<Value>> {
    let marked =
        |class: &Arc<Value>| annotations.iter().any(|key| meta::annotation(class, key) == Some("true"));
    classes.into_iter().filter(marked).min_by(|a, b| {
        let (newer, older) = (meta::creation_timestamp(b), meta::creation_timestamp(a));
        newer.cmp(&older).then_with(|| meta::name(a).cmp(meta::name(b)))
    })
}

/// A claim that names no class gets the default one.
pub(crate) fn set_default_class(call: &Call<'_>, claim: &mut Value) {
    let request = &call.request;
    if !request.is("", "persistentvolumeclaims", "") || request.operation != Operation::Create {
        return;
    }
    let named = claim["spec"]["storageClassName"].is_string();
    if named || meta::annotation(claim, CLASS_ANNOTATION).is_some() {
        return;
    }
    let marks =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    if let Some(class) = default_class(call.reader.list(GROUP, "storageclasses", None), &marks) {
        meta::set(claim, "/spec/storageClassName", meta::name(&class));
    }
}

/// Volumes, claims and volume attributes classes stay while something uses them: a controller takes the finalizer off.
pub(crate) fn protect(call: &Call<'_>, object: &mut Value) {
    let request = &call.request;
    if request.operation != Operation::Create || !request.subresource.is_empty() {
        return;
    }
    let finalizer = match (request.group, request.plural) {
        ("", "persistentvolumes") => "kubernetes.io/pv-protection",
        ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
        (GROUP, "volumeattributesclasses") => "kubernetes.io/vac-protection",
        _ => return,
    };
    meta::add_finalizer(object, finalizer);
}

fn class_of(claim: &Value) -> &str {
    meta::annotation(claim, CLASS_ANNOTATION).unwrap_or_else(|| meta::str_at(claim, "/spec/storageClassName"))
}

/// A bound claim may grow, if its class says so.
pub(crate) fn resize(call: &Call<'_>, claim: &Value) -> Result<(), ApiError> {
    let request = &call.request;
    let Some(old) = call.old else { return Ok(()) };
    if !request.is("", "persistentvolumeclaims", "") || request.operation != Operation::Update {
        return Ok(());
    }
    let size = |claim: &Value| {
        ResourceList::at(claim, "/spec/resources/requests").get("storage").unwrap_or_default()
    };
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        return Err(call.forbidden(claim, "Only bound persistent volume claims can be expanded"));
    }
    let class = class_of(claim);
    let grows = !class.is_empty()
        && class == class_of(old)
        && call
            .reader
            .get(GROUP, "storageclasses", "", class)
            .is_some_and(|class| class["allowVolumeExpansion"] == true);
    if grows {
        return Ok(());
    }
    Err(call.forbidden(
        claim,
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};
    use serde_json::json;

    fn class(world: &World, name: &str, created: &str, default: bool, grows: bool) {
        world.put(
            GROUP,
            "storageclasses",
            json!({"metadata": {"name": name, "creationTimestamp": created, "annotations": {
                "storageclass.kubernetes.io/is-default-class": default.to_string()}}, "allowVolumeExpansion": grows}),
        );
    }

    fn defaulted(world: &World, claim: Value) -> Value {
        let mut claim = claim;
        let call = world.call(request(Operation::Create, "", "persistentvolumeclaims", "ns", "c"), None);
        set_default_class(&call, &mut claim);
        claim["spec"]["storageClassName"].take()
    }

    #[test]
    fn the_newest_default_wins() {
        let world = World::default();
        assert_eq!(defaulted(&world, json!({"spec": {}})), Value::Null);
        class(&world, "old", "2026-01-01T00:00:00Z", true, false);
        class(&world, "b", "2026-01-02T00:00:00Z", true, false);
        class(&world, "a", "2026-01-02T00:00:00Z", true, false);
        class(&world, "newer", "2026-01-03T00:00:00Z", false, false);
        assert_eq!(defaulted(&world, json!({"spec": {}})), "a");
        assert_eq!(defaulted(&world, json!({"spec": {"storageClassName": ""}})), "");
        let annotated = json!({"metadata": {"annotations": {CLASS_ANNOTATION: "x"}}, "spec": {}});
        assert_eq!(defaulted(&world, annotated), Value::Null);
    }

    #[test]
    fn finalizers() {
        let world = World::default();
        for (group, plural, finalizer) in [
            ("", "persistentvolumes", "kubernetes.io/pv-protection"),
            ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
            (GROUP, "volumeattributesclasses", "kubernetes.io/vac-protection"),
        ] {
            let mut object = json!({"metadata": {"name": "x"}});
            let call = world.call(request(Operation::Create, group, plural, "", "x"), None);
            protect(&call, &mut object);
            protect(&call, &mut object);
            assert_eq!(object["metadata"]["finalizers"], json!([finalizer]));
        }
    }

    #[test]
    fn growing() {
        let world = World::default();
        class(&world, "fixed", "2026-01-01T00:00:00Z", false, false);
        class(&world, "grows", "2026-01-01T00:00:00Z", false, true);
        let claim = |class: &str, size: &str, phase: &str| {
            json!({"metadata": {"name": "c"}, "status": {"phase": phase}, "spec": {"storageClassName": class,
                "resources": {"requests": {"storage": size}}}})
        };
        let check = |class: &str, phase: &str, to: &str| {
            let old = claim(class, "1Gi", phase);
            let update = request(Operation::Update, "", "persistentvolumeclaims", "ns", "c");
            resize(&world.call(update, Some(&old)), &claim(class, to, phase))
                .map_or_else(|error| error.message, |()| String::new())
        };
        assert_eq!(check("grows", "Bound", "2Gi"), "");
        assert_eq!(check("fixed", "Pending", "1Gi"), "");
        assert_eq!(
            check("grows", "Pending", "2Gi"),
            "persistentvolumeclaims \"c\" is forbidden: Only bound persistent volume claims can be expanded"
        );
        for class in ["fixed", "", "gone"] {
            assert_eq!(
                check(class, "Bound", "2Gi"),
                "persistentvolumeclaims \"c\" is forbidden: only dynamically provisioned pvc can be resized and the \
                 storageclass that provisions the pvc must support resize"
            );
        }
    }
}
