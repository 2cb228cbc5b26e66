//! A kubelet of a few lines: TLS with a certificate of the cluster's CA; it answers by path, and of upgrades it speaks
//! SPDY/3.1 only, as containerd's streaming server does, down to resetting every stream at the end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use xebec_identity::pki::tls::server_config;
use xebec_identity::pki::{Leaf, Usage};
use xebec_spdy::{Connection, Role, Stream};

use crate::serve::query::Query;
use crate::tests::harness::Cluster;

/// Starts it; its port.
pub async fn start(cluster: &Cluster) -> u16 {
    let mut leaf = Leaf::new("system:node:n1", Usage::Server);
    leaf.ip_addresses = vec![Ipv4Addr::LOCALHOST.into()];
    let stem = cluster.pki.path("kubelet-test");
    cluster.pki.ensure_leaf(&stem, &leaf).unwrap();
    let file = |name: &str| cluster.pki.path(name);
    let ca = file("ca.crt");
    let config =
        server_config(&file("kubelet-test.crt"), &file("kubelet-test.key"), Some(&ca), &["http/1.1"])
            .unwrap();
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client may give up before the handshake.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                assert!(
                    stream.get_ref().1.peer_certificates().is_some(),
                    "the API server shows its certificate"
                );
                let service = hyper::service::service_fn(answer);
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                connection.await.ok();
            });
        }
    });
    port
}

fn say(code: u16, text: impl Into<Body>) -> Response<Body> {
    Response::builder().status(code).body(text.into()).unwrap()
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let header = |name: &str| {
        let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let path = request.uri().path().to_owned();
    if path.starts_with("/containerLogs") {
        return Ok(match path.rsplit('/').next() {
            Some("waiting") => {
                say(400, "container \"waiting\" in pod \"p\" is waiting to start: ContainerCreating")
            }
            Some("gone") => say(404, "pod does not exist"),
            Some("broken") => say(500, "disk on fire"),
            _ if line.contains("follow=true") => say(200, Body::from_stream(slowly())),
            _ => say(200, line),
        });
    }
    if !["/exec", "/attach", "/portForward"].iter().any(|prefix| path.starts_with(prefix)) {
        return Ok(say(200, line));
    }
    if header("upgrade") != ["SPDY/3.1"] {
        return Ok(say(403, format!("this kubelet speaks SPDY only, not {:?}", header("upgrade"))));
    }
    let offered = header("x-stream-protocol-version");
    let protocol = match path.starts_with("/portForward") {
        true => offered.into_iter().find(|name| name == "portforward.k8s.io"),
        false => offered.into_iter().find(|name| name == "v4.channel.k8s.io"),
    };
    let Some(protocol) = protocol else { return Ok(say(403, "no stream protocol in common")) };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if query.get("command") == Some("refused") {
        return Ok(say(500, "container not found (\"c\")\n"));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let connection = Connection::new(TokioIo::new(upgrade.await.unwrap()), Role::Server).unwrap();
        if path.starts_with("/portForward") {
            forward(connection).await;
        } else {
            process(connection, &line, &query).await;
        }
    });
    let answer =
        Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "SPDY/3.1");
    Ok(answer.header("x-stream-protocol-version", protocol).body(Body::empty()).unwrap())
}

fn slowly() -> impl futures::Stream<Item = Result<String, Infallible>> {
    futures::stream::unfold(0, |line| async move {
        if line > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        (line < 3).then(|| (Ok(format!("line {line}\n")), line + 1))
    })
}

/// Runs the "command" of the query.
async fn process(connection: Connection, line: &str, query: &Query) {
    let flag = |name: &str| query.get(name).is_some();
    let wanted = 2 + usize::from(flag("input")) + 1;
    let mut streams: HashMap<String, Stream> = HashMap::new();
    while streams.len() < wanted {
        let Some(stream) = connection.accept().await else { return };
        streams.insert(stream.header("streamtype").unwrap().to_owned(), stream);
    }
    assert_eq!(streams.contains_key("resize"), flag("tty"), "a terminal has a size");
    assert_eq!(streams.contains_key("stderr"), !flag("tty"), "and no stderr");
    let mut take = |kind: &str| streams.remove(kind).map(Stream::split);
    let (mut stdout, _) = take("stdout").unwrap();
    let (mut error, _) = take("error").unwrap();
    let (stdin, stderr, resize) = (take("stdin"), take("stderr"), take("resize"));
    let command: Vec<&str> = query.all("command").collect();
    let number = |at: usize| command.get(at).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let mut code = 0;
    match command.first().copied().unwrap_or_default() {
        "cat" => {
            let (_, mut input) = stdin.unwrap();
            while let Some(data) = input.next().await {
                stdout.send(data).await.unwrap();
            }
        }
        "flood" => {
            for at in 0..number(1) {
                let piece: Vec<u8> = (0..1024_usize).map(|n| (n ^ at) as u8).collect();
                stdout.send(piece.into()).await.unwrap();
            }
        }
        "size" => {
            let size = resize.unwrap().1.next().await.unwrap();
            stdout.send(size).await.unwrap();
        }
        "hang" => return connection.closed().await,
        // The answers to the streams are on their way first.
        "die" => return tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        _ => {
            stdout.send(Bytes::from(format!("{line}\n"))).await.unwrap();
            if let Some((mut stderr, _)) = stderr {
                stderr.send(Bytes::from_static(b"complaint\n")).await.unwrap();
            }
            code = number(1);
        }
    }
    let status = match code {
        0 => json!({"metadata": {}, "status": "Success"}),
        code => json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": "command terminated with non-zero exit code",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}}),
    };
    error.send(status.to_string().into()).await.unwrap();
    stdout.reset().await.unwrap();
    error.reset().await.unwrap();
    connection.close().await;
}

/// Every forwarded connection gets back what it sends, in capitals; port 1 is refused.
async fn forward(connection: Connection) {
    let mut errors = HashMap::new();
    while let Some(stream) = connection.accept().await {
        let header = |name: &str| stream.header(name).unwrap().to_owned();
        let (kind, id, port) = (header("streamtype"), header("requestid"), header("port"));
        let (mut sender, mut receiver) = stream.split();
        if kind == "error" {
            errors.insert(id, (sender, receiver));
            continue;
        }
        let (mut error, _) = errors.remove(&id).unwrap();
        tokio::spawn(async move {
            if port == "1" {
                error.send(Bytes::from_static(b"connection refused")).await.unwrap();
            }
            error.finish().await.unwrap();
            while let Some(data) = receiver.next().await {
                sender.send(data.to_ascii_uppercase().into()).await.unwrap();
            }
            sender.finish().await.unwrap();
        });
    }
}
