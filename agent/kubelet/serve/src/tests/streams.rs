//! exec, attach and port forward through a streaming server like the runtime's.

use std::time::Duration;

use axum::extract::Request as Asked;
use axum::routing::any;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

type Seen = Arc<Mutex<Vec<(String, http::HeaderMap)>>>;

/// The runtime's side: `/echo` sends back all it gets and then "end"; `/refuse` answers 403; `/away` redirects.
async fn runtime() -> (SocketAddr, Seen, DropGuard) {
    let seen = Seen::default();
    let record = seen.clone();
    let echo = move |mut request: Asked| {
        record.lock().push((request.uri().to_string(), request.headers().clone()));
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.write_all(b"end").await.unwrap();
                write.shutdown().await.unwrap();
            });
            let answer =
                Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "SPDY/3.1");
            answer.header("x-stream-protocol-version", "v4.channel.k8s.io").body(Body::empty()).unwrap()
        }
    };
    let refuse = || async {
        Response::builder().status(403).header("x-why", "v5").body(Body::from("no such protocol")).unwrap()
    };
    let away = || async {
        Response::builder().status(302).header("location", "http://10.0.0.1/").body(Body::empty()).unwrap()
    };
    let router =
        axum::Router::new().route("/echo", any(echo)).route("/refuse", any(refuse)).route("/away", any(away));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let end = cancel.clone();
    tokio::spawn(async move {
        while let Some(Ok((stream, _))) = end.run_until_cancelled(listener.accept()).await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    (address, seen, cancel.drop_guard())
}

fn upgrade(path: &str, protocol: &str) -> Request<Body> {
    let request = Request::post(path).header("host", "node").header("connection", "Upgrade");
    let request =
        request.header("upgrade", protocol).header("x-stream-protocol-version", "v4.channel.k8s.io");
    request.header("authorization", "Bearer secret").body(Body::empty()).unwrap()
}

#[tokio::test]
async fn bytes_pass_untouched_and_each_half_ends_alone() {
    let house = House::open().await;
    let (runtime, seen, _end) = runtime().await;
    house.urls.put("app1", format!("http://{runtime}/echo?token=t"));
    let mut client = house.api_server().await;
    let path = "/exec/default/web/app?command=sh&command=-c&command=a%20b&input=1&output=1&error=1";
    let mut response = client.send(upgrade(path, "SPDY/3.1")).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
    let asked = house.urls.asked.lock()[0].clone();
    assert_eq!(
        asked,
        r#"exec app1 ["sh", "-c", "a b"] Streams { stdin: true, stdout: true, stderr: true, tty: false }"#
    );
    let (uri, headers) = seen.lock()[0].clone();
    assert_eq!(
        (uri.as_str(), &headers["upgrade"], &headers["host"]),
        ("/echo?token=t", &"SPDY/3.1".parse().unwrap(), &runtime.to_string().parse().unwrap())
    );
    assert!(!headers.contains_key("authorization"), "the token is not the runtime's");
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
    let sent: Vec<u8> = (0..16_u32 << 20).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    let want = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
        write
    });
    let mut got = vec![0; want.len()];
    read.read_exact(&mut got).await.unwrap();
    assert!(got == want);
    let mut write = writer.await.unwrap();
    let mut rest = Vec::new();
    let quiet = tokio::time::timeout(Duration::from_millis(100), read.read_to_end(&mut rest)).await;
    assert!(quiet.is_err() && rest.is_empty(), "open until our half ends");
    write.shutdown().await.unwrap();
    read.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"end", "what the runtime says after our end still arrives");
}

#[tokio::test]
async fn a_refusal_is_passed_on_whole() {
    let house = House::open().await;
    let (runtime, _, _end) = runtime().await;
    house.urls.put("app1", format!("http://{runtime}/refuse"));
    let mut client = house.api_server().await;
    let response = client.send(upgrade("/attach/default/web/u1/app?output=1", "websocket")).await.unwrap();
    assert_eq!(response.headers()["x-why"], "v5");
    assert_eq!(text(response).await, (403, "no such protocol".to_owned()));
    assert!(house.urls.asked.lock()[0].starts_with("attach app1 "));
    assert_eq!(client.get("/healthz").await.0, 200, "the connection goes on after a refusal");
}

#[tokio::test]
async fn redirects_and_other_machines_are_refused() {
    let house = House::open().await;
    let (runtime, seen, _end) = runtime().await;
    let mut client = house.api_server().await;
    house.urls.put("app1", format!("http://{runtime}/away"));
    let (status, words) =
        text(client.send(upgrade("/exec/default/web/app?output=1", "SPDY/3.1")).await.unwrap()).await;
    assert_eq!((status, words.contains("redirect")), (502, true), "{words}");
    for url in ["http://192.0.2.1:80/echo", "https://127.0.0.1/echo", "unix:///run/x"] {
        house.urls.put("app1", url);
        let mut client = house.api_server().await;
        let answer = client.send(upgrade("/exec/default/web/app?output=1", "SPDY/3.1")).await.unwrap();
        let (status, words) = text(answer).await;
        assert_eq!((status, words.contains("not http on a loopback address")), (500, true), "{words}");
    }
    assert!(seen.lock().is_empty());
}

#[tokio::test]
async fn port_forward_by_spdy_passes_and_in_a_websocket_falls_back() {
    let house = House::open().await;
    let (runtime, _, _end) = runtime().await;
    house.urls.put("sandbox1", format!("http://{runtime}/echo"));
    let mut client = house.api_server().await;
    let tunnelled = Request::get("/portForward/default/web")
        .header("host", "node")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "SPDY/3.1+portforward.k8s.io")
        .body(Body::empty())
        .unwrap();
    let (status, words) = text(client.send(tunnelled).await.unwrap()).await;
    assert_eq!((status, words.as_str()), (400, "query parameter \"port\" is required"));
    let response = client.send(upgrade("/portForward/default/web", "SPDY/3.1")).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(*house.urls.asked.lock(), ["forward sandbox1 []"]);
}

#[tokio::test]
async fn what_cannot_be_streamed_is_told_as_upstream_tells_it() {
    let house = House::open().await;
    let mut client = house.api_server().await;
    let plain = client.get("/exec/default/web/app?output=1").await;
    assert_eq!(plain, (400, "Upgrade request required".to_owned()));
    let table = [
        ("/exec/default/gone/app?output=1", 404, "pod does not exist"),
        ("/exec/default/web/other-uid/app?output=1", 404, "pod does not exist"),
        ("/exec/default/web/slow?output=1", 500, "container not found (\"slow\")"),
        ("/exec/default/web/app", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("/exec/default/web/app?output=1", 404, "rpc error: code = NotFound desc = app1"),
    ];
    for (path, status, words) in table {
        let got = text(client.send(upgrade(path, "SPDY/3.1")).await.unwrap()).await;
        assert_eq!(got, (status, words.to_owned()), "{path}");
    }
}
