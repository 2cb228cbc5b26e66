//! Ingresses.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::core::service::balancer_addresses;
use crate::shared::access::{at, drop_nulls, has, int, list, text, texts};
use crate::shared::addresses::{texts_under, validate_ip};
use crate::shared::meta;
use crate::shared::rules::{invalid_each, is_ip, one_of, port_number, required};
use crate::table::{AGE, NAME, age, column, name, or_none};
use crate::{Column, Facts, Generation, Strategy, generic};

fn initial_status() -> Value {
    json!({"loadBalancer": {}})
}

pub(super) const GROUP: &str = "networking.k8s.io";
static INGRESS: Facts = Facts::namespaced(GROUP, "Ingress", "ingresses")
    .with_initial_status(initial_status)
    .with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Class",
        "string",
        "The name of the IngressClass resource that should be used for additional configuration",
    ),
    column("Hosts", "string", "Hosts that incoming requests are matched against before the ingress rule"),
    column("Address", "string", "Address is a list containing ingress points for the load-balancer"),
    column("Ports", "string", "Ports of TLS configurations that open"),
    AGE,
];
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

/// The strategy of Ingresses.
pub struct Ingress;

impl Strategy for Ingress {
    fn facts(&self) -> &Facts {
        &INGRESS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = validate_whole(obj);
        let class = at(obj, &["spec", "ingressClassName"]).as_str();
        if let (Some(old), Some(class)) = (meta::annotation(obj, OLD_CLASS), class)
            && old != class
        {
            let path = Path::new("annotations").child(OLD_CLASS);
            let detail = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&path, old, detail));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&INGRESS, obj, old);
        errors.extend(validate_whole(obj));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&INGRESS, obj, old);
        let before = texts_under(at(old, &["status", "loadBalancer"]), &["ip"]);
        for (index, ingress) in list(obj, &["status", "loadBalancer", "ingress"]).iter().enumerate() {
            let path = Path::new("status").child("loadBalancer").child("ingress").index(index);
            let (ip, host) = (text(ingress, &["ip"]), text(ingress, &["hostname"]));
            if !ip.is_empty() {
                errors.extend(validate_ip(ip, &before, &path.child("ip")));
            }
            if !host.is_empty() {
                let path = path.child("hostname");
                errors.extend(invalid_each(&path, host, names::is_dns1123_subdomain(host)));
                if is_ip(host) {
                    errors.push(FieldError::invalid(&path, host, "must be a DNS name, not an IP address"));
                }
            }
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let class = match text(obj, &["spec", "ingressClassName"]) {
            "" => meta::annotation(obj, OLD_CLASS).unwrap_or_default(),
            class => class,
        };
        let tls = !list(obj, &["spec", "tls"]).is_empty();
        vec![
            name(obj),
            json!(or_none(class)),
            json!(hosts(obj)),
            json!(balancer_addresses(obj).join(",")),
            json!(if tls { "80, 443" } else { "80" }),
            age(obj, now),
        ]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        meta::annotation(obj, OLD_CLASS).map(|_| text.to_owned()).into_iter().collect()
    }
}

fn validate_whole(obj: &Value) -> Vec<FieldError> {
    let mut errors = generic::validate(&INGRESS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    if list(spec, &["rules"]).is_empty() && !has(spec, &["defaultBackend"]) {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&path, list(spec, &["rules"]), detail));
    }
    if has(spec, &["defaultBackend"]) {
        errors.extend(validate_backend(at(spec, &["defaultBackend"]), &path.child("defaultBackend")));
    }
    for (index, rule) in list(spec, &["rules"]).iter().enumerate() {
        errors.extend(validate_rule(rule, &path.child("rules").index(index)));
    }
    errors.extend(validate_tls(spec, &path.child("tls")));
    let class = text(spec, &["ingressClassName"]);
    if has(spec, &["ingressClassName"]) {
        errors.extend(invalid_each(
            &path.child("ingressClassName"),
            class,
            names::is_dns1123_subdomain(class),
        ));
    }
    errors
}

