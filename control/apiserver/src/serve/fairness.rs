//! Priority and fairness: a request waits here for its level's seats (`xebec-flow`).
//!
//! Long-running requests pass; a watch takes seats while its initial state is made. Authority: KEP-1040; the seats of a
//! list are upstream's estimate, one for each hundred objects it reads, at most ten.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xebec_api::status::ApiError;
use xebec_api::time;
use xebec_flow::config::Config;
use xebec_flow::control::ADJUST_EVERY;
use xebec_flow::dangling::dangling;
use xebec_flow::{Digest, FlowControl};
use xebec_identity::User;

use super::limits;
use super::query::Query;
use super::respond::{self, Failure};
use super::route::RequestInfo;
use crate::ApiServer;
use crate::registry::{Registry, Sub, Target, UpdateOptions, WriteContext};
use crate::watch::{Cut, Selection};

/// Longest wait in a queue: a quarter of a request's time, as upstream.
const PATIENCE: Duration = Duration::from_secs(15);
/// Objects a list may read for one seat.
const OBJECTS_PER_SEAT: usize = 100;
/// Most seats of one request.
const MOST_SEATS: usize = 10;
/// How long changes of the objects are collected before they are taken over.
const SETTLE: Duration = Duration::from_millis(50);

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Lets the request in when its level has seats for it; 429 with Retry-After otherwise.
pub async fn enter(
    State(server): State<Arc<ApiServer>>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let Some(flow) = &server.flow else { return Ok(next.run(request).await) };
    let extensions = request.extensions();
    let (Some(user), Some(info)) = (extensions.get::<User>(), extensions.get::<RequestInfo>()) else {
        return Err(ApiError::internal("the request was not authenticated").into());
    };
    if info.verb != "watch" && limits::is_long_running(&request) {
        return Ok(next.run(request).await);
    }
    let digest = Digest {
        user: &user.name,
        groups: &user.groups,
        verb: &info.verb,
        is_resource: info.is_resource,
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        path: &info.path,
    };
    let width = extensions.get::<Query>().map_or(1, |query| width(&server, info, query));
    let ticket = match flow.enter(&digest, width, PATIENCE).await {
        Ok(ticket) => ticket,
        Err(rejection) => {
            debug!(user = user.name, reason = rejection.reason(), "request refused by priority and fairness");
            return Err(ApiError::too_many_requests("Too many requests, please try again later.", 1).into());
        }
    };
    let mut response = next.run(request).await;
    let headers = [
        ("x-kubernetes-pf-flowschema-uid", &ticket.schema_uid),
        ("x-kubernetes-pf-prioritylevel-uid", &ticket.level_uid),
    ];
    for (name, uid) in headers {
        if let Ok(value) = HeaderValue::from_str(uid) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    Ok(response)
}

fn width(server: &ApiServer, info: &RequestInfo, query: &Query) -> usize {
    if !matches!(info.verb.as_str(), "list" | "watch") || !info.name.is_empty() {
        return 1;
    }
    let kind = server.registry.resources().lookup(&info.group, &info.version, &info.resource);
    let objects = kind.and_then(|kind| kind.cache.as_ref().map(|cache| cache.len())).unwrap_or(0);
    let limit = query.number("limit").ok().flatten().and_then(|limit| usize::try_from(limit).ok());
    let read = limit.filter(|limit| *limit > 0).map_or(objects, |limit| limit.min(objects));
    read.div_ceil(OBJECTS_PER_SEAT).clamp(1, MOST_SEATS)
}

/// Follows the flow control objects and moves seats; ends with `stop`.
pub fn start(flow: Arc<FlowControl>, registry: Arc<Registry>, stop: CancellationToken) {
    flow.configure(config(&registry));
    let following = follow(Arc::clone(&flow), registry);
    tokio::spawn(stop.clone().run_until_cancelled_owned(following));
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(ADJUST_EVERY).await;
            flow.adjust();
        }
    }));
}

fn stored(registry: &Registry, plural: &str) -> Vec<Arc<Value>> {
    let Some(cache) = registry.caches().of(GROUP, plural) else { return Vec::new() };
    cache
        .list(&Selection::everything(None), Cut::default())
        .objects
        .iter()
        .map(|object| object.value())
        .collect()
}

fn config(registry: &Registry) -> Config {
    let (schemas, levels) =
        (stored(registry, "flowschemas"), stored(registry, "prioritylevelconfigurations"));
    Config::new(schemas.iter().map(|schema| &**schema), levels.iter().map(|level| &**level))
}

async fn follow(flow: Arc<FlowControl>, registry: Arc<Registry>) {
    let caches = registry.caches();
    let (Some(schemas), Some(levels)) =
        (caches.of(GROUP, "flowschemas"), caches.of(GROUP, "prioritylevelconfigurations"))
    else {
        return;
    };
    let (mut schemas, mut levels) = (schemas.subscribe(), levels.subscribe());
    loop {
        flow.configure(config(&registry));
        mark_dangling(&flow, &registry).await;
        tokio::select! {
            changed = schemas.changed() => if changed.is_err() { return },
            changed = levels.changed() => if changed.is_err() { return },
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// Keeps each schema's `Dangling` condition true to whether its level exists.
async fn mark_dangling(flow: &FlowControl, registry: &Registry) {
    let user = User::system_master("system:apiserver");
    let context = WriteContext::new(user, "api-priority-and-fairness-config-consumer-v1".to_owned(), false);
    for schema in stored(registry, "flowschemas") {
        let name = xebec_api::meta::name(&schema).to_owned();
        let now = time::format_rfc3339_seconds(Timestamp::now());
        let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let exists = flow.knows_level(level);
        if dangling(&schema, exists, &now).is_none() {
            continue;
        }
        let Ok(target) = Target::find(registry.resources(), GROUP, "flowschemas", "", &name) else { return };
        let editor = |old: &Value| {
            let mut new = old.clone();
            if let Some(condition) = dangling(old, exists, &now) {
                let mut conditions = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
                conditions.retain(|one| one["type"] != "Dangling");
                conditions.push(condition);
                new["status"]["conditions"] = Value::Array(conditions);
            }
            Ok(new)
        };
        let written =
            registry.update(&context, &target, Sub::Status, UpdateOptions::default(), &editor).await;
        if let Err(error) = written.map(drop)
            && !error.is_not_found()
        {
            warn!(name, error = error.message, "the condition of a flow schema could not be written");
        }
    }
}

/// GET /debug/api_priority_and_fairness/{dump}.
pub async fn dump(
    State(server): State<Arc<ApiServer>>,
    axum::extract::Path(dump): axum::extract::Path<String>,
) -> Response {
    let text = server.flow.as_ref().and_then(|flow| match dump.as_str() {
        "dump_priority_levels" => Some(flow.dump_levels()),
        "dump_queues" => Some(flow.dump_queues()),
        _ => None,
    });
    match text {
        Some(text) => respond::text(http::StatusCode::OK, text),
        None => respond::failure(&ApiError::generic_404()),
    }
}
