//! `$(VAR)` references. Enters: a text and the variables. Leaves: the text with what is known put in.

/// Replaces `$(NAME)` by its value; `$$` stands for `$`, an unknown name is left as it was written
/// (upstream's third_party/forked/golang/expansion).
pub fn expand<'v>(text: &str, lookup: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let reference = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match reference {
            Some((name, after)) => {
                match lookup(name) {
                    Some(value) => out.push_str(value),
                    None => {
                        out.push_str("$(");
                        out.push_str(name);
                        out.push(')');
                    }
                }
                rest = after;
            }
            None => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

/// Expands a command or its arguments with a resolved environment.
pub fn expand_all(texts: &[String], env: &[(String, String)]) -> Vec<String> {
    texts.iter().map(|text| expand(text, |name| find(env, name))).collect()
}

/// Expands a `subPathExpr`; the name of the first unknown variable is the error.
pub fn expand_path(text: &str, env: &[(String, String)]) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let out = expand(text, |name| {
        let found = find(env, name);
        if found.is_none() {
            missing.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        found
    });
    match missing.into_inner() {
        Some(name) => Err(name),
        None => Ok(out),
    }
}

fn find<'v>(env: &'v [(String, String)], name: &str) -> Option<&'v str> {
    env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_escapes_and_leftovers() {
        let env = [("A", "1"), ("B", "$(A)"), ("E", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(E)|", "|"),
            ("$(NO)", "$(NO)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$A", "$A"),
            ("$", "$"),
            ("$(A", "$(A"),
            ("$(A$(B)", "$(A$(B)"),
            ("$()", "$()"),
            ("100$%", "100$%"),
        ];
        for (text, want) in cases {
            assert_eq!(expand(text, |name| find(&env, name)), want, "{text}");
        }
        assert_eq!(expand_path("a/$(A)", &env).as_deref(), Ok("a/1"));
        assert_eq!(expand_path("a/$(NO)/$(X)", &env), Err("NO".to_owned()));
        assert_eq!(expand_all(&["$(A)".to_owned(), "b".to_owned()], &env), ["1", "b"]);
    }
}
