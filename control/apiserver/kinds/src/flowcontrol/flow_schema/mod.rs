//! FlowSchemas: which priority level a request belongs to.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::{GROUP, mandatory, validate_conditions};
use crate::shared::access::{at, default_number, drop_nulls, flag, has, int, list, text, texts};
use crate::shared::formats::{label, subdomain};
use crate::shared::meta;
use crate::shared::rules::required;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, Generation, Strategy, generic};

static FACTS: Facts =
    Facts::cluster(GROUP, "FlowSchema", "flowschemas").with_status().with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column(
        "PriorityLevel",
        "string",
        "`name` is the name of the priority level configuration being referenced Required.",
    ),
    column(
        "MatchingPrecedence",
        "string",
        "`matchingPrecedence` is used to choose among the FlowSchemas that match a given request. The chosen FlowSchema is among those with the numerically lowest (which we take to be logically highest) MatchingPrecedence.  Each MatchingPrecedence value must be ranged in [1,10000]. Note that if the precedence is not specified, it will be set to 1000 as default.",
    ),
    column(
        "DistinguisherMethod",
        "string",
        "`distinguisherMethod` defines how to compute the flow distinguisher for requests that match this schema. `nil` specifies that the distinguisher is disabled and thus will always be the empty string.",
    ),
    AGE,
    column("MissingPL", "string", "references a broken or non-existent PriorityLevelConfiguration"),
];
const DEFAULT_PRECEDENCE: i64 = 1000;
const MAX_PRECEDENCE: i64 = 10_000;
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// The kinds of subjects, with the field each is given in.
const SUBJECTS: [(&str, &str); 3] =
    [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

/// The strategy of FlowSchemas.
pub struct FlowSchema;

fn validate_spec(schema: &str, spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let precedence = int(spec, &["matchingPrecedence"]).unwrap_or(0);
    let precedence_path = path.child("matchingPrecedence");
    let problem = match precedence {
        ..=0 => Some("must be a positive value".to_owned()),
        1 if schema != "exempt" => {
            Some("only the schema named 'exempt' may have matchingPrecedence 1".to_owned())
        }
        _ if precedence > MAX_PRECEDENCE => Some(format!("must not be greater than {MAX_PRECEDENCE}")),
        _ => None,
    };
    errors.extend(problem.map(|problem| FieldError::invalid(&precedence_path, precedence, problem)));
    if has(spec, &["distinguisherMethod"]) {
        let method = text(spec, &["distinguisherMethod", "type"]);
        let allowed = ["ByNamespace", "ByUser"];
        if !allowed.contains(&method) {
            // Upstream shows its internal struct.
            let path = path.child("distinguisherMethod").child("type");
            errors.push(FieldError::not_supported(&path, json!({"Type": method}), &allowed));
        }
    }
    let level_path = path.child("priorityLevelConfiguration").child("name");
    match text(spec, &["priorityLevelConfiguration", "name"]) {
        "" => errors.push(FieldError::required(&level_path, "must reference a priority level")),
        level => errors.extend(subdomain(level, &level_path)),
    }
    for (index, rule) in list(spec, &["rules"]).iter().enumerate() {
        errors.extend(validate_rule(rule, &path.child("rules").index(index)));
    }
    errors
}

fn validate_rule(rule: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let subjects = list(rule, &["subjects"]);
    if subjects.is_empty() {
        let detail = "subjects must contain at least one value";
        errors.push(FieldError::required(&path.child("subjects"), detail));
    }
    for (index, subject) in subjects.iter().enumerate() {
        errors.extend(validate_subject(subject, &path.child("subjects").index(index)));
    }
    let (resources, others) = (list(rule, &["resourceRules"]), list(rule, &["nonResourceRules"]));
    if resources.is_empty() && others.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, detail));
    }
    for (index, rule) in resources.iter().enumerate() {
        errors.extend(validate_resource_rule(rule, &path.child("resourceRules").index(index)));
    }
    for (index, rule) in others.iter().enumerate() {
        errors.extend(validate_url_rule(rule, &path.child("nonResourceRules").index(index)));
    }
    errors
}

fn validate_subject(subject: &Value, path: &Path) -> Vec<FieldError> {
    let kind = text(subject, &["kind"]);
    let Some((_, own)) = SUBJECTS.iter().find(|(name, _)| *name == kind) else {
        let kinds = ["Group", "ServiceAccount", "User"];
        return vec![FieldError::not_supported(&path.child("kind"), kind, &kinds)];
    };
    let mut errors = Vec::new();
    let own_path = path.child(own);
    match at(subject, &[own]) {
        Value::Null => {
            let detail = format!("{own} is required when subject kind is '{kind}'");
            errors.push(FieldError::required(&own_path, detail));
        }
        found if kind == "ServiceAccount" => errors.extend(validate_account(found, &own_path)),
        found => errors.extend(required(found, "name", &own_path)),
    }
    // Upstream asks for foreign fields in the order serviceAccount, user, group.
    for (other, key) in SUBJECTS.iter().filter(|(other, key)| *other != kind && has(subject, &[key])) {
        let detail = format!("{key} is forbidden when subject kind is not '{other}'");
        errors.push(FieldError::forbidden(&path.child(key), detail));
    }
    errors
}

