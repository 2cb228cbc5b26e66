//! Walking an object beside its type, noting what does not fit.

use super::Finding;
use crate::types::{self, Kind, Message, Scalar, Shape, Special};
use base64::Engine;
use serde_json::{Map, Value};

/// Findings are bounded: the client is helped by the first hundred.
const MAX_FINDINGS: usize = 100;

/// What strict decoding would say of an object of this kind; nothing for kinds outside the table.
pub fn check(api_version: &str, kind: &str, object: &Value) -> Vec<Finding> {
    types::by_api_version(api_version, kind).map(|m| check_message(m, object)).unwrap_or_default()
}

/// The same for a type that is no kind of its own.
pub fn check_message(message: &'static Message, object: &Value) -> Vec<Finding> {
    let mut walk = Walk { findings: Vec::new(), path: String::new(), fields: String::new() };
    let place = Place { owner: None, expected: message.go_name().to_owned() };
    walk.message(message, object, &place, true);
    walk.findings
}

struct Walk {
    findings: Vec<Finding>,
    /// The path with indices and keys, for unknown fields.
    path: String,
    /// The path of field names alone, for wrong types.
    fields: String,
}

/// What the value under inspection was expected to be.
struct Place {
    /// The structure whose field holds the value; none for the object itself.
    owner: Option<&'static str>,
    /// The Go type.
    expected: String,
}

