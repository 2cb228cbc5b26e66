//! Regular expressions in Go's syntax, on the regex crate.
//!
//! Both are RE2-like; what differs is translated: Perl classes are ASCII in Go, a brace that starts no repetition is a
//! brace, and `[`, `&&`, `~~`, `--` have no meaning inside a class.

use regex::{Regex, RegexBuilder};

/// Go's limit for a counted repetition.
const MAX_REPEAT: u32 = 1000;
/// Limits the memory of one compiled pattern.
const SIZE_LIMIT: usize = 4 << 20;

/// A pattern with its source; one that cannot be compiled keeps the reason, and the definition is refused with it.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    compiled: Result<Regex, String>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Pattern {
    /// Compiles a pattern of a schema.
    pub fn new(source: &str) -> Self {
        Self { source: source.to_owned(), compiled: compile(source) }
    }

    /// The pattern as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Why it is no pattern, in Go's form.
    pub fn error(&self) -> Option<&str> {
        self.compiled.as_ref().err().map(String::as_str)
    }

    /// Whether the text contains a match; a pattern that is none matches nothing.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.as_ref().is_ok_and(|regex| regex.is_match(text))
    }
}

fn compile(source: &str) -> Result<Regex, String> {
    let translated = translate(source)?;
    RegexBuilder::new(&translated).size_limit(SIZE_LIMIT).build().map_err(|error| explain(&error, source))
}

/// Go's error for the common mistakes, the crate's own words otherwise.
fn explain(error: &regex::Error, source: &str) -> String {
    let text = error.to_string();
    let known = [
        ("unclosed group", "missing closing )"),
        ("unopened group", "unexpected )"),
        ("unclosed character class", "missing closing ]"),
        ("invalid character class range", "invalid character class range"),
    ];
    if let Some((_, go)) = known.iter().find(|(rust, _)| text.contains(rust)) {
        return format!("error parsing regexp: {go}: `{source}`");
    }
    for repeat in ['*', '+', '?'] {
        if text.contains("repetition operator missing expression") && source.starts_with(repeat) {
            return format!("error parsing regexp: missing argument to repetition operator: `{repeat}`");
        }
    }
    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    format!("error parsing regexp: {reason}: `{source}`")
}

fn translate(source: &str) -> Result<String, String> {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len() + 8);
    let (mut at, mut class_start) = (0, None::<usize>);
    while at < chars.len() {
        let c = chars[at];
        match c {
            '\\' => {
                let escaped = chars.get(at + 1).copied();
                out.push_str(&escape(escaped, class_start.is_some()));
                at += 2;
                // The braces of `\p{Greek}` and `\x{1F600}` are theirs.
                if matches!(escaped, Some('p' | 'P' | 'x')) && chars.get(at) == Some(&'{') {
                    let length = chars[at..].iter().position(|c| *c == '}').map_or(1, |end| end + 1);
                    out.extend(&chars[at..at + length]);
                    at += length;
                }
                continue;
            }
            '[' if class_start.is_none() => {
                out.push(c);
                if chars.get(at + 1) == Some(&'^') {
                    out.push('^');
                    at += 1;
                }
                // A bracket right after the opening one is itself.
                if chars.get(at + 1) == Some(&']') {
                    out.push_str("\\]");
                    at += 1;
                }
                class_start = Some(at + 1);
            }
            '[' if chars.get(at + 1) != Some(&':') => out.push_str("\\["),
            ']' if class_start.is_some() && !closes_named(&chars, at) => {
                class_start = None;
                out.push(c);
            }
            '&' | '~' if class_start.is_some() => {
                out.push('\\');
                out.push(c);
            }
            '-' if class_start.is_some() && at > 0 && chars[at - 1] == '-' => out.push_str("\\-"),
            '{' if class_start.is_none() => match repetition(&chars[at..])? {
                Some(length) => {
                    out.extend(&chars[at..at + length]);
                    at += length;
                    continue;
                }
                None => out.push_str("\\{"),
            },
            _ => out.push(c),
        }
        at += 1;
    }
    Ok(out)
}

/// Whether the bracket at `at` ends a named class such as `[:alpha:]`.
fn closes_named(chars: &[char], at: usize) -> bool {
    at >= 2
        && chars[at - 1] == ':'
        && chars[..at - 1]
            .iter()
            .rposition(|c| *c == '[')
            .is_some_and(|open| chars.get(open + 1) == Some(&':') && open + 1 < at - 1)
}

fn escape(escaped: Option<char>, in_class: bool) -> String {
    let set = match escaped {
        Some('d') => "0-9",
        Some('w') => "0-9A-Za-z_",
        Some('s') => "\\t\\n\\f\\r ",
        Some('D') => return "[^0-9]".to_owned(),
        Some('W') => return "[^0-9A-Za-z_]".to_owned(),
        Some('S') => return "[^\\t\\n\\f\\r ]".to_owned(),
        Some('b') if !in_class => return "(?-u:\\b)".to_owned(),
        Some(other) => return format!("\\{other}"),
        None => return "\\".to_owned(),
    };
    if in_class { set.to_owned() } else { format!("[{set}]") }
}

/// The length of a counted repetition at the start of `chars`, `None` when the brace is only a brace.
fn repetition(chars: &[char]) -> Result<Option<usize>, String> {
    let Some(end) = chars.iter().position(|c| *c == '}') else { return Ok(None) };
    let inside: String = chars[1..end].iter().collect();
    let (low, high) = inside.split_once(',').unwrap_or((&inside, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(low) || !(high.is_empty() || digits(high)) {
        return Ok(None);
    }
    let too_many = |text: &str| !text.is_empty() && text.parse::<u32>().map_or(true, |n| n > MAX_REPEAT);
    if too_many(low) || too_many(high) {
        return Err(format!("error parsing regexp: invalid repeat count: `{{{inside}}}`"));
    }
    Ok(Some(end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_what_go_means() {
        let cases = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{0663}", false),
            (r"^[\w-]+$", "a-b_1", true),
            (r"^\w+$", "é", false),
            (r"^[^\s]+$", "a b", false),
            (r"^[\D]$", "x", true),
            (r"^a{2}$", "aa", true),
            (r"^{x}$", "{x}", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^[[a]+$", "[a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]]$", "]", false),
            (r"^[a&&b]+$", "&a", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^[+--]$", ",", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", "a.b", true),
            (r"^\p{Lu}$", "Ä", true),
        ];
        for (pattern, text, matches) in cases {
            let compiled = Pattern::new(pattern);
            assert_eq!(compiled.error(), None, "{pattern}");
            assert_eq!(compiled.matches(text), matches, "{pattern} on {text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            ("(a", "error parsing regexp: missing closing ): `(a`"),
            ("[a", "error parsing regexp: missing closing ]: `[a`"),
            ("+", "error parsing regexp: missing argument to repetition operator: `+`"),
            ("a{1001}", "error parsing regexp: invalid repeat count: `{1001}`"),
        ];
        for (pattern, error) in cases {
            assert_eq!(Pattern::new(pattern).error(), Some(error));
        }
        assert!(!Pattern::new("(a").matches("(a"));
    }
}
