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
mod tests {
    use super::*;
    use crate::testing::{Table, create};

    fn base() -> Value {
        json!({"spec": {
            "priorityLevelConfiguration": {"name": "p"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "u"}}],
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}]
            }]
        }})
    }

    #[test]
    fn defaults_and_table() {
        let table = Table::of(&FlowSchema, base());
        table.defaults(&[
            (json!({}), json!({"spec.matchingPrecedence": 1000, "metadata.generation": 1, "status": {}})),
            (json!({"spec.matchingPrecedence": 7}), json!({"spec.matchingPrecedence": 7})),
        ]);
        table.columns(&[
            "Name",
            "PriorityLevel",
            "MatchingPrecedence",
            "DistinguisherMethod",
            "Age",
            "MissingPL",
        ]);
        table.rows(&[
            (json!({}), json!(["a", "p", 1000, "<none>", "60m", "?"])),
            (
                json!({
                    "spec.distinguisherMethod": {"type": "ByUser"},
                    "status.conditions": [{"type": "Dangling", "status": "False"}]
                }),
                json!(["a", "p", 1000, "ByUser", "60m", "False"]),
            ),
        ]);
        table.generation(&[
            (json!({"spec.matchingPrecedence": 5}), true),
            (json!({"metadata.labels": {"a": "b"}}), false),
        ]);
        table.status_is_separate(
            &json!({"status.conditions": [{"type": "Dangling", "status": "True"}]}),
            &json!({"spec.matchingPrecedence": 5, "metadata.annotations": {"a": "b"}}),
        );
        assert!(!FlowSchema.unconditional_update());
    }

    #[test]
    fn specs_are_checked() {
        let table = Table::of(&FlowSchema, base());
        table.invalid(&[
            (
                "negative precedence",
                json!({"spec.matchingPrecedence": -1}),
                &["spec.matchingPrecedence: Invalid value: -1: must be a positive value"],
            ),
            (
                "the highest precedence",
                json!({"spec.matchingPrecedence": 1}),
                &["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"],
            ),
            (
                "a precedence too low",
                json!({"spec.matchingPrecedence": 10001}),
                &["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
            ),
            (
                "the distinguisher",
                json!({"spec.distinguisherMethod": {"type": "ByLuck"}}),
                &["spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"ByLuck\"}: supported values: \"ByNamespace\", \"ByUser\""],
            ),
            (
                "no level",
                json!({"spec.priorityLevelConfiguration": {}}),
                &["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
            ),
            (
                "an empty rule",
                json!({"spec.rules[0]": {}}),
                &[
                    "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                    "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
                ],
            ),
        ]);
    }

    #[test]
    fn subjects_are_checked() {
        let table = Table::of(&FlowSchema, base());
        let subject = |value: Value| json!({"spec.rules[0].subjects[0]": value});
        table.valid(&[
            (
                "all accounts",
                subject(json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "n"}})),
            ),
            ("a group", subject(json!({"kind": "Group", "group": {"name": "g"}}))),
        ]);
        table.invalid(&[
            (
                "an unknown kind",
                subject(json!({"kind": "Robot"})),
                &["spec.rules[0].subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\""],
            ),
            (
                "others' fields",
                subject(json!({"kind": "User", "serviceAccount": {"name": "a", "namespace": "n"}, "group": {"name": "g"}})),
                &[
                    "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                    "spec.rules[0].subjects[0].serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'",
                    "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                ],
            ),
            (
                "an account of nothing",
                subject(json!({"kind": "ServiceAccount", "serviceAccount": {}})),
                &[
                    "spec.rules[0].subjects[0].serviceAccount.name: Required value",
                    "spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account",
                ],
            ),
            (
                "a nameless group",
                subject(json!({"kind": "Group", "group": {}})),
                &["spec.rules[0].subjects[0].group.name: Required value"],
            ),
        ]);
    }

    #[test]
    fn rules_are_checked() {
        let table = Table::of(&FlowSchema, base());
        let rule = |key: &str, value: Value| json!({format!("spec.rules[0].resourceRules[0].{key}"): value});
        let url = |url: &str| json!({"spec.rules[0].nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": [url]}]});
        table.valid(&[
            ("the root", url("/")),
            ("below", url("/a/*")),
            ("cluster scope", json!({"spec.rules[0].resourceRules[0].clusterScope": true, "spec.rules[0].resourceRules[0].namespaces": null})),
        ]);
        let at = "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]";
        let wrong = |url: &str, problem: &str| format!("{at}: Invalid value: \"{url}\": {problem}");
        table.invalid(&[
            ("no verbs", rule("verbs", json!([])), &["spec.rules[0].resourceRules[0].verbs: Required value: verbs must contain at least one value"]),
            (
                "any verb and one",
                rule("verbs", json!(["*", "get"])),
                &["spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs"],
            ),
            (
                "an unknown verb",
                rule("verbs", json!(["eat"])),
                &["spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"eat\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\""],
            ),
            ("no groups", rule("apiGroups", json!([])), &["spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group"]),
            (
                "any resource and one",
                rule("resources", json!(["*", "pods"])),
                &["spec.rules[0].resourceRules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources"],
            ),
            (
                "no namespaces",
                rule("namespaces", json!(null)),
                &["spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace"],
            ),
            (
                "a namespace's shape",
                rule("namespaces", json!(["a.b"])),
                &["spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"a.b\": each member of this list must be '*' or a DNS-1123 label; must not contain dots"],
            ),
            ("an empty URL", url(""), &[&wrong("", "must not be empty")]),
            ("no slash", url("a"), &[&wrong("a", "must start with slash")]),
            ("a space", url("/a b"), &[&wrong("/a b", "must not contain white-space")]),
            ("two slashes", url("/a//b"), &[&wrong("/a//b", "must not contain double slash")]),
            ("a star inside", url("/a*/b"), &[&wrong("/a*/b", "wildcard can only do suffix matching")]),
        ]);
    }

    #[test]
    fn mandatory_schemas_are_fixed_and_status_is_checked() {
        for schema in ["exempt", "catch-all"] {
            let spec = mandatory::flow_schema(schema).unwrap();
            let (obj, errors) = create(&FlowSchema, json!({"metadata": {"name": schema}, "spec": spec}));
            assert_eq!(errors, Vec::<String>::new());
            let mut new = obj.clone();
            new["spec"]["rules"][0]["nonResourceRules"] = json!([]);
            let errors = crate::testing::update(&FlowSchema, new, &obj).1;
            assert_eq!(errors.len(), 1);
            assert!(
                errors[0].ends_with(&format!(": spec of '{schema}' must equal the fixed value")),
                "{}",
                errors[0]
            );
        }
        Table::of(&FlowSchema, base()).status(&[
            ("dangling", json!({"status.conditions": [{"type": "Dangling", "status": "True"}]}), &[]),
            (
                "conditions",
                json!({"status.conditions": [{"type": "A"}, {"type": "A"}, {}]}),
                &[
                    "status.conditions[1].type: Duplicate value: \"A\"",
                    "status.conditions[2].type: Required value: must not be empty",
                ],
            ),
        ]);
    }
}
