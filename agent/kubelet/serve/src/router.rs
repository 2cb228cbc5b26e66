//! From a request to its handler. Enters: requests with their peer. Leaves: responses. Called by every connection.
//!
//! Each request is counted, its user found (401), its permission asked for (403), then handled.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use http::{Extensions, HeaderMap, Method, StatusCode, header};
use tokio_util::sync::CancellationToken;

use crate::access::{Cache, User, wanted};
use crate::metrics::Metrics;
use crate::{LogSource, PodSource, Streaming, files, logs, pods, respond, stats, stream};

/// What handlers work with.
pub(crate) struct Context {
    pub node: String,
    pub log_directory: PathBuf,
    pub pods: Arc<dyn PodSource>,
    pub streaming: Arc<dyn Streaming>,
    pub logs: Arc<dyn LogSource>,
    pub access: Cache,
    pub metrics: Metrics,
    pub cancel: CancellationToken,
}

/// The user of the connection's client certificate, if it has one; an extension of every request.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub Option<Arc<User>>);

/// All paths.
pub(crate) fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/healthz/ping", get(|| async { respond::text(StatusCode::OK, "ok") }))
        .route("/healthz/log", get(|| async { respond::text(StatusCode::OK, "ok") }))
        .route("/healthz/syncloop", get(healthz))
        .route("/pods", get(all_pods))
        .route("/pods/", get(all_pods))
        .route("/runningpods", get(running_pods))
        .route("/runningpods/", get(running_pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::container_logs))
        .route("/exec/{*target}", get(stream::exec).post(stream::exec))
        .route("/attach/{*target}", get(stream::attach).post(stream::attach))
        .route("/portForward/{*target}", get(stream::port_forward).post(stream::port_forward))
        .route("/run/{*target}", post(stream::run))
        .route("/stats/summary", get(summary).post(summary))
        .route("/stats/summary/", get(summary).post(summary))
        .route("/metrics", get(metrics))
        .route("/metrics/resource", get(resource_metrics))
        .route("/logs", get(files::root))
        .route("/logs/", get(files::root))
        .route("/logs/{*path}", get(files::below))
        .route("/configz", get(configz))
        .fallback(|| async { respond::text(StatusCode::NOT_FOUND, "404 page not found\n") })
        .layer(middleware::from_fn_with_state(context.clone(), guard))
        .with_state(context)
}

async fn guard(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let _counted = context.metrics.begin(request.method(), request.uri().path());
    let Some(user) = user(&context, request.extensions(), request.headers()).await else {
        return respond::text(StatusCode::UNAUTHORIZED, "Unauthorized");
    };
    if let Err(refusal) = permit(&context, &user, request.method(), request.uri().path()).await {
        return refusal;
    }
    next.run(request).await
}

async fn user(context: &Context, extensions: &Extensions, headers: &HeaderMap) -> Option<Arc<User>> {
    if let Some(Peer(Some(user))) = extensions.get::<Peer>() {
        return Some(user.clone());
    }
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return None;
    }
    match context.access.authenticate(token).await {
        Ok(user) => user.map(Arc::new),
        Err(error) => {
            tracing::warn!(%error, "a token cannot be judged");
            None
        }
    }
}

async fn permit(context: &Context, user: &User, method: &Method, path: &str) -> Result<(), Response> {
    let asked = wanted(method, path, &context.node);
    let subresources: Vec<&str> = asked.iter().map(|attributes| attributes.subresource).collect();
    let verb = asked.first().map_or("", |attributes| attributes.verb);
    let what = || {
        let subresources = subresources.join(" ");
        format!("(user={}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])", user.name)
    };
    for attributes in &asked {
        match context.access.authorize(user, attributes).await {
            Ok(verdict) if verdict.allowed => return Ok(()),
            Ok(verdict) => {
                tracing::debug!(user = user.name, ?attributes, reason = verdict.reason, "not allowed")
            }
            Err(error) => {
                tracing::warn!(user = user.name, ?attributes, %error, "access cannot be judged");
                let words = format!("Authorization error {}", what());
                return Err(respond::text(StatusCode::INTERNAL_SERVER_ERROR, words));
            }
        }
    }
    Err(respond::text(StatusCode::FORBIDDEN, format!("Forbidden {}\n", what())))
}

async fn healthz(State(context): State<Arc<Context>>) -> Response {
    match context.pods.health() {
        Ok(()) => respond::text(StatusCode::OK, "ok"),
        Err(error) => {
            let words = format!("[+]ping ok\n[+]log ok\n[-]syncloop failed: {error}\nhealthz check failed\n");
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, words)
        }
    }
}

async fn all_pods(State(context): State<Arc<Context>>) -> Response {
    respond::json(&pods::list(&context.pods.pods()))
}

async fn running_pods(State(context): State<Arc<Context>>) -> Response {
    respond::json(&pods::running(&context.pods.pods()))
}

async fn summary(State(context): State<Arc<Context>>) -> Response {
    match context.pods.summary().await {
        Ok(summary) => respond::json(&summary),
        Err(error) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn metrics(State(context): State<Arc<Context>>) -> Response {
    let mut text = context.metrics.text(&context.node, &context.pods.pods());
    text.push_str(&context.pods.metrics());
    respond::with_type(StatusCode::OK, METRICS_TYPE, text)
}

async fn resource_metrics(State(context): State<Arc<Context>>) -> Response {
    let summary = context.pods.summary().await;
    if let Err(error) = &summary {
        tracing::warn!(%error, "usage cannot be read");
    }
    respond::with_type(StatusCode::OK, METRICS_TYPE, stats::resource_metrics(summary.ok().as_ref()))
}

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn configz(State(context): State<Arc<Context>>) -> Response {
    respond::json(&serde_json::json!({ "kubeletconfig": context.pods.config() }))
}
