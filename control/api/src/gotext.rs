//! Text as Go prints it: the pieces of upstream's messages that come from `fmt` and `strconv`.
//!
//! In go plain strings and JSON values; out comes the text a Go program would have printed.
//! Called by the error modules, so that clients that compare messages see no difference.

use serde_json::Value;
use std::fmt::Write;

/// Quotes a string as Go's `%q` does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => push_hex(&mut out, 'x', c as u32, 2),
            c if is_unprintable(c) && (c as u32) < 0x10000 => push_hex(&mut out, 'u', c as u32, 4),
            c if is_unprintable(c) => push_hex(&mut out, 'U', c as u32, 8),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn push_hex(out: &mut String, mark: char, code: u32, width: usize) {
    // Writing into a String cannot fail.
    let _ = write!(out, "\\{mark}{code:0width$x}");
}

/// The characters Go's `strconv.IsPrint` refuses beyond ASCII control characters, for the ranges that matter.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c as u32, 0xad | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe000..=0xf8ff | 0xfff0..=0xfffb | 0xf_0000..=0x10_ffff)
}

/// Writes a value as Go's `json.Marshal` does: compact, with `<`, `>` and `&` escaped.
pub fn json(value: &Value) -> String {
    let plain = value.to_string();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    plain
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Joins several error texts as upstream's aggregate does: one alone as it is, several as `[a, b]`, repeats once.
pub fn aggregate<I: IntoIterator<Item = String>>(messages: I) -> String {
    let mut seen: Vec<String> = Vec::new();
    for message in messages {
        if !seen.contains(&message) {
            seen.push(message);
        }
    }
    match seen.len() {
        1 => seen.remove(0),
        _ => format!("[{}]", seen.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as j;

    #[test]
    fn quotes_as_go() {
        assert_eq!(quote("a\"b\\c\n\u{1}é\u{200b}"), "\"a\\\"b\\\\c\\n\\x01é\\u200b\"");
        assert_eq!(quote("plain text"), "\"plain text\"");
    }

    #[test]
    fn json_escapes_html() {
        assert_eq!(json(&j!({"a": "<&>"})), r#"{"a":"\u003c\u0026\u003e"}"#);
    }

    #[test]
    fn aggregates() {
        assert_eq!(aggregate(["a".to_owned()]), "a");
        assert_eq!(aggregate(["a".to_owned(), "b".to_owned(), "a".to_owned()]), "[a, b]");
        assert_eq!(aggregate(["a".to_owned(), "a".to_owned()]), "a");
    }
}
