//! Ingresses.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use self::rules::Allowed;
use crate::core::service::balancer_addresses;
use crate::shared::access::{at, drop_nulls, has, list, text};
use crate::shared::addresses::{texts_under, validate_ip};
use crate::shared::meta;
use crate::shared::rules::{invalid_each, is_ip};
use crate::table::{AGE, NAME, age, column, name, or_none};
use crate::{Column, Facts, Generation, Strategy, generic};

mod rules;

pub(super) use self::rules::validate_reference;

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
        let mut errors = generic::validate(&INGRESS, obj);
        errors.extend(rules::validate(at(obj, &["spec"]), Allowed::default(), &Path::new("spec")));
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
        errors.extend(generic::validate(&INGRESS, obj));
        let allowed = Allowed::before(at(old, &["spec"]));
        errors.extend(rules::validate(at(obj, &["spec"]), allowed, &Path::new("spec")));
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
        let tls = !list(obj, &["spec", "tls"]).is_empty();
        vec![
            name(obj),
            json!(or_none(text(obj, &["spec", "ingressClassName"]))),
            json!(hosts(obj)),
            json!(balancer_addresses(obj).join(",")),
            json!(if tls { "80, 443" } else { "80" }),
            age(obj, now),
        ]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        if meta::annotation(obj, OLD_CLASS).is_none() || has(obj, &["spec", "ingressClassName"]) {
            return Vec::new();
        }
        let text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        vec![text.to_owned()]
    }

    /// Who brought the annotation was warned when it was new.
    fn update_warnings(&self, _obj: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
    }
}

/// The first three hosts, and how many rules there are beyond three once a rule follows the third host.
fn hosts(obj: &Value) -> String {
    let rules = list(obj, &["spec", "rules"]);
    let named = |rule: &&Value| !text(rule, &["host"]).is_empty();
    let shown: Vec<&str> = rules.iter().filter(named).map(|rule| text(rule, &["host"])).take(3).collect();
    let third = rules.iter().enumerate().filter(|(_, rule)| named(rule)).nth(2);
    match third {
        _ if shown.is_empty() => "*".to_owned(),
        Some((at, _)) if at + 1 < rules.len() => {
            format!("{} + {} more...", shown.join(","), rules.len() - 3)
        }
        _ => shown.join(","),
    }
}