fn validate_tls(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, tls) in list(spec, &["tls"]).iter().enumerate() {
        let path = path.index(index);
        for (position, host) in texts(tls, &["hosts"]).iter().enumerate() {
            let messages = if host.contains('*') {
                names::is_wildcard_dns1123_subdomain(host)
            } else {
                names::is_dns1123_subdomain(host)
            };
            errors.extend(invalid_each(&path.child("hosts").index(position), host, messages));
        }
        let secret = text(tls, &["secretName"]);
        if !secret.is_empty() {
            let messages = names::is_dns1123_subdomain(secret);
            errors.extend(invalid_each(&path.child("secretName"), secret, messages));
        }
    }
    errors
}

fn hosts(obj: &Value) -> String {
    let rules = list(obj, &["spec", "rules"]);
    let shown: Vec<&str> =
        rules.iter().map(|rule| text(rule, &["host"])).filter(|h| !h.is_empty()).take(3).collect();
    match (shown.len(), rules.len()) {
        (0, _) => "*".to_owned(),
        (3, count) if count > 3 => format!("{} + {} more...", shown.join(","), count - 3),
        _ => shown.join(","),
    }
}

fn validate_rule(rule: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let host = text(rule, &["host"]);
    if !host.is_empty() {
        let host_path = path.child("host");
        if is_ip(host) {
            errors.push(FieldError::invalid(&host_path, host, "must be a DNS name, not an IP address"));
        }
        let messages = if host.contains('*') {
            names::is_wildcard_dns1123_subdomain(host)
        } else {
            names::is_dns1123_subdomain(host)
        };
        errors.extend(invalid_each(&host_path, host, messages));
    }
    if !has(rule, &["http"]) {
        return errors;
    }
    let path = path.child("http").child("paths");
    let paths = list(rule, &["http", "paths"]);
    if paths.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    for (index, item) in paths.iter().enumerate() {
        let path = path.index(index);
        let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
        let found = text(item, &["path"]);
        if has(item, &["pathType"]) {
            errors.extend(one_of(item, "pathType", &kinds, &path));
        } else {
            errors.push(FieldError::required(&path.child("pathType"), "pathType must be specified"));
        }
        let strict = matches!(text(item, &["pathType"]), "Exact" | "Prefix");
        if (strict || !found.is_empty()) && !found.starts_with('/') {
            errors.push(FieldError::invalid(&path.child("path"), found, "must be an absolute path"));
        }
        errors.extend(validate_backend(at(item, &["backend"]), &path.child("backend")));
    }
    errors
}

fn validate_backend(backend: &Value, path: &Path) -> Vec<FieldError> {
    let (service, resource) = (has(backend, &["service"]), has(backend, &["resource"]));
    if service && resource {
        return vec![FieldError::invalid(path, "", "cannot set both resource and service backends")];
    }
    if !service && !resource {
        return vec![FieldError::required(path, "resource or service backend is required")];
    }
    if resource {
        let path = path.child("resource");
        return ["kind", "name"]
            .iter()
            .flat_map(|key| required(at(backend, &["resource"]), key, &path))
            .collect();
    }
    let path = path.child("service");
    let name = text(backend, &["service", "name"]);
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        errors.extend(invalid_each(&path.child("name"), name, names::is_dns1123_label(name)));
    }
    let port = path.child("port");
    let port_name = text(backend, &["service", "port", "name"]);
    match (port_name, int(backend, &["service", "port", "number"]).unwrap_or(0)) {
        ("", 0) => errors.push(FieldError::required(&port, "port name or number is required")),
        ("", number) => errors.extend(port_number(number, &port.child("number"))),
        (name, 0) => errors.extend(invalid_each(&port.child("name"), name, names::is_port_name(name))),
        _ => errors.push(FieldError::invalid(&path, "", "cannot set both port name & port number")),
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn an_ingress_is_checked_and_shown() {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let rule = json!({"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
        let (obj, errors) = create(&Ingress, json!({"spec": {"ingressClassName": "n", "rules": [rule]}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(Ingress.row(&obj, now())[1..5], [json!("n"), json!("a.b"), json!(""), json!("80")]);
        assert_eq!(
            create(&Ingress, json!({"spec": {}})).1,
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]
        );
        let wrong = json!({"spec": {"defaultBackend": {"service": {"name": "s"}}}});
        assert_eq!(
            create(&Ingress, wrong).1,
            ["spec.defaultBackend.service.port: Required value: port name or number is required"]
        );
    }
}
