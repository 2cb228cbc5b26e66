use serde_json::json;

use super::super::{EscalationError, Rule, covers};
use super::{authorizer, binding, role, user_subject};
use crate::testing::now;
use crate::{GROUP_MASTERS, User};

fn rules(text: serde_json::Value) -> Vec<Rule> {
    Rule::all_of(&json!({"rules": text}))
}

#[test]
fn covering_is_upstreams() {
    let rule = |verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]| {
        rules(json!([{"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names}]))
    };
    let table = [
        (rule(&["get", "list"], &[""], &["pods"], &[]), rule(&["get"], &[""], &["pods"], &[]), true),
        (rule(&["get"], &[""], &["pods"], &[]), rule(&["get", "list"], &[""], &["pods"], &[]), false),
        (rule(&["*"], &["*"], &["*"], &[]), rule(&["x"], &["y"], &["z/w"], &["n"]), true),
        (rule(&["get"], &[""], &["pods"], &["a"]), rule(&["get"], &[""], &["pods"], &[]), false),
        (rule(&["get"], &[""], &["pods"], &[]), rule(&["get"], &[""], &["pods"], &["a"]), true),
        (rule(&["get"], &[""], &["*/scale"], &[]), rule(&["get"], &[""], &["pods/scale"], &[]), true),
        (rule(&["get"], &[""], &["*/scale"], &[]), rule(&["get"], &[""], &["pods"], &[]), false),
        (rule(&["get"], &[""], &["pods"], &[]), rule(&["*"], &[""], &["pods"], &[]), false),
    ];
    for (held, wanted, covered) in table {
        assert_eq!(covers(&held, &wanted).is_empty(), covered, "{} by {}", wanted[0], held[0]);
    }
    let paths = |path: &str| rules(json!([{"verbs": ["get"], "nonResourceURLs": [path]}]));
    assert!(covers(&paths("/api/*"), &paths("/api/v1")).is_empty());
    assert!(!covers(&paths("/api"), &paths("/api/v1")).is_empty());
}

fn world() -> Vec<serde_json::Value> {
    let secrets = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]);
    vec![
        role(
            "ClusterRole",
            "",
            "pods",
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
        ),
        role("ClusterRole", "", "secrets", secrets),
        role(
            "ClusterRole",
            "",
            "binder",
            json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
                    "resourceNames": ["secrets"], "verbs": ["bind"]}]),
        ),
        role(
            "ClusterRole",
            "",
            "escalator",
            json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}]),
        ),
        binding("a", "ann-pods", ("ClusterRole", "pods"), user_subject("ann")),
        binding("", "ben", ("ClusterRole", "binder"), user_subject("ben")),
        binding("", "eve", ("ClusterRole", "escalator"), user_subject("eve")),
    ]
}

#[test]
fn a_role_grants_only_what_its_author_holds() {
    let (_, authorizer) = authorizer(world());
    let ann = User::new("ann", &["devs", "system:authenticated"]);
    let pods = role("Role", "a", "r", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]));
    assert_eq!(now(authorizer.check_role_write(&ann, "roles", &pods, None)), Ok(()));
    let wide = role(
        "Role",
        "a",
        "r",
        json!([{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "delete"]}]),
    );
    let error = now(authorizer.check_role_write(&ann, "roles", &wide, None)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "user \"ann\" (groups=[\"devs\" \"system:authenticated\"]) is attempting to grant RBAC permissions not \
         currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\"]}"
    );
    // Held in a, not in b.
    let elsewhere = role("Role", "b", "r", pods["rules"].clone());
    assert!(now(authorizer.check_role_write(&ann, "roles", &elsewhere, None)).is_err());
    // An update that changes no rule is free.
    assert_eq!(now(authorizer.check_role_write(&ann, "roles", &wide, Some(&wide))), Ok(()));
    assert_eq!(
        now(authorizer.check_role_write(&User::new("root", &[GROUP_MASTERS]), "roles", &wide, None)),
        Ok(())
    );
    assert_eq!(now(authorizer.check_role_write(&User::new("eve", &[]), "roles", &wide, None)), Ok(()));
    assert!(now(authorizer.check_role_write(&User::new("eve", &[]), "clusterroles", &wide, None)).is_err());
}

#[test]
fn aggregation_is_for_cluster_administrators() {
    let (reader, authorizer) = authorizer(world());
    let ann = User::new("ann", &[]);
    let mut aggregated = role("ClusterRole", "", "sum", json!([]));
    aggregated["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]});
    let check = || now(authorizer.check_role_write(&ann, "clusterroles", &aggregated, None));
    assert_eq!(check(), Err(EscalationError::Aggregation));
    reader.add(role(
        "ClusterRole",
        "",
        "all",
        json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]),
    ));
    reader.add(binding("", "ann-all", ("ClusterRole", "all"), user_subject("ann")));
    assert_eq!(check(), Ok(()));
}

#[test]
fn a_binding_needs_the_rights_or_the_verb_bind() {
    let (_, authorizer) = authorizer(world());
    let (ann, ben) = (User::new("ann", &[]), User::new("ben", &[]));
    let bind = |role: &str| binding("a", "new", ("ClusterRole", role), user_subject("mallory"));
    assert_eq!(now(authorizer.check_binding_write(&ann, &bind("pods"), None)), Ok(()));
    assert!(matches!(
        now(authorizer.check_binding_write(&ann, &bind("secrets"), None)),
        Err(EscalationError::NotHeld(_))
    ));
    assert_eq!(now(authorizer.check_binding_write(&ben, &bind("secrets"), None)), Ok(()));
    assert!(now(authorizer.check_binding_write(&ben, &bind("pods"), None)).is_err());
    assert_eq!(
        now(authorizer.check_binding_write(&ann, &bind("absent"), None)),
        Err(EscalationError::RoleNotFound { plural: "clusterroles".into(), name: "absent".into() })
    );
    let secrets = bind("secrets");
    assert_eq!(now(authorizer.check_binding_write(&ann, &secrets, Some(&secrets))), Ok(()));
}
