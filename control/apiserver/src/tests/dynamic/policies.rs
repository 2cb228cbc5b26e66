//! Policies through the front door.

use std::time::Duration;

use serde_json::{Value, json};

use super::{API, DEPLOYMENTS, MAPS, MERGE, PODS, deployment, made, map, pod, warnings};
use crate::tests::harness::Cluster;

fn rules(group: &str, resource: &str) -> Value {
    json!({"resourceRules": [
        {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]},
    ]})
}

async fn validating(cluster: &Cluster, name: &str, spec: Value, binding: Value) {
    let value = json!({"metadata": {"name": name}, "spec": spec});
    made(cluster, &format!("{API}/validatingadmissionpolicies"), &value).await;
    let mut whole = json!({"policyName": name, "validationActions": ["Deny"]});
    for (field, value) in binding.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    let value = json!({"metadata": {"name": format!("{name}-binding")}, "spec": whole});
    made(cluster, &format!("{API}/validatingadmissionpolicybindings"), &value).await;
}

async fn mutating(cluster: &Cluster, name: &str, spec: Value) {
    let value = json!({"metadata": {"name": name}, "spec": spec});
    made(cluster, &format!("{API}/mutatingadmissionpolicies"), &value).await;
    let value = json!({"metadata": {"name": format!("{name}-binding")}, "spec": {"policyName": name}});
    made(cluster, &format!("{API}/mutatingadmissionpolicybindings"), &value).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_limited_by_a_config_map() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "failurePolicy": "Fail", "matchConstraints": rules("apps", "deployments"),
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "most", "expression": "int(params.data['most'])"}],
        "validations": [{
            "expression": "object.spec.replicas <= variables.most", "reason": "Forbidden",
            "messageExpression": "'at most ' + string(variables.most) + ' replicas'",
        }],
    });
    let reference =
        json!({"paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    validating(&cluster, "replicas", spec, reference).await;
    let refused = cluster.post(DEPLOYMENTS, &deployment("d", 1)).await;
    assert!(
        refused.message().ends_with("no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{}",
        refused.text
    );
    made(&cluster, MAPS, &map("limits", &json!({"most": "3"}))).await;
    made(&cluster, DEPLOYMENTS, &deployment("d", 3)).await;
    let refused = cluster.patch(&format!("{DEPLOYMENTS}/d"), MERGE, &json!({"spec": {"replicas": 4}})).await;
    assert_eq!((refused.code, refused.json()["reason"].clone()), (403, json!("Forbidden")));
    assert_eq!(
        refused.message(),
        "deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'replicas-binding' \
         denied request: at most 3 replicas"
    );
    // The scale subresource is another resource, which the policy does not name.
    let scaled =
        cluster.patch(&format!("{DEPLOYMENTS}/d/scale"), MERGE, &json!({"spec": {"replicas": 9}})).await;
    assert_eq!(scaled.code, 200, "{}", scaled.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_reach_the_client() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "matchConstraints": rules("", "configmaps"),
        "validations": [{"expression": "has(object.data) && size(object.data) > 0", "message": "empty"}],
    });
    validating(&cluster, "full", spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let answer = cluster.post(MAPS, &map("a", &json!({}))).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(
        warnings(&answer),
        [
            "299 - \"Validation failed for ValidatingAdmissionPolicy 'full' with binding 'full-binding': empty\""
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authorizer_and_the_namespace_are_the_servers_own() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "matchConstraints": rules("", "configmaps"),
        "validations": [
            {"expression": "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'"},
            {"expression": "authorizer.requestResource.check('anything').allowed()"},
            {"expression": "!authorizer.serviceAccount('default', 'nobody').group('').resource('pods').check('list').allowed()"},
        ],
    });
    validating(&cluster, "q", spec, json!({})).await;
    made(&cluster, MAPS, &map("a", &json!({}))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutations_merge_and_patch() {
    let cluster = Cluster::start().await;
    let sidecar = r#"Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
        containers: [Object.spec.template.spec.containers{name: "mesh", image: "mesh:1"}]}}}}"#;
    let label = r#"[JSONPatch{op: "add", path: "/metadata/annotations", value: {"replicas": string(object.spec.replicas)}}]"#;
    mutating(
        &cluster,
        "mesh",
        json!({
            "matchConstraints": rules("apps", "deployments"), "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": sidecar}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression": label}},
            ],
        }),
    )
    .await;
    let created = made(&cluster, DEPLOYMENTS, &deployment("d", 2)).await;
    let containers = &created["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["name"], &containers[1]["name"]), (&json!("c"), &json!("mesh")));
    assert_eq!(containers[1]["imagePullPolicy"], "IfNotPresent", "defaulted");
    assert_eq!(created["metadata"]["annotations"]["replicas"], "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atomic_fields_are_not_merged_into() {
    let cluster = Cluster::start().await;
    let expression = "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'x': 'y'}}}}";
    mutating(
        &cluster,
        "bad",
        json!({
            "matchConstraints": rules("apps", "deployments"), "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        }),
    )
    .await;
    let refused = cluster.post(DEPLOYMENTS, &deployment("d", 1)).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "policy 'bad' with binding 'bad-binding' denied request: error applying patch: invalid ApplyConfiguration: may \
         not mutate atomic arrays, maps or structs: .spec.selector"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_type_checked_in_their_status() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "matchConstraints": rules("apps", "deployments"),
        "validations": [{"expression": "object.spec.replicaz > 1"}, {"expression": "object.spec.replicas > 0"}],
    });
    validating(&cluster, "typo", spec, json!({"validationActions": ["Warn"]})).await;
    let path = format!("{API}/validatingadmissionpolicies/typo");
    let mut policy = Value::Null;
    for _ in 0..100 {
        policy = cluster.get(&path).await.json();
        if policy["status"]["observedGeneration"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(policy["status"]["observedGeneration"], 1, "{policy}");
    let found = policy["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    assert_eq!((found.len(), found[0]["fieldRef"].as_str()), (1, Some("spec.validations[0].expression")));
    let text = found[0]["warning"].as_str().unwrap();
    assert!(
        text.starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replicaz'"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_that_do_not_compile_are_refused() {
    let cluster = Cluster::start().await;
    let mut policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": rules("apps", "deployments"),
        "validations": [{"expression": "object.spec.replicas", "messageExpression": "params.x"}],
    }});
    let path = format!("{API}/validatingadmissionpolicies");
    let refused = cluster.post(&path, &policy).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let causes = refused.json()["details"]["causes"].clone();
    assert_eq!(
        (&causes[0]["field"], &causes[0]["message"]),
        (
            &json!("spec.validations[0].expression"),
            &json!("Invalid value: \"object.spec.replicas\": must evaluate to bool but got dyn")
        )
    );
    assert_eq!(causes[1]["field"], "spec.validations[0].messageExpression");
    assert!(causes[1]["message"].as_str().unwrap().contains("undeclared reference to 'params'"), "{causes}");
    policy["spec"]["validations"] = json!([{"expression": "object.spec.replicas > 0"}]);
    made(&cluster, &path, &policy).await;
    let change = json!({"spec": {"validations": [{"expression": "nonsense("}]}});
    let refused = cluster.patch(&format!("{path}/p"), MERGE, &change).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let webhook = json!({"metadata": {"name": "w"}, "webhooks": [{
        "name": "w.example.com", "clientConfig": {"url": "https://localhost:1/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "matchConditions": [{"name": "c", "expression": "variables.x"}],
    }]});
    let refused = cluster.post(&format!("{API}/validatingwebhookconfigurations"), &webhook).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert!(refused.message().contains("webhooks[0].matchConditions[0].expression"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_admitted_by_their_options() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    made(&cluster, PODS, &pod("p")).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(cluster.post(&format!("{PODS}/p/binding"), &binding).await.code, 201);
    let mut constraints = rules("", "pods/exec");
    constraints["resourceRules"][0]["operations"] = json!(["CONNECT"]);
    let spec = json!({
        "matchConstraints": constraints,
        "validations": [{"expression": "object.command[0] != 'rm'", "message": "not that", "reason": "Forbidden"}],
    });
    validating(&cluster, "exec", spec, json!({})).await;
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ];
    let exec = |command: &str| format!("{PODS}/p/exec?stdout=1&command={command}");
    let refused = cluster.send("GET", &exec("rm"), &upgrade, "").await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    assert!(
        refused.message().ends_with("with binding 'exec-binding' denied request: not that"),
        "{}",
        refused.text
    );
    let missing = cluster.send("GET", &exec("ls"), &upgrade, "").await;
    assert!(
        !missing.text.contains("denied request"),
        "the node is missing, admission passed: {}",
        missing.text
    );
}
