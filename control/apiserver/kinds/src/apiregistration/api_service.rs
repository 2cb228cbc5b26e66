//! APIServices: one per group and version.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, default_to, drop_nulls, flag, has, int, list, set, text};
use crate::shared::formats::subdomain;
use crate::shared::meta;
use crate::shared::rules::{invalid_each, one_of_given, required};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, NameRule, Strategy, generic};

static FACTS: Facts = Facts::cluster("apiregistration.k8s.io", "APIService", "apiservices")
    .with_status()
    .with_name(NameRule::Own);
const COLUMNS: &[Column] = &[
    NAME,
    column("Service", "string", "The reference to the service that hosts this API endpoint."),
    column("Available", "string", "Whether this service is available."),
    AGE,
];
const MAX_GROUP_PRIORITY: i64 = 20_000;
const MAX_VERSION_PRIORITY: i64 = 1000;

/// The strategy of APIServices.
pub struct ApiService;

fn name_messages(obj: &Value) -> Vec<String> {
    let name = meta::name(obj);
    let messages = meta::name_messages(NameRule::PathSegment, name);
    if !messages.is_empty() {
        return messages;
    }
    let wanted = format!("{}.{}", text(obj, &["spec", "version"]), text(obj, &["spec", "group"]));
    if name.is_empty() || name == wanted {
        return Vec::new();
    }
    vec![format!("must be `spec.version+\".\"+spec.group`: {}", xebec_api::gotext::quote(&wanted))]
}

fn out_of(spec: &Value, key: &str, most: i64, path: &Path) -> Option<FieldError> {
    let value = int(spec, &[key]).unwrap_or(0);
    let detail = format!("must be positive and less than {most}");
    (!(1..=most).contains(&value)).then(|| FieldError::invalid(&path.child(key), value, detail))
}

fn validate_spec(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (group, version) = (text(spec, &["group"]), text(spec, &["version"]));
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(&path.child("group"), detail));
    }
    if !group.is_empty() {
        errors.extend(subdomain(group, &path.child("group")));
    }
    errors.extend(invalid_each(&path.child("version"), version, xebec_api::names::is_dns1035_label(version)));
    errors.extend(out_of(spec, "groupPriorityMinimum", MAX_GROUP_PRIORITY, path));
    errors.extend(out_of(spec, "versionPriority", MAX_VERSION_PRIORITY, path));
    let bundle = STANDARD.decode(text(spec, &["caBundle"])).unwrap_or_default();
    let insecure = flag(spec, &["insecureSkipTLSVerify"]);
    let insecure_path = path.child("insecureSkipTLSVerify");
    if !has(spec, &["service"]) {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bundle.len());
            let detail = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&path.child("caBundle"), shown, detail));
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&insecure_path, true, detail));
        }
        return errors;
    }
    let (service, service_path) = (at(spec, &["service"]), path.child("service"));
    errors.extend(required(service, "namespace", &service_path));
    errors.extend(required(service, "name", &service_path));
    // Given, or by default 443.
    if let Some(port) = int(service, &["port"]).filter(|port| !(1..=65_535).contains(port)) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(&service_path.child("port"), port, detail));
    }
    if insecure && !bundle.is_empty() {
        let detail = "may not be true if caBundle is present";
        errors.push(FieldError::invalid(&insecure_path, true, detail));
    }
    errors
}

impl Strategy for ApiService {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        if has(obj, &["spec", "service"]) {
            default_to(obj, &["spec", "service", "port"], 443);
        }
    }

    fn prepare_for_create(&self, ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        if !has(obj, &["spec", "service"]) {
            let condition = json!({
                "type": "Available",
                "status": "True",
                "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": xebec_api::time::format_rfc3339_seconds(ctx.now)
            });
            set(obj, &["status", "conditions"], json!([condition]));
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let name_path = Path::new("metadata").child("name");
        errors.extend(invalid_each(&name_path, meta::name(obj), name_messages(obj)));
        errors.extend(validate_spec(at(obj, &["spec"]), &Path::new("spec")));
        errors
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        meta::keep_for_status(obj, old);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        for (index, condition) in list(obj, &["status", "conditions"]).iter().enumerate() {
            let path = Path::new("status").child("conditions").index(index);
            errors.extend(one_of_given(condition, "status", &["True", "False", "Unknown"], &path));
        }
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let part = |key: &str| text(obj, &["spec", "service", key]);
        let service = match has(obj, &["spec", "service"]) {
            true => format!("{}/{}", part("namespace"), part("name")),
            false => "Local".to_owned(),
        };
        vec![name(obj), json!(service), json!(availability(obj)), age(obj, now)]
    }
}

