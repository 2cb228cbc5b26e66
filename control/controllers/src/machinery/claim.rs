//! Adoption and release: which objects belong to a controller, by controllerRef and selector (upstream's ControllerRefManager).
//!
//! Enters: an owner, its selector, the objects it controls and the orphans of its namespace. Leaves: what it owns, what
//! it should adopt and what it should let go. [`settle`] carries that out.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector as SelectorSpec, ObjectMeta, OwnerReference,
};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use xebec_api::selector::LabelSelector;

use super::cache::{Cached, Key};
use super::index::controller_uid;
use super::write::{Failed, Writer, Written};

/// How a set of objects stands towards one owner.
#[derive(Debug)]
pub struct Claims<K> {
    /// Owned and matching.
    pub owned: Vec<Arc<K>>,
    /// Matching, without a controller: to be adopted.
    pub adopt: Vec<Arc<K>>,
    /// Owned, no longer matching: to be released.
    pub release: Vec<Arc<K>>,
}

/// Reads a selector; one that cannot be read selects nothing.
pub fn selector(spec: Option<&SelectorSpec>) -> LabelSelector {
    let value = spec.and_then(|s| serde_json::to_value(s).ok());
    value.and_then(|v| LabelSelector::from_object(&v).ok()).unwrap_or_else(LabelSelector::nothing)
}

/// Sorts objects by their relation to an owner; one being deleted neither adopts nor releases.
pub fn claim<K: ResourceExt>(
    owner: &ObjectMeta,
    selector: &LabelSelector,
    controlled: Vec<Arc<K>>,
    orphans: Vec<Arc<K>>,
) -> Claims<K> {
    let deleting = owner.deletion_timestamp.is_some();
    let (owned, mut release): (Vec<_>, Vec<_>) =
        controlled.into_iter().partition(|object| selector.matches(object.labels()));
    let mut adopt: Vec<_> = orphans
        .into_iter()
        .filter(|o| {
            controller_uid(&**o).is_none()
                && o.meta().deletion_timestamp.is_none()
                && selector.matches(o.labels())
        })
        .collect();
    if deleting {
        adopt.clear();
        release.clear();
    }
    Claims { owned, adopt, release }
}

/// The reference that makes `owner` the controller of what carries it.
pub fn controller_reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn adoption(reference: &OwnerReference, uid: &str, finalizer: Option<&str>) -> Value {
    let mut metadata = json!({"ownerReferences": [reference], "uid": uid});
    if let Some(finalizer) = finalizer {
        metadata["finalizers"] = json!([finalizer]);
    }
    json!({ "metadata": metadata })
}

fn release(owner: &str, uid: &str, finalizer: Option<&str>) -> Value {
    let mut metadata = json!({"ownerReferences": [{"$patch": "delete", "uid": owner}], "uid": uid});
    if let Some(finalizer) = finalizer {
        metadata["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
    }
    json!({ "metadata": metadata })
}

/// Adopts and releases; answers what is owned after that.
///
/// Before anything is adopted the owner is read from the server: it must still be the same and not going away.
pub async fn settle<O: Written, K: Cached + Written>(
    writer: &Writer,
    owner: &O,
    claims: Claims<K>,
    finalizer: Option<&str>,
) -> Result<Vec<Arc<K>>, Failed> {
    let mut owned = claims.owned;
    let reference = controller_reference(owner);
    if !claims.adopt.is_empty() {
        let live = writer.get::<O>(&Key::of(owner)).await?;
        if live.meta().uid == owner.meta().uid && live.meta().deletion_timestamp.is_none() {
            for object in claims.adopt {
                let uid = object.uid().unwrap_or_default();
                match writer.patch::<K>(&Key::of(&*object), adoption(&reference, &uid, finalizer)).await {
                    Ok(adopted) => owned.push(Arc::new(adopted)),
                    Err(error) if error.is_not_found() || error.is_conflict() || error.is_invalid() => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    for object in claims.release {
        let uid = object.uid().unwrap_or_default();
        match writer.patch::<K>(&Key::of(&*object), release(&reference.uid, &uid, finalizer)).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() || error.is_conflict() || error.is_invalid() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(name: &str, app: &str, owner: Option<&str>) -> Arc<Pod> {
        let owners = owner.map(
            |uid| json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}]),
        );
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"app": app}, "ownerReferences": owners}
            }))
            .unwrap(),
        )
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|p| p.name_any()).collect()
    }

    #[test]
    fn matching_orphans_are_adopted_and_strays_released() {
        let selector = LabelSelector::parse("app=a").unwrap();
        let controlled = vec![pod("mine", "a", Some("u")), pod("stray", "b", Some("u"))];
        let orphans = vec![pod("orphan", "a", None), pod("other", "c", None)];
        let mut owner = ObjectMeta { uid: Some("u".to_owned()), ..Default::default() };
        let claims = claim(&owner, &selector, controlled.clone(), orphans.clone());
        assert_eq!(names(&claims.owned), ["mine"]);
        assert_eq!(names(&claims.adopt), ["orphan"]);
        assert_eq!(names(&claims.release), ["stray"]);

        owner.deletion_timestamp = Some(super::super::time::seconds(jiff::Timestamp::UNIX_EPOCH));
        let claims = claim(&owner, &selector, controlled, orphans);
        assert_eq!((claims.owned.len(), claims.adopt.len(), claims.release.len()), (1, 0, 0));
    }

    #[test]
    fn no_selector_selects_nothing() {
        assert!(selector(None).is_nothing());
    }
}
