//! A server per test, and the two ways to talk to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use xebec_identity::pki::{Leaf, Pki, PkiOptions, Usage};
use xebec_store::Store;
use xebec_store::embedded::{Embedded, Options};

use crate::{ApiServer, Config};

pub struct Cluster {
    pub server: Arc<ApiServer>,
    pub store: Arc<dyn Store>,
    pub pki: Pki,
    pub address: SocketAddr,
    stop: CancellationToken,
    directory: TempDir,
}

/// An answer of a plain request.
pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The Status' message.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.shutdown();
    }
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server whose configuration is changed first.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_prepared(async |config, _, store| {
            change(config);
            store
        })
        .await
    }

    /// A server whose configuration and store are prepared first, with its certificates at hand.
    pub async fn start_prepared(
        prepare: impl AsyncFnOnce(&mut Config, &Pki, Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pki_dir = directory.path().join("pki");
        let pki = Pki::ensure(&pki_dir, &PkiOptions::new("10.96.0.1".parse().unwrap())).unwrap();
        let store: Arc<dyn Store> =
            Embedded::open(directory.path().join("store.redb"), Options::default()).unwrap();
        let listener = crate::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = Config::new(pki_dir, IpAddr::from([10, 0, 0, 10]));
        config.bind = address;
        config.advertise_port = address.port();
        let store = prepare(&mut config, &pki, store).await;
        let server = ApiServer::build(config, Arc::clone(&store)).await.unwrap();
        let stop = CancellationToken::new();
        let (serving, stopping) = (Arc::clone(&server), stop.clone());
        tokio::spawn(async move { serving.serve(listener, stopping).await.unwrap() });
        Self { server, store, pki, address, stop, directory }
    }

    /// A kubeconfig of this user (certificate of the cluster's CA).
    pub fn kubeconfig(&self, name: &str, group: &str) -> PathBuf {
        let mut leaf = Leaf::new(name, Usage::Client);
        if !group.is_empty() {
            leaf = leaf.organization(group);
        }
        let path = self.directory.path().join(format!("{}.conf", name.replace(':', "-")));
        self.pki.ensure_kubeconfig(&path, &format!("https://{}", self.address), &leaf).unwrap();
        path
    }

    /// A client over TLS as this user.
    pub async fn client(&self, name: &str, group: &str) -> kube::Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(name, group)).unwrap();
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        // A refusal is what the tests look at, not something to try again.
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    /// A client without a certificate, with a bearer token if there is one.
    pub fn bearer(&self, token: &str) -> kube::Client {
        use rustls_pki_types::pem::PemObject as _;
        let ca = rustls_pki_types::CertificateDer::from_pem_slice(self.pki.ca_pem().as_bytes()).unwrap();
        let mut config = kube::Config::new(format!("https://{}", self.address).parse().unwrap());
        config.root_cert = Some(vec![ca.to_vec()]);
        config.default_retry = false;
        config.auth_info.token = (!token.is_empty()).then(|| token.to_owned().into());
        kube::Client::try_from(config).unwrap()
    }

    pub async fn admin(&self) -> kube::Client {
        self.client("kubernetes-admin", "system:masters").await
    }

    /// A plain request as the administrator.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let client = self.admin().await;
        send(&client, method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, value: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], value.to_string()).await
    }

    pub async fn patch(&self, path: &str, kind: &str, value: &Value) -> Answer {
        self.send("PATCH", path, &[("content-type", kind)], value.to_string()).await
    }

    /// What the ServiceAccount controller would do, for tests that create pods.
    pub async fn account(&self, namespace: &str) {
        let value = serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let answer = self.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &value).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
    }
}

pub async fn send(
    client: &kube::Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Answer {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.send(request.body(kube::client::Body::from(body.into())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    Answer {
        code: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }
}
