//! The served kinds as webhooks and policies need them: versions, defaults, merging, schemas.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use xebec_api::schema;
use xebec_api::status::ApiError;
use xebec_crd::openapi::Published;
use xebec_dynamic_admission::{Decoding, Kind, MergeError, Resource, Types};

use super::merge;
use crate::registry::{from_storage, merge_root, to_storage};
use crate::resources::{self, Resources, Snapshot};
use crate::watch::Object;

/// How deep references of a schema are followed; schemas that contain themselves end there.
const MAX_DEPTH: usize = 24;

/// The kinds this server serves now.
pub(crate) struct ServedTypes {
    resources: Arc<Resources>,
    /// Schemas of built-in kinds, resolved when first asked for.
    schemas: Mutex<HashMap<Kind, Option<Arc<Value>>>>,
}

impl ServedTypes {
    pub(crate) fn new(resources: Arc<Resources>) -> Self {
        Self { resources, schemas: Mutex::default() }
    }
}

fn find<'a>(snapshot: &'a Snapshot, kind: &Kind) -> Option<&'a Arc<resources::Kind>> {
    snapshot.by_kind(&kind.group, &kind.version, &kind.kind)
}

fn is_served_as(kind: &resources::Kind, resource: &Resource) -> bool {
    let served = kind.served;
    (served.group, served.version, served.plural)
        == (resource.group.as_str(), resource.version.as_str(), resource.resource.as_str())
}

#[async_trait]
impl Types for ServedTypes {
    /// Those that are kept in one place: versions of a custom resource, and both groups of events.
    fn equivalents(&self, resource: &Resource, subresource: &str) -> Vec<Resource> {
        let snapshot = self.resources.snapshot();
        let Some(kind) = snapshot.kinds().iter().find(|kind| is_served_as(kind, resource)) else {
            return vec![resource.clone()];
        };
        let together = |other: &&Arc<resources::Kind>| match (&kind.cache, &other.cache) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => Arc::ptr_eq(kind, other),
        };
        let has = |other: &&Arc<resources::Kind>| {
            subresource.is_empty() || other.served.subresource(subresource).is_some()
        };
        let equivalents = snapshot.kinds().iter().filter(together).filter(has);
        equivalents
            .map(|kind| Resource::new(kind.served.group, kind.served.version, kind.served.plural))
            .collect()
    }

    fn kind_for(&self, resource: &Resource, subresource: &str) -> Option<Kind> {
        let kind = self.resources.lookup(&resource.group, &resource.version, &resource.resource)?;
        let served = kind.served;
        if subresource.is_empty() {
            return Some(Kind::new(served.group, served.version, served.kind));
        }
        let own = served.subresource(subresource)?;
        Some(Kind::new(own.group, own.version, own.kind))
    }

    fn resource_for(&self, kind: &Kind) -> Option<(Resource, bool)> {
        let snapshot = self.resources.snapshot();
        let served = find(&snapshot, kind)?.served;
        Some((Resource::new(served.group, served.version, served.plural), served.namespaced))
    }

    async fn convert(&self, object: &Value, to: &Kind) -> Result<Value, ApiError> {
        let from = Kind::of(object);
        if from == *to {
            return Ok(object.clone());
        }
        let snapshot = self.resources.snapshot();
        let unknown = || ApiError::internal(format!("unable to convert {from} to {to}"));
        let (Some(source), Some(wanted)) = (find(&snapshot, &from), find(&snapshot, to)) else {
            return Err(unknown());
        };
        match (&source.custom, &wanted.custom) {
            (None, None) if source.stored == wanted.stored => {
                let stored = to_storage(source.served, source.stored, object.clone());
                Ok(from_storage(wanted.served, wanted.stored, stored))
            }
            (Some(source), Some(wanted)) => {
                let stored = source.encode(object.clone()).await?;
                let decoded = wanted.decode(vec![Arc::new(Object::new(stored, 0, None))]).await?.pop();
                let mut value = decoded.ok_or_else(unknown)?.parse();
                // Not a stored object: the revision made up on the way is none of it.
                restore_version(&mut value, object);
                Ok(value)
            }
            _ => Err(unknown()),
        }
    }

    fn decode(&self, kind: &Kind, mut object: Value, decoding: Decoding) -> Result<Value, String> {
        let snapshot = self.resources.snapshot();
        let known = find(&snapshot, kind);
        let api_version = kind.api_version();
        let findings = match known.and_then(|known| known.custom.as_ref()) {
            Some(custom) => custom.check_fields(&mut object),
            None => {
                xebec_api::meta::drop_nulls(&mut object);
                let findings = schema::check(&api_version, &kind.kind, &object);
                schema::prune_unknown(&api_version, &kind.kind, &mut object);
                findings
            }
        };
        if let Some(wrong) = findings.iter().find(|finding| finding.is_fatal()) {
            return Err(wrong.to_string());
        }
        if decoding == Decoding::Strict
            && let Some(error) = schema::strict_error(&findings)
        {
            return Err(error);
        }
        let Some(known) = known else { return Ok(object) };
        if known.custom.is_some() {
            known.strategy.defaults(&mut object);
            return Ok(object);
        }
        let mut stored = to_storage(known.served, known.stored, object);
        known.strategy.defaults(&mut stored);
        Ok(from_storage(known.served, known.stored, stored))
    }

    fn merge(&self, kind: &Kind, live: &Value, patch: &Value) -> Result<Value, MergeError> {
        let snapshot = self.resources.snapshot();
        let known = find(&snapshot, kind).ok_or(MergeError::UnknownKind)?;
        if let Some(custom) = &known.custom {
            return merge::merge(live, patch, custom.merge_schema().root());
        }
        let findings = schema::check(&kind.api_version(), &kind.kind, patch);
        if let Some(first) = findings.first() {
            let why = format!("failed to convert patch object to typed object: {first}");
            return Err(MergeError::Refused(why));
        }
        merge::merge(live, patch, merge_root(known.served))
    }

    fn schema(&self, kind: &Kind) -> Option<Arc<Value>> {
        let snapshot = self.resources.snapshot();
        if let Some(custom) = &find(&snapshot, kind)?.custom {
            let served = find(&snapshot, kind)?.served;
            let definition = custom.definition()?;
            let document = xebec_crd::openapi::v3(&[Published { definition, resource: served }]);
            return schema_in(&document, kind).map(Arc::new);
        }
        if let Some(known) = self.schemas.lock().get(kind) {
            return known.clone();
        }
        let made = built_in_schema(kind).map(Arc::new);
        self.schemas.lock().insert(kind.clone(), made.clone());
        made
    }
}

