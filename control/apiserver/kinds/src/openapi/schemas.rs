//! The schemas of one group and version, in OpenAPI form.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use xebec_api::resource::Resource;

use super::{kinds, markers, older};

pub const REFERENCE: &str = "#/components/schemas/";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Every schema the resources need, by upstream's names.
pub fn of(group: &str, version: &str, resources: &[&Resource]) -> Map<String, Value> {
    let mut generator = generator();
    let mut served: Vec<(String, String, String)> = Vec::new();
    for resource in resources {
        served.push((group.to_owned(), version.to_owned(), resource.kind.to_owned()));
        for sub in &resource.subresources {
            served.push((sub.group.to_owned(), sub.version.to_owned(), sub.kind.to_owned()));
        }
    }
    let mut named = Vec::new();
    for (group, version, kind) in served {
        let name = match kinds::find(&group, &version, &kind) {
            Some(register) => Some(reference_of(register(&mut generator))),
            None => older::register(&mut generator, &group, &version, &kind),
        };
        named.extend(name.map(|name| (name, group, version, kind)));
    }
    kinds::common(&mut generator);
    let mut schemas = finished(generator, resources);
    for (name, group, version, kind) in named {
        if let Some(schema) = schemas.get_mut(&name).and_then(Value::as_object_mut) {
            let gvk = json!([{"group": group, "version": version, "kind": kind}]);
            schema.insert("x-kubernetes-group-version-kind".to_owned(), gvk);
            require_all_but_metadata(schema);
        }
        if resources.iter().any(|resource| resource.kind == kind && resource.has_verb("list")) {
            schemas.insert(format!("{name}List"), list_schema(&name, &group, &version, &kind));
        }
    }
    schemas
}

/// The schemas that documents about custom resources refer to: metadata, Status, DeleteOptions, Patch, Scale and what
/// these refer to.
pub fn shared() -> Map<String, Value> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    let mut schemas = of("autoscaling", "v1", &[]);
    let mut generator = generator();
    generator.subschema_for::<ObjectMeta>();
    let scale =
        kinds::find("autoscaling", "v1", "Scale").map(|register| reference_of(register(&mut generator)));
    schemas.extend(finished(generator, &[]));
    if let Some(schema) = scale.and_then(|name| schemas.get_mut(&name)).and_then(Value::as_object_mut) {
        let gvk = json!([{"group": "autoscaling", "version": "v1", "kind": "Scale"}]);
        schema.insert("x-kubernetes-group-version-kind".to_owned(), gvk);
        require_all_but_metadata(schema);
    }
    schemas
}

fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::openapi3();
    settings.definitions_path = "/components/schemas".into();
    settings.transforms.clear();
    SchemaGenerator::new(settings)
}

/// What a generator has gathered for these resources, in OpenAPI form with its markers.
fn finished(mut generator: SchemaGenerator, resources: &[&Resource]) -> Map<String, Value> {
    let mut schemas: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
    for resource in resources.iter().filter(|resource| resource.is_older_form()) {
        older::adapt(&mut schemas, resource);
    }
    for (name, schema) in &mut schemas {
        wrap_references(schema, true);
        markers::add(name, schema);
    }
    schemas
}

/// A server fills in missing metadata, so upstream does not require it; k8s-openapi's types do.
fn require_all_but_metadata(schema: &mut Map<String, Value>) {
    let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) else { return };
    required.retain(|field| field != "metadata");
    if required.is_empty() {
        schema.remove("required");
    }
}

/// The name of the schema that a kind's registration referred to.
fn reference_of(schema: schemars::Schema) -> String {
    let reference = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
    reference.strip_prefix(REFERENCE).unwrap_or_default().to_owned()
}

/// The name of a kind's schema among those of a document.
pub fn name_of<'a>(
    schemas: &'a Map<String, Value>,
    group: &str,
    version: &str,
    kind: &str,
) -> Option<&'a str> {
    let gvk = json!({"group": group, "version": version, "kind": kind});
    schemas
        .iter()
        .find(|(_, schema)| schema["x-kubernetes-group-version-kind"][0] == gvk)
        .map(|(name, _)| name.as_str())
}

/// A reference to a schema of the same document.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("{REFERENCE}{name}")})
}

/// In OpenAPI 3.0 what stands beside a `$ref` is ignored: such references move into an `allOf`.
fn wrap_references(value: &mut Value, top: bool) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|value| wrap_references(value, false));
            if !top && map.len() > 1 && map.get("$ref").is_some_and(Value::is_string) {
                let target = map.remove("$ref").unwrap_or_default();
                map.insert("allOf".to_owned(), json!([{"$ref": target}]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|value| wrap_references(value, false)),
        _ => {}
    }
}

fn list_schema(name: &str, group: &str, version: &str, kind: &str) -> Value {
    let list_meta = json!({"allOf": [reference(LIST_META)], "description": "Standard list metadata."});
    json!({
        "description": format!("{kind}List is a list of {kind} objects."),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object."},
            "kind": {"type": "string", "description": "Kind is a string value representing the REST resource this object represents."},
            "metadata": list_meta,
            "items": {"type": "array", "description": "The objects.", "items": reference(name)}
        },
        "x-kubernetes-group-version-kind": [{"group": group, "version": version, "kind": format!("{kind}List")}]
    })
}
