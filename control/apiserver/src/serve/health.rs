//! `/healthz`, `/livez`, `/readyz`, `/version` and the token issuer's public documents.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::query::Query;
use super::respond;
use crate::ApiServer;

/// The release of the API this server implements.
pub const API_RELEASE: (&str, &str) = ("1", "36");

type Check = (&'static str, Result<(), String>);

async fn checks(server: &ApiServer, ready: bool) -> Vec<Check> {
    let mut checks: Vec<Check> = vec![("ping", Ok(()))];
    let head = tokio::time::timeout(Duration::from_secs(2), server.registry.store().head()).await;
    checks.push(match head {
        Ok(Ok(_)) => ("etcd", Ok(())),
        Ok(Err(error)) => ("etcd", Err(error.to_string())),
        Err(_) => ("etcd", Err("the store did not answer within 2 s".to_owned())),
    });
    checks.extend(server.registry.store().checks());
    if ready {
        let settled = server.registry.settle().await.map_err(|error| error.message);
        checks.push(("informer-sync", settled));
        let started = if server.is_ready() { Ok(()) } else { Err("not finished".to_owned()) };
        checks.push(("poststarthook/bootstrap", started));
        let open = if server.is_draining() { Err("the server is shutting down".to_owned()) } else { Ok(()) };
        checks.push(("shutdown", open));
    }
    checks
}

fn report(name: &str, checks: &[Check], query: &Query) -> Response {
    let excluded: Vec<&str> = query.all("exclude").collect();
    let counted: Vec<&Check> = checks.iter().filter(|(check, _)| !excluded.contains(check)).collect();
    let failed = counted.iter().any(|(_, result)| result.is_err());
    let mut text = String::new();
    for (check, result) in &counted {
        match result {
            Ok(()) => text.push_str(&format!("[+]{check} ok\n")),
            Err(why) => text.push_str(&format!("[-]{check} failed: {why}\n")),
        }
    }
    match (failed, query.get("verbose").is_some()) {
        (false, false) => respond::text(StatusCode::OK, "ok"),
        (false, true) => respond::text(StatusCode::OK, format!("{text}{name} check passed\n")),
        (true, _) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}{name} check failed\n")),
    }
}

/// GET /healthz.
pub async fn healthz(State(server): State<Arc<ApiServer>>, Extension(query): Extension<Query>) -> Response {
    report("healthz", &checks(&server, false).await, &query)
}

/// GET /livez.
pub async fn livez(State(server): State<Arc<ApiServer>>, Extension(query): Extension<Query>) -> Response {
    report("livez", &checks(&server, false).await, &query)
}

/// GET /readyz.
pub async fn readyz(State(server): State<Arc<ApiServer>>, Extension(query): Extension<Query>) -> Response {
    report("readyz", &checks(&server, true).await, &query)
}

/// GET /readyz/ping and the like.
pub async fn single(State(server): State<Arc<ApiServer>>, Path(name): Path<String>) -> Response {
    let checks = checks(&server, true).await;
    match checks.iter().find(|(check, _)| *check == name) {
        Some((_, Ok(()))) => respond::text(StatusCode::OK, "ok"),
        Some((_, Err(why))) => {
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{name} failed: {why}"))
        }
        None => respond::text(StatusCode::NOT_FOUND, format!("no check is called {name}")),
    }
}

/// GET /version.
pub async fn version() -> Response {
    let (major, minor) = API_RELEASE;
    let value = json!({
        "major": major, "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+xebec-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    });
    respond::json(StatusCode::OK, &value)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// GET /.well-known/openid-configuration.
pub async fn openid_configuration(State(server): State<Arc<ApiServer>>) -> Response {
    let issuer = server.config.service_account_issuer.trim_end_matches('/');
    let document: Value =
        server.authenticator.verifier().openid_configuration(&format!("{issuer}/openid/v1/jwks"));
    respond::json(StatusCode::OK, &document)
}

/// GET /openid/v1/jwks.
pub async fn jwks(State(server): State<Arc<ApiServer>>) -> Response {
    let set = server.authenticator.verifier().jwks();
    respond::bytes(StatusCode::OK, "application/jwk-set+json", set.to_string().into())
}
