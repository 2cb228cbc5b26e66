//! A list in plain JSON as a body: the objects' bytes as they are in memory, put together while they are sent.
//!
//! In one piece a list of many megabytes is written to memory that was never touched before and read again when the
//! first half has left the cache; in pieces of some dozen kilobytes the same memory is used again and again, and the
//! first byte leaves at once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;

use crate::registry::Target;
use crate::watch::Object;

/// Bytes of one piece, but for the last object in it.
const PIECE: usize = 64 << 10;
const TAIL: &[u8] = b"]}";

/// The body.
pub struct RawList {
    head: String,
    objects: std::vec::IntoIter<Arc<Object>>,
    left: u64,
}

impl RawList {
    /// The list of these objects (the stored version is the served one) with this metadata.
    #[must_use]
    pub fn new(target: &Target, metadata: &Value, objects: Vec<Arc<Object>>) -> Self {
        let head = format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
            target.list_kind(),
            target.served.api_version()
        );
        Self::of(head, objects)
    }

    fn of(head: String, objects: Vec<Arc<Object>>) -> Self {
        let commas = objects.len().saturating_sub(1);
        let bytes: usize = objects.iter().map(|object| object.bytes.len()).sum();
        let left = (head.len() + bytes + commas + TAIL.len()) as u64;
        Self { head, objects: objects.into_iter(), left }
    }

    fn piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let room = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE + (8 << 10));
        let mut piece = BytesMut::with_capacity(room);
        piece.put_slice(std::mem::take(&mut self.head).as_bytes());
        while piece.len() < PIECE
            && let Some(object) = self.objects.next()
        {
            piece.put_slice(&object.bytes);
            if !self.objects.as_slice().is_empty() {
                piece.put_u8(b',');
            }
        }
        if self.objects.as_slice().is_empty() {
            piece.put_slice(TAIL);
        }
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece.freeze())
    }
}

impl Body for RawList {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_pieces_make_the_list_and_the_length_is_told() {
        for (count, size) in [(0, 0), (1, 10), (3, 10), (2, 200_000), (500, 1000)] {
            let object = |at: usize| {
                let value = json!({"metadata": {"name": format!("o-{at}")}, "data": "x".repeat(size)});
                Arc::new(Object::new(value, 7, None))
            };
            let mut body = RawList::of("{\"items\":[".to_owned(), (0..count).map(object).collect());
            let told = body.size_hint().exact().unwrap();
            let pieces: Vec<Bytes> = std::iter::from_fn(|| body.piece()).collect();
            let whole = pieces.concat();
            assert_eq!(whole.len() as u64, told);
            assert!(body.is_end_stream());
            let list: Value = serde_json::from_slice(&whole).unwrap();
            let items = list["items"].as_array().unwrap();
            assert_eq!(items.len(), count);
            for (at, item) in items.iter().enumerate() {
                assert_eq!(item["metadata"]["name"], format!("o-{at}"));
            }
            assert_eq!(pieces.len() > 1, count * size > PIECE, "{count} x {size}");
        }
    }
}
