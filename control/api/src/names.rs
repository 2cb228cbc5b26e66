//! The shapes of names, labels and addresses, with upstream's messages.
//!
//! Each `is_*` check returns the messages of what is wrong; an empty list is a valid value. Called by validation,
//! which turns them into field errors with [`crate::field::invalid_all`].
//! Authority: k8s.io/apimachinery/pkg/util/validation and apiserver/pkg/storage/names.

use rand::Rng;
use regex::Regex;
use std::sync::LazyLock;

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FMT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE_FMT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const DNS1035_FMT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const WILDCARD_FMT: &str = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const CONFIG_KEY_FMT: &str = "[-._a-zA-Z0-9]+";
const ENV_NAME_FMT: &str = "[-._a-zA-Z][-._a-zA-Z0-9]*";
const C_IDENTIFIER_FMT: &str = "[A-Za-z_][A-Za-z0-9_]*";
const PERCENT_FMT: &str = "[0-9]+%";
const HTTP_HEADER_FMT: &str = "[-A-Za-z0-9]+";

const SUBDOMAIN_MSG: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";

/// Words of CEL's grammar, and words it reserves.
const CEL_RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// True for a word that CEL keeps for itself: no variable may be called so, and a property of that name is escaped.
///
/// Authority: the Kubernetes documentation, "Common Expression Language in Kubernetes", "Escaping".
pub fn is_cel_reserved(word: &str) -> bool {
    CEL_RESERVED.contains(&word)
}

/// A compiled pattern, anchored at both ends.
struct Shape {
    pattern: &'static str,
    regex: LazyLock<Regex>,
}

macro_rules! shape {
    ($name:ident, $fmt:expr) => {
        static $name: Shape = Shape {
            pattern: $fmt,
            regex: LazyLock::new(|| {
                Regex::new(&format!("^(?:{})$", $fmt))
                    .expect("a constant pattern, compiled by every test run")
            }),
        };
    };
}
shape!(LABEL, LABEL_FMT);
shape!(SUBDOMAIN, SUBDOMAIN_FMT);
shape!(QUALIFIED, QUALIFIED_FMT);
shape!(LABEL_VALUE, LABEL_VALUE_FMT);
shape!(DNS1035, DNS1035_FMT);
shape!(WILDCARD, WILDCARD_FMT);
shape!(CONFIG_KEY, CONFIG_KEY_FMT);
shape!(ENV_NAME, ENV_NAME_FMT);
shape!(C_IDENTIFIER, C_IDENTIFIER_FMT);
shape!(PERCENT, PERCENT_FMT);
shape!(HTTP_HEADER, HTTP_HEADER_FMT);

/// `message (e.g. 'a',  or 'b', regex used for validation is '..')`, in upstream's exact form (two spaces included).
pub fn regex_error(message: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{pattern}')");
    }
    let listed: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{pattern}')", listed.join(" or "))
}

/// `must be no more than <max> bytes`.
pub fn max_len_error(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `must be between <low> and <high>, inclusive`.
pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// `must be non-empty`.
pub const EMPTY_ERROR: &str = "must be non-empty";

fn check(value: &str, max: usize, shape: &Shape, message: &str, examples: &[&str]) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > max {
        errors.push(max_len_error(max));
    }
    if !shape.regex.is_match(value) {
        errors.push(regex_error(message, shape.pattern, examples));
    }
    errors
}

/// RFC 1123 label: at most 63 bytes of lower-case alphanumerics and `-`.
pub fn is_dns1123_label(value: &str) -> Vec<String> {
    if value.len() <= 63 && LABEL.regex.is_match(value) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push(max_len_error(63));
    }
    if !LABEL.regex.is_match(value) {
        if SUBDOMAIN.regex.is_match(value) {
            errors.push("must not contain dots".to_owned());
        } else {
            errors.push(regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FMT,
                &["my-name", "123-abc"],
            ));
        }
    }
    errors
}

/// RFC 1123 subdomain: at most 253 bytes of labels joined by dots; the shape of most object names.
pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    check(value, 253, &SUBDOMAIN, SUBDOMAIN_MSG, &["example.com"])
}

