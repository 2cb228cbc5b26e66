//! Questions pass admission like anything that is created: webhooks see, change and refuse them.

use serde_json::{Value, json};

use super::hook::{Hook, configuration, patching};
use super::{API, made};
use crate::tests::harness::Cluster;

const AUTHN: &str = "/apis/authentication.k8s.io/v1";
const AUTHZ: &str = "/apis/authorization.k8s.io/v1";

/// Where each question goes, its kind, what it asks, and whether it is in a namespace.
fn questions() -> Vec<(String, &'static str, Value, bool)> {
    let pods = json!({"verb": "get", "resource": "pods", "namespace": "nowhere"});
    let about_bob = json!({"user": "bob", "resourceAttributes": pods});
    let about_me = json!({"resourceAttributes": pods});
    let local = format!("{AUTHZ}/namespaces/nowhere/localsubjectaccessreviews");
    vec![
        (format!("{AUTHN}/tokenreviews"), "TokenReview", json!({"token": "x"}), false),
        (format!("{AUTHN}/selfsubjectreviews"), "SelfSubjectReview", Value::Null, false),
        (format!("{AUTHZ}/subjectaccessreviews"), "SubjectAccessReview", about_bob.clone(), false),
        (format!("{AUTHZ}/selfsubjectaccessreviews"), "SelfSubjectAccessReview", about_me, false),
        (
            format!("{AUTHZ}/selfsubjectrulesreviews"),
            "SelfSubjectRulesReview",
            json!({"namespace": "a"}),
            false,
        ),
        // There is no such namespace; a review must not tell.
        (local, "LocalSubjectAccessReview", about_bob, true),
    ]
}

fn question(kind: &str, spec: &Value) -> Value {
    let mut question = json!({"kind": kind});
    if !spec.is_null() {
        question["spec"] = spec.clone();
    }
    question
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_is_shown_to_webhooks_before_it_is_answered() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, |_| json!({"allowed": true, "warnings": ["seen"]})).await;
    let paths: Vec<String> = questions().into_iter().map(|(path, ..)| path).collect();
    let plurals: Vec<&str> = paths.iter().filter_map(|path| path.rsplit('/').next()).collect();
    let value = configuration("ValidatingWebhookConfiguration", "v", hook.url(), &plurals, &json!({}));
    made(&cluster, &format!("{API}/validatingwebhookconfigurations"), &value).await;
    for (path, kind, spec, in_namespace) in questions() {
        let answer = cluster.post(&format!("{path}?dryRun=All"), &question(kind, &spec)).await;
        assert_eq!(answer.code, 201, "{kind}: {}", answer.text);
        assert!(answer.json()["status"].is_object(), "{kind}: {}", answer.text);
        assert_eq!(answer.headers["warning"], "299 - \"seen\"", "{kind}");
        let request = hook.last();
        assert_eq!(
            (&request["kind"]["kind"], &request["operation"], &request["dryRun"]),
            (&json!(kind), &json!("CREATE"), &json!(true)),
            "{request}"
        );
        assert_eq!(Some(request["resource"]["resource"].as_str().unwrap()), path.rsplit('/').next());
        assert_eq!(request["object"].get("status"), None, "{request}");
        assert_eq!(request["object"]["spec"], spec, "{request}");
        assert_eq!(request.get("namespace"), in_namespace.then(|| json!("nowhere")).as_ref(), "{request}");
    }
    // What is no question is refused before the webhook validates it.
    let seen = hook.requests().len();
    let wrong = cluster.post(&format!("{AUTHZ}/subjectaccessreviews"), &json!({"spec": {}})).await;
    let empty = cluster.post(&format!("{AUTHN}/tokenreviews"), &json!({})).await;
    assert_eq!((wrong.code, empty.code, hook.requests().len()), (422, 400, seen));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_change_and_refuse_questions() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, |request| {
        if request["object"]["spec"]["user"] == "bob" {
            let groups = json!([{"op": "add", "path": "/spec/groups", "value": ["system:masters"]}]);
            return patching(&groups);
        }
        json!({"allowed": false, "status": {"message": "not this one", "code": 403}})
    })
    .await;
    let reviews = ["subjectaccessreviews"];
    let value = configuration("MutatingWebhookConfiguration", "m", hook.url(), &reviews, &json!({}));
    made(&cluster, &format!("{API}/mutatingwebhookconfigurations"), &value).await;
    let path = format!("{AUTHZ}/subjectaccessreviews");
    let ask =
        |user: &str| json!({"spec": {"user": user, "nonResourceAttributes": {"verb": "get", "path": "/x"}}});
    let answer = made(&cluster, &path, &ask("bob")).await;
    assert_eq!(
        (&answer["status"]["allowed"], &answer["spec"]["groups"]),
        (&json!(true), &json!(["system:masters"]))
    );
    let refused = cluster.post(&path, &ask("eve")).await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    assert_eq!(refused.message(), "admission webhook \"m.example.com\" denied the request: not this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_requests_are_complete_when_they_are_validated() {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    let hook = Hook::start(&cluster, |_| json!({"allowed": true})).await;
    let tokens = ["serviceaccounts/token"];
    let value = configuration("ValidatingWebhookConfiguration", "v", hook.url(), &tokens, &json!({}));
    made(&cluster, &format!("{API}/validatingwebhookconfigurations"), &value).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer = made(&cluster, path, &json!({"spec": {}})).await;
    let request = hook.last();
    assert_eq!(
        (&request["kind"]["kind"], &request["subResource"], &request["name"]),
        (&json!("TokenRequest"), &json!("token"), &json!("default"))
    );
    assert_eq!((&request["object"]["spec"], request["object"].get("status")), (&answer["spec"], None));
    assert_eq!(request["object"]["metadata"], answer["metadata"]);
    let issuer = cluster.server.config.service_account_issuer.clone();
    assert_eq!(
        (&answer["spec"]["audiences"], &answer["metadata"]["name"]),
        (&json!([issuer]), &json!("default"))
    );

    for (wrong, code, part) in [
        (json!({"metadata": {"name": "other"}}), 422, "must match the service account name if specified"),
        (
            json!({"metadata": {"namespace": "other"}}),
            400,
            "does not match the namespace sent on the request",
        ),
        (json!({"spec": {"expirationSeconds": 1}}), 422, "may not specify a duration less than 10 minutes"),
    ] {
        let refused = cluster.post(path, &wrong).await;
        assert!(refused.code == code && refused.message().contains(part), "{}", refused.text);
    }
    assert_eq!(hook.requests().len(), 1, "what is wrong is not shown");
}