/// The name Go's decoder gives to what it found.
fn got(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

fn go_kind(kind: Kind) -> String {
    match kind {
        Kind::Scalar(Scalar::String) => "string".to_owned(),
        Kind::Scalar(Scalar::Bool) => "bool".to_owned(),
        Kind::Scalar(Scalar::Int32) => "int32".to_owned(),
        Kind::Scalar(Scalar::Int64) => "int64".to_owned(),
        Kind::Scalar(Scalar::Double) => "float64".to_owned(),
        Kind::Scalar(Scalar::Bytes) => "[]uint8".to_owned(),
        Kind::Message(id) => types::message(id).go_name().to_owned(),
    }
}

fn go_shape(shape: Shape) -> String {
    match shape {
        Shape::One(kind) => go_kind(kind),
        Shape::List(kind) => format!("[]{}", go_kind(kind)),
        Shape::Map(kind) => format!("map[string]{}", go_kind(kind)),
    }
}

impl Walk {
    fn note(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn wrong(&mut self, value: &Value, place: &Place) {
        self.wrong_as(got(value), place);
    }

    fn wrong_as(&mut self, got: String, place: &Place) {
        let path = place.owner.map(|owner| format!("{owner}.{}", self.fields)).unwrap_or_default();
        self.note(Finding::WrongType { path, expected: place.expected.clone(), got });
    }

    fn malformed(&mut self, message: impl ToString) {
        let (path, message) = (self.path.clone(), message.to_string());
        self.note(Finding::Malformed { path, message });
    }

    /// Runs `inner` with a step added to both paths.
    fn step(&mut self, text: &str, field: Option<&str>, inner: impl FnOnce(&mut Self)) {
        let (path, fields) = (self.path.len(), self.fields.len());
        if !text.starts_with('[') && !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(text);
        if let Some(field) = field {
            if !self.fields.is_empty() {
                self.fields.push('.');
            }
            self.fields.push_str(field);
        }
        inner(self);
        self.path.truncate(path);
        self.fields.truncate(fields);
    }

    fn message(&mut self, message: &'static Message, value: &Value, place: &Place, top: bool) {
        if let Some(special) = message.special {
            return self.special(special, message, value, place);
        }
        let map = match value {
            Value::Object(map) => map,
            Value::Null => return,
            other => return self.wrong(other, place),
        };
        self.fields(message, map, top || message.has_type_meta);
    }

    fn fields(&mut self, message: &'static Message, map: &Map<String, Value>, type_meta: bool) {
        for (key, value) in map {
            if let Some((owner, field)) = message.field_by_json(key) {
                let place = Place { owner: Some(owner.short_name()), expected: go_shape(field.shape) };
                self.step(key, Some(key), |walk| walk.shape(field.shape, value, &place));
            } else if type_meta && matches!(key.as_str(), "apiVersion" | "kind") {
                if !value.is_string() && !value.is_null() {
                    let place = Place { owner: Some(message.short_name()), expected: "string".to_owned() };
                    self.step(key, Some(key), |walk| walk.wrong(value, &place));
                }
            } else {
                self.step(key, None, |walk| {
                    let path = walk.path.clone();
                    walk.note(Finding::Unknown { path });
                });
            }
        }
    }

    fn shape(&mut self, shape: Shape, value: &Value, place: &Place) {
        match (shape, value) {
            (_, Value::Null) => {}
            (Shape::One(kind), value) => self.kind(kind, value, place),
            (Shape::List(kind), Value::Array(list)) => {
                let place = Place { owner: place.owner, expected: go_kind(kind) };
                for (i, element) in list.iter().enumerate() {
                    self.step(&format!("[{i}]"), None, |walk| walk.kind(kind, element, &place));
                }
            }
            (Shape::Map(kind), Value::Object(map)) => {
                let place = Place { owner: place.owner, expected: go_kind(kind) };
                for (key, element) in map {
                    // A key that looks like an index must still be joined by a dot.
                    self.step(key, None, |walk| walk.kind(kind, element, &place));
                }
            }
            (_, value) => self.wrong(value, place),
        }
    }

    fn kind(&mut self, kind: Kind, value: &Value, place: &Place) {
        match kind {
            Kind::Message(id) => self.message(types::message(id), value, place, false),
            Kind::Scalar(scalar) => self.scalar(scalar, value, place),
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value, place: &Place) {
        match (scalar, value) {
            (_, Value::Null)
            | (Scalar::String, Value::String(_))
            | (Scalar::Bool, Value::Bool(_))
            | (Scalar::Double, Value::Number(_)) => {}
            (Scalar::Int32 | Scalar::Int64, Value::Number(n)) => {
                let fits = match scalar {
                    Scalar::Int32 => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
                    _ => n.as_i64().is_some(),
                };
                if !fits {
                    self.wrong_as(format!("number {n}"), place);
                }
            }
            (Scalar::Bytes, Value::String(text)) => {
                if let Err(e) = decode_base64(text) {
                    self.malformed(format!("illegal base64 data: {e}"));
                }
            }
            (_, value) => self.wrong(value, place),
        }
    }

    fn special(&mut self, special: Special, message: &'static Message, value: &Value, place: &Place) {
        match (special, value) {
            (_, Value::Null) | (Special::RawJson, _) => {}
            (Special::Time | Special::MicroTime, Value::String(text)) => {
                if crate::time::parse_rfc3339(text).is_none() {
                    let quoted = crate::gotext::quote(text);
                    self.malformed(format!(
                        "parsing time {quoted} as \"2006-01-02T15:04:05Z07:00\": cannot parse"
                    ));
                }
            }
            (Special::Duration, Value::String(text)) => {
                if crate::time::parse_go_duration(text).is_none() {
                    self.malformed(format!("time: invalid duration {}", crate::gotext::quote(text)));
                }
            }
            (Special::Quantity, Value::String(_) | Value::Number(_)) => {
                if let Err(e) = crate::quantity::from_json(value) {
                    self.malformed(e);
                }
            }
            (Special::IntOrString, Value::String(_)) | (Special::SchemaOrBool, Value::Bool(_)) => {}
            (Special::IntOrString, Value::Number(n)) => {
                if n.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
                    self.wrong_as(
                        format!("number {n}"),
                        &Place { owner: place.owner, expected: "int32".into() },
                    );
                }
            }
            (Special::StringList | Special::SchemaOrStringArray, Value::Array(list)) => {
                for element in list {
                    if !element.is_string() {
                        self.wrong(element, &Place { owner: place.owner, expected: "string".into() });
                    }
                }
            }
            (Special::SchemaOrArray, Value::Array(list)) => {
                for (i, element) in list.iter().enumerate() {
                    self.step(&format!("[{i}]"), None, |walk| walk.inner_schema(message, element, place));
                }
            }
            (
                Special::SchemaOrBool | Special::SchemaOrArray | Special::SchemaOrStringArray,
                Value::Object(_),
            ) => self.inner_schema(message, value, place),
            (_, value) => self.wrong(value, place),
        }
    }

    /// The schema inside one of the `JSONSchemaPropsOr..` types.
    fn inner_schema(&mut self, message: &'static Message, value: &Value, place: &Place) {
        let schema = message.fields.iter().find(|f| f.json == "schema").map(|f| f.shape.kind());
        if let Some(Kind::Message(id)) = schema {
            self.message(types::message(id), value, place, false);
        }
    }
}

/// Reads base64 as Go's decoder does: standard alphabet, padding, line breaks ignored.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let engine = base64::engine::general_purpose::STANDARD;
    if text.contains(['\n', '\r']) {
        engine.decode(text.replace(['\n', '\r'], ""))
    } else {
        engine.decode(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(api_version: &str, kind: &str, object: &Value) -> Vec<String> {
        check(api_version, kind, object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_deployment_has_no_findings() {
        let d = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "labels": {"x": "y"}, "creationTimestamp": null,
                "managedFields": [{"fieldsV1": {"f:spec": {"f:anything": {}}}, "time": "2026-01-01T00:00:00Z"}]},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"x": "y"}}, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
                "template": {"metadata": {"labels": {"x": "y"}}, "spec": {
                    "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                        "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 3}}],
                    "volumes": [{"name": "v", "emptyDir": {}}]}}},
        });
        assert_eq!(texts("apps/v1", "Deployment", &d), Vec::<String>::new());
    }

    #[test]
    fn unknown_fields() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "foo": 1, "spec": {"containers": [{"name": "a", "imagee": "x"}],
            "volumes": [{"name": "v", "volumeSource": {}}]}});
        assert_eq!(
            texts("v1", "Pod", &pod),
            [
                r#"unknown field "foo""#,
                r#"unknown field "spec.containers[0].imagee""#,
                r#"unknown field "spec.volumes[0].volumeSource""#
            ]
        );
        let d = json!({"spec": {"template": {"kind": "Pod"}}});
        assert_eq!(texts("apps/v1", "Deployment", &d), [r#"unknown field "spec.template.kind""#]);
        assert_eq!(check("example.com/v1", "Thing", &json!({"a": 1})), []);
        assert_eq!(
            super::super::strict_error(&check("apps/v1", "Deployment", &d)).unwrap(),
            r#"strict decoding error: unknown field "spec.template.kind""#
        );
    }

    #[test]
    fn wrong_types() {
        let d = json!({"spec": {"replicas": "3", "template": {"spec": {"containers": [{"ports": [{"containerPort": 1.5}], "command": "sh"}]}}}});
        assert_eq!(
            texts("apps/v1", "Deployment", &d),
            [
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
                "json: cannot unmarshal string into Go struct field Container.spec.template.spec.containers.command of type []string",
                "json: cannot unmarshal number 1.5 into Go struct field ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
            ]
        );
        assert!(check("apps/v1", "Deployment", &d).iter().all(Finding::is_fatal));
        assert_eq!(
            texts("v1", "ConfigMap", &json!({"data": {"a": 1}})),
            ["json: cannot unmarshal number into Go struct field ConfigMap.data of type string"]
        );
        assert_eq!(
            texts("v1", "Pod", &json!([])),
            ["json: cannot unmarshal array into Go value of type v1.Pod"]
        );
        assert_eq!(
            texts(
                "v1",
                "Pod",
                &json!({"spec": {"activeDeadlineSeconds": 5, "terminationGracePeriodSeconds": true}})
            )
            .len(),
            1
        );
    }

    #[test]
    fn malformed_values() {
        let s = json!({"data": {"a": "not base64!"}});
        assert!(texts("v1", "Secret", &s)[0].starts_with("illegal base64 data"));
        let p = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "1x"}}}]}});
        assert!(texts("v1", "Pod", &p)[0].starts_with("quantities must match"));
        let p = json!({"metadata": {"creationTimestamp": "today"}});
        assert!(texts("v1", "Pod", &p)[0].starts_with("parsing time \"today\""));
    }

    #[test]
    fn schemas_in_custom_resource_definitions() {
        let crd = json!({"spec": {"group": "g", "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"a": {"items": {"type": "string"}, "default": {"any": ["thing"]}, "additionalProperties": false},
                "b": {"additionalProperties": {"typo": 1}}}}}}]}});
        assert_eq!(
            texts("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd),
            [
                r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.b.additionalProperties.typo""#
            ]
        );
    }

    /// Any JSON, with the field names of a Pod among its keys.
    fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|f| json!(f)),
            "(1Gi|25%|x|2026-01-02T03:04:05Z|AAEC|.{0,4})".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            let key = "(metadata|labels|spec|containers|name|ports|volumes|env|resources|limits|livenessProbe|httpGet|port|data|status|conditions|.{0,3})";
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key, inner, 0..6).prop_map(|m| m.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_pruning_leaves_nothing_unknown(object in any_json(), kind in 0usize..3) {
            let kind = ["Pod", "Secret", "Node"][kind];
            let _ = check("v1", kind, &object);
            let mut pruned = object;
            super::super::prune_unknown("v1", kind, &mut pruned);
            let left = check("v1", kind, &pruned);
            proptest::prop_assert!(!left.iter().any(|f| matches!(f, Finding::Unknown { .. })), "{left:?}");
            if left.is_empty() && pruned.is_object() {
                let mut object = pruned;
                object["apiVersion"] = "v1".into();
                object["kind"] = kind.into();
                proptest::prop_assert!(crate::protobuf::encode(&object).is_ok(), "{object}");
            }
        }
    }
}
