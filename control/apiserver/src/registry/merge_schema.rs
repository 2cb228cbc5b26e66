//! How the fields of built-in kinds merge, from the reference data of `xebec-api`.
//!
//! Enters: a kind. Leaves: a walker over its fields saying which are atomic, which merge and by which keys. Used by
//! server-side apply and field ownership. An unknown field is atomic; a map without a declared relationship merges.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use xebec_api::resource::Resource;
use xebec_api::types::{self, Kind, Shape};

use super::fieldset::Step;
use crate::resources::Custom;

const DATA: &str = include_str!("../../../api/data/merge-schema.json");

/// How one value merges.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    /// As a whole.
    Atomic,
    /// Field by field; the type's description.
    Struct(&'a MergeSchema, &'a Value),
    /// Key by key, elements of this type.
    Map(&'a MergeSchema, &'a str),
    /// Element by element, identified by these keys.
    List {
        /// Where the types of its elements are.
        schema: &'a MergeSchema,
        /// The list's description: `keys`, `keyDefaults`, `elem`.
        field: &'a Value,
    },
    /// A set of scalars.
    Set,
}

/// Where a kind's schema is.
#[derive(Clone)]
pub enum SchemaRef {
    /// Among the built-in ones.
    BuiltIn(&'static Resource),
    /// A custom resource's.
    Custom(Arc<dyn Custom>),
}

impl SchemaRef {
    /// How an object of the kind merges.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        match self {
            Self::BuiltIn(resource) => root(resource),
            Self::Custom(custom) => custom.merge_schema().root(),
        }
    }
}

/// The types of a kind, in the form of `merge-schema.json` (see ../../shared/reference/README.md).
///
/// A type is `{"fields": {name: field}}`, `{"structRel": "atomic"}`, `{"scalar": ..}`, or, for an element that is a list
/// or map itself, a field. A field is `{"k": "list" | "map" | "ref", "rel": .., "keys", "keyDefaults", "set", "elem",
/// "t"}`. Types a custom resource's schema does not have (ObjectMeta) are looked up among the built-in ones.
pub struct MergeSchema {
    types: Map<String, Value>,
    root: String,
}

impl MergeSchema {
    /// A schema over these types, whose objects are of type `root`.
    #[must_use]
    pub fn new(types: Map<String, Value>, root: String) -> Self {
        Self { types, root }
    }

    /// How an object of this schema merges; a root that is not there is deduced from the object itself.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        self.named(&self.root).unwrap_or(Node::Map(self, UNTYPED))
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.types.get(name).or_else(|| built_in().types.get(name))
    }

    fn named(&self, name: &str) -> Option<Node<'_>> {
        let description = self.find(name)?;
        if name == UNTYPED {
            return Some(Node::Map(self, UNTYPED));
        }
        if description.get("k").is_some() {
            return Some(self.of_field(description));
        }
        if description["structRel"] == "atomic" || description.get("scalar").is_some() {
            return Some(Node::Atomic);
        }
        Some(Node::Struct(self, description))
    }

    fn of_field<'a>(&'a self, field: &'a Value) -> Node<'a> {
        match (field["k"].as_str(), field["rel"].as_str()) {
            (Some("list"), Some("associative")) if field["set"] == true => Node::Set,
            (Some("list"), Some("associative")) => Node::List { schema: self, field },
            (Some("map"), rel) if rel != Some("atomic") => {
                Node::Map(self, field["elem"].as_str().unwrap_or_default())
            }
            (Some("ref"), rel) if rel != Some("atomic") => {
                match field["t"].as_str().and_then(|name| self.find(name)) {
                    Some(description) => Node::Struct(self, description),
                    None => Node::Atomic,
                }
            }
            _ => Node::Atomic,
        }
    }
}

/// The type whose form is what the object has.
const UNTYPED: &str = "__untyped_deduced_";

