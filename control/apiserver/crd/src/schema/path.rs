//! Field paths of rules and selectable fields: `.spec.replicas`, `.metadata['a.b']`.
//!
//! Authority: apiextensions-apiserver, ValidFieldPath.

use xebec_api::field::Path;

use super::Schema;

/// A path that leads somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldPath {
    /// As error messages show it: `spec.replicas`.
    pub shown: String,
    /// Its first step.
    pub root: String,
    /// The type of what it leads to.
    pub kind: String,
}

/// Why a path leads nowhere, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No such field.
    #[error("does not refer to a valid field")]
    NoField,
    /// A bracket where none may be.
    #[error("array notation is not allowed")]
    NoBrackets,
    /// It stops in the middle.
    #[error("unexpected end of JSON path")]
    Ends,
    /// No quoted name in brackets.
    #[error("expected single quoted string but got {0}")]
    NotQuoted(String),
    /// A bad escape in a quoted name.
    #[error("invalid string literal: invalid escape char {0}")]
    BadEscape(String),
    /// A bracket stays open.
    #[error("expected ] but got {0}")]
    NotClosed(String),
    /// No delimiter.
    #[error("expected [ or . but got: {0}")]
    NoDelimiter(String),
}

/// Follows `path` from `schema`. `brackets`: whether `['name']` may be used.
pub fn resolve(path: &str, schema: &Schema, brackets: bool) -> Result<FieldPath, PathError> {
    let mut tokens = tokens(path).into_iter();
    let mut here = schema;
    let mut shown = Path::root();
    let mut root = String::new();
    let next = |tokens: &mut std::vec::IntoIter<String>| tokens.next().ok_or(PathError::Ends);
    while let Some(token) = tokens.next() {
        let name = match token.as_str() {
            "[" if !brackets => return Err(PathError::NoBrackets),
            "[" => {
                let quoted = next(&mut tokens)?;
                let inner = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let Some(inner) = inner.filter(|_| quoted.len() >= 2) else {
                    return Err(PathError::NotQuoted(quoted));
                };
                let name = unescape(inner)?;
                // Upstream looks whether there is such a field before it looks for the bracket's end.
                step(here, &name)?;
                let end = next(&mut tokens)?;
                if end != "]" {
                    return Err(PathError::NotClosed(end));
                }
                name
            }
            "." => next(&mut tokens)?,
            _ => return Err(PathError::NoDelimiter(token)),
        };
        shown = if here.properties.is_empty() { shown.key(&name) } else { shown.child(&name) };
        if root.is_empty() {
            root.clone_from(&name);
        }
        here = step(here, &name)?;
    }
    Ok(FieldPath { shown: shown.as_str().to_owned(), root, kind: here.kind.clone() })
}

fn step<'a>(schema: &'a Schema, name: &str) -> Result<&'a Schema, PathError> {
    if schema.properties.is_empty() {
        return schema.additional.as_ref().and_then(super::Additional::schema).ok_or(PathError::NoField);
    }
    schema.properties.get(name).ok_or(PathError::NoField)
}

/// Splits at `.`, `[` and `]`, which are tokens themselves; a quoted text is one token.
fn tokens(path: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = if rest.starts_with('\'') { quoted_end(rest) } else { plain_end(rest) };
        all.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    all
}

fn plain_end(text: &str) -> usize {
    match text.find(['.', '[', ']']) {
        Some(0) => 1,
        Some(end) => end,
        None => text.len(),
    }
}

fn quoted_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    (1..bytes.len()).find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\').map_or(text.len(), |at| at + 1)
}

fn unescape(text: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some('\'') => '\'',
            Some('\\') => '\\',
            Some(other) => return Err(PathError::BadEscape(format!("\\{other}"))),
            None => '\\',
        });
    }
    Ok(out)
}