/// RFC 1035 label: like an RFC 1123 label, starting with a letter; the shape of Service names.
pub fn is_dns1035_label(value: &str) -> Vec<String> {
    check(
        value,
        63,
        &DNS1035,
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
        &["my-name", "abc-123"],
    )
}

/// `*.` followed by an RFC 1123 subdomain.
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    check(
        value,
        253,
        &WILDCARD,
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
        &["*.example.com"],
    )
}

/// `name` or `prefix/name`: the shape of label keys, annotation keys (lower-cased first), resource names.
pub fn is_qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push(format!("prefix part {EMPTY_ERROR}"));
            } else {
                errors.extend(is_dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_error(QUALIFIED_MSG, QUALIFIED_FMT, &["MyName", "my.name", "123-abc"])
            )];
        }
    };
    if name.is_empty() {
        errors.push(format!("name part {EMPTY_ERROR}"));
    } else if name.len() > 63 {
        errors.push(format!("name part {}", max_len_error(63)));
    }
    if !QUALIFIED.regex.is_match(name) {
        errors.push(format!(
            "name part {}",
            regex_error(QUALIFIED_MSG, QUALIFIED_FMT, &["MyName", "my.name", "123-abc"])
        ));
    }
    errors
}

const QUALIFIED_MSG: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// A label's value: empty, or at most 63 bytes of alphanumerics, `-`, `_` and `.`.
pub fn is_label_value(value: &str) -> Vec<String> {
    check(
        value,
        63,
        &LABEL_VALUE,
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        &["MyValue", "my_value", "12345"],
    )
}

/// A C identifier.
pub fn is_c_identifier(value: &str) -> Vec<String> {
    check(
        value,
        usize::MAX,
        &C_IDENTIFIER,
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        &["my_name", "MY_NAME", "MyName"],
    )
}

/// The key of a ConfigMap or Secret: at most 253 bytes, a file name that stays in its directory.
pub fn is_config_map_key(value: &str) -> Vec<String> {
    let mut errors = check(
        value,
        253,
        &CONFIG_KEY,
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        &["key.name", "KEY_NAME", "key-name"],
    );
    errors.extend(stays_in_directory(value));
    errors
}

fn stays_in_directory(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        v if v.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// The name of an environment variable, in the relaxed form upstream has used since 1.34: printable ASCII without `=`.
pub fn is_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name ".to_owned() + EMPTY_ERROR);
    }
    if value.chars().any(|c| !(' '..='~').contains(&c) || c == '=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    errors
}

/// The name of an environment variable in the strict form (envFrom prefixes before the relaxation).
pub fn is_strict_env_var_name(value: &str) -> Vec<String> {
    let mut errors = check(
        value,
        usize::MAX,
        &ENV_NAME,
        "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
        &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
    );
    errors.extend(stays_in_directory(value));
    errors
}

/// A port number, 1 to 65535.
pub fn is_port_num(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![inclusive_range_error(1, 65535)] }
}