fn built_in() -> &'static MergeSchema {
    static TYPES: OnceLock<MergeSchema> = OnceLock::new();
    TYPES.get_or_init(|| {
        let mut types = match serde_json::from_str(DATA) {
            Ok(Value::Object(mut data)) => match data.remove("types") {
                Some(Value::Object(types)) => types,
                _ => Map::new(),
            },
            _ => Map::new(),
        };
        types.iter_mut().for_each(|(name, description)| note_zeros(name, description));
        MergeSchema::new(types, UNTYPED.to_owned())
    })
}

/// Adds to a type's description the fields that are never absent from its Go value (see [`Node::zero`]): structures
/// that are no pointers are empty, what is not `omitempty` is null.
fn note_zeros(name: &str, description: &mut Value) {
    let Some(message) = types::by_name(name) else { return };
    let mut zeros = Map::new();
    let mut pending: Vec<&types::Field> = message.fields.iter().collect();
    while let Some(field) = pending.pop() {
        let structure = match field.shape {
            Shape::One(Kind::Message(id)) if types::message(id).special.is_none() => Some(types::message(id)),
            _ => None,
        };
        match structure {
            Some(inner) if field.inline => pending.extend(&inner.fields),
            Some(_) if !field.pointer => drop(zeros.insert(field.json.to_owned(), Value::Object(Map::new()))),
            _ if !field.omit_empty => drop(zeros.insert(field.json.to_owned(), Value::Null)),
            _ => {}
        }
    }
    if let Some(description) = description.as_object_mut().filter(|_| !zeros.is_empty()) {
        description.insert("zero".to_owned(), Value::Object(zeros));
    }
}

/// The name of a built-in type in the data: `io.k8s.api.apps.v1.Deployment`.
#[must_use]
pub fn type_name(resource: &Resource) -> String {
    let (version, kind) = (resource.version, resource.kind);
    match resource.group {
        "" => format!("io.k8s.api.core.{version}.{kind}"),
        "apiextensions.k8s.io" => {
            format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}")
        }
        "apiregistration.k8s.io" => {
            format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}")
        }
        "internal.apiserver.k8s.io" => format!("io.k8s.api.apiserverinternal.{version}.{kind}"),
        group => format!("io.k8s.api.{}.{version}.{kind}", group.split('.').next().unwrap_or(group)),
    }
}

/// The root of a kind.
#[must_use]
pub fn root(resource: &Resource) -> Node<'static> {
    let schema = built_in();
    schema.named(&type_name(resource)).unwrap_or(Node::Map(schema, UNTYPED))
}

