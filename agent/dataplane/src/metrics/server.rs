//! What kube-proxy answers at `--metrics-bind-address`, and `/dataplane` for `xebec-agent dataplane`.

use hyper::StatusCode;
use tokio::net::TcpListener;

use super::Exporter;
use crate::health::{Answer, accept, answer, code};

/// What `/proxyMode` says; kube-proxy has `iptables`, `ipvs` and `nftables`.
const MODE: &str = "ebpf";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, exporter: Exporter) {
    accept(listener, move |request| respond(request.uri().path(), &exporter)).await;
}

fn respond(path: &str, exporter: &Exporter) -> Answer {
    match path {
        "/metrics" => answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", exporter.text()),
        "/healthz" | "/healthz/ping" => answer(StatusCode::OK, PLAIN, "ok".to_owned()),
        "/proxyMode" => answer(StatusCode::OK, PLAIN, MODE.to_owned()),
        "/dataplane" => match serde_json::to_string(&exporter.running()) {
            Ok(body) => answer(code(true), "application/json", body),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, error.to_string()),
        },
        _ => answer(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n".to_owned()),
    }
}
