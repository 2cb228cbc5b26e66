//! Resources added while the server runs: two served versions of which one is stored.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::{Value, json};
use xebec_api::resource::{Resource, intern, intern_resource, lookup};
use xebec_api::schema::Finding;
use xebec_api::status::ApiError;
use xebec_kinds::{Facts, Generation, Strategy};

use super::harness::Cluster;
use crate::registry::MergeSchema;
use crate::resources::{Custom, Kind, Scaled, StrategyRef};
use crate::watch::{Cache, Object, add};

const GROUP: &str = "test.example.com";

struct Rules(Facts);

impl Strategy for Rules {
    fn facts(&self) -> &Facts {
        &self.0
    }
}

/// v1 says `size`, v2 says `replicas`; v2 is stored.
struct Widget {
    version: &'static str,
    schema: OnceLock<MergeSchema>,
}

fn rename(value: &mut Value, version: &str) {
    let (from, to) = if version == "v1" { ("replicas", "size") } else { ("size", "replicas") };
    value["apiVersion"] = json!(format!("{GROUP}/{version}"));
    if let Some(spec) = value["spec"].as_object_mut()
        && let Some(number) = spec.remove(from)
    {
        spec.insert(to.to_owned(), number);
    }
}

#[async_trait]
impl Custom for Widget {
    fn check_fields(&self, value: &mut Value) -> Vec<Finding> {
        let known = if self.version == "v1" { "size" } else { "replicas" };
        let Some(spec) = value["spec"].as_object_mut() else { return Vec::new() };
        let unknown: Vec<String> = spec.keys().filter(|key| *key != known).cloned().collect();
        unknown.iter().for_each(|key| drop(spec.remove(key)));
        unknown.into_iter().map(|key| Finding::Unknown { path: format!("spec.{key}") }).collect()
    }

    fn merge_schema(&self) -> &MergeSchema {
        self.schema.get_or_init(|| MergeSchema::new(serde_json::Map::new(), "widget".to_owned()))
    }

    async fn decode(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, ApiError> {
        let convert = |object: Arc<Object>| {
            if self.version == "v2" {
                return object;
            }
            let mut value = object.parse();
            rename(&mut value, self.version);
            Arc::new(Object::new(value, object.revision, None))
        };
        Ok(objects.into_iter().map(convert).collect())
    }

    async fn encode(&self, mut value: Value) -> Result<Value, ApiError> {
        rename(&mut value, "v2");
        Ok(value)
    }

    fn scale(&self) -> Option<&dyn Scaled> {
        Some(self)
    }
}

impl Widget {
    fn number(&self) -> &'static str {
        if self.version == "v1" { "size" } else { "replicas" }
    }
}

impl Scaled for Widget {
    fn replicas_path(&self) -> Vec<&str> {
        vec!["spec", self.number()]
    }

    fn read(&self, object: &Value) -> Result<Value, ApiError> {
        self.shown(object)
    }

    fn shown(&self, object: &Value) -> Result<Value, ApiError> {
        Ok(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": object["metadata"],
            "spec": {"replicas": object["spec"][self.number()]},
        }))
    }

    fn scaled(&self, object: &Value, wanted: &Value) -> Result<Value, ApiError> {
        let mut new = object.clone();
        new["spec"][self.number()] = wanted["spec"]["replicas"].clone();
        Ok(new)
    }
}

fn kind(cache: &Arc<Cache>, version: &'static str) -> Arc<Kind> {
    let like = lookup("apps", "v1", "replicasets").unwrap();
    let served = intern_resource(Resource {
        group: intern(GROUP),
        version,
        kind: intern("Widget"),
        plural: intern("widgets"),
        singular: "widget".to_owned(),
        ..like.clone()
    });
    let facts = Facts::namespaced(served.group, served.kind, served.plural)
        .with_status()
        .with_generation(Generation::Spec);
    Arc::new(Kind {
        served,
        stored: served,
        strategy: StrategyRef::Custom(Arc::new(Rules(facts))),
        cache: Some(Arc::clone(cache)),
        custom: Some(Arc::new(Widget { version, schema: OnceLock::new() })),
    })
}

async fn serve(cluster: &Cluster) {
    let registry = &cluster.server.registry;
    let cache = Arc::new(Cache::with_strategy(intern(GROUP), intern("widgets"), None));
    add(&*cluster.store, registry.caches(), Arc::clone(&cache)).await.unwrap();
    registry.resources().set_custom([kind(&cache, "v2"), kind(&cache, "v1")]);
}

