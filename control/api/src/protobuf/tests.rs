//! Round trips of real objects, bytes as Go writes them, and hostile input.

use super::*;
use serde_json::json;

fn round(object: Value) {
    let bytes = encode(&object).unwrap();
    assert_eq!(decode(&bytes).unwrap(), object);
    // Encoding is stable.
    assert_eq!(encode(&decode(&bytes).unwrap()).unwrap(), bytes);
}

/// Builds a length-delimited field by hand.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes(number, bytes);
    w.finish()
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
}

#[test]
fn pods() {
    round(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "b", "labels": {"x": "y", "z": ""}, "creationTimestamp": "2026-01-02T03:04:05Z",
            "generation": 2, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}],
            "managedFields": [{"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {".": {}}}}]},
        "spec": {
            "containers": [{
                "name": "c", "image": "i:1", "command": ["sh", "-c", ""], "env": [{"name": "E", "value": "v"},
                    {"name": "F", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k", "optional": false}}}],
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 3},
                "readinessProbe": {"tcpSocket": {"port": "web"}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}], "tty": true,
                "securityContext": {"runAsUser": 0, "privileged": false}}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "w", "configMap": {"name": "cm", "defaultMode": 420}}],
            "terminationGracePeriodSeconds": 0, "nodeSelector": {"a": "b"}, "hostNetwork": true},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": "True",
            "lastTransitionTime": "2026-01-02T03:04:05Z"}]},
    }));
}

#[test]
fn other_kinds() {
    round(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}})
        .pipe(|mut v| { v["spec"]["template"]["spec"].as_object_mut().unwrap().remove("containers"); v }));
    round(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "AAEC", "e": ""}, "type": "Opaque", "immutable": false}),
    );
    round(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "x", "renewTime": "2026-01-02T03:04:05.123456Z", "leaseDurationSeconds": 40}}));
    round(json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": {"user": "u", "groups": ["g"], "extra": {"k": ["a", "b"]}, "resourceAttributes": {"verb": "get", "resource": "pods"}},
        "status": {"allowed": false}}));
    round(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
        "spec": {"audiences": ["a"], "expirationSeconds": 3600, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"}},
        "status": {"token": ""}}));
    round(json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"},
        "deleteOptions": {"gracePeriodSeconds": 0, "preconditions": {"uid": "u"}, "dryRun": ["All"]}}));
    round(
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground", "orphanDependents": false}),
    );
    round(
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PatchOptions", "force": true, "fieldManager": "m"}),
    );
    round(
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "data": {"spec": {"any": [1, null, 2.5]}}, "revision": 7}),
    );
    round(
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "s"}, "spec": {"replicas": 3}, "status": {"replicas": 0}}),
    );
}

trait Pipe: Sized {
    fn pipe<T>(self, f: impl FnOnce(Self) -> T) -> T {
        f(self)
    }
}
impl Pipe for Value {}

#[test]
fn status_and_lists() {
    round(
        crate::status::ApiError::not_found("apps", "deployments", "x").with_cause("R", "m", "f").to_value(),
    );
    round(
        json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "5", "remainingItemCount": 0},
        "items": [{"metadata": {"name": "a"}, "data": {"k": "v"}, "binaryData": {"b": "/w=="}}]}),
    );
    round(
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": [{"metadata": {"name": "a"}}]}),
    );
    round(
        json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [{"apiVersion": "v1", "kind": "Pod"}]}),
    );
}

#[test]
fn custom_resource_definitions() {
    round(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "c"},
        "spec": {"group": "g", "names": {"plural": "ts", "kind": "T"}, "scope": "Namespaced", "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "required": ["a"], "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "a": {"type": "integer", "minimum": 1, "maximum": 2.5, "default": 0, "enum": [1, "x"]},
                "l": {"type": "array", "items": {"type": "string"}},
                "m": {"type": "object", "additionalProperties": {"type": "string"}},
                "n": {"additionalProperties": false}, "o": {"additionalProperties": true}}}}}]},
        "status": {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]}})
        .pipe(|mut v| { v["status"].as_object_mut().unwrap().remove("conditions"); v }));
}

