//! The formats of names that several kinds refer to others by, as field rules.
//!
//! Authority: pkg/apis/core/validation, apimachinery's util/validation.

use std::net::IpAddr;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::access::{entries, text};
use super::meta;
use super::rules::{BAD_CIDR, BAD_IP, invalid_each};
use crate::NameRule;

/// The errors of a CSI or DRA driver's name: at most 63 bytes, a DNS subdomain in any case.
pub fn driver_name(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    errors.extend(invalid_each(path, name, names::is_dns1123_subdomain(&name.to_lowercase())));
    errors
}

/// The errors of a name that must be usable as a path segment; empty has none.
pub fn path_segment(name: &str, path: &Path) -> Vec<FieldError> {
    invalid_each(path, name, meta::name_messages(NameRule::PathSegment, name))
}

/// The errors of a required name that must be usable as a path segment.
pub fn required_path_segment(value: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    match text(value, &[key]) {
        "" => vec![FieldError::required(&path.child(key), "")],
        name => path_segment(name, &path.child(key)),
    }
}

/// The errors of an RFC 1123 subdomain, empty included.
pub fn subdomain(name: &str, path: &Path) -> Vec<FieldError> {
    invalid_each(path, name, names::is_dns1123_subdomain(name))
}

/// The errors of an RFC 1123 label, empty included.
pub fn label(name: &str, path: &Path) -> Vec<FieldError> {
    invalid_each(path, name, names::is_dns1123_label(name))
}

/// The errors of a required `[prefix/]name`.
pub fn qualified_name(name: &str, path: &Path) -> Vec<FieldError> {
    invalid_each(path, name, names::is_qualified_name(name))
}

/// The errors of a key that must have a domain in front, `acme.io/foo`.
pub fn domain_prefixed_key(key: &str, path: &Path) -> Vec<FieldError> {
    if key.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let errors = qualified_name(key, path);
    if errors.is_empty() && key.split('/').count() != 2 {
        let detail = "must be a domain-prefixed key (such as \"acme.io/foo\")";
        return vec![FieldError::invalid(path, key, detail)];
    }
    errors
}

/// The errors of a required `domain/path`, such as `acme.io/foo`.
pub fn domain_prefixed_path(value: &str, path: &Path) -> Vec<FieldError> {
    if value.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let Some((host, rest)) =
        value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty())
    else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return vec![FieldError::invalid(path, value, detail)];
    };
    let mut errors = subdomain(host, path);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(good) {
        let detail = names::regex_error("Invalid path", PATH_FORMAT, &[]);
        errors.push(FieldError::invalid(path, rest, detail));
    }
    errors
}

const PATH_FORMAT: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_MAX_BYTES: usize = 256 * 1024;