fn availability(obj: &Value) -> String {
    let conditions = list(obj, &["status", "conditions"]);
    let Some(found) = conditions.iter().find(|condition| text(condition, &["type"]) == "Available") else {
        return "Unknown".to_owned();
    };
    match (text(found, &["status"]), text(found, &["reason"])) {
        (status, "") => status.to_owned(),
        ("True", _) => "True".to_owned(),
        (status, reason) => format!("{status} ({reason})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    fn base() -> Value {
        json!({"metadata": {"name": "v1.a.b"}, "spec": {
            "group": "a.b", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "service": {"namespace": "n", "name": "s"}
        }})
    }

    fn local() -> Value {
        crate::testing::patched(&base(), &json!({"spec.service": null}))
    }

    #[test]
    fn defaults_and_table() {
        let table = Table::of(&ApiService, base());
        table.defaults(&[
            (json!({}), json!({"spec.service.port": 443, "status": {}})),
            (json!({"spec.service": null}), json!({"status.conditions[0].reason": "Local", "status.conditions[0].lastTransitionTime": "2026-01-01T01:00:00Z"})),
        ]);
        table.columns(&["Name", "Service", "Available", "Age"]);
        table.rows(&[
            (json!({}), json!(["v1.a.b", "n/s", "Unknown", "60m"])),
            (
                json!({"status.conditions": [{"type": "Available", "status": "False", "reason": "Missing"}]}),
                json!(["v1.a.b", "n/s", "False (Missing)", "60m"]),
            ),
        ]);
        Table::of(&ApiService, local()).rows(&[(json!({}), json!(["v1.a.b", "Local", "True", "60m"]))]);
        table.status_is_separate(
            &json!({"status.conditions": []}),
            &json!({"spec.versionPriority": 5, "metadata.labels": {"a": "b"}}),
        );
        assert!(!ApiService.unconditional_update());
    }

    #[test]
    fn fields_are_checked() {
        let table = Table::of(&ApiService, base());
        table.valid(&[("core", json!({"metadata.name": "v1.", "spec.group": ""}))]);
        table.invalid(&[
            (
                "another name",
                json!({"metadata.name": "x"}),
                &["metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v1.a.b\""],
            ),
            (
                "no group",
                json!({"metadata.name": "v2.", "spec.group": "", "spec.version": "v2"}),
                &["spec.group: Required value: only v1 may have an empty group and it better be legacy kube"],
            ),
            (
                "priorities",
                json!({"spec.groupPriorityMinimum": 20001, "spec.versionPriority": 0}),
                &[
                    "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
                    "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
                ],
            ),
            (
                "an empty service",
                json!({"spec.service": {}}),
                &["spec.service.namespace: Required value", "spec.service.name: Required value"],
            ),
            (
                "a port that is none",
                json!({"spec.service.port": 70_000}),
                &["spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive"],
            ),
            (
                "port 0",
                json!({"spec.service.port": 0}),
                &["spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive"],
            ),
            (
                "trust and none",
                json!({"spec.caBundle": "YWJj", "spec.insecureSkipTLSVerify": true}),
                &["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
            ),
            (
                "a local one with trust",
                json!({"spec.service": null, "spec.caBundle": "YWJj", "spec.insecureSkipTLSVerify": true}),
                &[
                    "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle",
                    "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
                ],
            ),
        ]);
        table.updates(&[
            ("a priority", json!({"spec.versionPriority": 20}), &[]),
            (
                "a group",
                json!({"spec.group": "c.d"}),
                &["metadata.name: Invalid value: \"v1.a.b\": must be `spec.version+\".\"+spec.group`: \"v1.c.d\""],
            ),
        ]);
        table.status(&[(
            "a condition",
            json!({"status.conditions": [{"type": "Available", "status": "Maybe"}]}),
            &["status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \"Unknown\""],
        )]);
    }
}
