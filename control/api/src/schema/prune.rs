//! What decoding into Go's types and encoding again would leave of an object.

use crate::quantity;
use crate::types::{self, Kind, Message, Scalar, Shape, Special};
use serde_json::Value;

/// Drops unknown fields and nulls, and writes quantities in canonical form, as upstream's decoding does.
///
/// Kinds outside the table are left as they are. Values of the wrong type stay: run [`super::check`] first and refuse
/// fatal findings. A null inside a list of structures becomes `{}`, a null in a map of strings the empty string.
pub fn prune_unknown(api_version: &str, kind: &str, object: &mut Value) {
    if let Some(message) = types::by_api_version(api_version, kind) {
        fields(message, object, true);
    }
}

fn fields(message: &'static Message, value: &mut Value, top: bool) {
    match message.special {
        None => {}
        Some(Special::Quantity) => {
            if let Ok(q) = quantity::from_json(value) {
                *value = q.to_string().into();
            }
            return;
        }
        Some(Special::SchemaOrBool | Special::SchemaOrArray | Special::SchemaOrStringArray) => {
            return inner_schema(message, value);
        }
        Some(_) => return,
    }
    let Value::Object(map) = value else { return };
    let type_meta = top || message.has_type_meta;
    map.retain(|key, value| {
        if value.is_null() {
            return false;
        }
        match message.field_by_json(key) {
            Some((_, field)) => {
                shape(field.shape, value);
                true
            }
            None => type_meta && matches!(key.as_str(), "apiVersion" | "kind"),
        }
    });
}

fn shape(shape: Shape, value: &mut Value) {
    let each = |kind: Kind, value: &mut Value| match kind {
        Kind::Message(id) => {
            let message = types::message(id);
            if value.is_null() && message.special.is_none() {
                *value = Value::Object(serde_json::Map::new());
            }
            fields(message, value, false);
        }
        Kind::Scalar(Scalar::String | Scalar::Bytes) if value.is_null() => *value = "".into(),
        Kind::Scalar(_) => {}
    };
    match (shape, value) {
        (Shape::One(kind), value) => each(kind, value),
        (Shape::List(kind), Value::Array(list)) => list.iter_mut().for_each(|v| each(kind, v)),
        (Shape::Map(kind), Value::Object(map)) => map.values_mut().for_each(|v| each(kind, v)),
        _ => {}
    }
}

fn inner_schema(message: &'static Message, value: &mut Value) {
    let Some(Kind::Message(id)) = message.fields.iter().find(|f| f.json == "schema").map(|f| f.shape.kind())
    else {
        return;
    };
    match value {
        Value::Array(list) => list.iter_mut().for_each(|v| fields(types::message(id), v, false)),
        value => fields(types::message(id), value, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn leaves_what_go_would() {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "junk": {"a": 1},
            "metadata": {"name": "a", "creationTimestamp": null, "labels": {"a": null, "b": "c"}},
            "spec": {"containers": [{"name": "c", "typo": 1, "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}}, null],
                "volumes": null, "tolerations": []},
            "status": {},
        });
        prune_unknown("v1", "Pod", &mut pod);
        assert_eq!(
            pod,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "a", "labels": {"a": "", "b": "c"}},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}, {}],
                    "tolerations": []},
                "status": {},
            })
        );
    }

    #[test]
    fn raw_parts_stay() {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"any": null, "thing": [1]}, "revision": 1, "x": 1});
        prune_unknown("apps/v1", "ControllerRevision", &mut object);
        assert_eq!(object["data"], json!({"any": null, "thing": [1]}));
        assert!(object.get("x").is_none());
        let mut custom = json!({"apiVersion": "example.com/v1", "kind": "T", "x": null});
        prune_unknown("example.com/v1", "T", &mut custom);
        assert_eq!(custom["x"], Value::Null);
    }
}
