//! Large answers as gzip, for clients that take it.
//!
//! Authority: KEP-156 (APIResponseCompression): objects and lists above 128 KiB, at gzip's fastest level; never watches and
//! other streams. Compressed while it is sent: a list is never in memory twice.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as _, Frame};

/// Smaller answers are not worth the time.
const THRESHOLD: u64 = 128 << 10;
/// Compressed bytes that are sent at once.
const PIECE: usize = 32 << 10;

/// The response, compressed if its length is known and large and the request's headers allow gzip.
#[must_use]
pub fn answer(requested: &HeaderMap, mut response: Response) -> Response {
    let large = response.body().size_hint().exact().is_some_and(|length| length > THRESHOLD);
    if !large || response.headers().contains_key(header::CONTENT_ENCODING) || !accepts_gzip(requested) {
        return response;
    }
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response.map(|body| {
        let encoder = GzEncoder::new(Vec::with_capacity(PIECE), Compression::fast());
        Body::new(Gzip { body, encoder: Some(encoder) })
    })
}

/// Whether `gzip` is among the codings of `Accept-Encoding`, not refused by `q=0` (RFC 9110 section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        named && !parts.any(refused)
    })
}

struct Gzip {
    body: Body,
    /// None once everything is out.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl http_body::Body for Gzip {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if self.encoder.is_none() {
                return Poll::Ready(None);
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()?;
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(None) };
            match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    encoder.write_all(&data).map_err(axum::Error::new)?;
                    if encoder.get_ref().len() >= PIECE {
                        let piece = std::mem::replace(encoder.get_mut(), Vec::with_capacity(PIECE));
                        return Poll::Ready(Some(Ok(Frame::data(piece.into()))));
                    }
                }
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => {
                    let rest = self.encoder.take().map(GzEncoder::finish).transpose();
                    return Poll::Ready(
                        rest.map_err(axum::Error::new)?.map(|rest| Ok(Frame::data(rest.into()))),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::io::Read;

    fn wants(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(text))])
    }

    #[test]
    fn accept_encoding_is_read() {
        for text in ["gzip", "deflate, gzip;q=0.5", "br,GZIP"] {
            assert!(accepts_gzip(&wants(text)), "{text}");
        }
        for text in ["", "identity", "gzip;q=0", "gzip; q=0.0, br", "xgzip"] {
            assert!(!accepts_gzip(&wants(text)), "{text}");
        }
    }

    #[tokio::test]
    async fn large_answers_are_compressed_and_small_ones_are_not() {
        let large: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
        for (text, headers, compressed) in [
            (large.clone(), wants("gzip"), true),
            (large.clone(), HeaderMap::new(), false),
            ("small".to_owned(), wants("gzip"), false),
        ] {
            let response = answer(&headers, Response::new(Body::from(text.clone())));
            let coding = response.headers().get(header::CONTENT_ENCODING).cloned();
            assert_eq!(coding.is_some(), compressed);
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            if compressed {
                let mut plain = String::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut plain).unwrap();
                assert!(plain == text && bytes.len() < text.len() / 2);
            } else {
                assert!(bytes == text);
            }
        }
    }
}
