//! An extension API server: TLS with a certificate for its Service's name, clients by the front-proxy CA.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use futures::future::BoxFuture;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use xebec_identity::pki::tls::server_config;
use xebec_identity::pki::{Leaf, Usage};

use crate::gateway::backend::Network;
use crate::tests::harness::Cluster;

/// The address its endpoint has.
pub const ADDRESS: &str = "10.9.0.20";
pub const GROUP: &str = "far.example";

#[derive(Default)]
pub struct Extension {
    /// Answers 500 to everything.
    pub down: AtomicBool,
    /// Knows no aggregated discovery.
    pub old: AtomicBool,
    /// Paths asked for by this server itself.
    pub asked: Mutex<Vec<String>>,
}

struct Roads(SocketAddr);

impl Network for Roads {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<TcpStream>> {
        let to = if host == ADDRESS { self.0 } else { SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        Box::pin(TcpStream::connect(to))
    }
}

impl Extension {
    /// Starts it; connections to [`ADDRESS`] reach it from now on.
    pub async fn start(cluster: &Cluster) -> Arc<Self> {
        let mut leaf = Leaf::new("api", Usage::Server);
        leaf.dns_names = vec!["api.default.svc".to_owned()];
        cluster.pki.ensure_leaf(&cluster.pki.path("extension"), &leaf).unwrap();
        let file = |name: &str| cluster.pki.path(name);
        let ca = file("front-proxy-ca.crt");
        let alpn = ["h2", "http/1.1"];
        let config = server_config(&file("extension.crt"), &file("extension.key"), Some(&ca), &alpn).unwrap();
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        cluster.server.dialer.reroute(Arc::new(Roads(listener.local_addr().unwrap())));
        let (extension, acceptor) = (Arc::new(Self::default()), TlsAcceptor::from(Arc::new(config)));
        let serving = Arc::clone(&extension);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, serving) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let proven = stream.get_ref().1.peer_certificates().is_some();
                    let service = hyper::service::service_fn(move |request| {
                        let serving = Arc::clone(&serving);
                        async move {
                            assert!(proven, "the front-proxy certificate is shown");
                            Ok::<_, Infallible>(serving.answer(request))
                        }
                    });
                    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    http.serve_connection_with_upgrades(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        extension
    }

    fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        if self.down.load(Ordering::SeqCst) {
            return Response::builder().status(500).body(Body::from("out of order")).unwrap();
        }
        let header = |name: header::HeaderName| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let json = |value: Value| {
            let build = Response::builder().header("content-type", "application/json");
            build.body(Body::from(value.to_string())).unwrap()
        };
        let path = request.uri().path().to_owned();
        let root = format!("/apis/{GROUP}/v1");
        match path.strip_prefix(&root) {
            None => self.documents(&path, &header(header::ACCEPT), &header(header::IF_NONE_MATCH)),
            Some("") => {
                json(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "far.example/v1",
                "resources": [{"name": "stars", "singularName": "star", "namespaced": true, "kind": "Star",
                    "verbs": ["get", "list"]}]}))
            }
            Some("/redirect") => Response::builder()
                .status(302)
                .header("location", "https://10.0.0.1/")
                .body(Body::empty())
                .unwrap(),
            Some("/upgrade") => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
                let build = Response::builder().status(101).header("connection", "Upgrade");
                build.header("upgrade", "echo").body(Body::empty()).unwrap()
            }
            Some(_) => {
                let mut headers: Vec<String> = request
                    .headers()
                    .iter()
                    .filter(|(name, _)| name.as_str().starts_with("x-") || *name == header::AUTHORIZATION)
                    .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
                    .collect();
                headers.sort();
                let line = format!("{} {}", request.method(), request.uri().path_and_query().unwrap());
                json(json!({"kind": "StarList", "line": line, "headers": headers,
                    "version": format!("{:?}", request.version())}))
            }
        }
    }

    fn documents(&self, path: &str, accept: &str, known: &str) -> Response<Body> {
        self.asked.lock().push(path.to_owned());
        let tagged = |content_type: &str, value: Value| {
            let tag = "\"7\"";
            let build = Response::builder().header("etag", tag);
            if known == tag {
                return build.status(304).body(Body::empty()).unwrap();
            }
            build.header("content-type", content_type).body(Body::from(value.to_string())).unwrap()
        };
        match path {
            "/apis" if accept.contains("as=APIGroupDiscoveryList") && !self.old.load(Ordering::SeqCst) => {
                tagged(
                    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                    json!({"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": GROUP},
                    "versions": [{"version": "v1", "freshness": "Current", "resources": [{
                        "resource": "stars", "singularResource": "star", "scope": "Namespaced",
                        "responseKind": {"group": GROUP, "version": "v1", "kind": "Star"},
                        "verbs": ["get", "list"], "shortNames": ["sta"]}]}]}]}),
                )
            }
            "/openapi/v3" => tagged(
                "application/json",
                json!({"paths": {
                "apis/far.example/v1": {"serverRelativeURL": "/openapi/v3/apis/far.example/v1?hash=9"},
                "apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=evil"}}}),
            ),
            "/openapi/v3/apis/far.example/v1" => {
                tagged("application/json", json!({"openapi": "3.0.0", "far": true}))
            }
            "/openapi/v2" => tagged(
                "application/json",
                json!({"swagger": "2.0",
                "paths": {"/apis/far.example/v1/stars": {"get": {"responses": {"200": {"description": "OK",
                    "schema": {"$ref": "#/definitions/example.far.Star"}}}}}},
                "definitions": {"example.far.Star": {"type": "object"}}}),
            ),
            _ => Response::builder().status(404).body(Body::empty()).unwrap(),
        }
    }
}