#[test]
fn go_bytes_and_omission() {
    // kubectl create configmap: gogo writes empty strings and zero times of metadata, which JSON leaves out.
    let metadata = [
        field(1, b"cm"),
        field(2, b""),
        field(3, b""),
        field(4, b""),
        field(5, b""),
        field(6, b""),
        vec![0x38, 0],
        field(8, b""),
    ]
    .concat();
    let data = field(2, &[field(1, b"k"), field(2, b"v")].concat());
    let bytes = envelope("v1", "ConfigMap", &[field(1, &metadata), data].concat());
    assert_eq!(
        decode(&bytes).unwrap(),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"k": "v"}})
    );
    // The exact bytes of a small object.
    assert_eq!(
        encode(&json!({"apiVersion": "v1", "kind": "Scale", "x": 1})).unwrap_err(),
        ProtobufError::UnknownKind { api_version: "v1".into(), kind: "Scale".into() }
    );
    assert_eq!(
        encode(&json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": -1})).unwrap(),
        [
            b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x0b\x08".to_vec(),
            [0xff; 9].to_vec(),
            vec![0x01, 0x1a, 0x00, 0x22, 0x00]
        ]
        .concat()
    );
}

#[test]
fn zero_values_without_omitempty_are_written() {
    let container = field(6, b"");
    let bytes = envelope("v1", "Pod", &field(2, &field(2, &container)));
    assert_eq!(
        decode(&bytes).unwrap()["spec"]["containers"],
        json!([{"name": "", "ports": [{"containerPort": 0}]}])
    );
}

#[test]
fn watch_events() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
    let event = encode_watch_event("ADDED", &pod).unwrap();
    assert_eq!(decode_watch_event(&event).unwrap(), ("ADDED".to_owned(), pod));
    assert_eq!(frame(&event).unwrap()[..4], u32::try_from(event.len()).unwrap().to_be_bytes());
}

#[test]
fn untyped_options() {
    let bytes = envelope("", "", &[0x08, 5]);
    assert_eq!(decode_default(&bytes, "v1", "DeleteOptions").unwrap()["gracePeriodSeconds"], 5);
    assert!(matches!(decode(&bytes), Err(ProtobufError::UnknownKind { .. })));
}

