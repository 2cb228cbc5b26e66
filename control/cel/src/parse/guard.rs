//! How deep a text can nest, before the parser recurses into it.

/// Deeper brackets are refused before the parser sees them.
const MAX_BRACKETS: usize = 250;
/// A chain of operators and selections nests too; this many levels in all are refused before the parser sees them. cel-go
/// refuses chains from 250 on, which the tree's own depth decides afterwards.
const MAX_LEVELS: usize = 3000;

/// How deep a text can nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    /// The brackets that are open at once.
    pub(super) brackets: usize,
    /// The levels of the tree.
    pub(super) levels: usize,
}

#[derive(Default)]
struct Level {
    /// Operators since the last separator: the depth of the chain that they form.
    chain: usize,
    /// The deepest bracket since the last separator.
    inner: usize,
    /// The deepest of the segments before.
    deepest: usize,
}

impl Level {
    fn close_segment(&mut self) {
        self.deepest = self.deepest.max(self.chain + self.inner);
        (self.chain, self.inner) = (0, 0);
    }
}

/// A bound on the depth of the tree of a text, or `None` if it is beyond what is accepted.
pub(super) fn depth(source: &str) -> Option<Depth> {
    let mut levels = vec![Level::default()];
    let mut brackets = 0;
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let top = levels.last_mut()?;
        match bytes[at] {
            b'"' | b'\'' => {
                let raw = at > 0 && is_raw(&bytes[..at]);
                at = skip_string(bytes, at, raw);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'(' | b'[' | b'{' => {
                // An index is a link of a chain as well as a bracket.
                top.chain += 1;
                levels.push(Level::default());
                brackets = brackets.max(levels.len());
                if levels.len() > MAX_BRACKETS {
                    return None;
                }
            }
            b')' | b']' | b'}' => {
                top.close_segment();
                let inner = top.deepest;
                if levels.len() > 1 {
                    levels.pop();
                    let outer = levels.last_mut()?;
                    outer.inner = outer.inner.max(inner + 1);
                }
            }
            b',' => top.close_segment(),
            // Both sides of these are siblings in a tree that the parser balances.
            b'&' | b'|' if bytes.get(at + 1) == Some(&bytes[at]) => {
                top.close_segment();
                at += 1;
            }
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'?' => top.chain += 1,
            b'i' if bytes[at..].starts_with(b"in") => top.chain += 1,
            _ => {}
        }
        let top = levels.last()?;
        if top.chain > MAX_LEVELS {
            return None;
        }
        at += 1;
    }
    while levels.len() > 1 {
        let mut top = levels.pop()?;
        top.close_segment();
        let outer = levels.last_mut()?;
        outer.inner = outer.inner.max(top.deepest + 1);
    }
    let mut root = levels.pop()?;
    root.close_segment();
    (root.deepest <= MAX_LEVELS).then_some(Depth { brackets, levels: root.deepest })
}

/// Whether a quote after these bytes opens a raw string.
fn is_raw(before: &[u8]) -> bool {
    match before {
        [.., last] if last.eq_ignore_ascii_case(&b'r') => true,
        [.., first, last] => first.eq_ignore_ascii_case(&b'r') && last.eq_ignore_ascii_case(&b'b'),
        _ => false,
    }
}

/// The offset after the string that starts at `at`.
fn skip_string(bytes: &[u8], at: usize, raw: bool) -> usize {
    let quote = bytes[at];
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let mut end = at + if triple { 3 } else { 1 };
    while end < bytes.len() {
        if bytes[end] == b'\\' && !raw {
            end += 2;
        } else if triple && bytes[end..].starts_with(&[quote; 3]) {
            return end + 3;
        } else if !triple && (bytes[end] == quote || bytes[end] == b'\n') {
            return end + 1;
        } else {
            end += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_bounded_by_brackets_and_chains() {
        assert_eq!(depth("1"), Some(Depth { brackets: 0, levels: 0 }));
        assert!(depth("((1))").is_some_and(|d| d.levels >= 2 && d.brackets >= 2));
        assert_eq!(depth(&"(".repeat(10_000)), None);
        assert_eq!(depth(&format!("a{}", ".a".repeat(10_000))), None);
        assert!(depth(&vec!["a.b == 1"; 2000].join(" && ")).is_some_and(|d| d.levels < 10));
        assert!(depth(r#"'((((' == r"\" && true"#).is_some_and(|d| d.levels < 10));
        assert!(depth(&format!("'{}'", "(".repeat(10_000))).is_some());
    }
}
