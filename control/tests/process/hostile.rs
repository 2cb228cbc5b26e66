//! Clients that mean harm or are merely broken: the server answers clearly, its memory stays bounded, others go on.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams};
use kube::client::ConfigExt;
use kube::{Api, Client};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::server::Server;

const WATCHERS: usize = 1000;
/// What the watchers would be owed together, if each were owed its own copy, is a hundred times this.
const WRITTEN: usize = 20 * 1024 * 1024;
/// Far above what the server needs for all of this in a debug build, far below copies for each watcher.
const MEMORY: u64 = 700 * 1024 * 1024;

struct Raw {
    connector: TlsConnector,
    address: std::net::SocketAddr,
}

impl Raw {
    async fn new(server: &Server) -> Self {
        let config = server.config().await;
        let mut tls = config.rustls_client_config().unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { connector: TlsConnector::from(Arc::new(tls)), address: server.address() }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        self.connector.connect(ServerName::from(self.address.ip()), tcp).await.unwrap()
    }

    /// Sends these bytes and reads what comes until the server closes or a second passes without more.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that has heard enough may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(Ok(count)) = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await
        {
            if count == 0 {
                break;
            }
            answer.extend_from_slice(&buffer[..count]);
            if answer.len() > 64 * 1024 || ends(&answer) {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Whether the answer is whole, by its Content-Length.
fn ends(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

fn post(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn others_are_served(client: &Client, name: &str) {
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    api.create(&PostParams::default(), &map).await.unwrap();
    assert_eq!(api.get(name).await.unwrap().metadata.name.as_deref(), Some(name));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_too_much_are_refused_clearly() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut server = Server::new();
    server.start();
    let client = server.client().await;
    let raw = Raw::new(&server).await;

    let huge = format!(
        "{{\"metadata\":{{\"name\":\"a\"}},\"data\":{{\"x\":\"{}\"}}}}",
        "x".repeat(10 * 1024 * 1024)
    );
    let answer = raw.say(&post(huge.as_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    others_are_served(&client, "after-huge").await;

    let deep =
        format!("{{\"metadata\":{{\"name\":\"a\"}},\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = raw.say(&post(deep.as_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"status\":\"Failure\""), "{answer}");
    others_are_served(&client, "after-deep").await;

    let labels: String = (0..50_000).map(|i| format!("\"l{i}\":\"{}\",", "v".repeat(30))).collect();
    let many = format!("{{\"metadata\":{{\"name\":\"a\",\"annotations\":{{{}\"z\":\"\"}}}}}}", labels);
    let answer = raw.say(&post(many.as_bytes())).await;
    assert!(
        answer.starts_with("HTTP/1.1 422") && answer.contains("may not be more than 262144 bytes"),
        "{answer}"
    );

    let flood: String = (0..5_000).map(|i| format!("X-Flood-{i}: {}\r\n", "y".repeat(200))).collect();
    let answer = raw.say(format!("GET /version HTTP/1.1\r\nHost: x\r\n{flood}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"), "{answer}");
    others_are_served(&client, "after-flood").await;

    let nonsense = raw.say(b"\x00\x01garbage\r\n\r\n").await;
    assert!(nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"), "{nonsense}");

    // Connections that never say anything, or stop in the middle.
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let mut halves = Vec::new();
    for _ in 0..100 {
        let mut half = raw.connect().await;
        half.write_all(b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Le")
            .await
            .unwrap();
        halves.push(half);
    }
    others_are_served(&client, "beside-half-open").await;
    assert!(server.memory() < MEMORY, "{} bytes resident", server.memory());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watchers_that_do_not_read_cost_no_copies() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let more = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();
    let mut server = Server::new();
    server.start();
    let client = server.client().await;
    let raw = Raw::new(&server).await;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let mut stream = raw.connect().await;
        let ask =
            "GET /api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0 HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        watchers.push(stream);
    }
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let piece = "z".repeat(100 * 1024);
    for number in 0..WRITTEN / piece.len() {
        let mut map =
            ConfigMap { data: Some([("d".to_owned(), piece.clone())].into()), ..Default::default() };
        map.metadata.name = Some(format!("big-{number}"));
        api.create(&PostParams::default(), &map).await.unwrap();
    }
    others_are_served(&client, "beside-slow-watchers").await;
    let listed = api.list(&ListParams::default().limit(5)).await.unwrap();
    assert_eq!(listed.items.len(), 5);
    let resident = server.memory();
    assert!(resident < MEMORY, "{resident} bytes resident with {WATCHERS} watchers that do not read");
    // One that begins to read gets everything, in order.
    let mut late = watchers.pop().unwrap();
    let mut seen = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    let last = format!("\"name\":\"big-{}\"", WRITTEN / piece.len() - 1);
    while !String::from_utf8_lossy(&seen).contains(&last) {
        let count =
            tokio::time::timeout(Duration::from_secs(60), late.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "the watch ended");
        // The data itself is of no interest: only names are kept.
        seen.extend(buffer[..count].iter().filter(|byte| **byte != b'z'));
    }
    let text = String::from_utf8_lossy(&seen).into_owned();
    let places: Vec<_> =
        (0..WRITTEN / piece.len()).map(|n| text.find(&format!("\"name\":\"big-{n}\""))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "an event is missing or out of order");
}
