//! The gateway to nodes: logs, exec, attach, port-forward and the proxy subresources.
//!
//! Enters: an authorized request for a pod, node or service. Leaves: the backend's answer. Upgrades the kubelet speaks
//! itself (SPDY, WebSocket up to v4) are replayed to it and both connections joined byte for byte; WebSocket v5 is
//! translated (`translate`), port-forward over WebSocket tunnelled (`tunnel`). Called by `serve::subresource`, after
//! admission had its say (`connect`).

mod address;
pub(crate) mod backend;
mod connect;
mod containers;
pub(crate) mod forward;
pub(crate) mod headers;
mod log_options;
pub(crate) mod resolve;
mod rewrite;
mod translate;
mod tunnel;
mod websocket;

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use xebec_api::status::{ApiError, Reason};
use xebec_identity::ObjectReader;

pub use backend::{Backend, Dialer, GatewayError};

use crate::registry::Target;
use crate::serve::audit::PeerAddress;
use crate::serve::resource::Call;
pub(crate) use address::bracketed;
use address::{clean, push, split, with_query};
use backend::Security;
use connect::Streams;
use forward::Errand;
use log_options::LogOptions;
use rewrite::Place;

/// The subresources whose answers come from elsewhere.
pub const SUBRESOURCES: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// Longest refusal of a kubelet that is read, as upstream.
const REFUSAL: usize = 50_000;

/// 500 without a reason, which is what upstream makes of an error that is no Status.
pub(crate) fn failed(message: impl Into<String>) -> ApiError {
    ApiError::new(500, Reason::Unknown, message)
}

/// The client's address, where the connection has one.
pub(crate) fn client_of(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip())
}

/// GET pods/X/log.
pub async fn log(call: &Call, target: &Target) -> Result<Response, ApiError> {
    let options = LogOptions::parse(&call.query, &target.name)?;
    let pod = call.server.registry.get(target, "").await?.value();
    let container = containers::container(&pod, options.container.as_deref())?;
    let Some(node) = node_of(&pod) else {
        // No log is not even an empty one.
        let mut nothing = Response::new(Body::empty());
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    };
    let mut backend = kubelet(call, &node)?;
    if options.skip_tls_verify {
        backend.security = Security::KubeletUnverified;
    }
    let path = format!("/containerLogs/{}/{}/{container}", target.namespace, target.name);
    let errand = Errand { backend: &backend, path, query: options.query, client: None };
    let answer = errand.fetch(&call.server.dialer).await?;
    if !matches!(answer.status().as_u16(), 200..=206) {
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), REFUSAL).collect().await;
        let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
        return Err(log_options::refusal(code, &target.name, &text.unwrap_or_default()));
    }
    let mut response = Response::new(answer.into_body());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// exec, attach and portforward: an upgraded connection to the kubelet.
