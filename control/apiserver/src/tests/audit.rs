//! The audit log and encryption at rest, through the whole server.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use xebec_audit::sink::log::{Blocking, Log, LogOptions};
use xebec_audit::{Auditor, Policy};
use xebec_encryption::{EncryptedStore, EncryptionConfiguration, Transformers};
use xebec_identity::pki::Pki;

use super::harness::{Cluster, send};
use crate::Config;

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: None, users: ['system:apiserver']}
- {level: RequestResponse, resources: [{resources: [configmaps]}]}
- {level: Metadata}
";

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The last event of the request with this id, once it is written.
async fn event(path: &std::path::Path, id: &str, stage: &str) -> Value {
    for _ in 0..200 {
        let found = lines(path).into_iter().find(|event| event["auditID"] == id && event["stage"] == stage);
        if let Some(event) = found {
            return event;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no {stage} of {id} in {:?}", lines(path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_written_down_as_the_policy_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let log_path = path.clone();
    let cluster = Cluster::start_prepared(async move |config: &mut Config, _: &Pki, store| {
        let options = LogOptions { path: log_path, max_age_days: 0, max_backups: 0, max_size: 0 };
        let sink = Blocking::new(Log::open(options).unwrap(), false);
        config.audit = Some(Arc::new(Auditor::new(Policy::parse(POLICY).unwrap(), Arc::new(sink))));
        store
    })
    .await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
    let json_body = |id: &'static str| [("content-type", "application/json"), ("audit-id", id)];
    let created = cluster.send("POST", maps, &json_body("create"), map.to_string()).await;
    assert_eq!((created.code, created.headers["audit-id"].to_str().unwrap()), (201, "create"));
    let create = event(&path, "create", "ResponseComplete").await;
    assert_eq!((&create["verb"], &create["responseStatus"]["code"]), (&json!("create"), &json!(201)));
    assert_eq!(create["objectRef"]["name"], "m");
    assert_eq!(
        (&create["requestObject"]["data"]["k"], &create["responseObject"]["data"]["k"]),
        (&json!("v"), &json!("v"))
    );
    assert_eq!(create["responseObject"]["metadata"].get("managedFields"), None);
    assert_eq!(create["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(
        (&create["user"]["username"], &create["sourceIPs"]),
        (&json!("kubernetes-admin"), &json!(["127.0.0.1"]))
    );
    event(&path, "create", "RequestReceived").await;

    let patch = [("content-type", "application/merge-patch+json"), ("audit-id", "patch")];
    cluster.send("PATCH", &format!("{maps}/m"), &patch, r#"{"data":{"k":"w"}}"#).await;
    assert_eq!(event(&path, "patch", "ResponseComplete").await["requestObject"], json!({"data": {"k": "w"}}));

    let bob = cluster.client("bob", "").await;
    send(&bob, "GET", "/api/v1/namespaces/default/secrets", &[("audit-id", "refused")], "").await;
    let refused = event(&path, "refused", "ResponseComplete").await;
    assert_eq!(
        (&refused["responseStatus"]["reason"], &refused["responseStatus"]["code"]),
        (&json!("Forbidden"), &json!(403))
    );
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!((refused.get("requestObject"), refused.get("responseObject")), (None, None));

    let old = "/api/v1/namespaces/default/endpoints";
    let answer = cluster.send("GET", old, &[("audit-id", "old")], "").await;
    assert_eq!(
        answer.headers["warning"],
        "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""
    );
    let annotations = event(&path, "old", "ResponseComplete").await["annotations"].clone();
    assert_eq!(
        (&annotations["k8s.io/deprecated"], annotations.get("k8s.io/removed-release")),
        (&json!("true"), None)
    );

    let acting = [("audit-id", "acting"), ("impersonate-user", "bob")];
    cluster.send("GET", "/version", &acting, "").await;
    let acting = event(&path, "acting", "ResponseComplete").await;
    assert_eq!(
        (&acting["user"]["username"], &acting["impersonatedUser"]["username"]),
        (&json!("kubernetes-admin"), &json!("bob"))
    );
    send(&cluster.bearer("nonsense"), "GET", "/api", &[("audit-id", "stranger")], "").await;
    let stranger = event(&path, "stranger", "ResponseStarted").await;
    assert_eq!(stranger["responseStatus"]["message"], "Authentication failed, attempted: bearer");

    let watch = format!("{maps}?watch=true&timeoutSeconds=1");
    cluster.send("GET", &watch, &[("audit-id", "watch")], "").await;
    event(&path, "watch", "ResponseStarted").await;
    event(&path, "watch", "ResponseComplete").await;
}

fn keys(names: &[(&str, u8)]) -> Transformers {
    let secret = |byte: u8| base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    let list: Vec<String> =
        names.iter().map(|(name, byte)| format!("{{name: {name}, secret: {}}}", secret(*byte))).collect();
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{{resources: [secrets], providers: [{{aesgcm: {{keys: [{}]}}}}, {{identity: {{}}}}]}}]",
        list.join(", ")
    );
    Transformers::new(&EncryptionConfiguration::parse(&text).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_encrypted_and_a_replace_that_changes_nothing_takes_the_new_key() {
    let mut layers = None;
    let kept = &mut layers;
    let cluster = Cluster::start_prepared(async move |_: &mut Config, _: &Pki, engine| {
        let store = EncryptedStore::new(Arc::clone(&engine), keys(&[("one", 1)]));
        *kept = Some((engine, Arc::clone(&store)));
        store as _
    })
    .await;
    let (engine, encrypted) = layers.unwrap();
    let raw = async || engine.get("/registry/core/secrets/default/s").await.unwrap().0.unwrap().value;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hush"}});
    let created = cluster.post(secrets, &secret).await.json();
    assert!(raw().await.starts_with(b"k8s:enc:aesgcm:v1:one:"));
    assert_eq!(cluster.get(&format!("{secrets}/s")).await.json()["data"]["k"], "aHVzaA==");
    let put = async |value: &Value| {
        let json_body = [("content-type", "application/json")];
        cluster.send("PUT", &format!("{secrets}/s"), &json_body, value.to_string()).await
    };
    let same = put(&created).await.json();
    assert_eq!(same["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"], "nothing to do");
    encrypted.replace(keys(&[("two", 2), ("one", 1)]));
    let again = put(&created).await.json();
    assert!(raw().await.starts_with(b"k8s:enc:aesgcm:v1:two:"));
    assert_eq!(again["data"], created["data"]);
    assert_ne!(again["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_of_encryption() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("encryption.yaml");
    std::fs::write(&path, "nonsense: true").unwrap();
    let mut layer = None;
    let kept = &mut layer;
    let cluster = Cluster::start_prepared(async move |_: &mut Config, _: &Pki, engine| {
        let store = EncryptedStore::new(engine, keys(&[("one", 1)]));
        *kept = Some(Arc::clone(&store));
        store as _
    })
    .await;
    for check in ["healthz", "livez", "readyz"] {
        let answer = cluster.get(&format!("/{check}?verbose=1")).await;
        assert!(answer.text.contains("[+]encryption-providers ok\n"), "{check}: {}", answer.text);
    }
    let every = std::time::Duration::from_millis(10);
    let follow = xebec_encryption::follow(layer.unwrap(), path, String::new(), every);
    let follow = tokio::spawn(follow);
    while cluster.get("/livez").await.code == 200 {
        tokio::time::sleep(every).await;
    }
    follow.abort();
    for check in ["healthz", "livez", "readyz"] {
        let answer = cluster.get(&format!("/{check}")).await;
        assert_eq!(answer.code, 500, "{}", answer.text);
        let wanted = "[-]encryption-providers failed: the encryption configuration was not reloaded: ";
        assert!(answer.text.contains(wanted) && answer.text.contains("nonsense"), "{}", answer.text);
        assert_eq!(cluster.get(&format!("/{check}?exclude=encryption-providers")).await.code, 200);
    }
}
