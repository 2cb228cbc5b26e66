//! The front door: from a connection to a response.
//!
//! Enters: TLS connections ([`listener`]) or requests of the in-memory client. Leaves: responses. The order is the
//! order of the files: `listener` -> `trace` (request id, span, panics) -> `limits` -> `auth` (who) -> `fairness` (now or
//! later) -> `auth` (may they) -> `route`/`query`/`negotiate` (what is asked, in which form) -> `resource`/`subresource`/`reviews`/`gateway` (the
//! verb) -> `render` (the answer). [`respond`] is the only file that turns errors into Status objects.

pub mod audit;
pub mod auth;
pub mod body;
pub mod compress;
mod cork;
pub mod fairness;
pub mod health;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod negotiate;
pub mod query;
pub mod raw_list;
pub mod render;
pub mod resource;
pub mod respond;
pub mod route;
pub mod sink;
pub mod subresource;
pub mod table;
pub mod trace;
pub mod watching;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

use crate::ApiServer;

/// The whole HTTP interface as one service.
pub fn router(server: Arc<ApiServer>) -> Router {
    let routes = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/healthz/{check}", get(health::single))
        .route("/livez", get(health::livez))
        .route("/livez/{check}", get(health::single))
        .route("/readyz", get(health::readyz))
        .route("/readyz/{check}", get(health::single))
        .route("/version", get(health::version))
        .route("/version/", get(health::version))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi/v2", get(crate::discovery::swagger::document))
        .route("/openapi/v3", get(crate::discovery::openapi_index))
        .route("/openapi/v3/{*path}", get(crate::discovery::openapi_document))
        .route("/.well-known/openid-configuration", get(health::openid_configuration))
        .route("/openid/v1/jwks", get(health::jwks))
        .route("/debug/api_priority_and_fairness/{dump}", get(fairness::dump))
        .route("/", get(crate::discovery::paths))
        .fallback(resource::handle);
    filtered(server, routes)
}

/// These routes behind everything a request passes first.
pub(crate) fn filtered(server: Arc<ApiServer>, routes: Router<Arc<ApiServer>>) -> Router {
    routes
        .layer(from_fn_with_state(Arc::clone(&server), auth::authorize))
        .layer(from_fn_with_state(Arc::clone(&server), fairness::enter))
        .layer(from_fn_with_state(Arc::clone(&server), auth::authenticate))
        .layer(from_fn_with_state(Arc::clone(&server), limits::in_flight))
        .layer(from_fn_with_state(Arc::clone(&server), trace::request))
        .with_state(server)
}
