use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::super::{Attributes, Authorizer, Decision, Rule};
use super::{authorizer, binding, request, role, user_subject};
use crate::testing::MemoryReader;
use crate::{GROUP_AUTHENTICATED, GROUP_MASTERS, User};

#[test]
fn a_rule_allows_what_upstream_allows() {
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(|s| if s == "core" { String::new() } else { s.to_owned() }).collect()
    };
    // verbs, groups, resources, names, request, allowed
    let table = [
        ("get", "core", "pods", "", "get pods a x", true),
        ("get", "core", "pods", "", "list pods a -", false),
        ("*", "core", "pods", "", "deletecollection pods a -", true),
        ("get", "apps", "pods", "", "get pods a x", false),
        ("get", "*", "deployments", "", "get apps:deployments a x", true),
        ("get", "core", "*", "", "get secrets a x", true),
        ("get", "core", "*", "", "get pods/log a x", true),
        ("get", "core", "pods", "", "get pods/log a x", false),
        ("get", "core", "pods/log", "", "get pods/log a x", true),
        ("get", "core", "pods/log", "", "get pods a x", false),
        ("get", "core", "pods/log", "", "get pods/status a x", false),
        ("update", "*", "*/scale", "", "update apps:deployments/scale a x", true),
        ("update", "*", "*/scale", "", "update apps:deployments a x", false),
        ("update", "*", "*/scale", "", "update apps:deployments/status a x", false),
        // "pods/*" is no wildcard upstream.
        ("get", "core", "pods/*", "", "get pods/log a x", false),
        ("get", "core", "secrets", "x,y", "get secrets a y", true),
        ("get", "core", "secrets", "x,y", "get secrets a z", false),
        ("list", "core", "secrets", "x", "list secrets a -", false),
    ];
    for (verbs, groups, resources, names, line, allowed) in table {
        let rule = Rule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: if names.is_empty() { Vec::new() } else { list(names) },
            ..Rule::default()
        };
        assert_eq!(rule.allows(&request(&User::default(), line)), allowed, "{rule} on {line}");
    }
}

#[test]
fn paths_match_whole_or_by_prefix() {
    let table = [
        ("/healthz", "/healthz", true),
        ("/healthz", "/healthz/etcd", false),
        ("/healthz/*", "/healthz/etcd", true),
        ("/healthz/*", "/healthz", false),
        ("*", "/anything", true),
        ("/api*", "/apis/apps", true),
    ];
    for (pattern, path, allowed) in table {
        let rule =
            Rule { verbs: vec!["get".into()], non_resource_urls: vec![pattern.into()], ..Rule::default() };
        assert_eq!(
            rule.allows(&Attributes::path(&User::default(), "get", path)),
            allowed,
            "{pattern} on {path}"
        );
        assert!(!rule.allows(&Attributes::path(&User::default(), "post", path)), "verb of {pattern}");
    }
}

#[test]
fn bindings_reach_users_groups_and_service_accounts_in_their_namespace() {
    let read = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let (_, authorizer) = authorizer(vec![
        role("ClusterRole", "", "reader", read.clone()),
        role("Role", "a", "local", read),
        binding("", "everywhere", ("ClusterRole", "reader"), user_subject("ann")),
        binding("a", "in-a", ("ClusterRole", "reader"), json!([{"kind": "Group", "name": "devs"}])),
        binding("a", "accounts", ("Role", "local"), json!([{"kind": "ServiceAccount", "name": "bot"}])),
        binding(
            "b",
            "foreign",
            ("ClusterRole", "reader"),
            json!([{"kind": "ServiceAccount", "name": "bot", "namespace": "a"}]),
        ),
    ]);
    let (ann, dev) = (User::new("ann", &[]), User::new("dan", &["devs"]));
    let bot = User::new("system:serviceaccount:a:bot", &[]);
    let table = [
        (
            &ann,
            "get pods a x",
            r#"RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "ann""#,
        ),
        (
            &ann,
            "get pods b x",
            r#"RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "ann""#,
        ),
        (&ann, "list pods b -", ""),
        (
            &dev,
            "get pods a x",
            r#"RBAC: allowed by RoleBinding "in-a/a" of ClusterRole "reader" to Group "devs""#,
        ),
        (&dev, "get pods b x", ""),
        (
            &bot,
            "get pods a x",
            r#"RBAC: allowed by RoleBinding "accounts/a" of Role "local" to ServiceAccount "bot/a""#,
        ),
        (
            &bot,
            "get pods b x",
            r#"RBAC: allowed by RoleBinding "foreign/b" of ClusterRole "reader" to ServiceAccount "bot/a""#,
        ),
        (&bot, "get pods - x", ""),
    ];
    for (user, line, reason) in table {
        let expected = if reason.is_empty() {
            Decision::NoOpinion(String::new())
        } else {
            Decision::Allow(reason.to_owned())
        };
        assert_eq!(
            authorizer.decide_without_webhooks(&request(user, line)),
            expected,
            "{} {line}",
            user.name
        );
    }
}

