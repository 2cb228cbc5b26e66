//! Tables of what matches what.

use serde_json::{Value, json};

use super::*;
use crate::Operation;
use crate::testing::{Objects, TestTypes, deployment, deployment_attributes};
use xebec_identity::User;

fn reader() -> Objects {
    let objects = Objects::default();
    objects.add(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod", "labels": {"env": "prod"}}}));
    objects.add(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
    objects
}

fn rule(operations: &[&str], groups: &[&str], versions: &[&str], resources: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": groups, "apiVersions": versions, "resources": resources})
}

#[test]
fn rules() {
    let user = User::new("u", &[]);
    let create = deployment_attributes(&user, Operation::Create, "prod");
    let mut scale = deployment_attributes(&user, Operation::Update, "prod");
    scale.subresource = "scale".to_owned();
    let cases = [
        (rule(&["*"], &["*"], &["*"], &["*"]), true, false),
        (rule(&["*"], &["*"], &["*"], &["*/*"]), true, true),
        (rule(&["CREATE"], &["apps"], &["v1"], &["deployments"]), true, false),
        (rule(&["UPDATE"], &["apps"], &["v1"], &["deployments/scale"]), false, true),
        (rule(&["*"], &["apps"], &["v1"], &["deployments/*"]), true, true),
        (rule(&["*"], &["apps"], &["v1"], &["*/scale"]), false, true),
        (rule(&["DELETE"], &["*"], &["*"], &["*/*"]), false, false),
        (rule(&["*"], &[""], &["*"], &["*/*"]), false, false),
        (rule(&["*"], &["apps"], &["v2"], &["*/*"]), false, false),
        (rule(&["*"], &["apps"], &["v1"], &["pods", "deployments"]), true, false),
    ];
    for (value, on_create, on_scale) in cases {
        let rules = Rule::list(&json!([value]));
        assert_eq!(rules[0].matches(&create, &create.resource), on_create, "{value}");
        assert_eq!(rules[0].matches(&scale, &scale.resource), on_scale, "{value}");
    }
}

#[test]
fn scopes() {
    let user = User::new("u", &[]);
    let namespaced = deployment_attributes(&user, Operation::Create, "prod");
    let mut namespace = deployment_attributes(&user, Operation::Create, "prod");
    namespace.resource = Resource::new("", "v1", "namespaces");
    let mut cluster = deployment_attributes(&user, Operation::Create, "");
    cluster.resource = Resource::new("", "v1", "nodes");
    for (scope, expected) in [
        ("*", [true, true, true]),
        ("Namespaced", [true, false, false]),
        ("Cluster", [false, true, true]),
        ("Galaxy", [false, false, false]),
    ] {
        let mut value = rule(&["*"], &["*"], &["*"], &["*"]);
        value["scope"] = json!(scope);
        let rule = &Rule::list(&json!([value]))[0];
        let got = [&namespaced, &namespace, &cluster]
            .map(|attributes| rule.matches(attributes, &attributes.resource));
        assert_eq!(got, expected, "{scope}");
    }
}

#[test]
fn resource_names() {
    let user = User::new("u", &[]);
    let attributes = deployment_attributes(&user, Operation::Update, "prod");
    for (names, expected) in [(json!([]), true), (json!(["web"]), true), (json!(["other"]), false)] {
        let mut value = rule(&["*"], &["*"], &["*"], &["*"]);
        value["resourceNames"] = names.clone();
        assert_eq!(
            Rule::list(&json!([value]))[0].matches(&attributes, &attributes.resource),
            expected,
            "{names}"
        );
    }
}

fn matched(criteria: &Criteria, attributes: &Attributes<'_>, object: Option<&Value>) -> Option<Matched> {
    criteria.matches(attributes, object, &reader(), &TestTypes).unwrap()
}

#[test]
fn selectors() {
    let user = User::new("u", &[]);
    let object = deployment("prod");
    let attributes = deployment_attributes(&user, Operation::Create, "prod");
    let all = rule(&["*"], &["*"], &["*"], &["*"]);
    let cases = [
        (json!({}), json!({}), true),
        (json!({"matchLabels": {"env": "prod"}}), json!({}), true),
        (json!({"matchLabels": {"env": "test"}}), json!({}), false),
        (json!({}), json!({"matchLabels": {"app": "web"}}), true),
        (json!({}), json!({"matchLabels": {"app": "db"}}), false),
        (json!({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}), json!({}), false),
    ];
    for (namespaces, objects, expected) in cases {
        let webhook = json!({"rules": [all], "namespaceSelector": namespaces, "objectSelector": objects});
        let criteria = Criteria::of_webhook(&webhook);
        assert_eq!(matched(&criteria, &attributes, Some(&object)).is_some(), expected, "{webhook}");
    }
}

#[test]
fn the_old_object_counts_too() {
    let user = User::new("u", &[]);
    let old = deployment("prod");
    let mut new = deployment("prod");
    new["metadata"]["labels"] = json!({});
    let mut attributes = deployment_attributes(&user, Operation::Update, "prod");
    attributes.old_object = Some(&old);
    let criteria = Criteria::of_webhook(&json!({
        "rules": [rule(&["*"], &["*"], &["*"], &["*"])], "objectSelector": {"matchLabels": {"app": "web"}},
    }));
    assert!(matched(&criteria, &attributes, Some(&new)).is_some());
    attributes.old_object = None;
    assert!(matched(&criteria, &attributes, Some(&new)).is_none());
    let options = json!({"kind": "PodExecOptions"});
    assert!(matched(&criteria, &attributes, Some(&options)).is_none(), "no metadata, no labels");
}

#[test]
fn a_namespace_is_selected_by_its_own_labels() {
    let user = User::new("u", &[]);
    let criteria = Criteria::of_webhook(&json!({
        "rules": [rule(&["*"], &["*"], &["*"], &["*"])], "namespaceSelector": {"matchLabels": {"env": "prod"}},
    }));
    let mut attributes = deployment_attributes(&user, Operation::Create, "new");
    attributes.resource = Resource::new("", "v1", "namespaces");
    let object = json!({"metadata": {"name": "new", "labels": {"env": "prod"}}});
    assert!(matched(&criteria, &attributes, Some(&object)).is_some());
    let plain = json!({"metadata": {"name": "new"}});
    assert!(matched(&criteria, &attributes, Some(&plain)).is_none());
    attributes.operation = Operation::Delete;
    attributes.namespace = "prod".to_owned();
    assert!(matched(&criteria, &attributes, None).is_some(), "on delete the stored labels count");
    let mut cluster = deployment_attributes(&user, Operation::Create, "");
    cluster.resource = Resource::new("", "v1", "nodes");
    assert!(matched(&criteria, &cluster, Some(&plain)).is_some(), "cluster-scoped objects are never exempt");
}

#[test]
fn a_missing_namespace_is_an_error_only_where_the_rule_matches() {
    let user = User::new("u", &[]);
    let attributes = deployment_attributes(&user, Operation::Create, "gone");
    let selector = json!({"matchLabels": {"env": "prod"}});
    let concerned =
        json!({"rules": [rule(&["*"], &["apps"], &["*"], &["*"])], "namespaceSelector": selector});
    let error =
        Criteria::of_webhook(&concerned).matches(&attributes, None, &reader(), &TestTypes).unwrap_err();
    assert_eq!(error.to_string(), "namespaces \"gone\" not found");
    let other = json!({"rules": [rule(&["*"], &["batch"], &["*"], &["*"])], "namespaceSelector": selector});
    assert_eq!(Criteria::of_webhook(&other).matches(&attributes, None, &reader(), &TestTypes), Ok(None));
}

#[test]
fn equivalent_resources() {
    let user = User::new("u", &[]);
    let attributes = deployment_attributes(&user, Operation::Create, "default");
    let mut webhook = json!({"rules": [
        rule(&["*"], &["extensions"], &["v1beta1"], &["deployments"]),
        rule(&["*"], &["apps"], &["v1beta1"], &["deployments"]),
    ]});
    let found = matched(&Criteria::of_webhook(&webhook), &attributes, None).unwrap();
    assert_eq!(found.resource, Resource::new("extensions", "v1beta1", "deployments"), "earlier rules first");
    assert_eq!(found.kind, Kind::new("extensions", "v1beta1", "Deployment"));
    webhook["matchPolicy"] = json!("Exact");
    assert_eq!(matched(&Criteria::of_webhook(&webhook), &attributes, None), None);
    let exact = json!({"rules": [rule(&["*"], &["*"], &["*"], &["deployments"])]});
    let found = matched(&Criteria::of_webhook(&exact), &attributes, None).unwrap();
    assert_eq!(found.resource, attributes.resource, "its own version where that matches");
}

#[test]
fn policies_without_rules_match_all_and_exclusions_win() {
    let user = User::new("u", &[]);
    let attributes = deployment_attributes(&user, Operation::Create, "default");
    assert!(matched(&Criteria::of_policy(&json!({})), &attributes, None).is_some());
    assert!(matched(&Criteria::of_webhook(&json!({})), &attributes, None).is_none());
    let excluded = json!({
        "resourceRules": [rule(&["*"], &["apps"], &["*"], &["*"])],
        "excludeResourceRules": [rule(&["*"], &["extensions"], &["*"], &["deployments"])],
    });
    assert_eq!(
        matched(&Criteria::of_policy(&excluded), &attributes, None),
        None,
        "excluded as an equivalent"
    );
}
