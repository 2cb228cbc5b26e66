//! What a conversion webhook answers, and what it may not change.

use serde_json::{Map, Value, json};
use xebec_api::field::Path;
use xebec_kinds::shared::access::{at, list, text};
use xebec_kinds::shared::{labels, meta};

/// Why objects cannot be converted; a 500 for the client, worth a retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// The definition names no review version the server speaks.
    #[error("no supported ConversionReview version found")]
    NoReviewVersion,
    /// The call or the conversion failed.
    #[error("conversion webhook for {kind} failed: {reason}")]
    Failed {
        /// Of what.
        kind: String,
        /// Why.
        reason: String,
    },
    /// It answered with more or fewer objects than it was given.
    #[error("conversion webhook for {kind} returned {got} objects, expected {expected}")]
    Count {
        /// Of what.
        kind: String,
        /// How many came.
        got: usize,
        /// How many went.
        expected: usize,
    },
    /// It answered with something that is not the object.
    #[error("conversion webhook for {kind} returned invalid {at}: {reason}")]
    Invalid {
        /// Of what.
        kind: String,
        /// Which: `object at index 0`.
        at: String,
        /// Why.
        reason: String,
    },
}

/// The converted objects of an answer.
pub(super) fn objects(response: &Value, review_version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let strict = review_version.ends_with("/v1");
    let (version, kind) = (text(response, &["apiVersion"]), text(response, &["kind"]));
    if strict && (version, kind) != (review_version, "ConversionReview") {
        return Err(format!(
            "expected webhook response of {review_version}, Kind=ConversionReview, got {version}, Kind={kind}"
        ));
    }
    let answer = at(response, &["response"]);
    if !answer.is_object() {
        return Err("no response provided".to_owned());
    }
    let got = text(answer, &["uid"]);
    if strict && got != uid {
        return Err(format!("expected response.uid={uid:?}, got {got:?}"));
    }
    match (text(answer, &["result", "status"]), text(answer, &["result", "message"])) {
        ("Success", _) => Ok(list(answer, &["convertedObjects"]).to_vec()),
        (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => Err(message.to_owned()),
    }
}

/// Why a converted object is refused.
pub(super) struct Refusal {
    what: What,
    pub(super) text: String,
}

enum What {
    Type,
    Identity,
    Metadata,
}

impl Refusal {
    fn new(what: What, text: impl Into<String>) -> Self {
        Self { what, text: text.into() }
    }

    /// How upstream calls the object in the error.
    pub(super) fn place(&self, list: bool, at: usize) -> String {
        match self.what {
            What::Metadata if list => format!("metadata in object at index {at}"),
            What::Metadata => "metadata".to_owned(),
            _ if list => format!("converted object at index {at}"),
            What::Type => "object at index 0".to_owned(),
            What::Identity => "object".to_owned(),
        }
    }
}

/// The converted object with the original's metadata: a webhook may change labels and annotations, nothing else.
pub(super) fn accept(original: &Value, mut converted: Value, api_version: &str) -> Result<Value, Refusal> {
    let got = text(&converted, &["apiVersion"]);
    if got != api_version {
        let reason = format!("invalid groupVersion (expected {api_version}, received {got})");
        return Err(Refusal::new(What::Type, reason));
    }
    let (want, got) = (text(original, &["kind"]), text(&converted, &["kind"]));
    if want != got {
        return Err(Refusal::new(What::Type, format!("invalid kind (expected {want}, received {got})")));
    }
    for (name, field) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let of = |object: &'_ Value| text(object, &["metadata", field]).to_owned();
        let (want, got) = (of(original), of(&converted));
        if want != got {
            return Err(Refusal::new(What::Identity, format!("must have the same {name}: {want} != {got}")));
        }
    }
    let metadata = restored(original, &converted).map_err(|reason| Refusal::new(What::Metadata, reason))?;
    converted["metadata"] = metadata;
    Ok(converted)
}

fn restored(original: &Value, converted: &Value) -> Result<Value, String> {
    let Some(response) = converted.get("metadata") else {
        return Err("missing metadata in converted object".to_owned());
    };
    let Some(response) = response.as_object() else {
        let kind = crate::shape::go_type(response);
        return Err(format!("invalid metadata of type {kind} in converted object"));
    };
    let mut metadata = original.get("metadata").cloned().unwrap_or_else(|| json!({}));
    let Some(map) = metadata.as_object_mut() else {
        let kind = crate::shape::go_type(&metadata);
        return Err(format!("invalid metadata of type {kind} in input object"));
    };
    for field in ["labels", "annotations"] {
        match response.get(field) {
            None | Some(Value::Null) => {
                map.remove(field);
            }
            Some(Value::Object(new)) => {
                check(field, new, map.get(field))?;
                map.insert(field.to_owned(), Value::Object(new.clone()));
            }
            Some(other) => {
                let kind = crate::shape::go_type(other);
                return Err(format!("invalid metadata.{field} of type {kind} in converted object"));
            }
        }
    }
    Ok(metadata)
}

/// Labels and annotations the webhook has changed must be valid.
fn check(field: &str, new: &Map<String, Value>, old: Option<&Value>) -> Result<(), String> {
    for (key, value) in new {
        if !value.is_string() {
            let kind = crate::shape::go_type(value);
            return Err(format!(
                "metadata.{field}[{key}] must be a string, but is {kind} in converted object"
            ));
        }
    }
    if old.and_then(Value::as_object) == Some(new) {
        return Ok(());
    }
    let value = Value::Object(new.clone());
    let metadata = Path::new("metadata");
    let errors = if field == "labels" {
        labels::validate_labels(&value, &metadata.child("labels"))
    } else {
        meta::validate_annotations(&value, &metadata.child("annotation"))
    };
    if errors.is_empty() {
        return Ok(());
    }
    Err(xebec_api::gotext::aggregate(errors.iter().map(ToString::to_string)))
}
