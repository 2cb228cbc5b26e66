//! Credentials and decisions that come from outside the cluster, over loopback servers with certificates of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use xebec_identity::authn::PeerAuthorities;
use xebec_identity::pki::tls::server_config;
use xebec_identity::pki::{Leaf, Pki, Usage, kubeconfig};
use xebec_identity::token::{Claims, KubernetesClaims, Reference, TokenSigner};

use super::harness::{Answer, Cluster, send};
use crate::Config;
use crate::identity::TokenWebhookOptions;

/// A server outside: answers TLS on loopback, with a certificate of the cluster's CA; where it is.
pub async fn outside(pki: &Pki, listener: TcpListener, router: Router) {
    let mut leaf = Leaf::new("outside", Usage::Server);
    leaf.ip_addresses = vec![Ipv4Addr::LOCALHOST.into()];
    let stem = pki.path(&format!("outside-{}", listener.local_addr().unwrap().port()));
    pki.ensure_leaf(&stem, &leaf).unwrap();
    let tls =
        server_config(&stem.with_extension("crt"), &stem.with_extension("key"), None, &["http/1.1"]).unwrap();
    let (authorities, stop) = (Arc::new(PeerAuthorities::default()), CancellationToken::new());
    tokio::spawn(crate::serve::listener::serve(
        listener,
        router,
        Arc::new(tls),
        authorities,
        stop,
        Duration::ZERO,
    ));
}

pub async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// A kubeconfig file for a webhook at this URL.
pub fn webhook_file(pki: &Pki, name: &str, url: &str) -> std::path::PathBuf {
    let client = pki.issue(&Leaf::new("apiserver", Usage::Client)).unwrap();
    let path = pki.path(&format!("{name}.conf"));
    std::fs::write(&path, kubeconfig(url, pki.ca_pem(), &client.cert_pem, &client.key_pem, "webhook"))
        .unwrap();
    path
}

/// Who the server says the client is.
async fn who(client: &kube::Client, headers: &[(&str, &str)]) -> Result<Value, Answer> {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let headers = [headers, &[("content-type", "application/json")]].concat();
    let answer = send(client, "POST", path, &headers, review.to_string()).await;
    if answer.code == 201 { Ok(answer.json()["status"]["userInfo"].clone()) } else { Err(answer) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_token_works_while_its_secret_does() {
    let cluster = Cluster::start().await;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "bootstrap-token-abc123"}, "data": {
            "token-id": encode("abc123"), "token-secret": encode("0123456789abcdef"),
            "usage-bootstrap-authentication": encode("true"),
            "auth-extra-groups": encode("system:bootstrappers:workers")}});
    let client = cluster.bearer("abc123.0123456789abcdef");
    assert_eq!(who(&client, &[]).await.unwrap_err().code, 401);
    let created = cluster.post("/api/v1/namespaces/kube-system/secrets", &secret).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let user = who(&client, &[]).await.map_err(|answer| answer.text).unwrap();
    assert_eq!(user["username"], "system:bootstrap:abc123");
    assert_eq!(
        user["groups"],
        json!(["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"])
    );
    let path = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abc123";
    assert_eq!(cluster.send("DELETE", path, &[], "").await.code, 200);
    assert_eq!(who(&client, &[]).await.unwrap_err().code, 401);
}

