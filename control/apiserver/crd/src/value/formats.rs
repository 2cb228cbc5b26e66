//! String formats the server checks: `uuid`, `date-time`, `ipv4` and so on.
//!
//! Authority: apiextensions-apiserver, pkg/apiserver/validation/formats.go (which), kube-openapi, pkg/validation/strfmt
//! (how). Any other format is no rule: the schema may carry it, and the definition's author is warned.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use crate::schema::Schema;

type Checker = fn(&str) -> bool;

/// The formats of texts, without their dashes.
const TEXTS: &[(&str, Checker)] = &[
    ("bsonobjectid", |text| text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit())),
    ("uri", is_request_uri),
    ("email", is_email),
    ("hostname", is_hostname),
    ("ipv4", is_ipv4),
    ("ipv6", |text| text.contains(':') && text.parse::<Ipv6Addr>().is_ok()),
    ("cidr", is_cidr),
    ("mac", is_mac),
    ("uuid", |text| is_uuid(text, None)),
    ("uuid3", |text| is_uuid(text, Some('3'))),
    ("uuid4", |text| is_uuid(text, Some('4'))),
    ("uuid5", |text| is_uuid(text, Some('5'))),
    ("isbn", |text| is_isbn10(text) || is_isbn13(text)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("creditcard", is_credit_card),
    ("ssn", |text| text.len() == 11 && SSN.is_match(text)),
    ("hexcolor", |text| HEX_COLOR.is_match(text)),
    ("rgbcolor", |text| RGB_COLOR.is_match(text)),
    ("byte", |text| BASE64.is_match(text)),
    ("password", |_| true),
    ("date", is_date),
    ("duration", is_duration),
    ("datetime", is_date_time),
    ("k8sshortname", |text| text.len() <= 63 && xebec_api::names::is_dns1123_label(text).is_empty()),
    ("k8slongname", |text| xebec_api::names::is_dns1123_subdomain(text).is_empty()),
];

