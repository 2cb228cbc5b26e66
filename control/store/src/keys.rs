//! Keys and prefixes: a prefix is a path, so that `/a/b` never reaches `/a/bc`.

/// The string every key below `prefix` starts with: the prefix with a closing slash, or nothing for all keys.
pub(crate) fn scope(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

/// The first string after all strings that start with `scope`; none when there is no such bound.
pub(crate) fn scope_end(scope: &str) -> Option<String> {
    // A scope is empty or ends with '/', whose successor is '0'.
    scope.strip_suffix('/').map(|head| format!("{head}0"))
}

/// The resource a key belongs to, `group/plural` as the key names them; what is no object's key is `other`.
pub fn resource(key: &str) -> &str {
    let Some(rest) = key.strip_prefix("/registry/") else { return "other" };
    let mut slashes = rest.match_indices('/').map(|(at, _)| at);
    match (slashes.next(), slashes.next()) {
        (Some(_), Some(end)) => &rest[..end],
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::{resource, scope, scope_end};
    use proptest::prelude::*;

    #[test]
    fn a_prefix_is_a_path() {
        assert_eq!(scope("/a/b"), "/a/b/");
        assert_eq!(scope("/a/b/"), "/a/b/");
        assert_eq!(scope(""), "");
        assert_eq!(scope_end(""), None);
    }

    #[test]
    fn a_key_tells_its_resource() {
        assert_eq!(resource("/registry/core/pods/default/web-0"), "core/pods");
        assert_eq!(resource("/registry/apps/deployments/a/b"), "apps/deployments");
        assert_eq!(resource("/registry/xebec/progress"), "other");
        assert_eq!(resource("/elsewhere/a/b"), "other");
    }

    proptest! {
        #[test]
        fn the_range_is_exactly_the_scope(prefix in "[a-c0/.~é]{1,6}", key in "[a-c0/.~é]{0,10}") {
            let scope = scope(&prefix);
            let end = scope_end(&scope).expect("a prefix that is not empty has an end");
            prop_assert_eq!(key.starts_with(&scope), key >= scope && key < end);
        }
    }
}
