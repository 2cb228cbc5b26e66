//! Frames to bytes and back. Pure.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::SpdyError;
use crate::frame::{Frame, RstStatus};
use crate::headers::{Deflater, Inflater};

/// Largest payload of a control frame this end takes.
pub const CONTROL_LIMIT: usize = 64 * 1024;
/// Largest data frame this end sends.
pub const DATA_LIMIT: usize = 32 * 1024;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;
const FIN: u8 = 1;
const VERSION: u16 = 3;

/// Writes frames.
pub struct Encoder {
    deflater: Deflater,
}

impl Encoder {
    /// For a new connection.
    pub fn new() -> Result<Self, SpdyError> {
        Ok(Self { deflater: Deflater::new()? })
    }

    /// Appends the frame. Frames with headers must be sent in the order they were encoded in.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), SpdyError> {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                let block = self.deflater.block(headers)?;
                control(out, SYN_STREAM, fin_flag(*fin), 10 + block.len())?;
                out.put_u32(*stream);
                // No associated stream, highest priority, slot 0.
                out.put_u32(0);
                out.put_u16(0);
                out.put_slice(&block);
            }
            Frame::SynReply { stream, fin, headers } => {
                self.headers(out, SYN_REPLY, *stream, *fin, headers)?;
            }
            Frame::Headers { stream, fin, headers } => self.headers(out, HEADERS, *stream, *fin, headers)?,
            Frame::RstStream { stream, status } => pair(out, RST_STREAM, *stream, status.code())?,
            Frame::GoAway { last, status } => pair(out, GOAWAY, *last, *status)?,
            Frame::WindowUpdate { stream, delta } => pair(out, WINDOW_UPDATE, *stream, *delta)?,
            Frame::Ping(id) => {
                control(out, PING, 0, 4)?;
                out.put_u32(*id);
            }
            Frame::Settings(entries) => {
                control(out, SETTINGS, 0, 4 + 8 * entries.len())?;
                out.put_u32(u32::try_from(entries.len()).unwrap_or_default());
                for (id, value) in entries {
                    out.put_u32(id & 0x00ff_ffff);
                    out.put_u32(*value);
                }
            }
            Frame::Data { stream, fin, data } => {
                out.put_u32(*stream);
                out.put_u32(flags_and_length(fin_flag(*fin), data.len())?);
                out.put_slice(data);
            }
        }
        Ok(())
    }

    fn headers(
        &mut self,
        out: &mut BytesMut,
        kind: u16,
        stream: u32,
        fin: bool,
        headers: &crate::Headers,
    ) -> Result<(), SpdyError> {
        let block = self.deflater.block(headers)?;
        control(out, kind, fin_flag(fin), 4 + block.len())?;
        out.put_u32(stream);
        out.put_slice(&block);
        Ok(())
    }
}

fn fin_flag(fin: bool) -> u8 {
    if fin { FIN } else { 0 }
}

fn flags_and_length(flags: u8, length: usize) -> Result<u32, SpdyError> {
    let length = u32::try_from(length).ok().filter(|length| *length < 1 << 24);
    let length = length.ok_or(SpdyError::Protocol("a frame is too large to be sent"))?;
    Ok(u32::from(flags) << 24 | length)
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) -> Result<(), SpdyError> {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(flags_and_length(flags, length)?);
    Ok(())
}

fn pair(out: &mut BytesMut, kind: u16, first: u32, second: u32) -> Result<(), SpdyError> {
    control(out, kind, 0, 8)?;
    out.put_u32(first);
    out.put_u32(second);
    Ok(())
}

/// Reads frames.
pub struct Decoder {
    inflater: Inflater,
    /// A data frame that is still arriving: stream, fin, bytes to come.
    arriving: Option<(u32, bool, usize)>,
    /// Bytes of a control frame of an unknown type, to be passed over.
    skipping: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflater: Inflater::new(), arriving: None, skipping: 0 }
    }
}

impl Decoder {
    /// Takes the next frame out of `bytes`; none when more bytes are needed. After an error the connection is over.
    pub fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, SpdyError> {
        loop {
            if self.skipping > 0 {
                let passed = self.skipping.min(bytes.len());
                bytes.advance(passed);
                self.skipping -= passed;
            }
            if let Some(arriving) = self.arriving.take() {
                return Ok(self.data(arriving, bytes));
            }
            let Some((head, _)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
            let [a, b, c, d, flags, x, y, z] = *head;
            let length = usize::try_from(u32::from_be_bytes([0, x, y, z])).unwrap_or(usize::MAX);
            if a & 0x80 == 0 {
                bytes.advance(8);
                self.arriving = Some((u32::from_be_bytes([a, b, c, d]), flags & FIN != 0, length));
                continue;
            }
            if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
                return Err(SpdyError::Protocol("the peer does not speak SPDY/3"));
            }
            let kind = u16::from_be_bytes([c, d]);
            if !matches!(kind, 1..=4 | 6..=9) {
                bytes.advance(8);
                self.skipping = length;
                continue;
            }
            if length > CONTROL_LIMIT {
                return Err(SpdyError::Protocol("a control frame is too large"));
            }
            if bytes.len() < 8 + length {
                bytes.reserve(8 + length - bytes.len());
                return Ok(None);
            }
            bytes.advance(8);
            let payload = bytes.split_to(length).freeze();
            return self.control(kind, flags & FIN != 0, payload).map(Some);
        }
    }

