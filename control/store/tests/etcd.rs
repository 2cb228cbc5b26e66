//! The contract on a real etcd (one member, loopback, a temporary directory), and what a restart of it does to us.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and says why it was skipped"
)]

use bytes::Bytes;
use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use xebec_store::{Etcd, EtcdOptions, EtcdTls, Expect, Store, StoreError};

const BINARY: &str = "/usr/bin/etcd";

/// A running etcd; killed by its process id when dropped.
struct Server {
    child: Child,
    directory: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
}

impl Server {
    /// None, with the reason printed, where etcd is not installed.
    fn start() -> Option<Self> {
        if !Path::new(BINARY).exists() {
            println!("skipped: {BINARY} is not installed (Debian package etcd-server)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let (client_port, peer_port) = (free_port(), free_port());
        let child = spawn(directory.path(), "http", client_port, peer_port);
        Some(Self { child, directory, client_port, peer_port })
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(self.directory.path(), "http", self.client_port, self.peer_port);
    }

    async fn connect(&self) -> Arc<Etcd> {
        self.connect_with("http", None).await
    }

    async fn connect_with(&self, scheme: &str, tls: Option<EtcdTls>) -> Arc<Etcd> {
        let endpoints = [format!("{scheme}://127.0.0.1:{}", self.client_port)];
        let mut last = None;
        for _ in 0..60 {
            let options = EtcdOptions {
                request_timeout: Duration::from_secs(5),
                tls: tls.clone(),
                ..EtcdOptions::default()
            };
            match Etcd::connect(&endpoints, options).await {
                Ok(store) => return store,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("etcd does not answer: {last:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(directory: &Path, scheme: &str, client_port: u16, peer_port: u16) -> Child {
    let client = format!("{scheme}://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new(BINARY);
    if scheme == "https" {
        command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(directory.join("ca.pem"));
        command.arg("--cert-file").arg(directory.join("tls.pem"));
        command.arg("--key-file").arg(directory.join("tls.key"));
    }
    command
        .args(["--name", "contract", "--data-dir"])
        .arg(directory.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("contract={peer}"), "--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn contract() {
    let Some(server) = Server::start() else { return };
    let store = server.connect().await;
    assert_eq!(store.head().await.unwrap(), 1, "an empty etcd is at revision 1, as the embedded store is");
    xebec_store::contract::run_all(|| {
        let store: Arc<dyn Store> = store.clone();
        async move { store }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_survives_a_restart_of_etcd() {
    let Some(mut server) = Server::start() else { return };
    let store = server.connect().await;
    let mut watch = store.watch("/w", 1).await.unwrap();
    let first = store.put("/w/1", Bytes::from_static(b"1"), Expect::Absent).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, first);

    server.kill();
    let error = store.put("/w/2", Bytes::from_static(b"2"), Expect::Absent).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    server.restart();

    // The same client reconnects; the failed put never reached etcd, so the key is still free.
    let mut attempts = 0;
    let second = loop {
        match store.put("/w/2", Bytes::from_static(b"2"), Expect::Absent).await {
            Ok(revision) => break revision,
            Err(StoreError::Unavailable(_)) if attempts < 60 => attempts += 1,
            Err(error) => panic!("the connection does not come back: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    let event = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((event.revision, event.entry.key.as_str()), (second, "/w/2"));
    assert_eq!(second, first + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_named() {
    let options = EtcdOptions { request_timeout: Duration::from_millis(500), ..EtcdOptions::default() };
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let error = Etcd::connect(&[nobody], options.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let error = Etcd::connect(&["http://a b".to_owned()], options.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Configuration(_)), "{error}");
    let error = Etcd::connect(&[], options).await.unwrap_err();
    assert!(matches!(error, StoreError::Configuration(_)), "{error}");
}

/// An authority, and a certificate of it for both sides, in PEM: (authority, certificate, key).
fn certificates() -> (String, String, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let ca = authority.self_signed(&authority_key).unwrap().pem();
    let mut leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap().pem();
    (ca, certificate, key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_mutual_tls() {
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let (ca, certificate, key) = certificates();
    for (name, text) in [("ca.pem", &ca), ("tls.pem", &certificate), ("tls.key", &key)] {
        std::fs::write(server.directory.path().join(name), text).unwrap();
    }
    server.child = spawn(server.directory.path(), "https", server.client_port, server.peer_port);
    let tls = EtcdTls { ca: ca.clone(), client: Some((certificate, key)), server_name: None };
    let store = server.connect_with("https", Some(tls.clone())).await;
    let revision = store.put("/tls", Bytes::from_static(b"v"), Expect::Absent).await.unwrap();
    assert_eq!(store.get("/tls").await.unwrap().0.unwrap().mod_revision, revision);
    let event = store.watch("/", revision - 1).await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(event.revision, revision);

    let endpoints = [format!("https://127.0.0.1:{}", server.client_port)];
    let stranger = EtcdTls { client: None, ..tls.clone() };
    let impostor = EtcdTls { ca: certificates().0, ..tls };
    for tls in [stranger, impostor] {
        let options =
            EtcdOptions { tls: Some(tls), request_timeout: Duration::from_secs(2), ..EtcdOptions::default() };
        let error = Etcd::connect(&endpoints, options).await.expect_err("one side is not vouched for");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_asks() {
    let Some(server) = Server::start() else { return };
    let store = server.connect().await;
    assert_eq!(store.compacted().await.unwrap(), 0, "it never compacted");
    for round in 0..50 {
        store.put("/registry/core/things/k", Bytes::from(vec![round; 20_000]), Expect::Any).await.unwrap();
    }
    let head = store.head().await.unwrap();
    store.compact(head).await.unwrap();
    assert_eq!(store.compacted().await.unwrap(), head);
    let before = store.member().await.unwrap();
    assert!(before.version.starts_with("3.") && before.errors.is_empty(), "{before:?}");
    store.defragment().await.unwrap();
    let after = store.member().await.unwrap();
    assert!(after.file_bytes < before.file_bytes, "{before:?} -> {after:?}");

    let path = server.directory.path().join("snapshot");
    let mut file = std::fs::File::create(&path).unwrap();
    let bytes = store.snapshot(&mut file).await.unwrap();
    assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(store.get("/registry/core/things/k").await.unwrap().0.unwrap().mod_revision, head);
}
