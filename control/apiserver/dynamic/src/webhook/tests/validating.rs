//! Validating webhooks: questions, refusals, several at once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{configure, hook, validating};
use crate::testing::{Bench, Reply, Webhook, deployment};
use crate::{Operation, Recorded};
use xebec_api::status::ApiError;

async fn validate(bench: &Bench, operation: Operation, object: Option<&Value>) -> Result<Recorded, ApiError> {
    let record = Recorded::default();
    let attributes = bench.attributes(operation, "prod");
    bench.dynamic.validate(&attributes, object, &record).await.map(|()| record)
}

#[tokio::test]
async fn the_question_has_every_field() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let bench = validating(&server, json!({}));
    let (object, old) = (deployment("prod"), deployment("prod"));
    let mut attributes = bench.attributes(Operation::Update, "prod");
    attributes.old_object = Some(&old);
    attributes.options =
        json!({"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl"});
    bench.dynamic.validate(&attributes, Some(&object), &Recorded::default()).await.unwrap();
    let asked = server.asked.lock()[0].clone();
    assert_eq!(asked.path, "/check?timeout=5s");
    let mut review = asked.review;
    let uid = review["request"]["uid"].take();
    assert_eq!(uid.as_str().map(str::len), Some(36));
    let kind = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    let resource = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    assert_eq!(
        review,
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": null, "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": "web", "namespace": "prod", "operation": "UPDATE",
            "userInfo": {"username": "alice", "groups": ["devs"]}, "object": object, "oldObject": old,
            "dryRun": false, "options": attributes.options,
        }})
    );
}

#[tokio::test]
async fn a_delete_has_an_old_object_only_and_a_connect_its_options() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let bench = validating(&server, json!({}));
    let old = deployment("prod");
    let mut attributes = bench.attributes(Operation::Delete, "prod");
    attributes.old_object = Some(&old);
    bench.dynamic.validate(&attributes, None, &Recorded::default()).await.unwrap();
    let request = server.requests().remove(0);
    assert_eq!((&request["object"], &request["oldObject"]), (&Value::Null, &old));
    let mut connect = bench.attributes(Operation::Connect, "prod");
    connect.subresource = "exec".to_owned();
    let options = json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"]});
    bench.dynamic.validate(&connect, Some(&options), &Recorded::default()).await.unwrap();
    let request = server.requests().remove(1);
    assert_eq!(request["operation"], "CONNECT");
    assert_eq!((&request["subResource"], &request["requestSubResource"]), (&json!("exec"), &json!("exec")));
    assert_eq!(request["object"]["command"], json!(["sh"]));
}

#[tokio::test]
async fn refusals_carry_the_webhooks_name_code_and_reason() {
    let server = Webhook::start(|_| {
        Reply::Review(json!({"allowed": false, "status": {"message": "no replicas", "code": 403, "reason": "Forbidden"}}))
    })
    .await;
    let bench = validating(&server, json!({"failurePolicy": "Ignore"}));
    let error = validate(&bench, Operation::Create, Some(&deployment("prod"))).await.unwrap_err();
    assert_eq!(error.code, 403);
    assert_eq!(error.message, "admission webhook \"x.example.com\" denied the request: no replicas");
}

#[tokio::test]
async fn warnings_and_annotations_are_recorded() {
    let server = Webhook::start(|_| {
        Reply::Review(json!({"allowed": true, "warnings": ["old"], "auditAnnotations": {"a": "b"}}))
    })
    .await;
    let bench = validating(&server, json!({}));
    let record = validate(&bench, Operation::Create, Some(&deployment("prod"))).await.unwrap();
    assert_eq!(record.warnings(), ["old"]);
    assert_eq!(record.annotations()["x.example.com/a"], "b");
}

