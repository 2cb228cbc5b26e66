//! The flow control objects every cluster has: the mandatory ones and the suggested ones of 1.36.
//!
//! Authority: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults

use serde_json::{Value, json};
use xebec_kinds::flowcontrol::mandatory;

/// Says that the server keeps the object's spec at its own default; an operator sets it to `false` to take over.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// The names of the mandatory levels, and of the mandatory schemas too.
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// `exempt` and `catch-all`.
#[must_use]
pub fn mandatory_levels() -> Vec<Value> {
    made("PriorityLevelConfiguration", mandatory::priority_level)
}

/// The levels of the cluster's own components and of everybody else.
#[must_use]
pub fn suggested_levels() -> Vec<Value> {
    // name, shares, lendable percent, queues, hand size
    [
        ("system", 30, 33, 64, 6),
        ("node-high", 40, 25, 64, 6),
        ("leader-election", 10, 0, 16, 4),
        ("workload-high", 40, 50, 128, 6),
        ("workload-low", 100, 90, 128, 6),
        ("global-default", 20, 50, 128, 6),
    ]
    .map(|(name, shares, lendable, queues, hand)| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing},
        });
        level(name, json!({"type": "Limited", "limited": limited}))
    })
    .to_vec()
}

/// `exempt` for system:masters, `catch-all` for everyone.
#[must_use]
pub fn mandatory_schemas() -> Vec<Value> {
    made("FlowSchema", mandatory::flow_schema)
}

fn made(kind: &str, spec: fn(&str) -> Option<Value>) -> Vec<Value> {
    MANDATORY.into_iter().filter_map(|name| Some(object(kind, name, spec(name)?))).collect()
}

/// Which requests go to the suggested levels.
#[must_use]
pub fn suggested_schemas() -> Vec<Value> {
    let get_create_update = json!(["get", "create", "update"]);
    let probes = json!({"subjects": everyone(), "nonResourceRules": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]});
    let leases =
        |namespace: &str| resources(&get_create_update, "coordination.k8s.io", &["leases"], namespace, false);
    let mut leaders = users(&["system:kube-controller-manager", "system:kube-scheduler"]);
    leaders.extend(kube_system_accounts(&["*"]));
    let mut endpoints = users(&["system:kube-controller-manager"]);
    endpoints.extend(kube_system_accounts(&["endpoint-controller", "endpointslicemirroring-controller"]));
    let node_high = json!({"subjects": groups(&["system:nodes"]), "resourceRules": [
        resources(&json!(["*"]), "", &["nodes", "nodes/status"], "*", true),
        resources(&json!(["*"]), "coordination.k8s.io", &["leases"], "*", false)]});
    let rule =
        |subjects: Vec<Value>, resource: Value| json!({"subjects": subjects, "resourceRules": [resource]});
    vec![
        schema("probes", "exempt", 2, "", vec![probes]),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            vec![rule(leaders, leases("kube-system"))],
        ),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            "ByUser",
            vec![rule(endpoints, resources(&get_create_update, "", &["endpoints"], "*", false))],
        ),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            "ByUser",
            vec![rule(kube_system_accounts(&["*"]), leases("*"))],
        ),
        schema("system-node-high", "node-high", 400, "ByUser", vec![node_high]),
        schema("system-nodes", "system", 500, "ByUser", vec![everything(groups(&["system:nodes"]))]),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            "ByNamespace",
            vec![everything(users(&["system:kube-controller-manager"]))],
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            "ByNamespace",
            vec![everything(users(&["system:kube-scheduler"]))],
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            "ByNamespace",
            vec![everything(kube_system_accounts(&["*"]))],
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            "ByUser",
            vec![everything(groups(&["system:serviceaccounts"]))],
        ),
        schema("global-default", "global-default", 9900, "ByUser", vec![everything(everyone())]),
    ]
}

fn level(name: &str, spec: Value) -> Value {
    object("PriorityLevelConfiguration", name, spec)
}

fn schema(name: &str, level: &str, precedence: u32, distinguisher: &str, rules: Vec<Value>) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules,
    });
    if !distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({"type": distinguisher});
    }
    object("FlowSchema", name, spec)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec,
    })
}

fn everything(subjects: Vec<Value>) -> Value {
    json!({
        "subjects": subjects,
        "resourceRules": [resources(&json!(["*"]), "*", &["*"], "*", true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

fn resources(verbs: &Value, group: &str, resources: &[&str], namespace: &str, cluster: bool) -> Value {
    let mut rule =
        json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": [namespace]});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn everyone() -> Vec<Value> {
    groups(&["system:unauthenticated", "system:authenticated"])
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn kube_system_accounts(names: &[&str]) -> Vec<Value> {
    let account = |name: &&str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}});
    names.iter().map(account).collect()
}
