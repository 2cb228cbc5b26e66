//! The proxy subresources of nodes, pods and services.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use xebec_identity::pki::tls::server_config;
use xebec_identity::pki::{Leaf, Usage};

use super::client::{head, tls};
use super::cluster_with_pod;
use crate::gateway::backend::Network;
use crate::tests::harness::Cluster;

/// The pod's address, which leads to this process; port 81 speaks TLS, others but 80 are closed.
const POD: &str = "10.9.0.7";

struct Roads {
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Network for Roads {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<TcpStream>> {
        let to = match (host, port) {
            (POD, 80) => self.plain,
            (POD, 81) => self.tls,
            (POD, _) => SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            _ => return Box::pin(TcpStream::connect((host.parse::<Ipv4Addr>().unwrap(), port))),
        };
        Box::pin(TcpStream::connect(to))
    }
}

/// A web server: pages, redirects, an echo, an upgrade.
async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let build = Response::builder();
    let body = |build: http::response::Builder, text: &str| build.body(Body::from(text.to_owned())).unwrap();
    Ok(match request.uri().path() {
        "/page" => body(
            build
                .header("content-type", "text/html; charset=utf-8")
                .header("access-control-allow-origin", "*"),
            "<a href=\"/next\">next</a>",
        ),
        "/moved" => body(build.status(302).header("location", "/login?x=1"), ""),
        "/away" => body(build.status(302).header("location", "https://other.example/"), ""),
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
            });
            body(build.status(101).header("connection", "Upgrade").header("upgrade", "echo"), "")
        }
        _ => {
            let mut headers: Vec<String> =
                request.headers().iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
            headers.sort();
            let line = format!("{} {}", request.method(), request.uri());
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            let echo = json!({"line": line, "headers": headers, "body": String::from_utf8_lossy(&sent)});
            body(build.header("x-own", "1"), &echo.to_string())
        }
    })
}

async fn serve(acceptor: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(answer);
                let http = hyper::server::conn::http1::Builder::new();
                match acceptor {
                    None => {
                        http.serve_connection(TokioIo::new(stream), service).with_upgrades().await.ok();
                    }
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        http.serve_connection(TokioIo::new(stream), service).await.ok();
                    }
                }
            });
        }
    });
    address
}

/// A pod with an address, a Service in front of it, and the roads there.
async fn cluster_with_service() -> Cluster {
    let cluster = cluster_with_pod().await;
    let stem = cluster.pki.path("web-test");
    cluster.pki.ensure_leaf(&stem, &Leaf::new("whoever", Usage::Server)).unwrap();
    let file = |name: &str| cluster.pki.path(name);
    let config = server_config(&file("web-test.crt"), &file("web-test.key"), None, &["http/1.1"]).unwrap();
    let roads =
        Roads { plain: serve(None).await, tls: serve(Some(TlsAcceptor::from(Arc::new(config)))).await };
    cluster.server.dialer.reroute(Arc::new(roads));
    let merge = "application/merge-patch+json";
    let status = json!({"status": {"podIP": POD, "podIPs": [{"ip": POD}]}});
    assert_eq!(cluster.patch("/api/v1/namespaces/default/pods/p/status", merge, &status).await.code, 200);
    let service = json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [
        {"name": "http", "port": 8080}, {"name": "https", "port": 8443}, {"name": "other", "port": 9}]}});
    let made = cluster.post("/api/v1/namespaces/default/services", &service).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let slice = json!({"kind": "EndpointSlice", "metadata": {"name": "web-1",
            "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 81}],
        "endpoints": [
            {"addresses": [POD], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "p"}},
            {"addresses": ["10.9.0.8"], "conditions": {"ready": true}}]});
    let made = cluster.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    assert_eq!(made.code, 201, "{}", made.text);
    cluster
}

