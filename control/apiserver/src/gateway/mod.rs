//! The gateway to nodes: logs, exec, attach, port-forward and the proxy subresources.
//!
//! Enters: an authorized request for a pod, node or service. Leaves: the backend's answer, byte for byte; an upgrade
//! (WebSocket or SPDY) is replayed to the backend and then both connections are joined, so every protocol the kubelet
//! speaks works without being understood here. Called by `serve::subresource`.

mod backend;
mod forward;
mod kubelet;
mod resolve;

use std::net::IpAddr;

use axum::extract::Request;
use axum::response::Response;
use http::header;
use serde_json::Value;
use xebec_api::status::ApiError;

pub use backend::{Backend, Dialer, GatewayError};

use crate::registry::Target;
use crate::serve::resource::Call;

/// Query parameters of a log request that the kubelet understands under the same name.
const LOG_PARAMETERS: [&str; 9] = [
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
    "insecureSkipTLSVerifyBackend",
];

/// GET pods/X/log.
pub async fn log(call: &Call, target: &Target, request: Request) -> Result<Response, ApiError> {
    let pod = call.server.registry.get(target, "").await?.value();
    let container = kubelet::container(&pod, call.query.get("container"))?;
    let Some(node) = node_of(&pod) else {
        return Ok(crate::serve::respond::text(http::StatusCode::OK, ""));
    };
    let backend = kubelet::backend(call, &node)?;
    let mut query = String::new();
    for name in LOG_PARAMETERS {
        if let Some(value) = call.query.get(name).filter(|_| name != "insecureSkipTLSVerifyBackend") {
            push(&mut query, name, value);
        }
    }
    let path = with_query(format!("/containerLogs/{}/{}/{container}", target.namespace, target.name), &query);
    forward::send(call, &backend, &path, request, forward::Mode::Plain).await
}

/// exec, attach and portforward: an upgraded connection to the kubelet.
pub async fn stream(
    call: &Call,
    target: &Target,
    kind: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let pod = call.server.registry.get(target, "").await?.value();
    let Some(node) = node_of(&pod) else {
        return Err(ApiError::bad_request(format!("pod {} does not have a host assigned", target.name)));
    };
    if !request.headers().contains_key(header::UPGRADE) {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    let backend = kubelet::backend(call, &node)?;
    let (namespace, name) = (&target.namespace, &target.name);
    let mut query = String::new();
    let path = if kind == "portforward" {
        for port in call.query.all("ports").chain(call.query.all("port")) {
            push(&mut query, "port", port);
        }
        format!("/portForward/{namespace}/{name}")
    } else {
        let container = kubelet::container(&pod, call.query.get("container"))?;
        let wanted = |name: &str, default: bool| {
            if call.query.get(name).is_some() { call.query.flag(name) } else { default }
        };
        let streams = [
            ("stdin", "input", false),
            ("stdout", "output", true),
            ("stderr", "error", true),
            ("tty", "tty", false),
        ];
        let tty = wanted("tty", false);
        let mut any = false;
        for (theirs, kubelets, default) in streams {
            let default = default && !(theirs == "stderr" && tty);
            if wanted(theirs, default) && !(theirs == "stderr" && tty) {
                any |= theirs != "tty";
                push(&mut query, kubelets, "1");
            }
        }
        if !any {
            return Err(ApiError::bad_request("you must specify at least one of stdin, stdout, stderr"));
        }
        for command in call.query.all("command") {
            push(&mut query, "command", command);
        }
        format!("/{kind}/{namespace}/{name}/{container}")
    };
    forward::send(call, &backend, &with_query(path, &query), request, forward::Mode::Upgrade).await
}

/// nodes/X/proxy, pods/X/proxy, services/X/proxy.
pub async fn proxy(call: &Call, target: &Target, request: Request) -> Result<Response, ApiError> {
    let backend = match target.served.plural {
        "nodes" => kubelet::proxy_backend(call, target).await?,
        "pods" => resolve::pod(call, target).await?,
        _ => resolve::service(call, target).await?,
    };
    let rest = call.info.rest.clone().unwrap_or_default();
    let query = request.uri().query().unwrap_or_default();
    forward::send(call, &backend, &with_query(format!("/{rest}"), query), request, forward::Mode::Any).await
}

fn node_of(pod: &Value) -> Option<String> {
    pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn with_query(path: String, query: &str) -> String {
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

fn push(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    query.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            query.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// An address as it stands in a URL.
fn bracketed(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let mut query = String::new();
        push(&mut query, "command", "sh -c 'a&b'");
        push(&mut query, "tty", "1");
        assert_eq!(query, "command=sh%20-c%20%27a%26b%27&tty=1");
        assert_eq!(bracketed("fd00::1"), "[fd00::1]");
        assert_eq!(bracketed("10.0.0.1"), "10.0.0.1");
    }
}
