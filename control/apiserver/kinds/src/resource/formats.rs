//! The names this group uses.

use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::formats::{driver_name, subdomain};
use crate::shared::rules::invalid_each;

const POOL_MAX_BYTES: usize = 253;
const ID_MAX_BYTES: usize = 32;
/// The longest key of an attribute or capacity: a domain, a slash and an identifier.
pub const KEY_MAX_BYTES: usize = 63 + 1 + ID_MAX_BYTES;

/// The errors of a pool's name: DNS subdomains joined by slashes.
pub fn pool_name(name: &str, path: &Path) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Vec::new();
    if name.len() > POOL_MAX_BYTES {
        errors.push(FieldError::too_long(path, POOL_MAX_BYTES));
    }
    errors.extend(name.split('/').flat_map(|part| subdomain(part, path)));
    errors
}

/// The errors of an attribute's or capacity's name: an identifier, with or without a domain.
pub fn qualified(name: &str, path: &Path) -> Vec<FieldError> {
    let parts: Vec<&str> = name.split('/').collect();
    let (domain, id) = match parts.as_slice() {
        [id] => return identifier(id, path),
        [domain, id] => (*domain, *id),
        _ => return vec![FieldError::invalid(path, name, "must not contain more than one slash")],
    };
    let mut errors = match domain {
        "" => vec![FieldError::invalid(path, "", "the domain must not be empty")],
        domain => driver_name(domain, path),
    };
    match id {
        "" => errors.push(FieldError::invalid(path, "", "the name must not be empty")),
        id => errors.extend(identifier(id, path)),
    }
    errors
}

/// The errors of an attribute's name that must have a domain.
pub fn fully_qualified(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = qualified(name, path);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors
}

fn identifier(id: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if id.len() > ID_MAX_BYTES {
        errors.push(FieldError::too_long(path, ID_MAX_BYTES));
    }
    errors.extend(invalid_each(path, id, names::is_c_identifier(id)));
    errors
}

/// The errors of a UID in its normal form.
pub fn uid(value: &str, path: &Path) -> Vec<FieldError> {
    let dashed = |text: &str| {
        text.len() == 36
            && text.bytes().enumerate().all(|(index, byte)| match index {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    };
    let readable = match value.len() {
        36 => dashed(value),
        32 => value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        38 => value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(dashed),
        45 => value.get(9..).is_some_and(dashed) && value[..9].eq_ignore_ascii_case("urn:uuid:"),
        length => {
            let detail = format!("error validating uid: invalid UUID length: {length}");
            return vec![FieldError::invalid(path, value, detail)];
        }
    };
    let detail = match (readable, dashed(value) && value == value.to_lowercase()) {
        (false, _) => "error validating uid: invalid UUID format",
        (true, false) => {
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
        }
        (true, true) => return Vec::new(),
    };
    vec![FieldError::invalid(path, value, detail)]
}

/// A map's key as it is shown in paths: long ones lose their middle.
pub fn shown_key(key: &str, max: usize) -> String {
    let max = max.max(16);
    if key.len() <= max {
        return key.to_owned();
    }
    let rest = max - 3;
    let head: String = key.chars().take(rest.div_ceil(2)).collect();
    let tail: Vec<char> = key.chars().rev().take(rest / 2).collect();
    format!("{head}...{}", tail.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;

    #[test]
    fn names() {
        let path = Path::new("p");
        for good in ["a", "a.b/c_D", "A.b/c"] {
            assert!(qualified(good, &path).is_empty(), "{good}");
        }
        let one = |errors: Vec<FieldError>| messages(&errors).join("; ");
        assert_eq!(
            one(qualified("a/b/c", &path)),
            "p: Invalid value: \"a/b/c\": must not contain more than one slash"
        );
        assert_eq!(
            one(qualified("/", &path)),
            "p: Invalid value: \"\": the domain must not be empty; p: Invalid value: \"\": the name must not be empty"
        );
        assert_eq!(
            one(fully_qualified("a", &path)),
            "p: Invalid value: \"a\": a fully qualified name must be a domain and a name separated by a slash"
        );
        assert_eq!(one(qualified(&"a".repeat(33), &path)), "p: Too long: may not be more than 32 bytes");
        assert!(pool_name("a.b/c", &path).is_empty());
        assert_eq!(one(pool_name("", &path)), "p: Required value");
        assert_eq!(shown_key(&"k".repeat(40), 20), "kkkkkkkkk...kkkkkkkk");
    }

    #[test]
    fn uids() {
        let path = Path::new("p");
        let good = "0a1b2c3d-0000-1111-2222-333344445555";
        assert!(uid(good, &path).is_empty());
        let detail = |value: &str| uid(value, &path)[0].detail.clone();
        assert_eq!(detail("x"), "error validating uid: invalid UUID length: 1");
        assert_eq!(detail(&good.replace('a', "x")), "error validating uid: invalid UUID format");
        assert!(detail(&good.to_uppercase()).starts_with("uid must be in RFC 4122 normalized form"));
        assert!(detail(&good.replace('-', "")).starts_with("uid must be in RFC 4122 normalized form"));
    }
}