const POD_PATH: &str = "/api/v1/namespaces/default/pods/p:80/proxy";
const SERVICE_PATH: &str = "/api/v1/namespaces/default/services";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_pass_with_what_backends_may_see() {
    let cluster = cluster_with_service().await;
    let headers =
        [("x-mine", "1"), ("impersonate-user", "kubernetes-admin"), ("impersonate-group", "system:masters")];
    let put = cluster.send("PUT", &format!("{POD_PATH}/a//b/../c/?q=1%2F2"), &headers, "sent").await;
    let echo = put.json();
    assert_eq!((&echo["line"], &echo["body"]), (&json!("PUT /a/c/?q=1%2F2"), &json!("sent")), "{echo}");
    let seen: Vec<&str> = echo["headers"].as_array().unwrap().iter().filter_map(|h| h.as_str()).collect();
    let host = format!("host={}", cluster.address);
    let uri = format!("x-forwarded-uri={POD_PATH}/a/c/");
    for expected in ["x-mine=1", "x-forwarded-for=127.0.0.1", host.as_str(), uri.as_str()] {
        assert!(seen.contains(&expected), "{expected} in {seen:?}");
    }
    assert!(
        !seen.iter().any(|header| header.starts_with("impersonate") || header.starts_with("authorization"))
    );
    assert_eq!(put.headers["x-own"], "1");
    for (path, line) in [
        ("web:8080/proxy/x", "GET /x"),
        ("web:http/proxy/x?y=z", "GET /x?y=z"),
        ("http:web:http/proxy/", "GET /"),
        ("https:web:https/proxy/secure", "GET /secure"),
        ("https:web:8443/proxy/secure", "GET /secure"),
    ] {
        let answer = cluster.get(&format!("{SERVICE_PATH}/{path}")).await;
        assert_eq!((answer.code, &answer.json()["line"]), (200, &json!(line)), "{path}: {}", answer.text);
    }
    let proxied = cluster.get("/api/v1/nodes/n1/proxy/stats/summary?x=1").await;
    assert_eq!(proxied.text, "GET /stats/summary?x=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_lead_back_and_errors_are_upstreams() {
    let cluster = cluster_with_service().await;
    let page = cluster.get(&format!("{POD_PATH}/page")).await;
    assert_eq!(page.text, format!("<a href=\"{POD_PATH}/next\">next</a>"));
    assert!(!page.headers.contains_key("access-control-allow-origin"));
    for (path, location) in
        [("/moved", format!("{POD_PATH}/login?x=1")), ("/away", "https://other.example/".to_owned())]
    {
        let moved = cluster.get(&format!("{POD_PATH}{path}")).await;
        assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (302, location.as_str()));
    }
    let root = cluster.get(&format!("{POD_PATH}?a=b")).await;
    assert_eq!((root.code, root.headers["location"].to_str().unwrap()), (301, &*format!("{POD_PATH}/?a=b")));
    for (path, code, message) in [
        ("services/web/proxy/", 503, "no endpoints available for service \"web\""),
        ("services/web:9/proxy/", 503, "no endpoints available for service \"web\""),
        ("services/web:10/proxy/", 503, "no service port 10 found for service \"web\""),
        ("services/none/proxy/", 404, "services \"none\" not found"),
        ("services/ftp:web:1/proxy/", 400, "invalid service request \"ftp:web:1\""),
        ("pods/p:x:y:z/proxy/", 400, "invalid pod request \"p:x:y:z\""),
        (
            "pods/p:82/proxy/",
            503,
            "error trying to reach service: dial tcp 10.9.0.7:82: connect: connection refused",
        ),
    ] {
        let refused = cluster.get(&format!("/api/v1/namespaces/default/{path}")).await;
        assert_eq!((refused.code, refused.message().as_str()), (code, message), "{path}");
    }
    // Another port of a node whose address is this machine.
    let node = cluster.get("/api/v1/nodes/n1:80/proxy/").await;
    assert_eq!((node.code, node.message().as_str()), (400, "address not allowed"));
    let merge = "application/merge-patch+json";
    let home = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    assert_eq!(cluster.patch("/api/v1/namespaces/default/pods/p/status", merge, &home).await.code, 200);
    let own = cluster.get(&format!("{POD_PATH}/")).await;
    assert_eq!((own.code, own.message().as_str()), (400, "address not allowed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_pass_byte_for_byte() {
    let cluster = cluster_with_service().await;
    let ask = async |path: &str| {
        let mut stream = tls(&cluster).await;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        (stream, answer)
    };
    let (mut stream, answer) = ask(&format!("{SERVICE_PATH}/web:http/proxy/upgrade")).await;
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: echo"), "{answer}");
    let sent: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    stream.write_all(&sent).await.unwrap();
    let mut got = vec![0; sent.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert!(got == sent);
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut got).await.unwrap(), 0);
    let (_, refused) = ask(&format!("{SERVICE_PATH}/web:http/proxy/page")).await;
    assert!(refused.starts_with("http/1.1 500"), "{refused}");
}
