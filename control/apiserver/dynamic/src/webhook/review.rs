//! AdmissionReview: the question to a webhook and its answer. Pure.
//!
//! Authority: k8s.io/api/admission/{v1,v1beta1}, pkg/admission/plugin/webhook/request.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use serde_json::{Map, Value, json};
use xebec_api::gotext::quote;

use crate::matching::Matched;
use crate::versions::Versioned;
use crate::{Attributes, Kind};

const GROUP: &str = "admission.k8s.io";

/// The version of AdmissionReview spoken with one webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewVersion {
    V1,
    V1Beta1,
}

impl ReviewVersion {
    /// The first version of the webhook's list that is known here.
    pub(super) fn choose(listed: &[String]) -> Option<Self> {
        listed.iter().find_map(|version| match version.as_str() {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
        }
    }
}

/// The request's body.
pub(super) fn question(
    version: ReviewVersion,
    uid: &str,
    attributes: &Attributes<'_>,
    matched: &Matched,
    objects: &Versioned,
) -> Value {
    let object = |value: &Option<Arc<Value>>| value.as_deref().cloned().unwrap_or(Value::Null);
    let mut request = crate::cel::request(attributes, matched);
    request["uid"] = json!(uid);
    request["object"] = object(&objects.object);
    request["oldObject"] = object(&objects.old);
    let api_version = format!("{GROUP}/{}", version.as_str());
    json!({"kind": "AdmissionReview", "apiVersion": api_version, "request": request})
}

/// What a webhook said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) audit_annotations: BTreeMap<String, String>,
    pub(super) warnings: Vec<String>,
    /// The decoded JSON patch, empty for none.
    pub(super) patch: Vec<u8>,
    /// Its type; a type other than `JSONPatch` is refused by the caller, who alone knows whether there is a patch.
    pub(super) patch_type: String,
    /// The Status of a refusal, null for none.
    pub(super) result: Value,
}

/// An answer that could not be decoded: what the decoder would say.
pub(super) type DecodeError = String;

/// Reads an answer's fields, checking their types.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn wrong(name: &str, value: &Value, expected: &str) -> DecodeError {
        let got = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        format!(
            "json: cannot unmarshal {got} into Go struct field AdmissionResponse.response.{name} of type {expected}"
        )
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, DecodeError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| Self::wrong(name, value, "string")),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, DecodeError> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(|| Self::wrong(name, value, "[]string"))?;
        let text = |item: &Value| match item {
            Value::String(text) => Ok(text.clone()),
            other => Err(Self::wrong(name, other, "string")),
        };
        list.iter().map(text).collect()
    }

    fn map(&self, name: &str) -> Result<BTreeMap<String, String>, DecodeError> {
        let Some(value) = self.get(name) else { return Ok(BTreeMap::new()) };
        let map = value.as_object().ok_or_else(|| Self::wrong(name, value, "map[string]string"))?;
        let entry = |(key, item): (&String, &Value)| match item {
            Value::String(text) => Ok((key.clone(), text.clone())),
            other => Err(Self::wrong(name, other, "string")),
        };
        map.iter().map(entry).collect()
    }
}

/// Why an answer is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadAnswer {
    /// It could not be decoded.
    Undecodable(DecodeError),
    /// It breaks a rule of AdmissionReview.
    Invalid(String),
}

/// The answer in a review; `mutating` tells whether it may carry a patch.
pub(super) fn answer(
    version: ReviewVersion,
    uid: &str,
    mutating: bool,
    review: &Value,
) -> Result<Answer, BadAnswer> {
    let undecodable = BadAnswer::Undecodable;
    let response = match &review["response"] {
        Value::Null => return Err(BadAnswer::Invalid("webhook response was absent".to_owned())),
        Value::Object(map) => Fields(map),
        other => return Err(undecodable(Fields::wrong("", other, "v1.AdmissionResponse"))),
    };
    let allowed = match response.get("allowed") {
        None => false,
        Some(Value::Bool(allowed)) => *allowed,
        Some(other) => return Err(undecodable(Fields::wrong("allowed", other, "bool"))),
    };
    let answered = response.text("uid").map_err(undecodable)?.unwrap_or_default();
    let patch = match response.text("patch").map_err(undecodable)? {
        None => Vec::new(),
        Some(text) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| undecodable(format!("illegal base64 data: {error}")))?,
    };
    let patch_type = response.text("patchType").map_err(undecodable)?;
    let result = match response.get("status") {
        None => Value::Null,
        Some(status @ Value::Object(_)) => status.clone(),
        Some(other) => return Err(undecodable(Fields::wrong("status", other, "v1.Status"))),
    };
    if version == ReviewVersion::V1 {
        check_envelope(uid, answered, review).map_err(BadAnswer::Invalid)?;
        check_patch(mutating, &patch, patch_type).map_err(BadAnswer::Invalid)?;
    }
    let patch_type = match version {
        ReviewVersion::V1 => patch_type.unwrap_or_default(),
        // v1beta1 never checked the type; there is but one.
        ReviewVersion::V1Beta1 if patch.is_empty() => "",
        ReviewVersion::V1Beta1 => "JSONPatch",
    };
    Ok(Answer {
        allowed,
        audit_annotations: response.map("auditAnnotations").map_err(undecodable)?,
        warnings: response.texts("warnings").map_err(undecodable)?,
        patch: if mutating { patch } else { Vec::new() },
        patch_type: patch_type.to_owned(),
        result,
    })
}

