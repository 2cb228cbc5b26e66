//! IP addresses and ranges in fields that are older than strict rules for them.
//!
//! Enters: a field's text and what the stored object had there. Leaves: its errors: an address is one for every reader,
//! although it need not be in canonical form. Authority: `IsValidIPForLegacyField` and `IsValidCIDRForLegacyField` of
//! apimachinery's validation, strict as the gate StrictIPCIDRValidation makes them by default since 1.36 (KEP-4858).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::rules::{BAD_CIDR, BAD_IP};

/// An address as old parsers read it: zeros may stand in front of an octet.
fn sloppy(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse().ok();
    }
    let octets: Vec<u8> = text
        .split('.')
        .map(|octet| octet.bytes().all(|byte| byte.is_ascii_digit()).then(|| octet.parse().ok())?)
        .collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some())
}

/// The errors of an address; what is among `old` was accepted before and stays.
pub fn validate_ip(text: &str, old: &[&str], path: &Path) -> Vec<FieldError> {
    if old.contains(&text) {
        return Vec::new();
    }
    let detail = match sloppy(text) {
        None => BAD_IP,
        Some(_) if text.parse::<IpAddr>().is_err() => "must not have leading 0s",
        Some(address) if is_mapped(address) => "must not be an IPv4-mapped IPv6 address",
        Some(_) => return Vec::new(),
    };
    vec![FieldError::invalid(path, text, detail)]
}

/// The warning of an IPv6 address that is valid, but not as it is written everywhere else.
pub fn ip_warning(text: &str, path: &Path) -> Option<String> {
    let canonical = text.parse::<Ipv6Addr>().ok()?.to_string();
    let quote = xebec_api::gotext::quote;
    (canonical != text).then(|| {
        format!(
            "{path}: IPv6 address {} should be in RFC 5952 canonical format ({})",
            quote(text),
            quote(&canonical)
        )
    })
}

/// The same of an address range.
pub fn cidr_warning(text: &str, path: &Path) -> Option<String> {
    let (address, bits) = text.split_once('/')?;
    let canonical = format!("{}/{bits}", address.parse::<Ipv6Addr>().ok()?);
    let quote = xebec_api::gotext::quote;
    (canonical != text).then(|| {
        format!(
            "{path}: IPv6 CIDR value {} should be in RFC 5952 canonical format ({})",
            quote(text),
            quote(&canonical)
        )
    })
}

/// A range as old parsers read it: its address, all bits kept, and the length of its prefix.
pub fn sloppy_range(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address = sloppy(address)?;
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = digits.then(|| bits.parse::<u32>().ok())?.filter(|bits| *bits <= most)?;
    Some((address, bits))
}

/// The errors of a range; what is among `old` was accepted before and stays.
pub fn validate_cidr(text: &str, old: &[&str], path: &Path) -> Vec<FieldError> {
    if old.contains(&text) {
        return Vec::new();
    }
    let zeros = |bits: &str| bits.len() > 1 && bits.starts_with('0');
    let detail = match (sloppy_range(text), text.split_once('/')) {
        (Some(_), Some((address, bits))) if address.parse::<IpAddr>().is_err() || zeros(bits) => {
            "must not have leading 0s in IP or prefix length"
        }
        (Some((address, _)), _) if is_mapped(address) => "must not have an IPv4-mapped IPv6 address",
        (Some((address, bits)), _) if !ends_in_zeros(address, bits) => {
            "must not have bits set beyond the prefix length"
        }
        (Some(_), _) => return Vec::new(),
        (None, _) => BAD_CIDR,
    };
    vec![FieldError::invalid(path, text, detail)]
}

/// Whether no bit is set after the first `bits`.
fn ends_in_zeros(address: IpAddr, bits: u32) -> bool {
    match address {
        IpAddr::V4(four) => u32::from(four).checked_shl(bits).unwrap_or(0) == 0,
        IpAddr::V6(six) => u128::from(six).checked_shl(bits).unwrap_or(0) == 0,
    }
}

/// Every text below a key of this name, wherever it stands.
pub fn texts_under<'a>(value: &'a Value, keys: &[&str]) -> Vec<&'a str> {
    match value {
        Value::Array(items) => items.iter().flat_map(|item| texts_under(item, keys)).collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(text) if keys.contains(&key.as_str()) => vec![text.as_str()],
                Value::Array(items) if keys.contains(&key.as_str()) => {
                    items.iter().filter_map(Value::as_str).collect()
                }
                value => texts_under(value, keys),
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_the_same_for_every_reader() {
        let (zeros, mapped) = ("must not have leading 0s", "must not be an IPv4-mapped IPv6 address");
        let cases = [
            ("10.0.0.1", ""),
            ("2001:db8::1", ""),
            ("2001:DB8:0:0:0:0:0:1", ""),
            ("010.0.0.1", zeros),
            ("::ffff:10.0.0.1", mapped),
            ("10.0.0.256", BAD_IP),
            ("10.0.0", BAD_IP),
            ("10.0.0.+1", BAD_IP),
            ("", BAD_IP),
        ];
        for (text, want) in cases {
            let errors = validate_ip(text, &[], &Path::new("ip"));
            assert_eq!(errors.first().map_or("", |error| error.detail.as_str()), want, "{text}");
        }
        assert_eq!(validate_ip("010.0.0.1", &["010.0.0.1"], &Path::new("ip")), []);
    }

    #[test]
    fn ranges_name_their_network() {
        let (zeros, set) = (
            "must not have leading 0s in IP or prefix length",
            "must not have bits set beyond the prefix length",
        );
        let cases = [
            ("10.0.0.0/8", ""),
            ("0.0.0.0/0", ""),
            ("10.0.0.1/32", ""),
            ("2001:db8::/64", ""),
            ("2001:db8::1/128", ""),
            ("10.0.0.1/8", set),
            ("2001:db8::1/64", set),
            ("10.0.0.0/08", zeros),
            ("010.0.0.0/8", zeros),
            ("::ffff:10.0.0.0/104", "must not have an IPv4-mapped IPv6 address"),
            ("10.0.0.0/33", BAD_CIDR),
            ("10.0.0.0", BAD_CIDR),
            ("x/8", BAD_CIDR),
        ];
        for (text, want) in cases {
            let errors = validate_cidr(text, &[], &Path::new("cidr"));
            assert_eq!(errors.first().map_or("", |error| error.detail.as_str()), want, "{text}");
        }
        assert_eq!(validate_cidr("10.0.0.1/8", &["10.0.0.1/8"], &Path::new("cidr")), []);
    }

    #[test]
    fn texts_are_found_below_their_keys() {
        let value = json!({"a": [{"cidr": "1", "except": ["2", "3"]}], "cidr": "4", "b": {"c": "5"}});
        assert_eq!(texts_under(&value, &["cidr", "except"]), ["1", "2", "3", "4"]);
    }
}
