//! A page on its way: unpacked, rewritten and packed again, piece by piece.

use std::io::{self, Write};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder};
use futures::TryStreamExt;
use futures::stream;
use http_body_util::BodyExt;

use super::Place;
use super::html::Page;

/// How much is unpacked at once: at most a thousand times as much comes out.
const STEP: usize = 2048;

type Gzip = (GzDecoder<Vec<u8>>, GzEncoder<Vec<u8>>);
type Deflate = (DeflateDecoder<Vec<u8>>, DeflateEncoder<Vec<u8>>);

enum Coding {
    Plain,
    Gzip(Box<Gzip>),
    Deflate(Box<Deflate>),
}

struct Pipe {
    coding: Coding,
    page: Page,
}

/// The body with its links rewritten; the body itself when its encoding is none that is understood here.
pub fn rewritten(body: Body, encoding: &str, place: Place) -> Result<Body, Body> {
    let coding = match encoding {
        "" => Coding::Plain,
        "gzip" => Coding::Gzip(Box::new((
            GzDecoder::new(Vec::new()),
            GzEncoder::new(Vec::new(), Compression::default()),
        ))),
        "deflate" => Coding::Deflate(Box::new((
            DeflateDecoder::new(Vec::new()),
            DeflateEncoder::new(Vec::new(), Compression::default()),
        ))),
        _ => return Err(body),
    };
    let pipe = Pipe { coding, page: Page::new(place) };
    let pieces = stream::try_unfold(Some((body, pipe)), |state| async move {
        let Some((mut body, mut pipe)) = state else { return Ok(None) };
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let out = pipe.push(&data)?;
                    return Ok(Some((out, Some((body, pipe)))));
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return pipe.finish().map(|out| Some((out, None))),
            }
        }
    });
    Ok(Body::from_stream(pieces.try_filter(|piece: &Bytes| futures::future::ready(!piece.is_empty()))))
}

impl Pipe {
    fn push(&mut self, data: &[u8]) -> io::Result<Bytes> {
        let mut out = Vec::new();
        for step in data.chunks(STEP) {
            match &mut self.coding {
                Coding::Plain => out.extend(self.page.push(step)),
                Coding::Gzip(both) => {
                    both.0.write_all(step)?;
                    let plain = std::mem::take(both.0.get_mut());
                    both.1.write_all(&self.page.push(&plain))?;
                    out.append(both.1.get_mut());
                }
                Coding::Deflate(both) => {
                    both.0.write_all(step)?;
                    let plain = std::mem::take(both.0.get_mut());
                    both.1.write_all(&self.page.push(&plain))?;
                    out.append(both.1.get_mut());
                }
            }
        }
        Ok(out.into())
    }

    fn finish(mut self) -> io::Result<Bytes> {
        match self.coding {
            Coding::Plain => Ok(self.page.finish().into()),
            Coding::Gzip(both) => {
                let (decoder, mut encoder) = *both;
                encoder.write_all(&self.page.push(&decoder.finish()?))?;
                encoder.write_all(&self.page.finish())?;
                Ok(encoder.finish()?.into())
            }
            Coding::Deflate(both) => {
                let (decoder, mut encoder) = *both;
                encoder.write_all(&self.page.push(&decoder.finish()?))?;
                encoder.write_all(&self.page.finish())?;
                Ok(encoder.finish()?.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    async fn through(body: Vec<u8>, encoding: &str) -> Vec<u8> {
        let pieces: Vec<io::Result<Vec<u8>>> = body.chunks(100).map(|piece| Ok(piece.to_vec())).collect();
        let body = Body::from_stream(stream::iter(pieces));
        let body = rewritten(body, encoding, super::super::place()).unwrap();
        body.collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn pages_are_rewritten_in_their_own_encoding() {
        let page = format!("<a href=\"/x\">{}</a>", "text ".repeat(50_000));
        let expected = page.replacen("/x", "/api/v1/namespaces/a/pods/b/proxy/x", 1);
        assert!(through(page.clone().into_bytes(), "").await == expected.as_bytes());
        let mut decoder = GzDecoder::new(Vec::new());
        decoder.write_all(&through(gzip(&page), "gzip").await).unwrap();
        assert!(decoder.finish().unwrap() == expected.as_bytes());
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(page.as_bytes()).unwrap();
        let mut decoder = DeflateDecoder::new(Vec::new());
        decoder.write_all(&through(encoder.finish().unwrap(), "deflate").await).unwrap();
        assert!(decoder.finish().unwrap() == expected.as_bytes());
        assert!(rewritten(Body::from("x"), "br", super::super::place()).is_err());
    }
}