fn check_envelope(uid: &str, answered: &str, review: &Value) -> Result<(), String> {
    if answered != uid {
        return Err(format!("expected response.uid={}, got {}", quote(uid), quote(answered)));
    }
    let (wanted, got) = (Kind::new(GROUP, "v1", "AdmissionReview"), Kind::of(review));
    if got != wanted {
        return Err(format!("expected webhook response of {wanted}, got {got}"));
    }
    Ok(())
}

fn check_patch(mutating: bool, patch: &[u8], patch_type: Option<&str>) -> Result<(), String> {
    let wrong = match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, false, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, true, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(wrong.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviewed(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn bad_answers() {
        let patch = "W10=";
        let cases = [
            (
                true,
                json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}),
                "webhook response was absent",
            ),
            (true, reviewed(json!({"uid": "v"})), "expected response.uid=\"u\", got \"v\""),
            (
                true,
                json!({"response": {"uid": "u"}}),
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            ),
            (
                true,
                json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": {"uid": "u"}}),
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview",
            ),
            (
                true,
                reviewed(json!({"uid": "u", "patch": patch})),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                true,
                reviewed(json!({"uid": "u", "patchType": "JSONPatch"})),
                "webhook returned response.patchType but not response.patch",
            ),
            (
                false,
                reviewed(json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"})),
                "validating webhook may not return response.patch",
            ),
            (
                false,
                reviewed(json!({"uid": "u", "patchType": "JSONPatch"})),
                "validating webhook may not return response.patchType",
            ),
        ];
        for (mutating, review, expected) in cases {
            let error = answer(ReviewVersion::V1, "u", mutating, &review).unwrap_err();
            assert_eq!(error, BadAnswer::Invalid(expected.to_owned()));
        }
    }

    #[test]
    fn wrong_types_are_not_decoded() {
        for (field, value, expected) in [
            (
                "allowed",
                json!("yes"),
                "cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool",
            ),
            ("uid", json!(1), "cannot unmarshal number"),
            ("warnings", json!("w"), "of type []string"),
            ("auditAnnotations", json!({"a": 1}), "cannot unmarshal number"),
            ("status", json!([]), "of type v1.Status"),
            ("patch", json!("*"), "illegal base64 data"),
        ] {
            let mut response = json!({"uid": "u"});
            response[field] = value;
            let error = answer(ReviewVersion::V1, "u", true, &reviewed(response)).unwrap_err();
            let BadAnswer::Undecodable(text) = error else { panic!("{field}: {error:?}") };
            assert!(text.contains(expected), "{field}: {text}");
        }
    }

    #[test]
    fn v1beta1_checks_neither_uid_nor_kind_nor_type() {
        let review = json!({"response": {"allowed": true, "patch": "W10="}});
        let answer = answer(ReviewVersion::V1Beta1, "u", true, &review).unwrap();
        assert!(answer.allowed);
        assert_eq!((answer.patch.as_slice(), answer.patch_type.as_str()), (b"[]".as_slice(), "JSONPatch"));
    }

    #[test]
    fn the_first_known_version_is_spoken() {
        let listed = |versions: &[&str]| {
            ReviewVersion::choose(&versions.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(listed(&["v2", "v1beta1", "v1"]), Some(ReviewVersion::V1Beta1));
        assert_eq!(listed(&["v1"]), Some(ReviewVersion::V1));
        assert_eq!(listed(&["v2"]), None);
    }
}