fn path(version: &str, rest: &str) -> String {
    format!("/apis/{GROUP}/{version}/namespaces/default/widgets{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_show_the_one_stored_object() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get(&path("v1", "")).await.code, 404);
    serve(&cluster).await;
    let made =
        cluster.post(&path("v1", ""), &json!({"metadata": {"name": "a"}, "spec": {"size": 3, "x": 1}})).await;
    assert_eq!((made.code, &made.json()["spec"]), (201, &json!({"size": 3})), "{}", made.text);
    let stored = cluster.store.list("/registry/test.example.com/widgets/").await.unwrap().0;
    let stored: Value = serde_json::from_slice(&stored[0].value).unwrap();
    assert_eq!(
        (&stored["apiVersion"], &stored["spec"]["replicas"]),
        (&json!("test.example.com/v2"), &json!(3))
    );
    assert_eq!(cluster.get(&path("v2", "/a")).await.json()["spec"]["replicas"], 3);
    let list = cluster.get(&path("v1", "")).await.json();
    assert_eq!(
        (&list["items"][0]["spec"]["size"], &list["items"][0]["apiVersion"]),
        (&json!(3), &json!("test.example.com/v1"))
    );
    let merge = "application/merge-patch+json";
    let patched = cluster.patch(&path("v1", "/a"), merge, &json!({"spec": {"size": 5}})).await.json();
    assert_eq!((&patched["spec"]["size"], &patched["metadata"]["generation"]), (&json!(5), &json!(2)));
    let scaled = cluster.patch(&path("v2", "/a/scale"), merge, &json!({"spec": {"replicas": 7}})).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 7, "{}", scaled.text);
    assert_eq!(cluster.get(&path("v1", "/a/scale")).await.json()["spec"]["replicas"], 7);
    let discovery = cluster.get("/apis/test.example.com").await.json();
    assert_eq!(discovery["preferredVersion"]["version"], "v2", "{discovery}");
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_of_both_versions_meet() {
    let cluster = Cluster::start().await;
    serve(&cluster).await;
    let widget = |version: &str, field: &str, n: i64| json!({"apiVersion": format!("{GROUP}/{version}"), "kind": "Widget", "metadata": {"name": "a"}, "spec": {field: n}});
    let apply = async |version: &str, manager: &str, value: Value| {
        cluster
            .patch(
                &path(version, &format!("/a?fieldManager={manager}")),
                "application/apply-patch+yaml",
                &value,
            )
            .await
    };
    let made = apply("v1", "one", widget("v1", "size", 3)).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let conflict = apply("v2", "two", widget("v2", "replicas", 4)).await;
    assert_eq!(conflict.message(), "Apply failed with 1 conflict: conflict with \"one\": .spec.size");
    let shared = apply("v2", "two", widget("v2", "replicas", 3)).await.json();
    let versions: Vec<_> = shared["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["apiVersion"].clone())
        .collect();
    assert_eq!(versions.len(), 2, "{shared}");
    let mut without = widget("v1", "size", 3);
    without["spec"] = json!({});
    let left = apply("v1", "one", without).await.json();
    assert_eq!(left["spec"]["size"], 3, "two owns it still: {left}");
    let mut without = widget("v2", "replicas", 3);
    without["spec"] = json!({});
    let gone = apply("v2", "two", without).await.json();
    assert!(gone["spec"].get("replicas").is_none(), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sees_its_own_version_and_ends_when_the_definition_changes() {
    let cluster = Cluster::start().await;
    serve(&cluster).await;
    let watched = tokio::spawn({
        let client = cluster.admin().await;
        async move {
            let path = path("v1", "?watch=1&timeoutSeconds=20&resourceVersion=0");
            super::harness::send(&client, "GET", &path, &[], "").await
        }
    });
    cluster.post(&path("v2", ""), &json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}})).await;
    let merge = "application/merge-patch+json";
    cluster.patch(&path("v2", "/a"), merge, &json!({"spec": {"replicas": 2}})).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    serve(&cluster).await;
    let text = watched.await.unwrap().text;
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sizes: Vec<_> = events.iter().map(|event| event["object"]["spec"]["size"].clone()).collect();
    assert_eq!(sizes.last(), Some(&json!(2)), "{text}");
    assert!(events.iter().all(|event| event["object"]["apiVersion"] == "test.example.com/v1"), "{text}");
    // The new cache holds what the old one did.
    assert_eq!(cluster.get(&path("v1", "/a")).await.json()["spec"]["size"], 2);
}