pub async fn stream(
    call: &Call,
    target: &Target,
    kind: &str,
    request: Request,
) -> Result<Response, ApiError> {
    connect::admit(call, target).await?;
    let pod = call.server.registry.get(target, "").await?.value();
    let (namespace, name) = (&target.namespace, &target.name);
    let forwarding = kind == "portforward";
    let container =
        if forwarding { String::new() } else { containers::container(&pod, call.query.get("container"))? };
    let Some(node) = node_of(&pod) else {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    };
    let backend = kubelet(call, &node)?;
    let streams = Streams::of(&call.query);
    let mut query = String::new();
    let path = if forwarding {
        call.query.all("ports").for_each(|port| push(&mut query, "port", port));
        format!("/portForward/{namespace}/{name}")
    } else {
        let wanted = [("input", streams.stdin), ("output", true), ("error", true), ("tty", streams.tty)];
        wanted.iter().filter(|(_, on)| *on).for_each(|(flag, _)| push(&mut query, flag, "1"));
        if kind == "exec" {
            call.query.all("command").for_each(|word| push(&mut query, "command", word));
        }
        format!("/{kind}/{namespace}/{name}/{container}")
    };
    let headers = request.headers();
    let websocket = websocket::is_websocket(headers);
    if websocket && !forwarding && translate::wanted(headers) {
        let kubelet = translate::Kubelet { server: call.server.clone(), backend, path, query };
        return translate::open(kubelet, streams, request);
    }
    let errand = Errand { backend: &backend, path, query, client: client_of(&request) };
    if websocket && forwarding && !tunnel::offered(headers).is_empty() {
        return tunnel::open(&errand, &call.server.dialer, request).await;
    }
    if !headers::is_upgrade(headers) {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    errand.upgrade(&call.server.dialer, request).await
}

/// nodes/X/proxy, pods/X/proxy, services/X/proxy.
pub async fn proxy(call: &Call, target: &Target, request: Request) -> Result<Response, ApiError> {
    connect::admit(call, target).await?;
    let backend = match target.served.plural {
        "nodes" => node_backend(call, target).await?,
        "pods" => {
            let asked = split("pod", &target.name)?;
            let pod = call.server.registry.get(&target.named(&target.namespace, &asked.name), "").await?;
            resolve::pod(&pod.value(), &asked)?
        }
        _ => {
            let asked = split("service", &target.name)?;
            let registry = &call.server.registry;
            registry.settle().await?;
            resolve::service(&**registry.caches(), &mut rand::rng(), &target.namespace, &asked)?
        }
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let upgrading = headers::is_upgrade(request.headers());
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let Some(rest) = &call.info.rest else {
        if reading && !upgrading {
            return Ok(moved(&with_query(&format!("{}/", call.info.path), &query)));
        }
        return pass(call, &backend, String::new(), query, request).await;
    };
    pass(call, &backend, clean(rest), query, request).await
}

async fn pass(
    call: &Call,
    backend: &Backend,
    path: String,
    query: String,
    request: Request,
) -> Result<Response, ApiError> {
    let host = headers::host(request.headers(), request.uri());
    let host = host.and_then(|host| host.to_str().ok().map(str::to_owned)).unwrap_or_default();
    let path = if path.is_empty() { "/".to_owned() } else { path };
    let errand = Errand { backend, path, query, client: client_of(&request) };
    if headers::is_upgrade(request.headers()) {
        return errand.upgrade(&call.server.dialer, request).await;
    }
    let place = Place { prefix: own_path(call), backend: backend.authority(), host };
    errand.pass(&call.server.dialer, request, place).await
}

/// The request's path up to and including `proxy`.
fn own_path(call: &Call) -> String {
    let info = &call.info;
    let namespace =
        if info.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", info.namespace) };
    format!("/api/{}{namespace}/{}/{}/proxy", info.version, info.resource, info.name)
}

fn moved(to: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(value) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

fn kubelet(call: &Call, node: &str) -> Result<Backend, ApiError> {
    let object = call.server.registry.caches().get("", "nodes", "", node);
    let object = object.ok_or_else(|| ApiError::not_found("", "nodes", node))?;
    containers::kubelet(&object)
}

/// A node's kubelet, or another port of the node.
async fn node_backend(call: &Call, target: &Target) -> Result<Backend, ApiError> {
    let asked = split("node", &target.name)?;
    let node = call.server.registry.get(&target.named("", &asked.name), "").await?.value();
    let kubelet = containers::kubelet(&node)?;
    if asked.port.is_empty() || asked.port == kubelet.port.to_string() {
        return Ok(kubelet);
    }
    let port = asked.port.parse().map_err(|_| {
        ApiError::bad_request(format!("invalid port {:?} of node {}: want a number", asked.port, asked.name))
    })?;
    // A name is the machine's to resolve; addresses that lead back to this one are not proxied to.
    if kubelet.host.parse::<IpAddr>().is_ok() {
        address::proxyable(&kubelet.host)?;
    }
    let security = if asked.https { Security::Unverified } else { Security::Plain };
    Ok(Backend { port, security, ..kubelet })
}

fn node_of(pod: &Value) -> Option<String> {
    pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}
