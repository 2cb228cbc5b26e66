//! Kubernetes' protobuf wire format, driven by the type table: bytes in, the JSON a Go client would have sent out.
//!
//! Enters: request bodies of `application/vnd.kubernetes.protobuf` (the magic `k8s\0` and an `Unknown` message), or
//! objects to encode. Leaves: JSON values with apiVersion and kind, or bytes. Called by the server's negotiation.
//! Hostile input is bounded: nesting by [`crate::schema::MAX_DEPTH`], values by [`MAX_VALUES`]; nothing is allocated
//! on the word of a length field. Authority: k8s.io/apimachinery/pkg/runtime/serializer/protobuf.

mod decode;
mod encode;
mod wire;

use crate::types::{self, Message};
use serde_json::Value;
use wire::{Reader, Writer};

/// The first bytes of every encoded object.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The media type of single objects.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// How many values one decoded object may hold.
pub const MAX_VALUES: usize = 1_000_000;

/// Why bytes could not be decoded, or an object not encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The bytes do not start with [`MAGIC`].
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    /// The bytes end in the middle of a value, or are no protobuf.
    #[error("proto: {0}")]
    Wire(&'static str),
    /// The kind has no protobuf form here.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind {
        /// The apiVersion.
        api_version: String,
        /// The kind.
        kind: String,
    },
    /// A value inside cannot be read or written.
    #[error("{field}: {message}")]
    Value {
        /// The field's JSON name.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// Too deep, or too many values.
    #[error("the object is too {0}")]
    TooLarge(&'static str),
    /// The envelope asks for something no client sends.
    #[error("unsupported content {0}")]
    Unsupported(String),
}

/// Whether objects of this kind can be decoded and encoded.
pub fn is_supported(group: &str, version: &str, kind: &str) -> bool {
    types::by_kind(group, version, kind).is_some_and(|m| m.special.is_none())
}

/// Decodes an enveloped object into JSON, apiVersion and kind included.
pub fn decode(envelope: &[u8]) -> Result<Value, ProtobufError> {
    decode_default(envelope, "", "")
}

/// Decodes an enveloped object whose envelope may leave out its type, which then is the given one.
///
/// Clients send DeleteOptions to some paths with no type at all.
pub fn decode_default(envelope: &[u8], api_version: &str, kind: &str) -> Result<Value, ProtobufError> {
    let mut budget = decode::Budget::new();
    let value = decode::envelope(envelope, api_version, kind, &mut budget)?;
    if crate::schema::is_shallow(&value) { Ok(value) } else { Err(ProtobufError::TooLarge("deep")) }
}

/// Encodes an object by its apiVersion and kind, in the envelope.
///
/// Kinds outside the table (Table, custom resources) give [`ProtobufError::UnknownKind`]: answer in JSON.
pub fn encode(object: &Value) -> Result<Vec<u8>, ProtobufError> {
    encode::envelope(object)
}

/// One frame's payload of a protobuf watch stream: a `WatchEvent` with the object enveloped inside.
///
/// On the wire each is preceded by its length as four big-endian bytes ([`frame`]). `event_type` is `ADDED` and so on.
pub fn encode_watch_event(event_type: &str, object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let mut raw = Writer::default();
    raw.bytes(1, &encode(object)?);
    let mut event = Writer::default();
    event.bytes(1, event_type.as_bytes());
    event.bytes(2, &raw.finish());
    Ok(event.finish())
}

/// Reads a `WatchEvent` back into its type and object.
pub fn decode_watch_event(bytes: &[u8]) -> Result<(String, Value), ProtobufError> {
    let (mut event_type, mut object) = (String::new(), Value::Null);
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => event_type = decode::text("type", value.bytes()?)?,
            2 => {
                let mut inner = Reader::new(value.bytes()?);
                while let Some((number, value)) = inner.field()? {
                    if number == 1 {
                        object = decode(value.bytes()?)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok((event_type, object))
}

/// Puts a payload's length in front of it: one frame of a `;stream=watch` body.
pub fn frame(payload: &[u8]) -> Result<Vec<u8>, ProtobufError> {
    let length = u32::try_from(payload.len()).map_err(|_| ProtobufError::TooLarge("large"))?;
    let mut out = Vec::with_capacity(payload.len() + 4);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    Ok(out)
}

fn message_of(api_version: &str, kind: &str) -> Result<&'static Message, ProtobufError> {
    types::by_api_version(api_version, kind).filter(|m| m.special.is_none()).ok_or_else(|| {
        ProtobufError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() }
    })
}

#[cfg(test)]
mod tests;
