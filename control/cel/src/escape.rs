//! Property names as identifiers: JSON names may hold what identifiers may not, and may be reserved words.
//!
//! Authority: the Kubernetes documentation, "Common Expression Language in Kubernetes", "Escaping".

use xebec_api::names::is_cel_reserved;

/// What an escape sequence stands for.
const SEQUENCES: [(&str, &str); 4] = [("underscores", "__"), ("dot", "."), ("dash", "-"), ("slash", "/")];

/// The identifier by which an expression reaches the property `name`, or `None` if it cannot: a name that starts with a
/// digit, is empty, or has a character other than `[A-Za-z0-9_./-]`.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if is_cel_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some((word, found)) = SEQUENCES.iter().find(|(_, text)| rest.starts_with(text)) {
            out.push_str("__");
            out.push_str(word);
            out.push_str("__");
            rest = &rest[found.len()..];
        } else if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(out)
}

/// The property that the identifier `name` reaches, or `None` if it holds an escape sequence that means nothing.
pub fn unescape(name: &str) -> Option<String> {
    if !name.contains("__") {
        return Some(name.to_owned());
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(start) = rest.find("__") {
        let body = &rest[start + 2..];
        // A sequence is two underscores, a word without underscores, two underscores.
        let end = body.find('_').filter(|&end| end > 0 && body[end..].starts_with("__"));
        let Some(end) = end else {
            out.push_str(&rest[..start + 1]);
            rest = &rest[start + 1..];
            continue;
        };
        let word = &body[..end];
        out.push_str(&rest[..start]);
        match SEQUENCES.iter().find(|(known, _)| *known == word) {
            Some((_, text)) => out.push_str(text),
            // A reserved word is escaped only as a whole name.
            None if is_cel_reserved(word) && word.len() + 4 == name.len() => out.push_str(word),
            None => return None,
        }
        rest = &body[end + 2..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_escape_and_come_back() {
        for (name, escaped) in [
            ("abc", "abc"),
            ("namespace", "__namespace__"),
            ("a.b", "a__dot__b"),
            ("a-b/c", "a__dash__b__slash__c"),
            ("x__y", "x__underscores__y"),
            ("_a_", "_a_"),
            ("int", "int"),
            ("___", "__underscores___"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped), "{name}");
            assert_eq!(unescape(escaped).as_deref(), Some(name), "{escaped}");
        }
        for bad in ["", "9a", "a b", "a$", "é"] {
            assert_eq!(escape(bad), None, "{bad}");
        }
        for bad in ["__foo__", "a__namespace__", "__namespace__x"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
