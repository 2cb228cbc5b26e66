use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Reconciled, objects, parse, reconcile};
use crate::authz::{Attributes, Authorizer, Rule, covers};
use crate::testing::MemoryReader;
use crate::{User, text};

#[test]
fn text_becomes_rules() {
    assert_eq!(
        parse("\n  get,list core,apps pods,pods/log a,b\n get url /healthz,/livez/* \n"),
        [
            Rule::from_value(&json!({"verbs": ["get", "list"], "apiGroups": ["", "apps"],
                                     "resources": ["pods", "pods/log"], "resourceNames": ["a", "b"]})),
            Rule::from_value(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez/*"]})),
        ]
    );
}

#[test]
fn every_object_is_whole_unique_and_marked() {
    let mut seen = BTreeSet::new();
    for object in objects() {
        let key = ["/kind", "/metadata/namespace", "/metadata/name"].map(|at| text(&object, at).to_owned());
        assert!(seen.insert(key.clone()), "twice: {key:?}");
        assert_eq!(object["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
        assert_eq!(object["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"], "true");
        for rule in object["rules"].as_array().into_iter().flatten() {
            let parsed = Rule::from_value(rule);
            assert!(!parsed.verbs.is_empty(), "{key:?}: {rule}");
            let on_resources = !parsed.api_groups.is_empty() && !parsed.resources.is_empty();
            assert_eq!(on_resources, parsed.non_resource_urls.is_empty(), "{key:?}: {rule}");
            assert_eq!(serde_json::to_value(&parsed).unwrap(), *rule, "{key:?}");
        }
    }
    assert!(seen.len() > 130, "{} objects", seen.len());
}

#[test]
fn every_binding_names_a_role_that_comes_before_it() {
    let mut roles = BTreeSet::new();
    for object in objects() {
        let namespace = text(&object, "/metadata/namespace").to_owned();
        match text(&object, "/kind") {
            kind @ ("Role" | "ClusterRole") => {
                roles.insert((kind.to_owned(), namespace, text(&object, "/metadata/name").to_owned()));
            }
            _ => {
                let kind = text(&object, "/roleRef/kind").to_owned();
                let namespace = if kind == "Role" { namespace } else { String::new() };
                let role = (kind, namespace, text(&object, "/roleRef/name").to_owned());
                assert!(roles.contains(&role), "{role:?}");
            }
        }
    }
}

fn rules_of(objects: &[Value], name: &str) -> Vec<Rule> {
    let role =
        objects.iter().find(|o| text(o, "/kind") == "ClusterRole" && text(o, "/metadata/name") == name);
    Rule::all_of(role.unwrap())
}

#[test]
fn admin_covers_edit_covers_view_and_no_secret_is_in_view() {
    let all = objects();
    let [admin, edit, view] = ["admin", "edit", "view"].map(|name| rules_of(&all, name));
    assert!(covers(&admin, &edit).is_empty());
    assert!(covers(&edit, &view).is_empty());
    assert!(!covers(&view, &edit).is_empty());
    let secret = Attributes::resource(&User::default(), "get", "", "secrets", "a", "x");
    assert!(!view.iter().any(|rule| rule.allows(&secret)));
    assert!(edit.iter().any(|rule| rule.allows(&secret)));
    let role =
        Attributes::resource(&User::default(), "create", "rbac.authorization.k8s.io", "roles", "a", "x");
    assert!(!edit.iter().any(|rule| rule.allows(&role)));
    assert!(admin.iter().any(|rule| rule.allows(&role)));
    // The stored rules equal what the aggregation controller would compute from the labels.
    for (name, own) in [("admin", &admin), ("edit", &edit), ("view", &view)] {
        let label = format!("/metadata/labels/rbac.authorization.k8s.io~1aggregate-to-{name}");
        let parts = all.iter().filter(|role| text(role, &label) == "true");
        let parts: Vec<Rule> = parts.flat_map(Rule::all_of).collect();
        assert!(covers(own, &parts).is_empty() && covers(&parts, own).is_empty(), "{name}");
    }
}

#[test]
fn components_hold_what_they_need_and_the_anonymous_almost_nothing() {
    let authorizer = Authorizer::new(MemoryReader::with(objects()));
    let manager = User::new("system:kube-controller-manager", &["system:authenticated"]);
    let scheduler = User::new("system:kube-scheduler", &["system:authenticated"]);
    let kubelet_client = User::new("kube-apiserver-kubelet-client", &["system:authenticated"]);
    let kubeadm_admin = User::new("kubernetes-admin", &["kubeadm:cluster-admins"]);
    let job = User::new("system:serviceaccount:kube-system:job-controller", &["system:serviceaccounts"]);
    let anonymous = User::anonymous();
    let (definitions, pools) = ("apiextensions.k8s.io", "loadbalancerpools.network.xebec.dev");
    let table: &[(&User, &str, &str, &str, &str, &str, bool)] = &[
        (&manager, "list", "apps", "deployments", "", "", true),
        (&manager, "update", "coordination.k8s.io", "leases", "kube-system", "kube-controller-manager", true),
        (&manager, "delete", "", "pods", "a", "x", false),
        (&manager, "create", definitions, "customresourcedefinitions", "", "", true),
        (&manager, "patch", definitions, "customresourcedefinitions", "", pools, true),
        (&manager, "patch", definitions, "customresourcedefinitions", "", "others.example.com", false),
        (&scheduler, "update", "coordination.k8s.io", "leases", "kube-system", "kube-scheduler", true),
        (&scheduler, "watch", "", "pods", "", "", true),
        (&scheduler, "get", "", "configmaps", "kube-system", "extension-apiserver-authentication", true),
        (&scheduler, "get", "", "secrets", "a", "x", false),
        (&kubeadm_admin, "delete", "", "nodes", "", "n", true),
        (&job, "create", "", "pods", "a", "", true),
        (&job, "create", "", "secrets", "a", "", false),
        (&anonymous, "get", "", "pods", "a", "x", false),
    ];
    for (user, verb, group, resource, namespace, name, allowed) in table {
        let attributes = Attributes::resource(user, verb, group, resource, namespace, name);
        assert_eq!(
            authorizer.decide_without_webhooks(&attributes).allowed(),
            *allowed,
            "{}",
            attributes.forbidden_message()
        );
    }
    let proxy = Attributes::resource(&kubelet_client, "get", "", "nodes", "", "n").with_subresource("proxy");
    assert!(authorizer.decide_without_webhooks(&proxy).allowed());
    let binding =
        Attributes::resource(&scheduler, "create", "", "pods", "a", "x").with_subresource("binding");
    assert!(authorizer.decide_without_webhooks(&binding).allowed());
    for (user, path, allowed) in [
        (&anonymous, "/healthz", true),
        (&anonymous, "/version", true),
        (&anonymous, "/api", false),
        (&anonymous, "/metrics", false),
        (&scheduler, "/apis/apps", true),
        (&scheduler, "/openapi/v3", true),
        (&scheduler, "/metrics", false),
        (&job, "/openid/v1/jwks", true),
    ] {
        let attributes = Attributes::path(user, "get", path);
        assert_eq!(
            authorizer.decide_without_webhooks(&attributes).allowed(),
            allowed,
            "{}",
            attributes.forbidden_message()
        );
    }
}

fn named(kind: &str, name: &str) -> Value {
    let found = objects().into_iter().find(|o| text(o, "/kind") == kind && text(o, "/metadata/name") == name);
    found.unwrap()
}

#[test]
fn what_is_in_order_is_left_alone() {
    for object in objects() {
        assert_eq!(reconcile(&object, &object), Reconciled::InOrder, "{}", object["metadata"]);
    }
    // More rights, subjects and labels than ours are the operator's business.
    let mut wider = named("ClusterRole", "system:discovery");
    wider["rules"].as_array_mut().unwrap().push(json!({"verbs": ["get"], "nonResourceURLs": ["/own"]}));
    wider["metadata"]["labels"]["own"] = json!("x");
    assert_eq!(reconcile(&wider, &named("ClusterRole", "system:discovery")), Reconciled::InOrder);
}

#[test]
fn what_lacks_something_gets_it_and_keeps_the_rest() {
    let wanted = named("ClusterRole", "system:kube-dns");
    let mut old = wanted.clone();
    old["metadata"]["uid"] = json!("1");
    old["metadata"]["labels"] = Value::Null;
    old["rules"] = json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["endpoints", "own"]}]);
    let Reconciled::Update(new) = reconcile(&old, &wanted) else { panic!("must be updated") };
    assert_eq!(new["metadata"]["uid"], "1");
    assert_eq!(new["metadata"]["labels"], wanted["metadata"]["labels"]);
    let rules = Rule::all_of(&new);
    assert!(
        covers(&rules, &Rule::all_of(&wanted)).is_empty() && covers(&rules, &Rule::all_of(&old)).is_empty()
    );
    assert_eq!(reconcile(&new, &wanted), Reconciled::InOrder);

    let wanted = named("ClusterRoleBinding", "system:public-info-viewer");
    let mut old = wanted.clone();
    old["subjects"] = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "own"}]);
    let Reconciled::Update(new) = reconcile(&old, &wanted) else { panic!("must be updated") };
    assert_eq!(new["subjects"].as_array().unwrap().len(), 3);

    let mut admin = named("ClusterRole", "admin");
    admin["rules"] = json!([]);
    // The rules of an aggregated role are the aggregation controller's.
    assert_eq!(reconcile(&admin, &named("ClusterRole", "admin")), Reconciled::InOrder);
    admin["aggregationRule"] = Value::Null;
    assert!(matches!(reconcile(&admin, &named("ClusterRole", "admin")), Reconciled::Update(_)));
}

#[test]
fn an_operator_can_opt_out_and_a_binding_to_another_role_is_made_anew() {
    let wanted = named("ClusterRole", "system:kube-dns");
    let mut own = wanted.clone();
    own["rules"] = json!([]);
    own["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = json!("false");
    assert_eq!(reconcile(&own, &wanted), Reconciled::InOrder);

    let wanted = named("ClusterRoleBinding", "cluster-admin");
    let mut other = wanted.clone();
    other["roleRef"]["name"] = json!("view");
    assert_eq!(reconcile(&other, &wanted), Reconciled::Recreate(wanted));
}