/// A token of the issuer for `ann`.
fn token(signer: &TokenSigner, issuer: &str, audience: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    let nobody = || Reference { name: "x".to_owned(), uid: "x".to_owned() };
    let claims = Claims {
        iss: issuer.to_owned(),
        sub: "ann".to_owned(),
        aud: vec![audience.to_owned()],
        exp: now + 60,
        iat: now,
        nbf: now,
        jti: "1".to_owned(),
        kubernetes: KubernetesClaims {
            namespace: "n".to_owned(),
            serviceaccount: nobody(),
            ..KubernetesClaims::default()
        },
    };
    signer.sign(&claims).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_an_issuer_and_anonymous_for_health_only() {
    let (listener, issuer) = listen().await;
    let fetches = Arc::new(AtomicUsize::new(0));
    let (counted, url) = (Arc::clone(&fetches), issuer.clone());
    let mut token_of_ann = (String::new(), String::new());
    let tokens = &mut token_of_ann;
    let cluster = Cluster::start_prepared(async move |config: &mut Config, pki: &Pki, store| {
        pki.issue(&Leaf::new("x", Usage::Client)).unwrap();
        let key = pki.issue(&Leaf::new("issuer", Usage::Client)).unwrap().key_pem;
        let signer = TokenSigner::from_pem(key.as_bytes(), &url).unwrap();
        *tokens = (token(&signer, &url, "cluster"), token(&signer, &url, "elsewhere"));
        let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let keys = signer.verifier().jwks();
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(move || async move { Json(document) }))
            .route(
                "/keys",
                get(move || async move {
                    counted.fetch_add(1, Ordering::SeqCst);
                    Json(keys)
                }),
            );
        outside(pki, listener, router).await;
        let path = pki.path("authentication.yaml");
        let ca = pki.ca_pem().replace('\n', "\n        ");
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions: [{{path: /livez}}, {{path: /readyz}}, {{path: /healthz}}]
jwt:
- issuer:
    url: {url}
    audiences: [cluster]
    certificateAuthority: |
        {ca}
  claimMappings:
    username: {{claim: sub, prefix: \"oidc:\"}}
"
        );
        std::fs::write(&path, text).unwrap();
        config.identity.authentication_config = Some(path);
        store
    })
    .await;
    let (good, elsewhere) = token_of_ann;
    let client = cluster.bearer(&good);
    for _ in 0..3 {
        let user = who(&client, &[]).await.map_err(|answer| answer.text).unwrap();
        assert_eq!(
            (&user["username"], &user["groups"]),
            (&json!("oidc:ann"), &json!(["system:authenticated"]))
        );
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 1, "the keys are fetched once");
    assert_eq!(who(&cluster.bearer(&elsewhere), &[]).await.unwrap_err().code, 401);
    assert_eq!(who(&cluster.bearer(&format!("{good}x")), &[]).await.unwrap_err().code, 401);
    let nobody = cluster.bearer("");
    for (path, code) in [("/livez", 200), ("/readyz", 200), ("/version", 401), ("/api/v1/pods", 401)] {
        assert_eq!(send(&nobody, "GET", path, &[], "").await.code, code, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_knows_tokens_and_its_answers_are_remembered() {
    let (listener, url) = listen().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let cluster = Cluster::start_prepared(async move |config: &mut Config, pki: &Pki, store| {
        let answer = move |Json(mut review): Json<Value>| async move {
            counted.fetch_add(1, Ordering::SeqCst);
            assert_eq!((&review["kind"], &review["apiVersion"]), (&json!("TokenReview"), &json!("authentication.k8s.io/v1")));
            review["status"] = if review["spec"]["token"] == "letmein" {
                json!({"authenticated": true, "user": {"username": "ann", "uid": "7", "groups": ["devs"], "extra": {"k": ["v"]}}})
            } else {
                json!({"authenticated": false, "error": "who?"})
            };
            Json(review)
        };
        outside(pki, listener, Router::new().route("/tokens", post(answer))).await;
        let mut webhook = TokenWebhookOptions::new(webhook_file(pki, "tokens", &format!("{url}/tokens")));
        webhook.version = "v1".to_owned();
        config.identity.token_webhook = Some(webhook);
        store
    })
    .await;
    let client = cluster.bearer("letmein");
    for _ in 0..3 {
        let user = who(&client, &[]).await.map_err(|answer| answer.text).unwrap();
        assert_eq!(
            user,
            json!({"username": "ann", "uid": "7", "groups": ["devs", "system:authenticated"], "extra": {"k": ["v"]}})
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    for _ in 0..3 {
        assert_eq!(who(&cluster.bearer("wrong"), &[]).await.unwrap_err().code, 401);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "refusals are remembered too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_decides_before_rbac() {
    let (listener, url) = listen().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let cluster = Cluster::start_prepared(async move |config: &mut Config, pki: &Pki, store| {
        let answer = move |Json(mut review): Json<Value>| async move {
            counted.fetch_add(1, Ordering::SeqCst);
            let spec = &review["spec"];
            review["status"] = match (spec["user"].as_str(), spec["resourceAttributes"]["resource"].as_str())
            {
                (Some("bob"), Some("pods")) => json!({"allowed": true}),
                (Some("bob"), Some("secrets")) => {
                    json!({"allowed": false, "denied": true, "reason": "not secrets"})
                }
                _ => json!({"allowed": false}),
            };
            Json(review)
        };
        outside(pki, listener, Router::new().route("/access", post(answer))).await;
        let file = webhook_file(pki, "access", &format!("{url}/access"));
        let path = pki.path("authorization.yaml");
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: outside
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}
- {{type: Node, name: node}}
- {{type: RBAC, name: rbac}}
",
            file.display()
        );
        std::fs::write(&path, text).unwrap();
        config.identity.authorization_config = Some(path);
        store
    })
    .await;
    let bob = cluster.client("bob", "").await;
    for _ in 0..2 {
        assert_eq!(send(&bob, "GET", "/api/v1/namespaces/default/pods", &[], "").await.code, 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "allowed answers are remembered");
    let denied = send(&bob, "GET", "/api/v1/namespaces/default/secrets", &[], "").await;
    assert!(denied.code == 403 && denied.message().ends_with(": not secrets"), "{}", denied.text);
    assert_eq!(
        send(&bob, "GET", "/version", &[], "").await.code,
        200,
        "RBAC answers where the webhook does not"
    );
    assert_eq!(send(&bob, "GET", "/api/v1/nodes", &[], "").await.code, 403);
    let before = asked.load(Ordering::SeqCst);
    assert_eq!(cluster.get("/api/v1/nodes").await.code, 200, "system:masters asks nobody");
    assert_eq!(asked.load(Ordering::SeqCst), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_proxy_speaks_for_others_and_nobody_else_does() {
    let cluster = Cluster::start().await;
    let read = |name: &str| std::fs::read_to_string(cluster.pki.path(name)).unwrap();
    let (cert, key) = (read("front-proxy-client.crt"), read("front-proxy-client.key"));
    let text =
        kubeconfig(&format!("https://{}", cluster.address), cluster.pki.ca_pem(), &cert, &key, "proxy");
    let mut config = kube::Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&text).unwrap(),
        &KubeConfigOptions::default(),
    )
    .await
    .unwrap();
    config.default_retry = false;
    let proxy = kube::Client::try_from(config).unwrap();
    let headers =
        [("x-remote-user", "ann"), ("x-remote-group", "devs"), ("x-remote-extra-acme.com%2fk", "v")];
    let user = who(&proxy, &headers).await.map_err(|answer| answer.text).unwrap();
    assert_eq!(
        user,
        json!({"username": "ann", "groups": ["devs", "system:authenticated"], "extra": {"acme.com/k": ["v"]}})
    );
    let alone = who(&proxy, &[]).await.unwrap_err();
    assert_eq!(alone.code, 403, "the proxy's own certificate is no user: {}", alone.text);
    let bob = cluster.client("bob", "").await;
    let user = who(&bob, &[("x-remote-user", "ann")]).await.map_err(|answer| answer.text).unwrap();
    assert_eq!(user["username"], "bob", "a client's headers mean nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constrained_impersonation_reaches_as_far_as_its_two_rights() {
    let cluster = Cluster::start().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let grant = async |name: &str, rules: Value| {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "subjects": [{"kind": "User", "name": "deputy", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": "rbac.authorization.k8s.io"}});
        assert_eq!(cluster.post(&format!("{rbac}/clusterroles"), &role).await.code, 201);
        assert_eq!(cluster.post(&format!("{rbac}/clusterrolebindings"), &binding).await.code, 201);
    };
    let deputy = cluster.client("deputy", "").await;
    let as_root = [("impersonate-user", "kubernetes-admin"), ("impersonate-group", "system:masters")];
    let ask = async |path: &str| send(&deputy, "GET", path, &as_root, "").await.code;
    grant("who", json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["users", "groups"], "verbs": ["impersonate:user-info"]}])).await;
    assert_eq!(ask("/api/v1/pods").await, 403, "the identity alone is not enough");
    grant(
        "what",
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["impersonate-on:user-info:list"]}]),
    )
    .await;
    assert_eq!(ask("/api/v1/pods").await, 200);
    assert_eq!(ask("/api/v1/secrets").await, 403);
}