/// The errors of a class's parameters (StorageClass, VolumeAttributesClass).
pub fn parameters(value: &Value, may_be_empty: bool, path: &Path) -> Vec<FieldError> {
    let count = entries(value, &[]).count();
    if count > PARAMETERS_MAX {
        return vec![FieldError::too_long(path, PARAMETERS_MAX)];
    }
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in entries(value, &[]) {
        if key.is_empty() {
            errors.push(FieldError::invalid(path, key, "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > PARAMETERS_MAX_BYTES {
        errors.push(FieldError::too_long(path, PARAMETERS_MAX_BYTES));
    }
    if !may_be_empty && count == 0 {
        errors.push(FieldError::required(path, "must contain at least one key/value pair"));
    }
    errors
}

/// The errors of an IP address in canonical form (new fields; older ones take any form, see `rules::is_ip`).
pub fn ip_address(value: &str, path: &Path) -> Vec<FieldError> {
    let problem = match (value.parse::<IpAddr>(), without_leading_zeros(value).parse::<IpAddr>()) {
        (Err(_), Err(_)) => Some(BAD_IP.to_owned()),
        (Err(_), Ok(_)) => Some("must not have leading 0s".to_owned()),
        (Ok(IpAddr::V6(address)), _) if address.to_ipv4_mapped().is_some() => {
            Some("must not be an IPv4-mapped IPv6 address".to_owned())
        }
        (Ok(address), _) => not_canonical(value, &address.to_string()),
    };
    problem.map(|problem| FieldError::invalid(path, value, problem)).into_iter().collect()
}

/// The errors of an address range in canonical form, all bits beyond the prefix zero.
pub fn cidr(value: &str, path: &Path) -> Vec<FieldError> {
    let problem = match (prefix(value), prefix(&without_leading_zeros(value))) {
        (None, None) => Some(BAD_CIDR.to_owned()),
        (None, Some(_)) => Some("must not have leading 0s in IP or prefix length".to_owned()),
        (Some((IpAddr::V6(address), _)), _) if address.to_ipv4_mapped().is_some() => {
            Some("must not have an IPv4-mapped IPv6 address".to_owned())
        }
        (Some((address, bits)), _) if masked(address, bits) != address => {
            Some("must not have bits set beyond the prefix length".to_owned())
        }
        (Some((address, bits)), _) => not_canonical(value, &format!("{address}/{bits}")),
    };
    problem.map(|problem| FieldError::invalid(path, value, problem)).into_iter().collect()
}

/// The errors of an interface's address with its prefix length, such as `192.168.1.5/24`, in canonical form.
pub fn interface_address(value: &str, path: &Path) -> Vec<FieldError> {
    let problem = match prefix(value).or_else(|| prefix(&without_leading_zeros(value))) {
        None => Some(BAD_INTERFACE.to_owned()),
        Some((address, bits)) => {
            let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
            let bits = if mapped && bits > 32 { bits.saturating_sub(96) } else { bits };
            not_canonical(value, &format!("{}/{bits}", address.to_canonical()))
        }
    };
    problem.map(|problem| FieldError::invalid(path, value, problem)).into_iter().collect()
}

const BAD_INTERFACE: &str = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";

fn not_canonical(value: &str, canonical: &str) -> Option<String> {
    (value != canonical)
        .then(|| format!("must be in canonical form ({})", xebec_api::gotext::quote(canonical)))
}

/// An IPv4 text with the leading zeros that older parsers skipped taken away.
fn without_leading_zeros(value: &str) -> String {
    if value.contains(':') {
        return value.to_owned();
    }
    let number = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    let (address, bits) =
        value.split_once('/').map_or((value, None), |(address, bits)| (address, Some(bits)));
    let address = address.split('.').map(number).collect::<Vec<_>>().join(".");
    bits.map_or(address.clone(), |bits| format!("{address}/{}", number(bits)))
}

fn prefix(value: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = value.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let plain = bits == "0" || (!bits.starts_with('0') && bits.bytes().all(|byte| byte.is_ascii_digit()));
    let bits: u8 = bits.parse().ok().filter(|_| plain)?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;

    fn problem(check: fn(&str, &Path) -> Vec<FieldError>, value: &str) -> String {
        let found = messages(&check(value, &Path::new("p")));
        let intro = format!("p: Invalid value: {}: ", xebec_api::gotext::quote(value));
        found.first().map(|text| text.replace(&intro, "")).unwrap_or_default()
    }

    #[test]
    fn addresses_are_canonical() {
        for good in ["10.0.0.1", "2001:db8::1"] {
            assert_eq!(problem(ip_address, good), "");
        }
        assert_eq!(problem(ip_address, "x"), BAD_IP);
        assert_eq!(problem(ip_address, "010.0.0.1"), "must not have leading 0s");
        assert_eq!(problem(ip_address, "::ffff:1.2.3.4"), "must not be an IPv4-mapped IPv6 address");
        assert_eq!(problem(ip_address, "2001:DB8::1"), "must be in canonical form (\"2001:db8::1\")");
    }

    #[test]
    fn ranges_are_canonical() {
        for good in ["10.0.0.0/8", "2001:db8::/64", "0.0.0.0/0", "::/0"] {
            assert_eq!(problem(cidr, good), "", "{good}");
        }
        assert_eq!(problem(cidr, "10.0.0.0"), BAD_CIDR);
        assert_eq!(problem(cidr, "10.0.0.0/33"), BAD_CIDR);
        assert_eq!(problem(cidr, "10.0.0.0/08"), "must not have leading 0s in IP or prefix length");
        assert_eq!(problem(cidr, "::ffff:0:0/112"), "must not have an IPv4-mapped IPv6 address");
        assert_eq!(problem(cidr, "10.0.0.1/8"), "must not have bits set beyond the prefix length");
        assert_eq!(problem(cidr, "2001:DB8::/64"), "must be in canonical form (\"2001:db8::/64\")");
    }

    #[test]
    fn interface_addresses_keep_their_host_part() {
        assert_eq!(problem(interface_address, "10.9.8.7/24"), "");
        assert_eq!(problem(interface_address, "10.9.8.7"), BAD_INTERFACE);
        assert_eq!(problem(interface_address, "010.9.8.7/24"), "must be in canonical form (\"10.9.8.7/24\")");
        assert_eq!(
            problem(interface_address, "::ffff:192.168.0.1/120"),
            "must be in canonical form (\"192.168.0.1/24\")"
        );
    }
}
