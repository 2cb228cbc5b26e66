//! The shape of every built-in type: one table behind the protobuf codec, decoding checks and merging.
//!
//! Enters: `data/protobuf-schema.json`, compiled in. Leaves: messages with their fields, looked up by kind or name.
//! Called by [`crate::protobuf`], [`crate::schema`], [`crate::patch`], and whoever walks a type (OpenAPI).

use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The place of a message in the table.
pub type MessageId = usize;

/// A plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    String,
    /// `true` or `false`.
    Bool,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// 64-bit float.
    Double,
    /// Bytes; base64 in JSON.
    Bytes,
}

/// What one value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain value.
    Scalar(Scalar),
    /// A structure.
    Message(MessageId),
}

/// How many values a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One.
    One(Kind),
    /// A list.
    List(Kind),
    /// A map from strings.
    Map(Kind),
}

impl Shape {
    /// What each value is.
    pub fn kind(self) -> Kind {
        match self {
            Self::One(kind) | Self::List(kind) | Self::Map(kind) => kind,
        }
    }
}

/// One field of a structure.
#[derive(Clone, Debug)]
pub struct Field {
    /// The number on the protobuf wire.
    pub number: u32,
    /// The name in JSON.
    pub json: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Whether its own fields appear in the parent's JSON object.
    pub inline: bool,
    /// Whether JSON leaves it out when empty.
    pub omit_empty: bool,
    /// Whether it is a pointer in Go, so that "zero" and "absent" differ.
    pub pointer: bool,
}

/// Types whose JSON form is not that of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// A Go duration's text.
    Duration,
    /// A resource amount's text.
    Quantity,
    /// An integer or a string.
    IntOrString,
    /// Any JSON, kept as raw bytes.
    RawJson,
    /// A list of strings under a type of its own (`ExtraValue`, `Verbs`).
    StringList,
    /// A schema or a boolean.
    SchemaOrBool,
    /// A schema or a list of schemas.
    SchemaOrArray,
    /// A schema or a list of strings.
    SchemaOrStringArray,
}

/// A structure.
#[derive(Debug)]
pub struct Message {
    /// The protobuf name: `k8s.io.api.core.v1.Pod`.
    pub name: &'static str,
    /// The fields, as declared.
    pub fields: Vec<Field>,
    /// Set for types with a JSON form of their own.
    pub special: Option<Special>,
    /// Whether objects of this type carry apiVersion and kind.
    pub has_type_meta: bool,
    by_number: HashMap<u32, usize>,
    by_json: HashMap<&'static str, (MessageId, usize)>,
}

impl Message {
    /// The last part of the name: `Pod`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The name as Go prints the type: `v1.Pod`.
    pub fn go_name(&self) -> &'static str {
        let mut parts = self.name.rmatch_indices('.').map(|(i, _)| i);
        parts.nth(1).map_or(self.name, |i| &self.name[i + 1..])
    }

    /// The name as OpenAPI writes it: `io.k8s.api.core.v1.Pod`.
    pub fn openapi_name(&self) -> String {
        self.name.replacen("k8s.io.", "io.k8s.", 1).replace('_', "-")
    }

    /// The field with that number on the wire.
    pub fn field_by_number(&self, number: u32) -> Option<&Field> {
        self.by_number.get(&number).map(|i| &self.fields[*i])
    }

    /// The field with that JSON name, those of inlined structures included, with the structure it belongs to.
    pub fn field_by_json(&self, name: &str) -> Option<(&'static Message, &'static Field)> {
        let (owner, index) = self.by_json.get(name)?;
        let owner = message(*owner);
        Some((owner, &owner.fields[*index]))
    }
}

struct Table {
    messages: Vec<Message>,
    by_name: HashMap<&'static str, MessageId>,
}

/// The parsed text lives as long as the program, so that names can be borrowed from it.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/protobuf-schema.json")).unwrap_or(Value::Null)
});

static TABLE: LazyLock<Table> = LazyLock::new(build);

/// The message at a place in the table.
pub fn message(id: MessageId) -> &'static Message {
    &TABLE.messages[id]
}

/// Every message.
pub fn messages() -> &'static [Message] {
    &TABLE.messages
}

/// The message of a protobuf name (`k8s.io.api.core.v1.Pod`) or OpenAPI name (`io.k8s.api.core.v1.Pod`).
pub fn by_name(name: &str) -> Option<&'static Message> {
    let found = match TABLE.by_name.get(name) {
        Some(id) => *id,
        None => *TABLE.by_name.get(name.replacen("io.k8s.", "k8s.io.", 1).replace('-', "_").as_str())?,
    };
    Some(message(found))
}

