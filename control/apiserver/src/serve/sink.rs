//! The frames of a watch in the client's form: shared JSON lines where possible, made per watcher otherwise.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use xebec_api::protobuf;
use xebec_api::status::ApiError;

use super::negotiate::{Media, Shape};
use super::render::Form;
use crate::registry::Target;
use crate::watch::{Encoding, Event, EventSink, Object};

/// One watcher's encoder.
pub struct Sink {
    /// What is watched.
    pub target: Target,
    /// In which form.
    pub form: Form,
}

impl Sink {
    fn frame(&self, kind: &str, object: &Value) -> Bytes {
        if self.form.accepted.media == Media::Protobuf
            && let Some(frame) = protobuf_frame(kind, object)
        {
            return frame;
        }
        Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
    }

    fn shaped(&self, object: &Object) -> Value {
        self.form.shape(&self.target, object.parse())
    }

    /// The Content-Type of the stream.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self.form.accepted.media {
            Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }
}

#[async_trait]
impl EventSink for Sink {
    async fn convert(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, ApiError> {
        self.target.decode(objects).await
    }

    fn converts(&self) -> bool {
        self.target.custom.is_some()
    }

    fn selects_converted(&self) -> bool {
        self.target.custom.as_ref().is_some_and(|custom| custom.selects_decoded())
    }

    fn failed(&self, error: &ApiError) -> Bytes {
        self.frame("ERROR", &error.to_value())
    }

    fn event(&self, kind: &'static str, object: &Arc<Object>, event: &Event) -> Bytes {
        let frame = || self.frame(kind, &self.shaped(object));
        match self.form.accepted.media {
            _ if !self.form.is_whole(&self.target) => frame(),
            Media::Json => event.line(kind, object),
            Media::Protobuf => event.frame(Encoding::Protobuf, kind, object, frame),
            Media::Yaml => frame(),
        }
    }

    fn initial(&self, object: &Arc<Object>) -> Bytes {
        if self.form.is_raw(&self.target) {
            crate::watch::json_line("ADDED", &object.bytes)
        } else {
            self.frame("ADDED", &self.shaped(object))
        }
    }

    fn bookmark(&self, revision: u64, end_of_initial: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if end_of_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form.accepted.shape {
            Shape::Table(version) => json!({
                "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": {"resourceVersion": revision.to_string()}, "columnDefinitions": null,
                "rows": [{"cells": [], "object": super::table::partial(version, &json!({ "metadata": metadata }))}],
            }),
            Shape::Metadata(version) => super::table::partial(version, &json!({ "metadata": metadata })),
            Shape::Plain => json!({
                "kind": self.target.served.kind, "apiVersion": self.target.served.api_version(), "metadata": metadata,
            }),
        };
        self.frame("BOOKMARK", &object)
    }

    fn expired(&self, requested: u64, oldest: u64) -> Bytes {
        let error = ApiError::expired(format!("too old resource version: {requested} ({oldest})"));
        self.frame("ERROR", &error.to_value())
    }
}

/// A length-prefixed `meta/v1.WatchEvent { type = 1, object = 2 { raw = 1 } }`; none where the object has no protobuf
/// form.
fn protobuf_frame(kind: &str, object: &Value) -> Option<Bytes> {
    let raw = protobuf::encode(object).ok()?;
    let mut extension = BytesMut::new();
    field(&mut extension, 1, &raw);
    let mut event = BytesMut::new();
    field(&mut event, 1, kind.as_bytes());
    field(&mut event, 2, &extension);
    let mut frame = BytesMut::with_capacity(event.len() + 4);
    frame.put_u32(u32::try_from(event.len()).ok()?);
    frame.extend_from_slice(&event);
    Some(frame.freeze())
}

fn field(buffer: &mut BytesMut, number: u8, bytes: &[u8]) {
    buffer.put_u8(number << 3 | 2);
    let mut length = bytes.len();
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            buffer.put_u8(byte);
            break;
        }
        buffer.put_u8(byte | 0x80);
    }
    buffer.extend_from_slice(bytes);
}
