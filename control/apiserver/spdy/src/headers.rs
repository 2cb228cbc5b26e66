//! Header blocks: one zlib stream per direction for the connection's whole life, started with the dictionary.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::SpdyError;
use crate::dictionary::DICTIONARY;
use crate::frame::Headers;

/// Largest inflated header block.
const INFLATED_LIMIT: usize = 256 * 1024;
/// Most headers of one stream.
const COUNT_LIMIT: u32 = 256;

/// This end's half.
pub(crate) struct Deflater(Compress);

/// The peer's half.
pub(crate) struct Inflater(Decompress);

impl Deflater {
    pub(crate) fn new() -> Result<Self, SpdyError> {
        let mut stream = Compress::new(Compression::best(), true);
        stream
            .set_dictionary(&DICTIONARY)
            .map_err(|_| SpdyError::Protocol("the header dictionary was not accepted"))?;
        Ok(Self(stream))
    }

    pub(crate) fn block(&mut self, headers: &Headers) -> Result<Vec<u8>, SpdyError> {
        let plain = plain(headers)?;
        let mut out = Vec::with_capacity(plain.len() + 64);
        let mut rest = plain.as_slice();
        loop {
            let before = self.0.total_in();
            self.0
                .compress_vec(rest, &mut out, FlushCompress::Sync)
                .map_err(|_| SpdyError::Protocol("headers could not be compressed"))?;
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            // Room left over means that everything was flushed.
            if rest.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
            out.reserve(256);
        }
    }
}

impl Inflater {
    pub(crate) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers of one block; blocks must come in the order they were sent in.
    pub(crate) fn headers(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let mut out = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            let before = self.0.total_in();
            let result = self.0.decompress_vec(rest, &mut out, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            match result {
                Ok(Status::StreamEnd) => return Err(SpdyError::Protocol("the header stream ended")),
                Ok(_) if rest.is_empty() && out.len() < out.capacity() => return parse(&out),
                Ok(Status::BufError) if out.len() < out.capacity() => {
                    return Err(SpdyError::Protocol("a header block cannot be inflated"));
                }
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(&DICTIONARY)
                        .map_err(|_| SpdyError::Protocol("headers use another dictionary"))?;
                }
                Err(_) => return Err(SpdyError::Protocol("a header block cannot be inflated")),
            }
            if out.len() > INFLATED_LIMIT {
                return Err(SpdyError::Protocol("a header block is too large"));
            }
            out.reserve(1024);
        }
    }
}

fn plain(headers: &Headers) -> Result<Vec<u8>, SpdyError> {
    let length = |bytes: usize| {
        u32::try_from(bytes).map_err(|_| SpdyError::Protocol("headers are too large to be sent"))
    };
    let mut out = Vec::new();
    out.extend_from_slice(&length(headers.len())?.to_be_bytes());
    for (name, value) in headers {
        for text in [&name.to_ascii_lowercase(), value] {
            out.extend_from_slice(&length(text.len())?.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
    Ok(out)
}

fn parse(mut plain: &[u8]) -> Result<Headers, SpdyError> {
    let count = number(&mut plain)?;
    if count > COUNT_LIMIT {
        return Err(SpdyError::Protocol("too many headers"));
    }
    (0..count).map(|_| Ok((text(&mut plain)?, text(&mut plain)?))).collect()
}

fn number(plain: &mut &[u8]) -> Result<u32, SpdyError> {
    let short = SpdyError::Protocol("a header block ends early");
    let (head, rest) = plain.split_first_chunk::<4>().ok_or(short)?;
    *plain = rest;
    Ok(u32::from_be_bytes(*head))
}

fn text(plain: &mut &[u8]) -> Result<String, SpdyError> {
    let length = usize::try_from(number(plain)?).unwrap_or(usize::MAX);
    let (head, rest) =
        plain.split_at_checked(length).ok_or(SpdyError::Protocol("a header block ends early"))?;
    *plain = rest;
    Ok(String::from_utf8_lossy(head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Headers {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn blocks_share_one_compressed_stream() {
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::new());
        for kind in ["error", "stdin", "stdout", "stderr", "resize"] {
            let headers = pairs(&[("streamtype", kind), ("requestid", "0"), ("content-type", "text/plain")]);
            let block = deflater.block(&headers).unwrap();
            assert_eq!(inflater.headers(&block).unwrap(), headers);
        }
        let large = pairs(&[("x", &"abcdefgh".repeat(20_000))]);
        assert_eq!(inflater.headers(&deflater.block(&large).unwrap()).unwrap(), large);
    }

    #[test]
    fn a_bomb_is_refused() {
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::new());
        let block = deflater.block(&pairs(&[("x", &" ".repeat(1 << 20))])).unwrap();
        assert!(block.len() < 8192);
        assert_eq!(inflater.headers(&block), Err(SpdyError::Protocol("a header block is too large")));
    }

    #[test]
    fn what_is_torn_is_refused() {
        let torn = |plain: &[u8]| parse(plain).unwrap_err();
        assert_eq!(torn(&[0, 0]), SpdyError::Protocol("a header block ends early"));
        assert_eq!(torn(&[0, 0, 0, 1, 0, 0, 0, 9, b'a']), SpdyError::Protocol("a header block ends early"));
        assert_eq!(torn(&[0, 1, 0, 0]), SpdyError::Protocol("too many headers"));
        assert!(Inflater::new().headers(b"this is no zlib stream").is_err());
    }
}
