//! One line of a log file. Enters: its bytes. Leaves: time, stream, whether it is whole, and the text.

use jiff::Timestamp;

/// A container's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A parsed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The time as written, RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// Where it was written.
    pub stream: Stream,
    /// False for a piece that the next line of the stream goes on (tag P).
    pub whole: bool,
    /// The text without its line feed.
    pub text: &'a [u8],
}

impl Line<'_> {
    /// The time; `None` if it is no time.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Reads a line without its line feed; `None` for what is not in CRI's format.
pub fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok().filter(|time| time.len() >= 20)?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; only the first has a meaning so far.
    let tag = fields.next()?.split(|byte| *byte == b':').next()?;
    let whole = match tag {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Line { time, stream, whole, text: fields.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let line = parse_line(b"2026-10-20T18:39:20.57606443Z stdout F a b  c").unwrap();
        assert_eq!(line.text, b"a b  c");
        assert_eq!((line.stream, line.whole), (Stream::Stdout, true));
        assert_eq!(line.timestamp().unwrap().subsec_nanosecond(), 576_064_430);
        let piece = parse_line(b"2026-10-20T20:39:20.1+02:00 stderr P:x y").unwrap();
        assert_eq!((piece.stream, piece.whole, piece.text), (Stream::Stderr, false, &b"y"[..]));
        let empty = parse_line(b"2026-10-20T18:39:20.57606443Z stdout F ").unwrap();
        assert_eq!(empty.text, b"");
        for bad in ["", "x", "2026-10-20T18:39:20Z out F a", "2026-10-20T18:39:20Z stdout X a"] {
            assert!(parse_line(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
