//! How a webhook is reached: a URL or a Service.
//!
//! Authority: apiserver's util/webhook validation. Also used by kinds outside this group that name a webhook.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, has, int, text};

/// Every error of a client configuration.
pub fn validate(client: &Value, path: &Path) -> Vec<FieldError> {
    match (at(client, &["url"]).as_str(), has(client, &["service"])) {
        (Some(url), false) => validate_url(url, &path.child("url")),
        (None, true) => validate_service(at(client, &["service"]), &path.child("service")),
        _ => vec![FieldError::required(path, "exactly one of url or service is required")],
    }
}

const FORM: &str = "; desired format: https://host[/path]";

/// The parts of a URL the rules are about, split as Go's url.Parse does.
struct Url<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

fn validate_url(url: &str, path: &Path) -> Vec<FieldError> {
    let parts = match parse(url) {
        Ok(parts) => parts,
        Err(problem) => {
            let quoted = xebec_api::gotext::quote(url);
            let detail = format!("url must be a valid URL: parse {quoted}: {problem}{FORM}");
            return vec![FieldError::required(path, detail)];
        }
    };
    let mut errors = Vec::new();
    if !parts.scheme.eq_ignore_ascii_case("https") {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, parts.scheme.to_lowercase(), detail));
    }
    if parts.host.is_empty() {
        errors.push(FieldError::invalid(path, "", format!("host must be provided{FORM}")));
    }
    let unwanted = [
        (parts.user.unwrap_or_default(), "user information is not permitted in the URL"),
        (parts.fragment, "fragments are not permitted in the URL"),
        (parts.query, "query parameters are not permitted in the URL"),
    ];
    for (value, detail) in unwanted {
        if !value.is_empty() || (parts.user.is_some() && detail.starts_with("user")) {
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
    errors
}

fn parse(url: &str) -> Result<Url<'_>, String> {
    if url.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (scheme, rest) = match rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))) {
        Some(0) if rest.starts_with(':') => return Err("missing protocol scheme".to_owned()),
        Some(end) if rest[end..].starts_with(':') && rest.as_bytes()[0].is_ascii_alphabetic() => {
            (&rest[..end], &rest[end + 1..])
        }
        _ => ("", rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if let Some(bad) = host.bytes().find(|byte| b" <>\"^`{|}\\".contains(byte)) {
        return Err(format!("invalid character {:?} in host name", (bad as char).to_string()));
    }
    let port = host.rsplit_once(']').map_or(host, |(_, after)| after);
    if let Some((_, port)) = port.rsplit_once(':')
        && !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("invalid port \":{port}\" after host"));
    }
    Ok(Url { scheme, user, host, query, fragment })
}

fn validate_service(service: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Upstream's callers pass name and namespace the other way round, so each is reported as the other.
    if text(service, &["namespace"]).is_empty() {
        errors.push(FieldError::required(&path.child("name"), "service name is required"));
    }
    if text(service, &["name"]).is_empty() {
        errors.push(FieldError::required(&path.child("namespace"), "service namespace is required"));
    }
    let port = int(service, &["port"]).unwrap_or(0);
    let problems = names::is_port_num(port);
    if !problems.is_empty() {
        let detail = format!("port is not valid: {}", problems.join(", "));
        errors.push(FieldError::invalid(&path.child("port"), port, detail));
    }
    errors.extend(validate_path(text(service, &["path"]), &path.child("path")));
    errors
}

fn validate_path(url_path: &str, path: &Path) -> Vec<FieldError> {
    if url_path.is_empty() || url_path == "/" {
        return Vec::new();
    }
    if url_path == "//" {
        return vec![FieldError::invalid(path, url_path, "segment[0] may not be empty")];
    }
    let mut errors = Vec::new();
    if !url_path.starts_with('/') {
        errors.push(FieldError::invalid(path, url_path, "must start with a '/'"));
    }
    let inner: String = url_path.chars().skip(1).collect();
    let inner = inner.strip_suffix('/').unwrap_or(&inner);
    for (index, step) in inner.split('/').enumerate() {
        if step.is_empty() {
            let detail = format!("segment[{index}] may not be empty");
            errors.push(FieldError::invalid(path, url_path, detail));
            continue;
        }
        for message in names::is_dns1123_subdomain(step) {
            let detail = format!("segment[{index}]: {message}");
            errors.push(FieldError::invalid(path, url_path, detail));
        }
    }
    errors
}