#[tokio::test]
async fn all_are_asked_at_once_and_the_first_refusal_wins() {
    let slow = Webhook::start(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Reply::Review(json!({"allowed": false, "status": {"message": "slow"}}))
    })
    .await;
    let pause = Webhook::start(|_| Reply::Slow(Duration::from_millis(600))).await;
    let bench = Bench::new();
    let ignored = json!({"failurePolicy": "Ignore"});
    let hooks = vec![
        hook("a.example.com", pause.url("/"), ignored.clone()),
        hook("b.example.com", slow.url("/"), json!({})),
        hook("c.example.com", pause.url("/"), ignored),
    ];
    configure(&bench, "ValidatingWebhookConfiguration", "c", hooks);
    let started = Instant::now();
    let error = validate(&bench, Operation::Create, Some(&deployment("prod"))).await.unwrap_err();
    assert_eq!(error.message, "admission webhook \"b.example.com\" denied the request: slow");
    assert!(started.elapsed() < Duration::from_millis(1150), "one after the other: {:?}", started.elapsed());
    assert_eq!((pause.count(), slow.count()), (2, 1));
}

#[tokio::test]
async fn dry_runs_need_webhooks_without_side_effects() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    for (side_effects, allowed) in
        [("None", true), ("NoneOnDryRun", true), ("Some", false), ("Unknown", false)]
    {
        let bench = validating(&server, json!({"sideEffects": side_effects, "failurePolicy": "Ignore"}));
        let mut attributes = bench.attributes(Operation::Create, "prod");
        attributes.dry_run = true;
        let result =
            bench.dynamic.validate(&attributes, Some(&deployment("prod")), &Recorded::default()).await;
        match result {
            Ok(()) => assert!(allowed, "{side_effects}"),
            Err(error) => {
                assert!(!allowed, "{side_effects}");
                assert_eq!(error.code, 400);
                assert_eq!(error.message, "admission webhook \"x.example.com\" does not support dry run");
            }
        }
    }
    assert!(server.requests().iter().all(|request| request["dryRun"] == true));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn equivalent_requests_are_converted() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let rules =
        json!([{"operations": ["*"], "apiGroups": ["extensions"], "apiVersions": ["*"], "resources": ["*"]}]);
    let bench = validating(&server, json!({ "rules": rules }));
    validate(&bench, Operation::Create, Some(&deployment("prod"))).await.unwrap();
    let request = server.requests().remove(0);
    assert_eq!(request["kind"]["group"], "extensions");
    assert_eq!(
        request["resource"],
        json!({"group": "extensions", "version": "v1beta1", "resource": "deployments"})
    );
    assert_eq!(request["requestKind"]["group"], "apps");
    assert_eq!(request["object"]["apiVersion"], "extensions/v1beta1");
}

#[tokio::test]
async fn v1beta1_is_spoken_where_it_is_asked_for() {
    let server = Webhook::start(|_| Reply::Json(json!({"response": {"allowed": true}}))).await;
    let bench = validating(&server, json!({"admissionReviewVersions": ["v1beta1", "v1"]}));
    validate(&bench, Operation::Create, Some(&deployment("prod"))).await.unwrap();
    assert_eq!(server.asked.lock()[0].review["apiVersion"], "admission.k8s.io/v1beta1");
}

#[tokio::test]
async fn what_configures_admission_is_exempt() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": false}))).await;
    let rules = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
    let bench = validating(&server, json!({ "rules": rules }));
    for kind in
        ["ValidatingWebhookConfiguration", "MutatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    {
        let mut attributes = bench.attributes(Operation::Delete, "");
        attributes.kind = crate::Kind::new("admissionregistration.k8s.io", "v1", kind);
        bench.dynamic.validate(&attributes, None, &Recorded::default()).await.unwrap();
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn configurations_count_from_the_moment_they_change() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": false}))).await;
    let bench = validating(&server, json!({}));
    let object = deployment("prod");
    assert!(validate(&bench, Operation::Create, Some(&object)).await.is_err());
    bench.objects.clear();
    assert!(validate(&bench, Operation::Create, Some(&object)).await.is_ok());
    configure(
        &bench,
        "ValidatingWebhookConfiguration",
        "d",
        vec![hook("y.example.com", server.url("/"), json!({}))],
    );
    let error = validate(&bench, Operation::Create, Some(&object)).await.unwrap_err();
    assert_eq!(error.message, "admission webhook \"y.example.com\" denied the request without explanation");
}
