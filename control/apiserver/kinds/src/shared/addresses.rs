//! IP addresses and ranges in fields that are older than strict rules for them.
//!
//! Enters: a field's text and what the stored object had there. Leaves: its errors: an address is one for every reader,
//! although it need not be in canonical form. Authority: `IsValidIPForLegacyField` and `IsValidCIDRForLegacyField` of
//! apimachinery's validation, strict as the gate StrictIPCIDRValidation makes them by default since 1.36 (KEP-4858).

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::gotext::quote;

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
    let detail = match sloppy_range(text) {
        Some(_) if has_leading_zeros(text) => "must not have leading 0s in IP or prefix length",
        Some((address, _)) if is_mapped(address) => "must not have an IPv4-mapped IPv6 address",
        Some((address, bits)) if !ends_in_zeros(address, bits) => {
            "must not have bits set beyond the prefix length"
        }
        Some(_) => return Vec::new(),
        None => BAD_CIDR,
    };
    vec![FieldError::invalid(path, text, detail)]
}

/// The warnings about an accepted address that readers may write differently.
pub fn ip_warnings(text: &str, path: &Path) -> Vec<String> {
    let Some(address) = sloppy(text) else { return Vec::new() };
    let shown = quote(text);
    if text.parse::<IpAddr>().is_err() || is_mapped(address) {
        let good = quote(&address.to_canonical().to_string());
        return vec![format!("{path}: non-standard IP address {shown} is invalid: use {good}")];
    }
    let canonical = address.to_string();
    if address.is_ipv6() && canonical != text {
        let good = quote(&canonical);
        return vec![format!("{path}: IPv6 address {shown} should be in RFC 5952 canonical format ({good})")];
    }
    Vec::new()
}

/// The warnings about an accepted range that readers may write or read differently.
pub fn cidr_warnings(text: &str, path: &Path) -> Vec<String> {
    let Some((address, bits)) = sloppy_range(text) else { return Vec::new() };
    let shown = quote(text);
    let mapped = is_mapped(address);
    let most = if address.is_ipv4() { 32 } else { 128 };
    let network = network(address, bits).to_canonical();
    let network = format!("{network}/{}", if mapped { bits.saturating_sub(96) } else { bits });
    let mut warnings = Vec::new();
    if !ends_in_zeros(address, bits) {
        let single = quote(&format!("{}/{most}", address.to_canonical()));
        warnings.push(format!(
            "{path}: CIDR value {shown} is ambiguous in this context (should be {} or {single}?)",
            quote(&network)
        ));
    }
    if has_leading_zeros(text) || mapped {
        let good = quote(&network);
        warnings.push(format!("{path}: non-standard CIDR value {shown} is invalid: use {good}"));
    }
    let canonical = format!("{address}/{bits}");
    if warnings.is_empty() && address.is_ipv6() && canonical != text {
        let good = quote(&canonical);
        warnings
            .push(format!("{path}: IPv6 CIDR value {shown} should be in RFC 5952 canonical format ({good})"));
    }
    warnings
}

/// Whether a readable range has zeros in front of an octet or of its length.
fn has_leading_zeros(range: &str) -> bool {
    range.split_once('/').is_some_and(|(address, bits)| {
        address.parse::<IpAddr>().is_err() || (bits.len() > 1 && bits.starts_with('0'))
    })
}

/// The address with every bit after the first `bits` cleared.
fn network(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4((u32::from(four) & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6((u128::from(six) & mask).into())
        }
    }
}

/// Whether no bit is set after the first `bits`.
fn ends_in_zeros(address: IpAddr, bits: u32) -> bool {
    network(address, bits) == address
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
    fn what_is_written_oddly_is_warned_of() {
        let cases = [
            ("10.0.0.1", ""),
            ("2001:db8::1", ""),
            (
                "2001:DB8::1",
                "p: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
            ),
            ("010.0.0.1", "p: non-standard IP address \"010.0.0.1\" is invalid: use \"10.0.0.1\""),
            ("::ffff:1.2.3.4", "p: non-standard IP address \"::ffff:1.2.3.4\" is invalid: use \"1.2.3.4\""),
        ];
        for (text, want) in cases {
            assert_eq!(ip_warnings(text, &Path::new("p")).join("; "), want, "{text}");
        }
        let cases = [
            ("10.0.0.0/8", ""),
            (
                "10.0.0.1/8",
                "p: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
            ),
            ("10.0.0.0/08", "p: non-standard CIDR value \"10.0.0.0/08\" is invalid: use \"10.0.0.0/8\""),
            (
                "::ffff:1.2.3.0/120",
                "p: non-standard CIDR value \"::ffff:1.2.3.0/120\" is invalid: use \"1.2.3.0/24\"",
            ),
            (
                "2001:DB8::/64",
                "p: IPv6 CIDR value \"2001:DB8::/64\" should be in RFC 5952 canonical format (\"2001:db8::/64\")",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(cidr_warnings(text, &Path::new("p")).join("; "), want, "{text}");
        }
    }

    #[test]
    fn texts_are_found_below_their_keys() {
        let value = json!({"a": [{"cidr": "1", "except": ["2", "3"]}], "cidr": "4", "b": {"c": "5"}});
        assert_eq!(texts_under(&value, &["cidr", "except"]), ["1", "2", "3", "4"]);
    }
}
