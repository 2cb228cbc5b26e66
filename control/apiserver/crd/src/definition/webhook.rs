//! Where a webhook may be: an https address or a Service, and the authorities behind it.
//!
//! Authority: apiserver, pkg/util/webhook/validation.go.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

const FORM: &str = "; desired format: https://host[/path]";

/// The errors of a webhook's address.
pub(super) fn url_errors(url: &str, path: &Path) -> Vec<FieldError> {
    if url.chars().any(|c| c.is_ascii_control()) {
        let quoted = xebec_api::gotext::quote(url);
        let detail = format!(
            "url must be a valid URL: parse {quoted}: net/url: invalid control character in URL{FORM}"
        );
        return vec![FieldError::required(path, detail)];
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => {
            (scheme.to_lowercase(), rest)
        }
        _ => (String::new(), rest),
    };
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let mut errors = Vec::new();
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, scheme, detail));
    }
    if host.is_empty() {
        errors.push(FieldError::invalid(path, "", format!("host must be specified{FORM}")));
    }
    if let Some(user) = user {
        errors.push(FieldError::invalid(path, user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errors.push(FieldError::invalid(path, fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(FieldError::invalid(path, query, "query parameters are not permitted in the URL"));
    }
    errors
}

/// The errors of a Service: namespace, name, path, port. Upstream mixes up the first two for conversion webhooks; so
/// a missing namespace is reported at `name` and the other way round.
pub(super) fn service_errors(
    (namespace, name, service_path, port): &(String, String, Option<String>, i64),
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if namespace.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("namespace"), ""));
    }
    let bad_port = names::is_port_num(*port);
    if !bad_port.is_empty() {
        let detail = format!("port is not valid: {}", bad_port.join(", "));
        errors.push(FieldError::invalid(&path.child("port"), port, detail));
    }
    if let Some(service_path) = service_path {
        errors.extend(path_errors(service_path, &path.child("path")));
    }
    errors
}

fn path_errors(value: &str, path: &Path) -> Vec<FieldError> {
    if value.is_empty() || value == "/" {
        return Vec::new();
    }
    if value == "//" {
        return vec![FieldError::invalid(path, value, "segment[0] may not be empty")];
    }
    let mut errors = Vec::new();
    if !value.starts_with('/') {
        errors.push(FieldError::invalid(path, value, "must start with a '/'"));
    }
    let rest = value.get(1..).unwrap_or_default();
    for (at, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            errors.push(FieldError::invalid(path, value, format!("segment[{at}] may not be empty")));
            continue;
        }
        for message in names::is_dns1123_subdomain(segment) {
            errors.push(FieldError::invalid(path, value, format!("segment[{at}]: {message}")));
        }
    }
    errors
}

/// Whether a `caBundle`, PEM in base64, holds certificates; an empty one does, and so does white space.
pub fn is_ca_bundle(bundle: &str) -> bool {
    ca_bundle_error(bundle).is_none()
}

/// Why a `caBundle` is none.
pub(super) fn ca_bundle_error(bundle: &str) -> Option<String> {
    let bytes = STANDARD.decode(bundle).unwrap_or_default();
    if bytes.is_empty() {
        return None;
    }
    let reason = match certificates(&String::from_utf8_lossy(&bytes)) {
        Ok(0) => "no valid certificate authority data seen",
        Ok(_) => return None,
        Err(reason) => reason,
    };
    Some(format!("unable to load root certificates: {reason}"))
}

/// How many certificates a PEM text holds.
fn certificates(pem: &str) -> Result<usize, &'static str> {
    let mut count = 0;
    let mut blocks = pem.split("-----BEGIN ");
    blocks.next();
    let mut any = false;
    for block in blocks {
        any = true;
        let Some((label, rest)) = block.split_once("-----") else {
            return Err("unable to parse bytes as PEM block");
        };
        let Some((body, _)) = rest.split_once("-----END ") else {
            return Err("unable to parse bytes as PEM block");
        };
        if label != "CERTIFICATE" {
            continue;
        }
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(body).map_err(|_| "unable to parse bytes as PEM block")?;
        if !is_der_sequence(&der) {
            return Err("failed to parse certificate: x509: malformed certificate");
        }
        count += 1;
    }
    if any { Ok(count) } else { Err("unable to parse bytes as PEM block") }
}

/// Whether the bytes are one DER sequence, whole.
fn is_der_sequence(der: &[u8]) -> bool {
    let (Some(0x30), Some(first)) = (der.first(), der.get(1)) else { return false };
    let (header, length) = match first {
        length @ 0..=0x7f => (2, usize::from(*length)),
        0x81..=0x84 => {
            let count = usize::from(first & 0x0f);
            let Some(bytes) = der.get(2..2 + count) else { return false };
            (2 + count, bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
        _ => return false,
    };
    der.len() == header + length
}