/// The message of a kind; the option and Status kinds of meta/v1 are found in every group and version.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Message> {
    let package = match group {
        "" => format!("k8s.io.api.core.{version}"),
        "meta.k8s.io" => format!("{META}{version}"),
        "apiextensions.k8s.io" => format!("k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.{version}"),
        "apiregistration.k8s.io" => format!("k8s.io.kube_aggregator.pkg.apis.apiregistration.{version}"),
        "audit.k8s.io" => format!("k8s.io.apiserver.pkg.apis.audit.{version}"),
        "internal.apiserver.k8s.io" => format!("k8s.io.api.apiserverinternal.{version}"),
        group => {
            let short = group.split('.').next().unwrap_or(group);
            // Only the groups Kubernetes owns have types here; a custom group may share the first word.
            if group.contains('.') && !group.ends_with(".k8s.io") {
                return options(kind);
            }
            format!("k8s.io.api.{short}.{version}")
        }
    };
    let found = TABLE.by_name.get(format!("{package}.{kind}").as_str()).copied();
    match found {
        Some(id) if message(id).has_type_meta => Some(message(id)),
        _ if group == "meta.k8s.io" => {
            TABLE.by_name.get(format!("{META}v1.{kind}").as_str()).map(|i| message(*i))
        }
        _ => options(kind),
    }
}

/// The message of a kind given by its apiVersion.
pub fn by_api_version(api_version: &str, kind: &str) -> Option<&'static Message> {
    let (group, version) = crate::resource::split_api_version(api_version);
    by_kind(group, version, kind)
}

const META: &str = "k8s.io.apimachinery.pkg.apis.meta.";

/// The kinds registered in every group and version.
const EVERYWHERE: [&str; 13] = [
    "DeleteOptions",
    "CreateOptions",
    "UpdateOptions",
    "PatchOptions",
    "ApplyOptions",
    "GetOptions",
    "ListOptions",
    "Status",
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "TableOptions",
];

fn options(kind: &str) -> Option<&'static Message> {
    if !EVERYWHERE.contains(&kind) {
        return None;
    }
    TABLE.by_name.get(format!("{META}v1.{kind}").as_str()).map(|i| message(*i))
}

fn special(name: &str) -> Option<Special> {
    let short = name.rsplit('.').next().unwrap_or(name);
    let schema = name.starts_with("k8s.io.apiextensions_apiserver.");
    Some(match short {
        "Time" if name.starts_with(META) => Special::Time,
        "MicroTime" if name.starts_with(META) => Special::MicroTime,
        "Duration" if name.starts_with(META) => Special::Duration,
        "FieldsV1" if name.starts_with(META) => Special::RawJson,
        "Verbs" if name.starts_with(META) => Special::StringList,
        "Quantity" | "QuantityValue" if name.starts_with("k8s.io.apimachinery.pkg.api.resource.") => {
            Special::Quantity
        }
        "IntOrString" => Special::IntOrString,
        "RawExtension" => Special::RawJson,
        "ExtraValue" => Special::StringList,
        "JSON" if schema => Special::RawJson,
        "JSONSchemaPropsOrBool" if schema => Special::SchemaOrBool,
        "JSONSchemaPropsOrArray" if schema => Special::SchemaOrArray,
        "JSONSchemaPropsOrStringArray" if schema => Special::SchemaOrStringArray,
        _ => return None,
    })
}

/// Structures with metadata that are templates inside other objects, without apiVersion and kind.
const TEMPLATES: [&str; 4] =
    ["PodTemplateSpec", "JobTemplateSpec", "PersistentVolumeClaimTemplate", "ResourceClaimTemplateSpec"];

/// Kinds without metadata that still are objects of their own.
const BARE_KINDS: [&str; 14] = [
    "PodExecOptions",
    "PodAttachOptions",
    "PodLogOptions",
    "PodPortForwardOptions",
    "PodProxyOptions",
    "NodeProxyOptions",
    "ServiceProxyOptions",
    "AdmissionReview",
    "ConversionReview",
    "SerializedReference",
    "PodStatusResult",
    "RangeAllocation",
    "WatchEvent",
    "Event",
];

fn has_type_meta(name: &str, fields: &[Field]) -> bool {
    let short = name.rsplit('.').next().unwrap_or(name);
    if TEMPLATES.contains(&short) {
        return false;
    }
    EVERYWHERE.contains(&short)
        || BARE_KINDS.contains(&short)
        || fields.iter().any(|f| f.json == "metadata" && !f.inline)
}

