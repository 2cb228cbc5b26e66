//! The call itself: addresses, TLS, time, size, nonsense, and the failure policy after each.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{configure, hook, validating};
use crate::testing::{Bench, Identity, Reply, Webhook, deployment};
use crate::{Operation, Recorded};
use xebec_api::status::ApiError;

async fn validate(bench: &Bench) -> Result<Recorded, ApiError> {
    let record = Recorded::default();
    let attributes = bench.attributes(Operation::Create, "prod");
    let object = deployment("prod");
    bench.dynamic.validate(&attributes, Some(&object), &record).await.map(|()| record)
}

/// The message under `failurePolicy: Fail`; and that `Ignore` lets the request pass, with its audit annotation.
async fn failure(bench: impl Fn(Value) -> Bench) -> String {
    let record = validate(&bench(json!({"failurePolicy": "Ignore", "timeoutSeconds": 1}))).await.unwrap();
    let noted = &record.annotations()["failed-open.validating.webhook.admission.k8s.io/round_0_index_0"];
    assert_eq!(noted, "x.example.com");
    let error = validate(&bench(json!({"failurePolicy": "Fail", "timeoutSeconds": 1}))).await.unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (500, "InternalError"));
    let prefix = "Internal error occurred: failed calling webhook \"x.example.com\": ";
    error.message.strip_prefix(prefix).unwrap_or_else(|| panic!("{}", error.message)).to_owned()
}

