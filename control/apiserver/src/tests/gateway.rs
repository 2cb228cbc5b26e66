//! A kubelet of a few lines: TLS with a certificate of the cluster's CA, answers by path, echoes after an upgrade.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use xebec_identity::pki::tls::{client_config, server_config};
use xebec_identity::pki::{Leaf, Usage};

use super::harness::Cluster;

async fn kubelet(cluster: &Cluster) -> u16 {
    let mut leaf = Leaf::new("system:node:n1", Usage::Server);
    leaf.ip_addresses = vec![Ipv4Addr::LOCALHOST.into()];
    let stem = cluster.pki.path("kubelet-test");
    cluster.pki.ensure_leaf(&stem, &leaf).unwrap();
    let file = |name: &str| cluster.pki.path(name);
    let config = server_config(
        &file("kubelet-test.crt"),
        &file("kubelet-test.key"),
        Some(&file("ca.crt")),
        &["http/1.1"],
    )
    .unwrap();
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { answer(acceptor, stream).await });
        }
    });
    port
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream) {
    let mut stream = acceptor.accept(stream).await.unwrap();
    assert!(stream.get_ref().1.peer_certificates().is_some(), "the API server shows its certificate");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap().to_owned();
    if head.to_lowercase().contains("upgrade: spdy/3.1") {
        let reply = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
        stream.write_all(reply.as_bytes()).await.unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut buffer = [0; 1024];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            stream.write_all(&buffer[..count]).await.unwrap();
        }
    } else if line.contains("/waiting") {
        let body = json!({"kind": "Status", "message": "container \"waiting\" in pod \"p\" is waiting to start: ContainerCreating"}).to_string();
        let reply = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(reply.as_bytes()).await.unwrap();
    } else {
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{line}",
            line.len()
        );
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
    stream.shutdown().await.ok();
}

async fn cluster_with_pod() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    let port = kubelet(&cluster).await;
    assert_eq!(
        cluster.post("/api/v1/nodes", &json!({"kind": "Node", "metadata": {"name": "n1"}})).await.code,
        201
    );
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let patched = cluster.patch("/api/v1/nodes/n1/status", "application/merge-patch+json", &status).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i"}, {"name": "waiting", "image": "i"}]}});
    let made = cluster.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(made.code, 201, "{}", made.text);
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_proxies_reach_the_kubelet() {
    let cluster = cluster_with_pod().await;
    let pods = "/api/v1/namespaces/default/pods";
    let log = cluster.get(&format!("{pods}/p/log?container=c&tailLines=5&timestamps=true")).await;
    assert_eq!(
        (log.code, log.text.as_str()),
        (200, "GET /containerLogs/default/p/c?timestamps=true&tailLines=5 HTTP/1.1")
    );
    let refused = cluster.get(&format!("{pods}/p/log?container=waiting")).await;
    assert_eq!(refused.code, 400);
    assert!(refused.text.contains("is waiting to start: ContainerCreating"), "{}", refused.text);
    let unnamed = cluster.get(&format!("{pods}/p/log")).await;
    assert_eq!(unnamed.message(), "a container name must be specified for pod p, choose one of: [c waiting]");
    let proxied = cluster.get("/api/v1/nodes/n1/proxy/stats/summary?x=1").await;
    assert_eq!(proxied.text, "GET /stats/summary?x=1 HTTP/1.1");
    let gone = json!({"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}});
    assert_eq!(
        cluster.patch("/api/v1/nodes/n1/status", "application/merge-patch+json", &gone).await.code,
        200
    );
    let unreachable = cluster.get(&format!("{pods}/p/log?container=c")).await;
    assert_eq!(unreachable.code, 500);
    assert!(
        unreachable.message().contains("error dialing backend: dial tcp 127.0.0.1:1"),
        "{}",
        unreachable.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_are_tunnelled_byte_for_byte() {
    let cluster = cluster_with_pod().await;
    let file = |name: &str| cluster.pki.path(name);
    let admin = Leaf::new("kubernetes-admin", Usage::Client).organization("system:masters");
    cluster.pki.ensure_leaf(&file("admin-test"), &admin).unwrap();
    let identity = (file("admin-test.crt"), file("admin-test.key"));
    let config = client_config(&file("ca.crt"), Some((&identity.0, &identity.1)), &["http/1.1"]).unwrap();
    let stream = TcpStream::connect(cluster.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let request = "POST /api/v1/namespaces/default/pods/p/exec?container=c&command=sh&command=-c&stdin=true&stdout=true HTTP/1.1\r\n\
        Host: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\
        Content-Length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(
        head.starts_with("http/1.1 101") && head.contains("x-stream-protocol-version: v4.channel.k8s.io"),
        "{head}"
    );
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    let line = String::from_utf8(line).unwrap();
    assert_eq!(line, "POST /exec/default/p/c?input=1&output=1&error=1&command=sh&command=-c HTTP/1.1\n");
    let sent: Vec<u8> = (0..=255).collect();
    stream.write_all(&sent).await.unwrap();
    let mut echoed = vec![0; sent.len()];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(echoed, sent);
}
