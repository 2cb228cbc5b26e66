//! The paths of one resource: every verb with its parameters, body and kind.

use serde_json::{Map, Value, json};
use xebec_api::resource::{Resource, Subresource};

use super::schemas::{name_of, reference};

const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The verbs of a collection and of one object: verb, HTTP method, upstream's action.
const COLLECTION: &[(&str, &str, &str)] = &[
    ("list", "get", "list"),
    ("create", "post", "post"),
    ("deletecollection", "delete", "deletecollection"),
];
const OBJECT: &[(&str, &str, &str)] = &[
    ("get", "get", "get"),
    ("update", "put", "put"),
    ("patch", "patch", "patch"),
    ("delete", "delete", "delete"),
];
/// The verbs of a subresource.
const PART: &[(&str, &str, &str)] = &[
    ("get", "get", "get"),
    ("create", "post", "post"),
    ("update", "put", "put"),
    ("patch", "patch", "patch"),
    ("delete", "delete", "delete"),
];

struct Gvk<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

/// What differs between built-in and custom resources.
struct Manner<'a> {
    list_kind: &'a str,
    patches: &'a [&'static str],
}

/// Every path of a built-in resource.
pub fn of(resource: &Resource, schemas: &Map<String, Value>) -> Map<String, Value> {
    build(resource, &Manner { list_kind: &resource.list_kind(), patches: PATCHES }, schemas)
}

/// Every path of a custom resource: it has no strategic merge, and its lists may have any kind.
pub fn of_custom(resource: &Resource, list_kind: &str, schemas: &Map<String, Value>) -> Map<String, Value> {
    build(resource, &Manner { list_kind, patches: &PATCHES[..3] }, schemas)
}

fn build(resource: &Resource, manner: &Manner<'_>, schemas: &Map<String, Value>) -> Map<String, Value> {
    let root = match resource.group {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let (scope, base) = if resource.namespaced {
        ("Namespaced", format!("{root}/namespaces/{{namespace}}/{}", resource.plural))
    } else {
        ("", format!("{root}/{}", resource.plural))
    };
    let gvk = Gvk { group: resource.group, version: resource.version, kind: resource.kind };
    let mut paths = Map::new();
    let mut add = |path: String, verbs: &[(&str, &str, &str)], served: &[&str], gvk: &Gvk<'_>, id: &str| {
        let mut item = Map::new();
        for (verb, method, action) in verbs.iter().filter(|(verb, _, _)| served.contains(verb)) {
            item.insert((*method).to_owned(), operation(action, verb, gvk, id, manner, schemas));
        }
        if !item.is_empty() {
            item.insert("parameters".to_owned(), path_parameters(&path));
            paths.insert(path, Value::Object(item));
        }
    };
    let id = format!("{}{}", scope, id_of(&gvk));
    add(base.clone(), COLLECTION, &resource.verbs, &gvk, &id);
    if resource.namespaced {
        let everywhere = format!("{}ForAllNamespaces", id_of(&gvk));
        add(format!("{root}/{}", resource.plural), &COLLECTION[..1], &resource.verbs, &gvk, &everywhere);
    }
    let object = format!("{base}/{{name}}");
    add(object.clone(), OBJECT, &resource.verbs, &gvk, &id);
    for Subresource { name, kind, group, version, verbs } in &resource.subresources {
        let part = Gvk { group, version, kind };
        let id = format!("{id}{}{}", name[..1].to_uppercase(), &name[1..]);
        add(format!("{object}/{name}"), PART, verbs, &part, &id);
    }
    paths
}

fn id_of(gvk: &Gvk<'_>) -> String {
    gvk.kind.to_owned()
}

fn operation(
    action: &str,
    verb: &str,
    gvk: &Gvk<'_>,
    id: &str,
    manner: &Manner<'_>,
    schemas: &Map<String, Value>,
) -> Value {
    let own = name_of(schemas, gvk.group, gvk.version, gvk.kind);
    let answer = match verb {
        "list" => name_of(schemas, gvk.group, gvk.version, manner.list_kind),
        "delete" | "deletecollection" => Some(STATUS),
        _ => own,
    };
    let body = match verb {
        "create" | "update" => own.map(|name| (vec!["*/*"], name)),
        "patch" => Some((manner.patches.to_vec(), "io.k8s.apimachinery.pkg.apis.meta.v1.Patch")),
        "delete" | "deletecollection" => Some((vec!["*/*"], DELETE_OPTIONS)),
        _ => None,
    };
    let ok = match answer {
        Some(name) => {
            json!({"description": "OK", "content": {"application/json": {"schema": reference(name)}}})
        }
        None => json!({"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}),
    };
    let mut operation = json!({
        "description": format!("{verb} {}", gvk.kind),
        "operationId": format!("{verb}{id}"),
        "parameters": parameters(verb),
        "responses": {"200": ok, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
    });
    if let Some((types, name)) = body {
        let content: Map<String, Value> =
            types.into_iter().map(|media| (media.to_owned(), json!({"schema": reference(name)}))).collect();
        operation["requestBody"] =
            json!({"content": content, "required": verb != "delete" && verb != "deletecollection"});
    }
    operation
}

fn parameters(verb: &str) -> Vec<Value> {
    let names: &[(&str, &str)] = match verb {
        "list" | "deletecollection" => &[
            ("allowWatchBookmarks", "boolean"),
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
        "create" | "update" => {
            &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")]
        }
        "patch" => &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
            ("force", "boolean"),
        ],
        "delete" => &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
        _ => &[],
    };
    names.iter().map(|(name, kind)| parameter(name, "query", kind)).collect()
}

fn path_parameters(path: &str) -> Value {
    let mut all = Vec::new();
    for name in ["namespace", "name"] {
        if path.contains(&format!("{{{name}}}")) {
            let mut found = parameter(name, "path", "string");
            found["required"] = json!(true);
            all.push(found);
        }
    }
    all.push(parameter("pretty", "query", "string"));
    Value::Array(all)
}

fn parameter(name: &str, place: &str, kind: &str) -> Value {
    json!({"name": name, "in": place, "schema": {"type": kind, "uniqueItems": true}})
}
