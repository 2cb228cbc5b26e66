//! Small field rules used all over.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::access::{at, int, text};

/// Upstream's message for a negative number.
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// The path of an error that is about the whole object: Go prints a path without a name so.
pub fn whole_object() -> Path {
    Path::new("[]")
}

/// The error of a changed immutable field.
pub fn immutable(new: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    if new == old { Vec::new() } else { vec![FieldError::invalid(path, new, "field is immutable")] }
}

/// The error of a negative integer field; a missing one is fine.
pub fn not_negative(value: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    match int(value, &[key]) {
        Some(number) if number < 0 => vec![FieldError::invalid(&path.child(key), number, NOT_NEGATIVE)],
        _ => Vec::new(),
    }
}

/// The error of a text field outside its allowed values; empty is required.
pub fn one_of(value: &Value, key: &str, allowed: &[&str], path: &Path) -> Vec<FieldError> {
    match text(value, &[key]) {
        "" => vec![FieldError::required(&path.child(key), "")],
        found if allowed.contains(&found) => Vec::new(),
        found => vec![FieldError::not_supported(&path.child(key), found, allowed)],
    }
}

/// The same, for a field that may be missing.
pub fn one_of_or_missing(value: &Value, key: &str, allowed: &[&str], path: &Path) -> Vec<FieldError> {
    if at(value, &[key]).is_null() { Vec::new() } else { one_of_given(value, key, allowed, path) }
}

/// The error of a text outside its allowed values, empty included.
pub fn one_of_given(value: &Value, key: &str, allowed: &[&str], path: &Path) -> Vec<FieldError> {
    let found = text(value, &[key]);
    if allowed.contains(&found) {
        Vec::new()
    } else {
        vec![FieldError::not_supported(&path.child(key), found, allowed)]
    }
}

/// The error of a value that upstream leaves out of its message.
pub fn invalid_hidden(path: &Path, detail: impl Into<String>) -> FieldError {
    FieldError { value: None, ..FieldError::invalid(path, (), detail) }
}

/// A rule of [`names`]: the messages about a text, none when it is good.
pub type TextRule = fn(&str) -> Vec<String>;

/// Turns messages about one value into errors.
pub fn invalid_each(path: &Path, value: &str, messages: Vec<String>) -> Vec<FieldError> {
    messages.into_iter().map(|message| FieldError::invalid(path, value, message)).collect()
}

/// The error of an empty text field.
pub fn required(value: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    if text(value, &[key]).is_empty() { vec![FieldError::required(&path.child(key), "")] } else { Vec::new() }
}

/// The error of a port number outside 1..=65535.
pub fn port_number(number: i64, path: &Path) -> Vec<FieldError> {
    if (1..=65535).contains(&number) {
        Vec::new()
    } else {
        vec![FieldError::invalid(path, number, "must be between 1 and 65535, inclusive")]
    }
}

/// The errors of a port given by number or by name.
pub fn port_number_or_name(port: &Value, path: &Path) -> Vec<FieldError> {
    match port {
        Value::String(name) => invalid_each(path, name, names::is_port_name(name)),
        other => port_number(other.as_i64().unwrap_or(0), path),
    }
}

/// The errors of an absolute number or a percentage; a missing value has none.
pub fn int_or_percent(value: &Value, path: &Path) -> Vec<FieldError> {
    match value {
        Value::String(text) if is_percent(text) => Vec::new(),
        Value::String(text) => {
            let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            vec![FieldError::invalid(path, text, detail)]
        }
        Value::Number(number) if number.as_i64().unwrap_or(0) < 0 => {
            vec![FieldError::invalid(path, value, NOT_NEGATIVE)]
        }
        _ => Vec::new(),
    }
}

fn is_percent(text: &str) -> bool {
    text.strip_suffix('%')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The error of a percentage over 100%.
pub fn at_most_all(value: &Value, path: &Path) -> Vec<FieldError> {
    let percent =
        value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
    match percent {
        Some(percent) if percent > 100 => {
            vec![FieldError::invalid(path, value, "must not be greater than 100%")]
        }
        _ => Vec::new(),
    }
}

/// True for an IPv4 or IPv6 address.
pub fn is_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// True for an address range such as `10.0.0.0/8`.
pub fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let max = if address.is_ipv4() { 32 } else { 128 };
    !bits.is_empty()
        && bits.bytes().all(|b| b.is_ascii_digit())
        && bits.parse::<u8>().is_ok_and(|bits| bits <= max)
}

/// Upstream's message for a bad IP address.
pub const BAD_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
/// Upstream's message for a bad address range.
pub const BAD_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    #[test]
    fn numbers_and_percentages() {
        let path = Path::new("p");
        assert!(int_or_percent(&json!("25%"), &path).is_empty());
        assert!(int_or_percent(&json!(3), &path).is_empty());
        assert_eq!(
            messages(&int_or_percent(&json!(-1), &path)),
            ["p: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert!(
            messages(&int_or_percent(&json!("x"), &path))[0]
                .starts_with("p: Invalid value: \"x\": a valid percent")
        );
        assert_eq!(
            messages(&at_most_all(&json!("101%"), &path)),
            ["p: Invalid value: \"101%\": must not be greater than 100%"]
        );
    }

    #[test]
    fn ranges_need_an_address_and_a_length() {
        for good in ["10.0.0.0/8", "2001:db8::/64", "1.2.3.4/32"] {
            assert!(is_cidr(good), "{good}");
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/", "10.0.0.0/+8"] {
            assert!(!is_cidr(bad), "{bad}");
        }
    }
}