fn build() -> Table {
    let empty = serde_json::Map::new();
    let types: &'static serde_json::Map<String, Value> = match SCHEMA["types"].as_object() {
        Some(types) => types,
        None => Box::leak(Box::new(empty)),
    };
    let by_name: HashMap<&'static str, MessageId> =
        types.keys().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let mut messages: Vec<Message> = types
        .iter()
        .map(|(name, rows)| {
            let fields: Vec<Field> =
                rows.as_array().into_iter().flatten().filter_map(|row| field(row, &by_name)).collect();
            Message {
                name,
                special: special(name),
                has_type_meta: has_type_meta(name, &fields),
                by_number: fields.iter().enumerate().map(|(i, f)| (f.number, i)).collect(),
                by_json: HashMap::new(),
                fields,
            }
        })
        .collect();
    let names: Vec<_> = (0..messages.len()).map(|id| json_names(&messages, id)).collect();
    for (message, names) in messages.iter_mut().zip(names) {
        message.by_json = names;
    }
    Table { messages, by_name }
}

/// The JSON names of a message, those of the structures it inlines included.
fn json_names(messages: &[Message], id: MessageId) -> HashMap<&'static str, (MessageId, usize)> {
    let mut names = HashMap::new();
    for (i, field) in messages[id].fields.iter().enumerate() {
        match field.shape {
            Shape::One(Kind::Message(inner)) if field.inline => names.extend(json_names(messages, inner)),
            _ => {
                names.insert(field.json, (id, i));
            }
        }
    }
    names
}

/// Reads `[number, name, "opt"|"rep", type | ["map", key, value], {flags}]`.
fn field(row: &'static Value, by_name: &HashMap<&'static str, MessageId>) -> Option<Field> {
    let kind = |name: &str| {
        Some(match name {
            "string" => Kind::Scalar(Scalar::String),
            "bool" => Kind::Scalar(Scalar::Bool),
            "int32" => Kind::Scalar(Scalar::Int32),
            "int64" => Kind::Scalar(Scalar::Int64),
            "double" => Kind::Scalar(Scalar::Double),
            "bytes" => Kind::Scalar(Scalar::Bytes),
            other => Kind::Message(*by_name.get(other)?),
        })
    };
    let shape = match &row[3] {
        Value::String(name) if row[2] == "rep" => Shape::List(kind(name)?),
        Value::String(name) => Shape::One(kind(name)?),
        Value::Array(map) => Shape::Map(kind(map.get(2)?.as_str()?)?),
        _ => return None,
    };
    let flags = &row[4];
    let set = |name: &str| flags[name] == 1;
    Some(Field {
        number: u32::try_from(row[0].as_u64()?).ok()?,
        json: flags["json"].as_str().or(row[1].as_str())?,
        shape,
        inline: set("inline"),
        omit_empty: set("oe"),
        pointer: set("ptr"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_understood() {
        let rows: usize =
            SCHEMA["types"].as_object().unwrap().values().map(|v| v.as_array().unwrap().len()).sum();
        assert_eq!(messages().iter().map(|m| m.fields.len()).sum::<usize>(), rows);
        assert!(messages().len() > 1200);
    }

    #[test]
    fn every_resource_has_a_type() {
        for r in crate::resource::table() {
            if r.kind == "PodSecurityPolicy" {
                continue; // left Kubernetes before 1.36; kept in the table for old clients only
            }
            assert!(by_kind(r.group, r.version, r.kind).is_some(), "{} {}", r.api_version(), r.kind);
            for s in &r.subresources {
                assert!(by_kind(s.group, s.version, s.kind).is_some(), "{}/{} {}", r.plural, s.name, s.kind);
            }
        }
    }

    #[test]
    fn inlined_names() {
        let volume = by_name("io.k8s.api.core.v1.Volume").unwrap();
        let (owner, field) = volume.field_by_json("emptyDir").unwrap();
        assert_eq!((owner.short_name(), field.pointer), ("VolumeSource", true));
        assert!(volume.field_by_json("volumeSource").is_none());
        assert_eq!(volume.go_name(), "v1.Volume");
        assert_eq!(
            by_api_version("apps/v1", "Deployment").unwrap().openapi_name(),
            "io.k8s.api.apps.v1.Deployment"
        );
    }

    #[test]
    fn kinds() {
        assert!(by_kind("apps", "v1", "DeleteOptions").is_some());
        assert!(by_kind("example.com", "v1", "DeleteOptions").is_some());
        assert!(by_kind("apps.example.com", "v1", "Deployment").is_none());
        assert!(by_kind("meta.k8s.io", "v1", "PartialObjectMetadataList").is_some());
        assert!(by_kind("", "v1", "PodSpec").is_none());
        assert!(!by_name("k8s.io.api.core.v1.PodTemplateSpec").unwrap().has_type_meta);
    }
}