/// A port's name (IANA_SVC_NAME): at most 15 of `a-z0-9-`, with a letter, no `--`, no `-` at either end.
pub fn is_port_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 15 {
        errors.push(max_len_error(15));
    }
    if !value.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) || value.is_empty() {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// An IPv4 or IPv6 address.
pub fn is_ip(value: &str) -> Vec<String> {
    match value.parse::<std::net::IpAddr>() {
        Ok(_) => Vec::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// A CIDR block such as `10.9.8.0/24`.
pub fn is_cidr(value: &str) -> Vec<String> {
    let valid = value.split_once('/').is_some_and(|(address, length)| {
        let digits = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
        match (address.parse::<std::net::IpAddr>(), length.parse::<u8>()) {
            (Ok(std::net::IpAddr::V4(_)), Ok(bits)) => digits && bits <= 32,
            (Ok(std::net::IpAddr::V6(_)), Ok(bits)) => digits && bits <= 128,
            _ => false,
        }
    });
    if valid {
        Vec::new()
    } else {
        vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
    }
}

/// A percentage such as `25%`.
pub fn is_percent(value: &str) -> Vec<String> {
    check(
        value,
        usize::MAX,
        &PERCENT,
        "a valid percent string must be a numeric string followed by an ending '%'",
        &["1%", "93%"],
    )
}

/// The name of an HTTP header.
pub fn is_http_header_name(value: &str) -> Vec<String> {
    check(
        value,
        usize::MAX,
        &HTTP_HEADER,
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        &["X-Header-Name"],
    )
}

/// A fully qualified domain name of at least two labels; a trailing dot is allowed.
pub fn is_fully_qualified_domain_name(value: &str) -> Vec<String> {
    let name = value.strip_suffix('.').unwrap_or(value);
    if name.is_empty() {
        return vec!["must be non-empty".to_owned()];
    }
    let errors = is_dns1123_subdomain(name);
    if !errors.is_empty() {
        return errors;
    }
    if name.split('.').count() < 2 {
        return vec!["should be a domain with at least two segments separated by dots".to_owned()];
    }
    name.split('.').filter(|l| l.len() > 63).map(|_| max_len_error(63)).collect()
}

/// A name that may stand in a URL path: not `.` or `..`, without `/` and `%`.
pub fn is_path_segment_name(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|bad| value.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// The characters of generated names: no vowels and no look-alikes, so that no words appear.
pub const GENERATED_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// `base` and five random characters; a base above 58 bytes is cut so that the name stays within 63.
pub fn generate_name<R: Rng + ?Sized>(base: &str, rng: &mut R) -> String {
    let mut end = base.len().min(58);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], random_suffix(5, rng))
}

/// `length` random characters of [`GENERATED_ALPHABET`].
pub fn random_suffix<R: Rng + ?Sized>(length: usize, rng: &mut R) -> String {
    (0..length).map(|_| GENERATED_ALPHABET[rng.random_range(0..GENERATED_ALPHABET.len())] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn labels_and_subdomains() {
        assert!(is_dns1123_label("my-name").is_empty());
        assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            is_dns1123_label("Bad_")[0],
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        );
        assert_eq!(
            is_dns1123_subdomain("A")[0],
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        );
        assert_eq!(is_dns1123_label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert!(!is_dns1035_label("1a").is_empty());
        assert!(is_dns1123_subdomain("a\n").len() == 1);
    }

    #[test]
    fn qualified_names() {
        for good in ["app", "app.kubernetes.io/name", "a/B_c.d", "nvidia.com/gpu"] {
            assert!(is_qualified_name(good).is_empty(), "{good}");
        }
        assert_eq!(is_qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(is_qualified_name("").len(), 2);
        assert_eq!(is_qualified_name("a/b/c").len(), 1);
        assert!(is_label_value("").is_empty());
        assert!(!is_label_value("-x").is_empty());
    }

    #[test]
    fn ports_addresses_keys() {
        assert!(is_port_name("http-2").is_empty());
        assert_eq!(is_port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(is_port_name("a--b"), ["must not contain consecutive hyphens"]);
        assert!(is_port_num(443).is_empty());
        assert_eq!(is_port_num(0), ["must be between 1 and 65535, inclusive"]);
        assert!(
            is_ip("2001:db8::1").is_empty() && !is_ip("10.0.0").is_empty() && !is_ip("010.0.0.1").is_empty()
        );
        assert!(is_cidr("10.0.0.0/8").is_empty() && !is_cidr("10.0.0.0/33").is_empty());
        assert!(is_config_map_key("a.b_c-D").is_empty());
        assert_eq!(is_config_map_key(".."), ["must not be '..'"]);
        assert!(is_env_var_name("A B:%").is_empty() && !is_env_var_name("A=B").is_empty());
        assert!(is_percent("25%").is_empty() && !is_percent("25").is_empty());
        assert!(is_wildcard_dns1123_subdomain("*.x.io").is_empty());
        assert_eq!(is_path_segment_name("a/b"), ["may not contain '/'"]);
    }

    #[test]
    fn generated_names_fit() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        let name = generate_name(&"x".repeat(80), &mut rng);
        assert_eq!(name.len(), 63);
        assert!(is_dns1123_label(&name).is_empty());
        assert_ne!(generate_name("a-", &mut rng), generate_name("a-", &mut rng));
    }
}