fn restore_version(value: &mut Value, original: &Value) {
    let Some(metadata) = value["metadata"].as_object_mut() else { return };
    match original["metadata"].get("resourceVersion") {
        Some(version) => metadata.insert("resourceVersion".to_owned(), version.clone()),
        None => metadata.remove("resourceVersion"),
    };
}

/// The kind's schema out of its group's OpenAPI document.
fn built_in_schema(kind: &Kind) -> Option<Value> {
    schema_in(&xebec_kinds::openapi::v3_document(&kind.group, &kind.version)?, kind)
}

/// The kind's schema out of a document, references resolved.
fn schema_in(document: &Value, kind: &Kind) -> Option<Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    let own = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let found = schemas.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.contains(&own))
    })?;
    Some(resolved(found, schemas, 0))
}

fn resolved(schema: &Value, schemas: &Map<String, Value>, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    let reference = |schema: &Value| {
        let name = schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")?;
        schemas.get(name)
    };
    if let Some(target) = reference(schema) {
        return resolved(target, schemas, depth + 1);
    }
    // A reference with a description is written as the only member of allOf.
    if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice)
        && let Some(target) = reference(only)
    {
        return resolved(target, schemas, depth + 1);
    }
    match schema {
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), resolved(field, schemas, depth + 1))).collect()
        }
        Value::Array(items) => items.iter().map(|item| resolved(item, schemas, depth + 1)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{RuntimeConfig, built_in, stored_as};
    use crate::watch::Caches;

    fn types() -> ServedTypes {
        let stored = built_in().filter(|r| r.storage).map(stored_as);
        let caches = Caches::new(stored.map(|r| (r.group, r.plural)));
        ServedTypes::new(Arc::new(Resources::new(&caches, &RuntimeConfig::default())))
    }

    #[tokio::test]
    async fn events_and_autoscalers_are_one_each() {
        let types = types();
        let events = Resource::new("events.k8s.io", "v1", "events");
        assert_eq!(types.equivalents(&events, "").len(), 2);
        let scalers = Resource::new("autoscaling", "v2", "horizontalpodautoscalers");
        assert_eq!(types.equivalents(&scalers, "status").len(), 2);
        let pods = Resource::new("", "v1", "pods");
        assert_eq!(types.equivalents(&pods, ""), std::slice::from_ref(&pods));
        let event = json!({"apiVersion": "v1", "kind": "Event", "message": "m", "metadata": {}});
        let converted = types.convert(&event, &Kind::new("events.k8s.io", "v1", "Event")).await.unwrap();
        assert_eq!((&converted["note"], &converted["apiVersion"]), (&json!("m"), &json!("events.k8s.io/v1")));
        assert!(types.convert(&event, &Kind::new("", "v1", "Pod")).await.is_err());
    }

    #[test]
    fn kinds_of_subresources() {
        let types = types();
        let deployments = Resource::new("apps", "v1", "deployments");
        assert_eq!(types.kind_for(&deployments, "scale"), Some(Kind::new("autoscaling", "v1", "Scale")));
        assert_eq!(types.kind_for(&deployments, ""), Some(Kind::new("apps", "v1", "Deployment")));
        assert_eq!(types.kind_for(&deployments, "exec"), None);
        let map = types.resource_for(&Kind::new("", "v1", "ConfigMap")).unwrap();
        assert_eq!(map, (Resource::new("", "v1", "configmaps"), true));
    }

    #[test]
    fn decoding_drops_or_refuses_and_defaults() {
        let types = types();
        let kind = Kind::new("v1", "", "").clone();
        assert_eq!(types.resource_for(&kind), None);
        let kind = Kind::new("", "v1", "Pod");
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {
            "containers": [{"name": "c", "image": "i", "bogus": 1}],
        }});
        let decoded = types.decode(&kind, pod.clone(), Decoding::Lenient).unwrap();
        assert!(decoded["spec"]["containers"][0].get("bogus").is_none());
        assert_eq!(decoded["spec"]["restartPolicy"], "Always");
        let error = types.decode(&kind, pod, Decoding::Strict).unwrap_err();
        assert_eq!(error, "strict decoding error: unknown field \"spec.containers[0].bogus\"");
        let wrong = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": "none"}});
        let error = types.decode(&kind, wrong, Decoding::Lenient).unwrap_err();
        assert!(error.starts_with("json: cannot unmarshal string"), "{error}");
    }

    #[test]
    fn schemas_are_whole_even_where_they_contain_themselves() {
        let types = types();
        let schema = types.schema(&Kind::new("apps", "v1", "Deployment")).unwrap();
        let replicas = &schema["properties"]["spec"]["properties"]["replicas"];
        assert_eq!(replicas["type"], "integer");
        let crd = Kind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        assert!(types.schema(&crd).is_some());
        assert!(types.schema(&Kind::new("x", "v1", "Y")).is_none());
    }
}
