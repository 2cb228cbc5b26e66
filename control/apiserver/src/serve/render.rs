//! Objects and lists on their way out, in the form the client asked for.
//!
//! The bytes of a cached object go out as they are where the client takes plain JSON of the stored version; every
//! other form is made from the parsed object.

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use xebec_api::protobuf;
use xebec_api::status::ApiError;
use xebec_kinds::Strategy;

use super::negotiate::{Accepted, Media, Shape};
use super::raw_list::RawList;
use super::respond;
use super::table::{self, Include};
use crate::registry::{ListPage, Target, Written, from_storage};
use crate::watch::Object;

/// The form of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Encoding and shape.
    pub accepted: Accepted,
    /// For Tables.
    pub include: Include,
    /// For ages in Tables.
    pub now: jiff::Timestamp,
}

impl Form {
    /// Whether a cached object's bytes can be sent as they are.
    #[must_use]
    pub fn is_raw(&self, target: &Target) -> bool {
        self.accepted.media == Media::Json && self.is_whole(target)
    }

    /// Whether this form shows the objects themselves, as the cache has them.
    #[must_use]
    pub fn is_whole(&self, target: &Target) -> bool {
        self.accepted.shape == Shape::Plain && same_version(target)
    }

    /// One object of the stored version, in this form.
    #[must_use]
    pub fn shape(&self, target: &Target, value: Value) -> Value {
        let served =
            if same_version(target) { value } else { from_storage(target.served, target.stored, value) };
        match self.accepted.shape {
            Shape::Plain => served,
            Shape::Metadata(version) => table::partial(version, &served),
            Shape::Table(version) => {
                let metadata = table::single_metadata(&served);
                table::table(version, &*target.strategy, &[served], metadata, self.include, self.now)
            }
        }
    }

    /// Encodes a finished value.
    pub fn encode(&self, value: &Value) -> Result<(&'static str, Bytes), ApiError> {
        encode(self.accepted.media, value)
    }
}

fn same_version(target: &Target) -> bool {
    std::ptr::eq(target.served, target.stored)
}

/// Encodes a value; protobuf of a kind that has none is 406.
pub fn encode(media: Media, value: &Value) -> Result<(&'static str, Bytes), ApiError> {
    Ok(match media {
        Media::Json => ("application/json", Bytes::from(value.to_string())),
        Media::Yaml => {
            let text =
                serde_saphyr::to_string(value).map_err(|error| ApiError::internal(error.to_string()))?;
            ("application/yaml", Bytes::from(text))
        }
        Media::Protobuf => {
            let body = protobuf::encode(value).map_err(|_| {
                ApiError::not_acceptable(
                    "only the following media types are accepted: application/json, application/yaml",
                )
            })?;
            ("application/vnd.kubernetes.protobuf", Bytes::from(body))
        }
    })
}

/// A finished value as a response.
pub fn value(code: StatusCode, accepted: Accepted, value: &Value) -> Result<Response, ApiError> {
    let (content_type, body) = encode(accepted.media, value)?;
    Ok(respond::bytes(code, content_type, body))
}

/// What a write made as a response.
pub fn written(
    code: StatusCode,
    form: &Form,
    target: &Target,
    written: Written,
) -> Result<Response, ApiError> {
    match written.stored {
        Some(stored) if form.is_raw(target) => {
            Ok(respond::bytes(code, "application/json", stored.bytes.clone()))
        }
        _ => stored_value(code, form, target, written.value),
    }
}

/// An object (stored version) as a response.
pub fn stored_value(
    code: StatusCode,
    form: &Form,
    target: &Target,
    object: Value,
) -> Result<Response, ApiError> {
    let (content_type, body) = form.encode(&form.shape(target, object))?;
    Ok(respond::bytes(code, content_type, body))
}

/// A cached object as a response.
pub fn object(form: &Form, target: &Target, object: &Object) -> Result<Response, ApiError> {
    if form.is_raw(target) {
        return Ok(respond::bytes(StatusCode::OK, "application/json", object.bytes.clone()));
    }
    stored_value(StatusCode::OK, form, target, object.parse())
}

/// A page of a list as a response.
pub fn list(form: &Form, target: &Target, page: &ListPage) -> Result<Response, ApiError> {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(token) = &page.continue_token {
        metadata["continue"] = json!(token);
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    if form.is_raw(target) {
        let mut response = respond::bytes(StatusCode::OK, "application/json", Bytes::new());
        *response.body_mut() = axum::body::Body::new(RawList::new(target, &metadata, &page.objects));
        return Ok(response);
    }
    let items = page.objects.iter().map(|object| {
        let value = object.parse();
        if same_version(target) { value } else { from_storage(target.served, target.stored, value) }
    });
    let items: Vec<Value> = items.collect();
    value(StatusCode::OK, form.accepted, &shaped_list(form, target, metadata, items))
}

/// A list of these objects (served version) in this form.
#[must_use]
pub fn shaped_list(form: &Form, target: &Target, metadata: Value, items: Vec<Value>) -> Value {
    shaped(form, &target.list_kind(), &target.served.api_version(), &*target.strategy, metadata, items)
}

/// The same of a resource that is not stored, by its names and rules.
#[must_use]
pub fn shaped(
    form: &Form,
    list_kind: &str,
    api_version: &str,
    strategy: &dyn Strategy,
    metadata: Value,
    items: Vec<Value>,
) -> Value {
    match form.accepted.shape {
        Shape::Plain => {
            json!({"kind": list_kind, "apiVersion": api_version, "metadata": metadata, "items": items})
        }
        Shape::Metadata(version) => {
            let items: Vec<Value> = items.iter().map(|item| table::partial(version, item)).collect();
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata, "items": items,
            })
        }
        Shape::Table(version) => table::table(version, strategy, &items, metadata, form.include, form.now),
    }
}