#[tokio::test]
async fn slow_answers_time_out() {
    let server = Webhook::start(|_| Reply::Slow(Duration::from_secs(20))).await;
    let started = Instant::now();
    let message = failure(|extra| validating(&server, extra)).await;
    let port = server.address.port();
    assert_eq!(
        message,
        format!(
            "failed to call webhook: Post \"https://localhost:{port}/check?timeout=1s\": context deadline exceeded"
        )
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_requests_own_time_ends_everything() {
    let server = Webhook::start(|_| Reply::Slow(Duration::from_secs(20))).await;
    let bench = validating(&server, json!({"failurePolicy": "Ignore", "timeoutSeconds": 10}));
    let mut attributes = bench.attributes(Operation::Create, "prod");
    attributes.deadline = Some(tokio::time::Instant::now() + Duration::from_millis(300));
    let object = deployment("prod");
    let error = bench.dynamic.validate(&attributes, Some(&object), &Recorded::default()).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (504, "Timeout: request did not complete within requested timeout")
    );
}

#[tokio::test]
async fn huge_answers_are_cut_off() {
    let server = Webhook::start(|_| Reply::Huge(crate::webhook::MAX_ANSWER + 1)).await;
    let message = failure(|extra| validating(&server, extra)).await;
    assert!(message.ends_with(": the answer is larger than 8388608 bytes"), "{message}");
}

#[tokio::test]
async fn nonsense() {
    type Make = fn() -> Reply;
    let cases: [(Make, &str); 7] = [
        (
            || Reply::Raw(500, "text/plain", "boom".to_owned()),
            "an error on the server (\"boom\") has prevented the request from succeeding",
        ),
        (
            || Reply::Raw(404, "text/plain", "404".to_owned()),
            "the server could not find the requested resource",
        ),
        (|| Reply::Raw(200, "text/html", "<html>".to_owned()), "couldn't get version/kind; json parse error"),
        (|| Reply::Close, "stream error received"),
        (|| Reply::Json(json!({})), "received invalid webhook response: webhook response was absent"),
        (
            || Reply::Review(json!({"uid": "other", "allowed": true})),
            "received invalid webhook response: expected response.uid=",
        ),
        (
            || Reply::Review(json!({"allowed": "yes"})),
            "failed to call webhook: json: cannot unmarshal string",
        ),
    ];
    for (reply, expected) in cases {
        let server = Webhook::start(move |_| reply()).await;
        let message = failure(|extra| validating(&server, extra)).await;
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let server = Webhook::start(|_| Reply::Close).await;
    let client = server.url("/check");
    let address = server.address;
    drop(server);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let message = failure(|extra| {
        let bench = Bench::new();
        configure(
            &bench,
            "ValidatingWebhookConfiguration",
            "c",
            vec![hook("x.example.com", client.clone(), extra)],
        );
        bench
    })
    .await;
    assert!(message.contains("dial tcp ") && message.ends_with(": connect: connection refused"), "{message}");
    assert!(
        message.contains(&format!("Post \"https://localhost:{}/check?timeout=1s\"", address.port())),
        "{message}"
    );
}

#[tokio::test]
async fn certificates_are_verified() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let stranger = Webhook::start(|_| Reply::Close).await;
    let with_bundle = |bundle: &str, extra: Value| {
        let bench = Bench::new();
        let mut client = server.url("/check");
        client["caBundle"] = json!(bundle);
        configure(&bench, "ValidatingWebhookConfiguration", "c", vec![hook("x.example.com", client, extra)]);
        bench
    };
    let message = failure(|extra| with_bundle(&stranger.ca_bundle, extra)).await;
    assert!(
        message.ends_with("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        "{message}"
    );
    let message = failure(|extra| with_bundle("bm8gcGVt", extra)).await;
    assert!(message.starts_with("could not get REST client: unable to load root certificates"), "{message}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn the_certificates_name_must_fit() {
    let other = Identity::Issued(vec!["other.example.com".to_owned()]);
    let server = Webhook::with_identity(other, |_| Reply::Review(json!({"allowed": true}))).await;
    let message = failure(|extra| validating(&server, extra)).await;
    assert!(message.contains("tls: failed to verify certificate: x509: "), "{message}");
    let own = Identity::SelfSigned(vec!["other.example.com".to_owned()]);
    let server = Webhook::with_identity(own, |_| Reply::Review(json!({"allowed": true}))).await;
    let message = failure(|extra| validating(&server, extra)).await;
    assert!(message.contains("tls: failed to verify certificate: x509: "), "{message}");
}

#[tokio::test]
async fn a_self_signed_ca_certificate_is_trusted_when_it_is_the_bundle() {
    let own = Identity::SelfSigned(vec!["localhost".to_owned()]);
    let server = Webhook::with_identity(own, |_| Reply::Review(json!({"allowed": true}))).await;
    validate(&validating(&server, json!({}))).await.unwrap();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn services_are_resolved_and_named_in_the_certificate() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let client = |name: &str| json!({"service": {"namespace": "default", "name": name, "port": 8443, "path": "/x"}, "caBundle": server.ca_bundle});
    let bench = |name: &str, extra: Value| {
        let bench = Bench::new();
        for service in ["hook", "wrong"] {
            bench.services.0.write().push((format!("default/{service}:8443"), server.address.to_string()));
        }
        configure(
            &bench,
            "ValidatingWebhookConfiguration",
            "c",
            vec![hook("x.example.com", client(name), extra)],
        );
        bench
    };
    validate(&bench("hook", json!({}))).await.unwrap();
    assert_eq!(server.asked.lock()[0].path, "/x?timeout=5s");
    assert_eq!(server.asked.lock()[0].version, http::Version::HTTP_11);
    let message = failure(|extra| bench("wrong", extra)).await;
    assert!(
        message.contains(
            "Post \"https://wrong.default.svc:8443/x?timeout=1s\": tls: failed to verify certificate"
        ),
        "{message}"
    );
    let message = failure(|extra| bench("gone", extra)).await;
    assert!(message.ends_with("service \"gone\" not found"), "{message}");
}

#[tokio::test]
async fn connections_are_kept_and_shared() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let bench = validating(&server, json!({}));
    for _ in 0..5 {
        validate(&bench).await.unwrap();
    }
    assert_eq!((server.count(), *server.connections.lock()), (5, 1));
    assert_eq!(server.asked.lock()[0].version, http::Version::HTTP_2, "localhost negotiates HTTP/2");
}

#[tokio::test]
async fn overload_is_asked_again() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = Webhook::start(move |_| {
        if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            Reply::RetryAfter(1)
        } else {
            Reply::Review(json!({"allowed": true}))
        }
    })
    .await;
    validate(&validating(&server, json!({}))).await.unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn configurations_that_cannot_be_called() {
    for (client, versions, expected) in [
        (
            json!({}),
            json!(["v1"]),
            "could not get REST client: webhook configuration must have either service or URL",
        ),
        (json!({"url": "https://a b"}), json!(["v1"]), "could not get REST client: Unparsable URL"),
        (
            json!({"url": "https://localhost:1"}),
            json!(["v2"]),
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
        ),
    ] {
        let message = failure(|mut extra| {
            let bench = Bench::new();
            extra["admissionReviewVersions"] = versions.clone();
            let hooks = vec![hook("x.example.com", client.clone(), extra)];
            configure(&bench, "ValidatingWebhookConfiguration", "c", hooks);
            bench
        })
        .await;
        assert!(message.starts_with(expected), "{message}");
    }
}