#[test]
fn a_revoked_binding_or_changed_role_counts_at_once() {
    for versioned in [false, true] {
        let objects = vec![
            role(
                "ClusterRole",
                "",
                "r",
                json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
            ),
            binding("", "b", ("ClusterRole", "r"), user_subject("ann")),
        ];
        let reader = if versioned { MemoryReader::versioned(objects) } else { MemoryReader::with(objects) };
        let authorizer = Authorizer::new(Arc::clone(&reader) as Arc<dyn crate::ObjectReader>);
        let attributes = request(&User::new("ann", &[]), "get pods a x");
        assert!(authorizer.decide_without_webhooks(&attributes).allowed());
        reader.remove("ClusterRole", "r");
        assert_eq!(
            authorizer.decide_without_webhooks(&attributes),
            Decision::NoOpinion(r#"RBAC: clusterrole.rbac.authorization.k8s.io "r" not found"#.to_owned())
        );
        reader.add(role(
            "ClusterRole",
            "",
            "r",
            json!([{"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}]),
        ));
        assert!(
            authorizer.decide_without_webhooks(&request(&User::new("ann", &[]), "get secrets a x")).allowed()
        );
        reader.remove("ClusterRoleBinding", "b");
        assert_eq!(authorizer.decide_without_webhooks(&attributes), Decision::NoOpinion(String::new()));
    }
}

#[test]
fn masters_may_do_anything_without_policy() {
    let (_, authorizer) = authorizer(Vec::new());
    let root = User::new("root", &[GROUP_MASTERS]);
    assert!(authorizer.decide_without_webhooks(&request(&root, "delete nodes - n")).allowed());
    assert!(authorizer.decide_without_webhooks(&Attributes::path(&root, "get", "/metrics")).allowed());
    assert!(!authorizer.decide_without_webhooks(&request(&User::new("x", &[]), "get pods a x")).allowed());
}

#[test]
fn forbidden_messages_are_upstreams() {
    let ann = User::new("ann", &[]);
    assert_eq!(
        request(&ann, "list pods/log a -").forbidden_message(),
        r#"User "ann" cannot list resource "pods/log" in API group "" in the namespace "a""#
    );
    assert_eq!(
        request(&ann, "get apps:deployments - x").forbidden_message(),
        r#"User "ann" cannot get resource "deployments" in API group "apps" at the cluster scope"#
    );
    assert_eq!(
        Attributes::path(&ann, "get", "/metrics").forbidden_message(),
        r#"User "ann" cannot get path "/metrics""#
    );
}

#[test]
fn a_rules_review_lists_what_is_held() {
    let (_, authorizer) = authorizer(crate::bootstrap::objects());
    let review = authorizer.rules_for(&User::new("ann", &[GROUP_AUTHENTICATED]), "default");
    assert!(!review.incomplete && review.evaluation_error.is_empty());
    let status = review.to_status();
    assert!(
        status["resourceRules"].as_array().unwrap().iter().any(|rule| {
            rule["resources"] == json!(["selfsubjectaccessreviews", "selfsubjectrulesreviews"])
        })
    );
    assert!(
        review.non_resource_rules.iter().any(|rule| rule.non_resource_urls.iter().any(|u| u == "/api/*"))
    );
    let node = authorizer.rules_for(&User::new("system:node:n", &["system:nodes"]), "default");
    assert!(node.incomplete);
    assert_eq!(node.evaluation_error, "node authorizer does not support user rule resolution");
}

/// Prints what one decision costs among 1000 bindings; fails if the index is not used.
#[test]
fn a_decision_among_a_thousand_bindings_is_fast() {
    let mut objects = crate::bootstrap::objects();
    for i in 0..1000 {
        objects.push(binding("", &format!("b{i}"), ("ClusterRole", "view"), user_subject(&format!("u{i}"))));
    }
    let authorizer = Authorizer::new(MemoryReader::versioned(objects));
    let user = User::new("u777", &["a", "b", GROUP_AUTHENTICATED]);
    let (yes, no) = (request(&user, "list pods a -"), request(&user, "delete pods a x"));
    assert!(authorizer.decide_without_webhooks(&yes).allowed());
    let rounds = 500;
    let start = Instant::now();
    for _ in 0..rounds {
        assert!(authorizer.decide_without_webhooks(&yes).allowed());
        assert!(!authorizer.decide_without_webhooks(&no).allowed());
    }
    let each = start.elapsed() / (2 * rounds);
    println!("1000 bindings: {each:?} per decision");
    assert!(each.as_micros() < 2000, "{each:?} per decision");
}