fn validate_account(account: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = match text(account, &["name"]) {
        "" => vec![FieldError::required(&path.child("name"), "")],
        "*" => Vec::new(),
        name => subdomain(name, &path.child("name")),
    };
    match text(account, &["namespace"]) {
        "" => {
            let detail = "must specify namespace for service account";
            errors.push(FieldError::required(&path.child("namespace"), detail));
        }
        namespace => errors.extend(label(namespace, &path.child("namespace"))),
    }
    errors
}

fn validate_verbs(rule: &Value, path: &Path) -> Vec<FieldError> {
    let verbs = texts(rule, &["verbs"]);
    let path = path.child("verbs");
    if verbs.is_empty() {
        return vec![FieldError::required(&path, "verbs must contain at least one value")];
    }
    match verbs.contains(&"*") {
        true if verbs.len() > 1 => {
            vec![FieldError::invalid(&path, verbs, "if '*' is present, must not specify other verbs")]
        }
        false if !verbs.iter().all(|verb| VERBS.contains(verb)) => {
            vec![FieldError::not_supported(&path, verbs, VERBS)]
        }
        _ => Vec::new(),
    }
}

fn validate_resource_rule(rule: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_verbs(rule, path);
    for (key, one, others) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let (values, path) = (texts(rule, &[key]), path.child(key));
        if values.is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            errors.push(FieldError::required(&path, detail));
        } else if values.len() > 1 && values.contains(&"*") {
            let detail = format!("if '*' is present, must not specify other {others}");
            errors.push(FieldError::invalid(&path, values, detail));
        }
    }
    let (namespaces, path) = (texts(rule, &["namespaces"]), path.child("namespaces"));
    if namespaces.is_empty() && !flag(rule, &["clusterScope"]) {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(&path, detail));
    } else if namespaces.contains(&"*") {
        if namespaces.len() > 1 {
            let detail = "if '*' is present, must not specify other namespaces";
            errors.push(FieldError::invalid(&path, namespaces, detail));
        }
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            errors.extend(label(namespace, &path.index(index)).into_iter().map(|mut error| {
                error.detail =
                    format!("each member of this list must be '*' or a DNS-1123 label; {}", error.detail);
                error
            }));
        }
    }
    errors
}

fn validate_url_rule(rule: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_verbs(rule, path);
    let (urls, path) = (texts(rule, &["nonResourceURLs"]), path.child("nonResourceURLs"));
    if urls.is_empty() {
        let detail = "nonResourceURLs must contain at least one value";
        errors.push(FieldError::required(&path, detail));
    } else if urls.contains(&"*") {
        if urls.len() > 1 {
            let detail = "if '*' is present, must not specify other non-resource URLs";
            errors.push(FieldError::invalid(&path, urls, detail));
        }
    } else {
        for (index, url) in urls.iter().enumerate() {
            let problem = url_problem(url);
            errors.extend(problem.map(|problem| FieldError::invalid(&path.index(index), url, problem)));
        }
    }
    errors
}

fn url_problem(url: &str) -> Option<&'static str> {
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ => match url.matches('*').count() {
            0 => None,
            1 if url.ends_with("/*") => None,
            _ => Some("wildcard can only do suffix matching"),
        },
    }
}

impl Strategy for FlowSchema {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_number(obj, &["spec", "matchingPrecedence"], DEFAULT_PRECEDENCE);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        let schema = meta::name(obj);
        errors.extend(validate_spec(schema, spec, &path));
        if mandatory::flow_schema(schema).is_some_and(|fixed| fixed != *spec) {
            let detail = format!("spec of '{schema}' must equal the fixed value");
            errors.push(FieldError::invalid(&path, spec, detail));
        }
        errors.extend(validate_conditions(obj));
        errors
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        meta::keep_for_status(obj, old);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_conditions(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let method = match text(obj, &["spec", "distinguisherMethod", "type"]) {
            "" => "<none>",
            method => method,
        };
        let dangling = list(obj, &["status", "conditions"])
            .iter()
            .find(|condition| text(condition, &["type"]) == "Dangling")
            .map_or("?", |condition| text(condition, &["status"]));
        vec![
            name(obj),
            json!(text(obj, &["spec", "priorityLevelConfiguration", "name"])),
            json!(int(obj, &["spec", "matchingPrecedence"]).unwrap_or(0)),
            json!(method),
            age(obj, now),
            json!(dangling),
        ]
    }
}

#[cfg(test)]
mod tests;
