//! What an Ingress's spec must say.
//!
//! Enters: a spec, and what an object stored by an older server may keep. Leaves: its errors, in upstream's order.
//! Authority: ValidateIngressSpec of pkg/apis/networking/validation.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, has, int, list, text, texts};
use crate::shared::formats::path_segment;
use crate::shared::rules::{invalid_each, is_ip, port_number};

/// The faults an object had before its update, which it may keep.
#[derive(Clone, Copy, Default)]
pub(super) struct Allowed {
    secret_names: bool,
    wildcard_rules: bool,
}

impl Allowed {
    /// The faults of the spec that is stored.
    pub(super) fn before(spec: &Value) -> Self {
        let path = Path::root();
        let secret = |tls: &Value| !validate_secret(tls, &path).is_empty();
        let rule =
            |rule: &Value| text(rule, &["host"]).contains('*') && !validate_paths(rule, &path).is_empty();
        Allowed {
            secret_names: list(spec, &["tls"]).iter().any(secret),
            wildcard_rules: list(spec, &["rules"]).iter().any(rule),
        }
    }
}

/// Every error of a spec.
pub(super) fn validate(spec: &Value, allowed: Allowed, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if list(spec, &["rules"]).is_empty() && !has(spec, &["defaultBackend"]) {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(path, at(spec, &["rules"]), detail));
    }
    if has(spec, &["defaultBackend"]) {
        errors.extend(validate_backend(at(spec, &["defaultBackend"]), &path.child("defaultBackend")));
    }
    for (index, rule) in list(spec, &["rules"]).iter().enumerate() {
        errors.extend(validate_rule(rule, allowed, &path.child("rules").index(index)));
    }
    for (index, tls) in list(spec, &["tls"]).iter().enumerate() {
        errors.extend(validate_tls(tls, allowed, &path.child("tls").index(index)));
    }
    if let Some(class) = at(spec, &["ingressClassName"]).as_str() {
        let messages = names::is_dns1123_subdomain(class);
        errors.extend(invalid_each(&path.child("ingressClassName"), class, messages));
    }
    errors
}

fn host_messages(host: &str) -> Vec<String> {
    if host.contains('*') {
        names::is_wildcard_dns1123_subdomain(host)
    } else {
        names::is_dns1123_subdomain(host)
    }
}

fn validate_tls(tls: &Value, allowed: Allowed, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, host) in texts(tls, &["hosts"]).iter().enumerate() {
        errors.extend(invalid_each(&path.child("hosts").index(index), host, host_messages(host)));
    }
    if !allowed.secret_names {
        errors.extend(validate_secret(tls, path));
    }
    errors
}

fn validate_secret(tls: &Value, path: &Path) -> Vec<FieldError> {
    match text(tls, &["secretName"]) {
        "" => Vec::new(),
        name => invalid_each(&path.child("secretName"), name, names::is_dns1123_subdomain(name)),
    }
}

fn validate_rule(rule: &Value, allowed: Allowed, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let host = text(rule, &["host"]);
    if !host.is_empty() {
        let path = path.child("host");
        if is_ip(host) {
            errors.push(FieldError::invalid(&path, host, "must be a DNS name, not an IP address"));
        }
        errors.extend(invalid_each(&path, host, host_messages(host)));
    }
    if !(allowed.wildcard_rules && host.contains('*')) {
        errors.extend(validate_paths(rule, path));
    }
    errors
}

fn validate_paths(rule: &Value, path: &Path) -> Vec<FieldError> {
    if !has(rule, &["http"]) {
        return Vec::new();
    }
    let (path, paths) = (path.child("http").child("paths"), list(rule, &["http", "paths"]));
    let mut errors = Vec::new();
    if paths.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    for (index, item) in paths.iter().enumerate() {
        errors.extend(validate_path(item, &path.index(index)));
    }
    errors
}

/// Sequences that some proxies resolve before they match a path, and some after.
const AMBIGUOUS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const AMBIGUOUS_ENDS: [&str; 2] = ["/..", "/."];

fn validate_path(item: &Value, path: &Path) -> Vec<FieldError> {
    let Some(kind) = at(item, &["pathType"]).as_str() else {
        return vec![FieldError::required(&path.child("pathType"), "pathType must be specified")];
    };
    let (found, found_path) = (text(item, &["path"]), path.child("path"));
    let mut errors = Vec::new();
    let mut refuse = |detail: String| errors.push(FieldError::invalid(&found_path, found, detail));
    let strict = matches!(kind, "Exact" | "Prefix");
    let given = kind == "ImplementationSpecific" && !found.is_empty();
    if (strict || given) && !found.starts_with('/') {
        refuse("must be an absolute path".to_owned());
    }
    if strict {
        for part in AMBIGUOUS.iter().filter(|part| found.contains(**part)) {
            refuse(format!("must not contain '{part}'"));
        }
        for end in AMBIGUOUS_ENDS.iter().filter(|end| found.ends_with(**end)) {
            refuse(format!("cannot end with '{end}'"));
        }
    }
    let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("pathType"), kind, &kinds));
    }
    errors.extend(validate_backend(at(item, &["backend"]), &path.child("backend")));
    errors
}

fn validate_backend(backend: &Value, path: &Path) -> Vec<FieldError> {
    let invalid = |detail: &str| FieldError::invalid(path, "", detail);
    match (has(backend, &["service"]), has(backend, &["resource"])) {
        (true, true) => return vec![invalid("cannot set both resource and service backends")],
        (false, false) => return vec![invalid("resource or service backend is required")],
        (false, true) => return validate_reference(at(backend, &["resource"]), &path.child("resource")),
        (true, false) => {}
    }
    let service = path.child("service");
    let mut errors = match text(backend, &["service", "name"]) {
        "" => vec![FieldError::required(&service.child("name"), "")],
        name => invalid_each(&service.child("name"), name, names::is_dns1123_label(name)),
    };
    let port = service.child("port");
    match (
        text(backend, &["service", "port", "name"]),
        int(backend, &["service", "port", "number"]).unwrap_or(0),
    ) {
        ("", 0) => errors.push(FieldError::required(path, "port name or number is required")),
        ("", number) => errors.extend(port_number(number, &port.child("number"))),
        (name, 0) => errors.extend(invalid_each(&port.child("name"), name, names::is_port_name(name))),
        _ => errors.push(invalid("cannot set both port name & port number")),
    }
    errors
}

/// Every error of a reference to an object of the same namespace, or of a class's parameters.
pub(in crate::networking) fn validate_reference(reference: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(group) = at(reference, &["apiGroup"]).as_str() {
        errors.extend(invalid_each(&path.child("apiGroup"), group, names::is_dns1123_subdomain(group)));
    }
    for key in ["kind", "name"] {
        match text(reference, &[key]) {
            "" => errors.push(FieldError::required(&path.child(key), format!("{key} is required"))),
            value => errors.extend(path_segment(value, &path.child(key))),
        }
    }
    errors
}