impl<'a> Node<'a> {
    /// How field `name` of this struct or map merges.
    #[must_use]
    pub fn field(self, name: &str) -> Node<'a> {
        match self {
            Node::Struct(schema, description) => {
                if let Some(field) = description["fields"].get(name) {
                    return schema.of_field(field);
                }
                let named = description["refs"].get(name).and_then(Value::as_str);
                // A struct that keeps fields nobody declared says how those merge.
                let named = named.or_else(|| description["elem"].as_str());
                named.and_then(|name| schema.named(name)).unwrap_or(Node::Atomic)
            }
            Node::Map(schema, elem) => schema.named(elem).unwrap_or(Node::Atomic),
            _ => Node::Atomic,
        }
    }

    /// Whether `name` is a declared field, not a key of a map.
    #[must_use]
    pub fn declares(self, name: &str) -> bool {
        match self {
            Node::Struct(_, description) => {
                let named = |part: &str| description[part].get(name).is_some();
                description.get("elem").is_none() || named("fields") || named("refs")
            }
            _ => false,
        }
    }

    /// What stands for a field of this struct that is absent: Go's zero value where its JSON form leaves no field out.
    /// Ownership of such a field does not come and go with what is in it.
    #[must_use]
    pub fn zero(self, name: &str) -> Option<&'a Value> {
        match self {
            Node::Struct(_, description) => description["zero"].get(name),
            _ => None,
        }
    }

    /// The path step of a list element; none when it has no identity.
    #[must_use]
    pub fn step_of(self, item: &Value) -> Option<Step> {
        self.key_of(item).map(if matches!(self, Node::Set) { Step::Value } else { Step::Key })
    }

    /// Why a list element has no identity, in upstream's words; none when it has one.
    #[must_use]
    pub fn misfit(self, item: &Value) -> Option<String> {
        match (self, item) {
            (Node::List { .. }, Value::Null) => {
                Some("associative list with keys may not have a null element".to_owned())
            }
            (Node::List { field, .. }, Value::Object(_)) => {
                let keys = field["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
                let quoted: Vec<String> = keys.iter().map(ToString::to_string).collect();
                self.key_of(item).is_none().then(|| {
                    format!(
                        "associative list with keys has an element that omits all key fields [{}] (and doesn't have \
                         default values for any key fields)",
                        quoted.join(" ")
                    )
                })
            }
            (Node::List { .. }, _) => {
                Some("associative list with keys may not have non-map elements".to_owned())
            }
            (Node::Set, Value::Object(_)) => {
                Some("associative list without keys has an element that's a map type".to_owned())
            }
            (Node::Set, Value::Array(_)) => {
                Some("not supported: associative list with lists as elements".to_owned())
            }
            (Node::Set, Value::Null) => {
                Some("associative list without keys has an element that's an explicit null".to_owned())
            }
            _ => None,
        }
    }

    /// How the elements of this list merge.
    #[must_use]
    pub fn element(self) -> Node<'a> {
        match self {
            Node::List { schema, field } => {
                field["elem"].as_str().and_then(|name| schema.named(name)).unwrap_or(Node::Atomic)
            }
            _ => Node::Atomic,
        }
    }

    /// The identity of a list element: its keys with their defaults, in key order.
    #[must_use]
    pub fn key_of(self, item: &Value) -> Option<String> {
        match self {
            Node::List { field, .. } => {
                let item = item.as_object()?;
                let mut key = std::collections::BTreeMap::new();
                for name in field["keys"].as_array()?.iter().filter_map(Value::as_str) {
                    let value = item.get(name).or_else(|| field["keyDefaults"].get(name));
                    if let Some(value) = value {
                        key.insert(name, value);
                    }
                }
                if key.is_empty() { None } else { serde_json::to_string(&key).ok() }
            }
            Node::Set if item.is_object() || item.is_array() || item.is_null() => None,
            Node::Set => serde_json::to_string(item).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use xebec_api::resource;

    #[test]
    fn knows_pods() {
        let pod = root(resource::lookup("", "v1", "pods").unwrap());
        let containers = pod.field("spec").field("containers");
        assert_eq!(containers.key_of(&json!({"name": "c", "image": "i"})).unwrap(), r#"{"name":"c"}"#);
        let ports = containers.element().field("ports");
        assert_eq!(
            ports.key_of(&json!({"containerPort": 80})).unwrap(),
            r#"{"containerPort":80,"protocol":"TCP"}"#
        );
        assert!(matches!(pod.field("spec").field("tolerations"), Node::Atomic));
        assert!(matches!(pod.field("spec").field("nodeSelector"), Node::Atomic));
        assert!(matches!(pod.field("metadata").field("labels"), Node::Map(..)));
        assert!(matches!(pod.field("metadata").field("finalizers"), Node::Set));
    }

    #[test]
    fn every_kind_has_a_schema() {
        let missing: Vec<String> = resource::table()
            .iter()
            .filter(|r| r.storage && r.default_on)
            .map(type_name)
            .filter(|name| built_in().named(name).is_none())
            .collect();
        assert!(
            missing.iter().all(|name| name.contains("apiextensions") || name.contains("aggregator")),
            "{missing:?}"
        );
    }
}