#[test]
fn refuses() {
    assert_eq!(decode(b"{}"), Err(ProtobufError::NoMagic));
    assert_eq!(decode(b""), Err(ProtobufError::NoMagic));
    assert!(decode(b"k8s\0\x0a\xff").is_err());
    // A length far beyond the input.
    assert!(decode(&[MAGIC.as_slice(), &[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat()).is_err());
    let bad_time = field(1, &field(8, &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]));
    assert!(decode(&envelope("v1", "Pod", &bad_time)).is_err());
    assert!(decode(&envelope("v1", "ConfigMap", &field(2, &field(1, &[0xff])))).is_err());
    assert!(encode(&json!({"apiVersion": "v1", "kind": "Pod", "spec": 3})).is_err());
    assert!(is_supported("apps", "v1", "Deployment") && !is_supported("meta.k8s.io", "v1", "Table"));
}

/// An object with every field of its type set, nested types down to a depth.
fn full(message: &'static Message, depth: usize) -> Value {
    use crate::types::{Kind, Scalar, Shape, Special};
    let one = |kind: Kind| -> Option<Value> {
        Some(match kind {
            Kind::Scalar(Scalar::String) => "text".into(),
            Kind::Scalar(Scalar::Bool) => true.into(),
            Kind::Scalar(Scalar::Int32 | Scalar::Int64) => json!(-7),
            Kind::Scalar(Scalar::Double) => json!(1.5),
            Kind::Scalar(Scalar::Bytes) => "AAEC/w==".into(),
            Kind::Message(id) => {
                let inner = types::message(id);
                match inner.special {
                    Some(Special::Time) => "2026-01-02T03:04:05Z".into(),
                    Some(Special::MicroTime) => "2026-01-02T03:04:05.000006Z".into(),
                    Some(Special::Duration) => "1m30s".into(),
                    Some(Special::Quantity) => "1500m".into(),
                    Some(Special::IntOrString) => "25%".into(),
                    Some(Special::RawJson) => json!({"any": [null, 1, "x"]}),
                    Some(Special::StringList) => json!(["a", ""]),
                    Some(Special::SchemaOrBool) => false.into(),
                    Some(Special::SchemaOrArray) => json!([{"type": "string"}]),
                    Some(Special::SchemaOrStringArray) => json!(["a"]),
                    None if depth == 0 => return None,
                    None => full(inner, depth - 1),
                }
            }
        })
    };
    let mut map = serde_json::Map::new();
    for field in &message.fields {
        let value = match field.shape {
            Shape::One(Kind::Message(id)) if field.inline => {
                let Value::Object(inner) = full(types::message(id), depth) else { panic!() };
                map.extend(inner);
                continue;
            }
            Shape::One(kind) => one(kind),
            Shape::List(kind) => one(kind).map(|v| json!([v.clone(), v])),
            Shape::Map(kind) => one(kind).map(|v| json!({"k": v, "": v})),
        };
        if let Some(value) = value {
            map.insert(field.json.to_owned(), value);
        }
    }
    Value::Object(map)
}

#[test]
fn every_field_of_every_kind_survives() {
    let mut kinds = 0;
    for r in crate::resource::table() {
        let Some(message) = types::by_kind(r.group, r.version, r.kind) else { continue };
        let mut object = full(message, 7);
        object["apiVersion"] = r.api_version().into();
        object["kind"] = r.kind.into();
        assert_eq!(
            crate::schema::check(&r.api_version(), r.kind, &object),
            [],
            "{} {}",
            r.api_version(),
            r.kind
        );
        let mut pruned = object.clone();
        crate::schema::prune_unknown(&r.api_version(), r.kind, &mut pruned);
        assert_eq!(pruned, object, "{} {}", r.api_version(), r.kind);
        assert_eq!(decode(&encode(&object).unwrap()).unwrap(), object, "{} {}", r.api_version(), r.kind);
        kinds += 1;
    }
    assert_eq!(kinds, 101);
}

#[test]
fn nesting_is_bounded() {
    // JSONSchemaProps.not (28) within itself, thousands of levels.
    let mut schema = Vec::new();
    for _ in 0..3000 {
        schema = field(28, &schema);
    }
    let version = field(4, &field(1, &schema));
    let spec = field(2, &field(7, &version));
    let bytes = envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", &spec);
    assert_eq!(decode(&bytes), Err(ProtobufError::TooLarge("deep")));
    // Envelopes inside a List's raw items inside envelopes.
    let mut nested = envelope("v1", "List", b"");
    for _ in 0..200 {
        nested = envelope("v1", "List", &field(2, &field(1, &nested)));
    }
    assert_eq!(decode(&nested), Err(ProtobufError::TooLarge("deep")));
}

#[test]
fn amplification_is_bounded() {
    // Two bytes per container, a million and a half of them.
    let containers = [0x12, 0x00].repeat(1_500_000);
    let bytes = envelope("v1", "Pod", &field(2, &containers));
    assert_eq!(decode(&bytes), Err(ProtobufError::TooLarge("large")));
}

proptest::proptest! {
    #[test]
    fn never_panics(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..300), kind in 0usize..6) {
        let (api_version, kind) = [("v1", "Pod"), ("v1", "Node"), ("apps/v1", "Deployment"), ("v1", "Status"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("v1", "List")][kind];
        if let Ok(value) = decode(&envelope(api_version, kind, &raw)) {
            let again = encode(&value).unwrap();
            proptest::prop_assert_eq!(decode(&again).unwrap(), value);
        }
    }

    #[test]
    fn damage_never_panics(at in 0usize..200, byte in proptest::num::u8::ANY) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}]}});
        let mut bytes = encode(&pod).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(value) = decode(&bytes) {
            let _ = encode(&value);
        }
    }
}
