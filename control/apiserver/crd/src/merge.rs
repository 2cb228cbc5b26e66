//! How the fields of custom resources merge in server-side apply, by their own `x-kubernetes-list-*` and `-map-type`.
//!
//! Enters: a schema. Leaves: types in the form of `merge-schema.json` (see the API server's `MergeSchema`), each node of
//! the schema a type of its own, named by its place. Called when a version begins to be served.
//!
//! Authority: structured-merge-diff and kube-openapi, pkg/schemaconv.

use serde_json::{Map, Value, json};

use crate::schema::{Additional, Schema};

/// The name of the type of whole objects.
pub const ROOT: &str = "root";
/// What has no schema is deduced from the object itself.
const UNTYPED: &str = "__untyped_deduced_";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The types of a version, the whole object under [`ROOT`]. `preserve_unknown`: the definition keeps what no schema
/// knows.
pub fn types(schema: Option<&Schema>, preserve_unknown: bool) -> Map<String, Value> {
    let mut types = Types { all: Map::new() };
    let root = match schema {
        None => json!({"k": "map", "elem": UNTYPED}),
        Some(schema) => {
            let mut root = types.structure(&Schema::as_resource(Some(schema)), ROOT, preserve_unknown);
            if schema.ext.map_type.as_deref() == Some("atomic") {
                root["structRel"] = json!("atomic");
            }
            root
        }
    };
    types.all.insert(ROOT.to_owned(), root);
    types.all
}

struct Types {
    all: Map<String, Value>,
}

impl Types {
    /// The description of a field whose type, if it needs one, is called `name`.
    fn field(&mut self, schema: &Schema, name: &str, keeps: bool) -> Value {
        let keeps = keeps || schema.preserves_unknown();
        match schema.kind.as_str() {
            "array" => self.list(schema, name, keeps),
            "object" if schema.ext.map_type.as_deref() == Some("atomic") => {
                json!({"k": "map", "rel": "atomic"})
            }
            "object" => self.object(schema, name, keeps),
            // Without a type it is what the object says it is.
            "" if keeps && !schema.ext.int_or_string => json!({"k": "map", "elem": UNTYPED}),
            _ => json!({"scalar": "untyped"}),
        }
    }

    fn object(&mut self, schema: &Schema, name: &str, keeps: bool) -> Value {
        if !schema.properties.is_empty() || schema.ext.embedded {
            let structure = self.structure(schema, name, keeps);
            self.all.insert(name.to_owned(), structure);
            return json!({"k": "ref", "t": name});
        }
        match &schema.additional {
            Some(Additional::Schema(schema)) => {
                let elem = self.named(schema, &format!("{name}.*"), keeps);
                json!({"k": "map", "elem": elem})
            }
            Some(Additional::Allowed(false)) => json!({"k": "map", "elem": "scalar"}),
            _ => json!({"k": "map", "elem": UNTYPED}),
        }
    }

    fn structure(&mut self, schema: &Schema, name: &str, keeps: bool) -> Value {
        let mut fields = Map::new();
        for (property, schema) in &schema.properties {
            fields.insert(property.clone(), self.field(schema, &format!("{name}.{property}"), keeps));
        }
        if schema.ext.embedded {
            fields.insert("metadata".to_owned(), json!({"k": "ref", "t": OBJECT_META}));
            for field in ["apiVersion", "kind"] {
                fields.insert(field.to_owned(), json!({"scalar": "string"}));
            }
        }
        let mut structure = json!({ "fields": fields });
        if keeps || schema.preserves_unknown() {
            // Fields beside the declared ones are deduced too.
            structure["elem"] = json!(UNTYPED);
        }
        structure
    }

    fn list(&mut self, schema: &Schema, name: &str, keeps: bool) -> Value {
        let Some(items) = schema.items.as_deref() else { return json!({"k": "list", "rel": "atomic"}) };
        match schema.ext.list_type.as_deref() {
            Some("set") => json!({"k": "list", "rel": "associative", "set": true}),
            Some("map") => {
                let elem = self.named(items, &format!("{name}[]"), keeps);
                let keys = &schema.ext.list_map_keys;
                let defaults: Map<String, Value> = keys
                    .iter()
                    .filter_map(|key| Some((key.clone(), items.properties.get(key)?.default.clone()?)))
                    .collect();
                let mut list = json!({"k": "list", "rel": "associative", "keys": keys, "elem": elem});
                if !defaults.is_empty() {
                    list["keyDefaults"] = Value::Object(defaults);
                }
                list
            }
            _ => json!({"k": "list", "rel": "atomic"}),
        }
    }

    /// Makes a type of that name for elements; its name.
    fn named(&mut self, schema: &Schema, name: &str, keeps: bool) -> String {
        let field = self.field(schema, name, keeps);
        if field["k"] != "ref" {
            self.all.insert(name.to_owned(), field);
        }
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_schema() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "n": {"type": "integer"},
            "either": {"x-kubernetes-int-or-string": true},
            "atomic": {"type": "array", "items": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["p", "q"],
                "items": {"type": "object", "properties": {"p": {"type": "integer"}, "q": {"type": "string", "default": "TCP"}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
            "free": {"type": "object"},
            "keep": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}
        }}}}))
        .unwrap();
        let types = types(Some(&schema), false);
        let spec = &types["root.spec"]["fields"];
        let cases = [
            ("n", json!({"scalar": "untyped"})),
            ("either", json!({"scalar": "untyped"})),
            ("atomic", json!({"k": "list", "rel": "atomic"})),
            ("set", json!({"k": "list", "rel": "associative", "set": true})),
            (
                "map",
                json!({"k": "list", "rel": "associative", "keys": ["p", "q"], "elem": "root.spec.map[]", "keyDefaults": {"q": "TCP"}}),
            ),
            ("labels", json!({"k": "map", "elem": "root.spec.labels.*"})),
            ("whole", json!({"k": "map", "rel": "atomic"})),
            ("free", json!({"k": "map", "elem": UNTYPED})),
            ("keep", json!({"k": "ref", "t": "root.spec.keep"})),
            ("pod", json!({"k": "ref", "t": "root.spec.pod"})),
        ];
        for (name, want) in cases {
            assert_eq!(spec[name], want, "{name}");
        }
        assert_eq!(types["root"]["fields"]["metadata"], json!({"k": "ref", "t": OBJECT_META}));
        assert_eq!(types["root.spec.labels.*"], json!({"scalar": "untyped"}));
        assert_eq!(types["root.spec.map[]"]["fields"]["p"], json!({"scalar": "untyped"}));
        assert_eq!(types["root.spec.keep"]["elem"], UNTYPED);
        assert_eq!(types["root.spec.pod"]["fields"]["metadata"]["t"], OBJECT_META);
        assert_eq!(super::types(None, false)[ROOT], json!({"k": "map", "elem": UNTYPED}));
    }
}