macro_rules! regex {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a constant pattern, compiled by every test run"));
    };
}
regex!(SSN, r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$");
regex!(HEX_COLOR, r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
regex!(
    RGB_COLOR,
    r"(?x-u)^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,
      \s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$"
);
regex!(BASE64, r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$");
regex!(
    CREDIT_CARD,
    r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
);
regex!(TIME, r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$");
regex!(DURATION, r"([0-9]+)[ \t\n\f\r]*([A-Za-zµ]+)");
regex!(HOST_CHARS, r"^[a-zA-Z0-9\p{S}\p{L}-]+$");
regex!(HOST_TOP, r"^[a-zA-Z\p{L}]+$");

/// The format of a schema if it counts: a format no server knows, or one that does not go with the type, does not.
pub fn of_schema(schema: &Schema) -> Option<&str> {
    let format = schema.format.as_str();
    let counts = match schema.kind.as_str() {
        _ if format.is_empty() => false,
        _ if schema.ext.int_or_string => checker(format).is_some(),
        "" | "string" => checker(format).is_some(),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    };
    counts.then_some(format)
}

/// The format of a schema if it does not count; its author is warned of it.
pub fn unrecognized_format(schema: &Schema) -> Option<&str> {
    (!schema.format.is_empty() && of_schema(schema).is_none()).then_some(schema.format.as_str())
}

/// The check of a text's format.
pub fn checker(format: &str) -> Option<Checker> {
    let name = format.replace('-', "");
    TEXTS.iter().find(|(known, _)| *known == name).map(|(_, check)| *check)
}

/// An absolute path or a URI, as Go's `url.ParseRequestURI` reads it.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return false;
    }
    if text == "*" {
        return true;
    }
    let Some((scheme, rest)) = split_scheme(text) else { return false };
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    if !rest.starts_with('/') {
        return !scheme.is_empty();
    }
    let (authority, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(rest) => rest.find('/').map_or((rest, ""), |at| rest.split_at(at)),
        None => ("", rest),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    is_host_and_port(host) && escapes_are_whole(path) && escapes_are_whole(host)
}

/// The scheme, empty when there is none; `None` for a colon without one.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return None,
            ':' => return Some((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Some(("", text))
}

fn is_host_and_port(host: &str) -> bool {
    let port = match host.strip_prefix('[') {
        Some(inner) => match inner.rsplit_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let plain = host.starts_with('[') || !host.contains([' ', '"', '<', '>', '^', '`', '{', '}', '|', '\\']);
    plain
        && (port.is_empty()
            || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit())))
}

fn escapes_are_whole(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    (0..bytes.len()).filter(|at| bytes[*at] == b'%').all(|at| hex(at + 1) && hex(at + 2))
}

/// `local@domain`, or `Name <local@domain>`, as Go's `mail.ParseAddress` reads it.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>') {
        Some(rest) => match rest.rsplit_once('<') {
            Some((_, address)) => address,
            None => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |text: &str| {
        !text.is_empty()
            && text.split('.').all(|part| {
                !part.is_empty()
                    && part.chars().all(|c| {
                        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
                    })
            })
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.len() > 2 && domain.starts_with('[') && domain.ends_with(']');
    (atom(local) || quoted) && (atom(domain) || literal)
}

fn is_hostname(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    if text.len() > 255 || labels.iter().any(|label| label.len() > 63 || !HOST_CHARS.is_match(label)) {
        return false;
    }
    match labels.as_slice() {
        // A single label may have one dash, after its first character.
        [only] => {
            let mut rest = only.chars();
            rest.next().is_some_and(|c| c != '-') && {
                let rest = rest.as_str();
                !rest.strip_prefix('-').unwrap_or(rest).contains('-')
            }
        }
        [labels @ .., top] => {
            (2..=63).contains(&top.chars().count())
                && HOST_TOP.is_match(top)
                && labels.iter().all(|label| !label.starts_with('-') && !label.ends_with('-'))
        }
        [] => false,
    }
}

/// An IPv4 address, leading zeros allowed.
fn sloppy_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let octet = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.trim_start_matches('0').len() <= 3
            && part.parse::<u32>().is_ok_and(|n| n < 256)
    };
    parts.len() == 4 && parts.iter().all(octet)
}

fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
        || sloppy_ipv4(text)
        || (text.contains('.') && text.parse::<Ipv6Addr>().is_ok())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let max = if sloppy_ipv4(address) {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    !bits.is_empty()
        && bits.bytes().all(|b| b.is_ascii_digit())
        && bits.parse::<u32>().is_ok_and(|bits| bits <= max)
}

/// 6, 8 or 20 octets, in pairs with `:` or `-`, or in fours with `.`.
fn is_mac(text: &str) -> bool {
    let parts = |separator: char, width: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts.iter().all(|part| part.len() == width && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    parts(':', 2, [6, 8, 20]) || parts('-', 2, [6, 8, 20]) || parts('.', 4, [3, 4, 10])
}

/// Hexadecimal digits 8-4-4-4-12, each dash optional; `version` is the digit the version must be.
fn is_uuid(text: &str, version: Option<char>) -> bool {
    let mut digits = Vec::with_capacity(32);
    for c in text.chars() {
        match c {
            '-' if matches!(digits.len(), 8 | 12 | 16 | 20) => {}
            c if c.is_ascii_hexdigit() => digits.push(c.to_ascii_lowercase()),
            _ => return false,
        }
    }
    let doubled = text.contains("--");
    let variant = !matches!(version, Some('4' | '5')) || digits.get(16).is_some_and(|c| "89ab".contains(*c));
    digits.len() == 32
        && !doubled
        && variant
        && version.is_none_or(|version| digits.get(12) == Some(&version))
}

fn without_separators(text: &str) -> Vec<u32> {
    let digit = |c: char| c.to_digit(10).unwrap_or(if c == 'X' { 10 } else { 99 });
    text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').map(digit).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = without_separators(text);
    digits.len() == 10
        && digits[..9].iter().all(|digit| *digit < 10)
        && digits[9] <= 10
        && digits.iter().zip(1..).map(|(digit, place)| digit * place).sum::<u32>().is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = without_separators(text);
    if digits.len() != 13 || digits.iter().any(|digit| *digit > 9) {
        return false;
    }
    let sum: u32 = digits[..12].iter().zip([1, 3].iter().cycle()).map(|(digit, factor)| digit * factor).sum();
    digits[12] == (10 - sum % 10) % 10
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !CREDIT_CARD.is_match(&digits) {
        return false;
    }
    let sum: u32 = digits
        .chars()
        .rev()
        .enumerate()
        .filter_map(|(place, c)| {
            let digit = c.to_digit(10)?;
            let doubled = if place % 2 == 1 { digit * 2 } else { digit };
            Some(doubled / 10 + doubled % 10)
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_date(text: &str) -> bool {
    let digits = text
        .bytes()
        .enumerate()
        .all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
    text.len() == 10 && digits && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    is_date(date)
        && TIME.captures(time).is_some_and(|found| {
            let part = |group: usize| found.get(group).map_or("", |part| part.as_str());
            part(1) <= "23" && part(2) <= "59" && part(3) <= "59"
        })
}

/// Go's durations, and Scala's: `22 ns`, `3 weeks`.
fn is_duration(text: &str) -> bool {
    const EXACT: &[&str] = &["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"];
    const PREFIXES: &[&str] = &["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    xebec_api::time::parse_go_duration(text).is_some()
        || DURATION.captures_iter(text).any(|found| {
            let unit = found.get(2).map_or("", |unit| unit.as_str()).to_lowercase();
            EXACT.contains(&unit.as_str()) || PREFIXES.iter().any(|prefix| unit.starts_with(prefix))
        })
}