    fn data(&mut self, (stream, fin, left): (u32, bool, usize), bytes: &mut BytesMut) -> Option<Frame> {
        let data = bytes.split_to(left.min(bytes.len()).min(DATA_LIMIT)).freeze();
        if data.len() == left {
            return Some(Frame::Data { stream, fin, data });
        }
        self.arriving = Some((stream, fin, left - data.len()));
        (!data.is_empty()).then_some(Frame::Data { stream, fin: false, data })
    }

    fn control(&mut self, kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, SpdyError> {
        let least = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | HEADERS | PING | SETTINGS => 4,
            _ => 8,
        };
        if payload.len() < least {
            return Err(SpdyError::Protocol("a control frame is too short"));
        }
        let first = payload.get_u32();
        let stream = first & 0x7fff_ffff;
        Ok(match kind {
            SYN_STREAM => {
                payload.advance(6);
                Frame::SynStream { stream, fin, headers: self.inflater.headers(&payload)? }
            }
            SYN_REPLY => Frame::SynReply { stream, fin, headers: self.inflater.headers(&payload)? },
            HEADERS => Frame::Headers { stream, fin, headers: self.inflater.headers(&payload)? },
            RST_STREAM => Frame::RstStream { stream, status: RstStatus::from_code(payload.get_u32()) },
            GOAWAY => Frame::GoAway { last: stream, status: payload.get_u32() },
            WINDOW_UPDATE => Frame::WindowUpdate { stream, delta: payload.get_u32() & 0x7fff_ffff },
            PING => Frame::Ping(first),
            _ => {
                let entries = payload.chunks_exact(8).map(|entry| {
                    let [_, a, b, c, d, e, f, g] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| entry[at]);
                    (u32::from_be_bytes([0, a, b, c]), u32::from_be_bytes([d, e, f, g]))
                });
                Frame::Settings(entries.collect())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Frame> {
        let headers = vec![("streamtype".to_owned(), "stdin".to_owned())];
        vec![
            Frame::SynStream { stream: 1, fin: false, headers: headers.clone() },
            Frame::SynReply { stream: 1, fin: false, headers: Vec::new() },
            Frame::Data { stream: 1, fin: false, data: Bytes::from_static(b"hello") },
            Frame::Headers { stream: 1, fin: true, headers },
            Frame::RstStream { stream: 3, status: RstStatus::Cancel },
            Frame::Settings(vec![(7, 65536), (4, 100)]),
            Frame::Ping(0xffff_fffe),
            Frame::WindowUpdate { stream: 0, delta: 1 << 16 },
            Frame::Data { stream: 5, fin: true, data: Bytes::new() },
            Frame::GoAway { last: 5, status: 0 },
        ]
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut encoder = Encoder::new().unwrap();
        let mut wire = BytesMut::new();
        for frame in all() {
            encoder.encode(&frame, &mut wire).unwrap();
        }
        for step in [1, 2, 3, 7, 11, 4096] {
            let (mut decoder, mut bytes, mut got) = (Decoder::default(), BytesMut::new(), Vec::new());
            for piece in wire.chunks(step) {
                bytes.extend_from_slice(piece);
                while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
                    match (got.last_mut(), frame) {
                        // A data frame may arrive in pieces.
                        (
                            Some(Frame::Data { stream: 1, fin: false, data }),
                            Frame::Data { stream: 1, data: more, .. },
                        ) => *data = [&data[..], &more[..]].concat().into(),
                        (_, frame) => got.push(frame),
                    }
                }
            }
            assert_eq!(got, all(), "pieces of {step}");
        }
    }

    #[test]
    fn a_long_data_frame_is_passed_on_as_it_comes() {
        let mut decoder = Decoder::default();
        let mut bytes = BytesMut::from(&[0, 0, 0, 1, 1, 0xff, 0xff, 0xff][..]);
        assert_eq!(decoder.decode(&mut bytes).unwrap(), None);
        let mut total = 0;
        while total < (1 << 24) - 1 {
            bytes.extend_from_slice(&vec![7; (100_000).min((1 << 24) - 1 - total)]);
            while let Some(Frame::Data { fin, data, .. }) = decoder.decode(&mut bytes).unwrap() {
                total += data.len();
                assert!(data.len() <= DATA_LIMIT);
                assert_eq!(fin, total == (1 << 24) - 1);
            }
        }
    }

    #[test]
    fn unknown_frames_are_passed_over_and_bad_ones_refused() {
        let mut bytes = BytesMut::from(&[0x80, 3, 0, 99, 0, 0, 0, 3, 1, 2, 3, 0x80, 3, 0, 6, 0, 0, 0, 4][..]);
        bytes.extend_from_slice(&9_u32.to_be_bytes());
        assert_eq!(Decoder::default().decode(&mut bytes).unwrap(), Some(Frame::Ping(9)));
        for (wrong, why) in [
            (&[0x80, 2, 0, 6, 0, 0, 0, 4][..], "the peer does not speak SPDY/3"),
            (&[0x80, 3, 0, 1, 0, 0xff, 0, 0], "a control frame is too large"),
            (&[0x80, 3, 0, 3, 0, 0, 0, 1, 0], "a control frame is too short"),
        ] {
            let error = Decoder::default().decode(&mut BytesMut::from(wrong)).unwrap_err();
            assert_eq!(error, SpdyError::Protocol(why));
        }
    }
}
