//! Webhooks through the front door: what they see, what they change, what they refuse.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use xebec_store::Expect;

use super::hook::{Hook, configuration, patching};
use super::{API, DEPLOYMENTS, MAPS, MERGE, PODS, deployment, made, map, pod, warnings};
use crate::tests::harness::Cluster;

async fn mutating(cluster: &Cluster, hook: &Hook, name: &str, resources: &[&str], extra: Value) {
    let value = configuration("MutatingWebhookConfiguration", name, hook.url(), resources, &extra);
    made(cluster, &format!("{API}/mutatingwebhookconfigurations"), &value).await;
}

async fn validating(cluster: &Cluster, hook: &Hook, name: &str, resources: &[&str], extra: Value) {
    let value = configuration("ValidatingWebhookConfiguration", name, hook.url(), resources, &extra);
    made(cluster, &format!("{API}/validatingwebhookconfigurations"), &value).await;
}

fn allow(_: &Value) -> Value {
    json!({"allowed": true})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutating_webhook_changes_what_is_stored() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, |request| {
        if request["operation"] == "DELETE" {
            return json!({"allowed": true});
        }
        patching(&json!([{"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}}]))
    })
    .await;
    mutating(&cluster, &hook, "m", &["configmaps"], json!({})).await;
    let path = format!("{MAPS}?fieldManager=me");
    let created = made(&cluster, &path, &map("a", &json!({"k": "v"}))).await;
    assert_eq!(created["metadata"]["labels"]["by"], "hook");
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.json()["metadata"]["labels"]["by"], "hook");
    let request = hook.last();
    assert_eq!(
        (&request["operation"], &request["name"], &request["namespace"]),
        (&json!("CREATE"), &json!("a"), &json!("default"))
    );
    assert_eq!(
        request["options"],
        json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"})
    );
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(request["object"]["metadata"].get("uid"), None, "the server has not made it yet");

    let patched = cluster.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"k": "w"}})).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    let request = hook.last();
    assert_eq!((&request["operation"], &request["oldObject"]["data"]["k"]), (&json!("UPDATE"), &json!("v")));
    assert_eq!(request["object"]["data"]["k"], "w");

    let dry = cluster.post(&format!("{MAPS}?dryRun=All"), &map("dry", &json!({}))).await;
    assert_eq!((dry.code, hook.last()["dryRun"].clone()), (201, json!(true)));
    let deleted = cluster.send("DELETE", &format!("{MAPS}/a?gracePeriodSeconds=0"), &[], "").await;
    assert_eq!(deleted.code, 200, "{}", deleted.text);
    let request = hook.last();
    assert_eq!((&request["operation"], &request["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(
        (&request["oldObject"]["data"]["k"], &request["options"]["gracePeriodSeconds"]),
        (&json!("w"), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_made_after_mutation_and_seen_by_validation() {
    let cluster = Cluster::start().await;
    let first = Hook::start(&cluster, allow).await;
    let then = Hook::start(&cluster, allow).await;
    mutating(&cluster, &first, "m", &["configmaps"], json!({})).await;
    validating(&cluster, &then, "v", &["configmaps"], json!({})).await;
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}});
    let created = made(&cluster, MAPS, &value).await;
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");
    assert_eq!(first.last()["object"]["metadata"].get("name"), None);
    assert_eq!(then.last()["object"]["metadata"]["name"], name);
    assert!(first.last().get("name").is_none() && then.last().get("name").is_none());
    assert_eq!(then.last()["object"]["metadata"]["uid"], created["metadata"]["uid"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validating_webhook_refuses_every_kind_of_write() {
    let cluster = Cluster::start().await;
    made(&cluster, MAPS, &map("kept", &json!({"k": "v"}))).await;
    let hook = Hook::start(&cluster, |_| {
        json!({"allowed": false, "status": {"message": "frozen", "code": 403}, "warnings": ["it is \"old\""]})
    })
    .await;
    validating(&cluster, &hook, "v", &["configmaps"], json!({})).await;
    let answers = [
        cluster.post(MAPS, &map("new", &json!({}))).await,
        cluster.patch(&format!("{MAPS}/kept"), MERGE, &json!({"data": {"k": "w"}})).await,
        cluster.send("DELETE", &format!("{MAPS}/kept"), &[], "").await,
        cluster.send("DELETE", MAPS, &[], "").await,
        cluster
            .send(
                "PATCH",
                &format!("{MAPS}/applied?fieldManager=f"),
                &[("content-type", "application/apply-patch+yaml")],
                map("applied", &json!({})).to_string(),
            )
            .await,
    ];
    for answer in answers {
        assert_eq!(answer.code, 403, "{}", answer.text);
        assert_eq!(answer.message(), "admission webhook \"v.example.com\" denied the request: frozen");
        assert_eq!(warnings(&answer), ["299 - \"it is \\\"old\\\"\""]);
    }
    assert_eq!(cluster.get(&format!("{MAPS}/kept")).await.json()["data"]["k"], "v");
    assert_eq!(cluster.get(&format!("{MAPS}/new")).await.code, 404);
    // The configuration itself can always be removed.
    let path = format!("{API}/validatingwebhookconfigurations/v");
    assert_eq!(cluster.send("DELETE", &path, &[], "").await.code, 200);
    assert_eq!(cluster.post(MAPS, &map("new", &json!({}))).await.code, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_down_obeys_its_failure_policy_and_is_counted() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, allow).await;
    let client = hook.url();
    let port = hook.address.port();
    drop(hook);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    for (name, failure) in [("open", "Ignore"), ("closed", "Fail")] {
        let value = configuration(
            "ValidatingWebhookConfiguration",
            name,
            client.clone(),
            &["configmaps"],
            &json!({"failurePolicy": failure}),
        );
        made(&cluster, &format!("{API}/validatingwebhookconfigurations"), &value).await;
    }
    let answer = cluster.post(MAPS, &map("a", &json!({}))).await;
    assert_eq!((answer.code, answer.json()["reason"].clone()), (500, json!("InternalError")));
    let message = answer.message();
    let start = format!(
        "Internal error occurred: failed calling webhook \"closed.example.com\": failed to call webhook: Post \
         \"https://localhost:{port}/?timeout=5s\": dial tcp "
    );
    assert!(message.starts_with(&start) && message.ends_with("connect: connection refused"), "{message}");
    let metrics = cluster.get("/metrics").await.text;
    assert!(
        metrics.contains(
            "apiserver_admission_webhook_fail_open_count{name=\"open.example.com\",type=\"validating\"} 1"
        ),
        "{metrics}"
    );
    assert!(
        metrics.contains("apiserver_admission_webhook_rejection_count{error_type=\"calling_webhook_error\"")
    );
    assert_eq!(
        cluster.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}})).await.code,
        201
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_found_by_their_endpoints() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, allow).await;
    let webhooks = format!("{API}/validatingwebhookconfigurations");
    let hooked = |client: Value| {
        configuration("ValidatingWebhookConfiguration", "v", client, &["configmaps"], &json!({}))
    };
    made(&cluster, &webhooks, &hooked(hook.service(None))).await;
    let refused = |answer: crate::tests::harness::Answer, port: u16| {
        let before = format!("Post \"https://hook.default.svc:{port}/review?timeout=5s\": ");
        answer.message().rsplit(&before).next().unwrap().to_owned()
    };
    let ask = async |name: &str| cluster.post(MAPS, &map(name, &json!({}))).await;
    assert_eq!(refused(ask("a").await, 443), "service \"hook\" not found");
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [
        {"name": "main", "port": 443, "targetPort": 8443}, {"name": "other", "port": 9443}]}});
    made(&cluster, "/api/v1/namespaces/default/services", &service).await;
    assert_eq!(refused(ask("a").await, 443), "no endpoints available for service \"hook\"");
    // No client may name loopback addresses, so the slice is put into the store itself.
    let slice = |port: &str| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": port, "namespace": "default", "labels": {"kubernetes.io/service-name": "hook"}},
            "ports": [{"name": port, "port": hook.address.port(), "protocol": "TCP"}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        })
    };
    let add = async |port: &str| {
        let key = format!("/registry/discovery.k8s.io/endpointslices/default/{port}");
        cluster.store.put(&key, Bytes::from(slice(port).to_string()), Expect::Absent).await.unwrap();
    };
    add("main").await;
    assert_eq!(ask("a").await.code, 201);
    assert_eq!(hook.paths(), ["/review"]);

    // Another port of the Service has endpoints of its own.
    let point = async |client: Value| {
        let client = json!({"webhooks": [{"name": "v.example.com", "clientConfig": client}]});
        let kind = "application/strategic-merge-patch+json";
        let answer = cluster.patch(&format!("{webhooks}/v"), kind, &client).await;
        assert_eq!(answer.code, 200, "{}", answer.text);
    };
    point(hook.service(Some(9443))).await;
    assert_eq!(refused(ask("b").await, 9443), "no endpoints available for service \"hook\"");
    add("other").await;
    assert_eq!(ask("b").await.code, 201);
    assert_eq!(hook.paths(), ["/review", "/review"]);
    point(hook.service(Some(9444))).await;
    assert_eq!(refused(ask("c").await, 9444), "no service port 9444 found for service \"hook\"");

    // Only the bundle's authority vouches for the webhook, and only for the Service's name.
    let mut wrong = hook.service(Some(9443));
    let other = std::fs::read(cluster.pki.path("front-proxy-ca.crt")).unwrap();
    wrong["caBundle"] = json!(STANDARD.encode(other));
    point(wrong).await;
    let reason = refused(ask("c").await, 9443);
    assert!(reason.starts_with("tls: failed to verify certificate: "), "{reason}");
    assert_eq!(hook.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_added_by_a_webhook_get_what_the_server_adds() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    let hook = Hook::start(&cluster, |_| {
        patching(
            &json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "s"}}]),
        )
    })
    .await;
    mutating(&cluster, &hook, "m", &["pods"], json!({})).await;
    let created = made(&cluster, PODS, &pod("p")).await;
    let sidecar = &created["spec"]["containers"][1];
    assert_eq!(
        (&sidecar["name"], &sidecar["terminationMessagePolicy"]),
        (&json!("sidecar"), &json!("File")),
        "defaulted"
    );
    assert_eq!(
        sidecar["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount",
        "the account's token is mounted in the second round"
    );
    assert_eq!(created["spec"]["volumes"].as_array().unwrap().len(), 1, "one volume for both");
    assert_eq!(hook.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subresources_show_their_own_objects() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    made(&cluster, DEPLOYMENTS, &deployment("d", 1)).await;
    made(&cluster, PODS, &pod("p")).await;
    let hook = Hook::start(&cluster, |request| {
        if request["subResource"] == "scale" {
            return patching(&json!([{"op": "replace", "path": "/spec/replicas", "value": 2}]));
        }
        json!({"allowed": true})
    })
    .await;
    // Of these groups only: the server itself writes the status of its FlowSchemas.
    let rules =
        json!([{"operations": ["*"], "apiGroups": ["", "apps"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    mutating(&cluster, &hook, "m", &[], json!({ "rules": rules })).await;
    let seen = || {
        let request = hook.last();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = &request["kind"];
        let kind = format!("{}/{} {}", text(&kind["group"]), text(&kind["version"]), text(&kind["kind"]));
        (
            kind,
            text(&request["resource"]["resource"]),
            text(&request["subResource"]),
            text(&request["operation"]),
        )
    };
    let as_expected = |kind: &str, resource: &str, sub: &str, operation: &str| {
        (kind.to_owned(), resource.to_owned(), sub.to_owned(), operation.to_owned())
    };
    let scaled =
        cluster.patch(&format!("{DEPLOYMENTS}/d/scale"), MERGE, &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((scaled.code, &scaled.json()["spec"]["replicas"]), (200, &json!(2)), "{}", scaled.text);
    assert_eq!(seen(), as_expected("autoscaling/v1 Scale", "deployments", "scale", "UPDATE"));
    assert_eq!((&hook.last()["oldObject"]["spec"]["replicas"], hook.requests().len()), (&json!(1), 1));

    let status = json!({"status": {"replicas": 1}});
    assert_eq!(cluster.patch(&format!("{DEPLOYMENTS}/d/status"), MERGE, &status).await.code, 200);
    assert_eq!(seen(), as_expected("apps/v1 Deployment", "deployments", "status", "UPDATE"));

    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(cluster.post(&format!("{PODS}/p/binding"), &binding).await.code, 201);
    assert_eq!(seen(), as_expected("/v1 Binding", "pods", "binding", "CREATE"));

    let token = json!({"spec": {"audiences": ["a"]}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    assert_eq!(cluster.post(path, &token).await.code, 201);
    assert_eq!(
        seen(),
        as_expected("authentication.k8s.io/v1 TokenRequest", "serviceaccounts", "token", "CREATE")
    );

    let eviction = json!({"metadata": {"name": "p"}});
    let evicted = cluster.post(&format!("{PODS}/p/eviction"), &eviction).await;
    assert_eq!(evicted.code, 201, "{}", evicted.text);
    assert_eq!(seen(), as_expected("policy/v1 Eviction", "pods", "eviction", "CREATE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equivalent_requests_arrive_in_the_version_asked_for() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, |_| {
        patching(&json!([{"op": "replace", "path": "/spec/maxReplicas", "value": 7}]))
    })
    .await;
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}]);
    mutating(&cluster, &hook, "m", &[], json!({ "rules": rules })).await;
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": {
        "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
    }});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let created = made(&cluster, path, &scaler).await;
    assert_eq!(
        (&created["spec"]["maxReplicas"], &created["apiVersion"]),
        (&json!(7), &json!("autoscaling/v2"))
    );
    let request = hook.last();
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn match_conditions_decide_who_is_asked() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, |_| json!({"allowed": false})).await;
    let conditions = json!([
        {"name": "not-leases", "expression": "request.resource.resource != 'leases'"},
        {"name": "named", "expression": "object.metadata.name.startsWith('bad-')"},
    ]);
    validating(&cluster, &hook, "v", &["configmaps"], json!({ "matchConditions": conditions })).await;
    assert_eq!(cluster.post(MAPS, &map("good", &json!({}))).await.code, 201);
    assert_eq!(cluster.post(MAPS, &map("bad-1", &json!({}))).await.code, 400);
    assert_eq!(hook.requests().len(), 1);
}
