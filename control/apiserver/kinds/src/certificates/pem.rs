//! PEM blocks, as far as certificate requests carry them.
//!
//! Authority: RFC 7468, Go's encoding/pem (which skips text around blocks).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One block.
pub struct Block {
    /// Its label, such as `CERTIFICATE REQUEST`.
    pub label: String,
    /// True when there are headers (`Proc-Type: ...`) before the data.
    pub has_headers: bool,
    /// The data.
    pub bytes: Vec<u8>,
}

/// The blocks of a text in order; what is malformed is skipped.
pub fn blocks(text: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let label = line.trim_end().strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        let Some(label) = label else { continue };
        let end = format!("-----END {label}-----");
        let body: Vec<&str> = lines.by_ref().map(str::trim).take_while(|line| *line != end).collect();
        let has_headers = body.iter().any(|line| line.contains(':'));
        let data: String = body.iter().filter(|line| !line.contains(':')).copied().collect();
        if let Ok(bytes) = STANDARD.decode(data) {
            found.push(Block { label: label.to_owned(), has_headers, bytes });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_text() {
        let text = b"hello\n-----BEGIN A B-----\nX-Y: z\n\nYWJj\nZGVm\n-----END A B-----\nbye\n-----BEGIN C-----\n!\n-----END C-----\n";
        let found = blocks(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].label.as_str(), found[0].has_headers), ("A B", true));
        assert_eq!(found[0].bytes, b"abcdef");
    }
}
