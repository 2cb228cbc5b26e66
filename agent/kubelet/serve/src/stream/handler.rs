//! The streaming requests. Enters: path, query and upgrade. Leaves: the runtime's answer. Called by the router.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use k8s_openapi::api::core::v1::Pod;

use super::{StreamingError, dial, query};
use crate::pods::uid;
use crate::respond;
use crate::router::Context;

/// Why there is no stream.
type Refusal = (StatusCode, String);

type Asked = (State<Arc<Context>>, Path<String>, Query<Vec<(String, String)>>);

/// `GET|POST /exec/{namespace}/{pod}[/{uid}]/{container}`.
pub(crate) async fn exec((State(context), Path(path), Query(pairs)): Asked, request: Request) -> Response {
    answer(exec_or_refuse(&context, &path, &pairs, request, true).await)
}

/// `GET|POST /attach/{namespace}/{pod}[/{uid}]/{container}`.
pub(crate) async fn attach((State(context), Path(path), Query(pairs)): Asked, request: Request) -> Response {
    answer(exec_or_refuse(&context, &path, &pairs, request, false).await)
}

/// `GET|POST /portForward/{namespace}/{pod}[/{uid}]`.
pub(crate) async fn port_forward(
    (State(context), Path(path), Query(pairs)): Asked,
    request: Request,
) -> Response {
    answer(forward_or_refuse(&context, &path, &pairs, request).await)
}

/// `POST /run/{namespace}/{pod}[/{uid}]/{container}?cmd=`.
pub(crate) async fn run((State(context), Path(path), Query(pairs)): Asked) -> Response {
    answer(run_or_refuse(&context, &path, &pairs).await)
}

fn answer(result: Result<Response, Refusal>) -> Response {
    let (status, words) = match result {
        Ok(response) => return response,
        Err(refusal) => refusal,
    };
    let mut response = respond::text(status, words);
    if status == StatusCode::TOO_MANY_REQUESTS {
        // the longest an unused URL lives
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

async fn exec_or_refuse(
    context: &Context,
    path: &str,
    pairs: &query::Pairs,
    request: Request,
    new_process: bool,
) -> Result<Response, Refusal> {
    let streams = query::streams(pairs).map_err(bad)?;
    let target = Target::parse(path, true).ok_or_else(not_a_path)?;
    let pod = target.pod(context)?;
    must_upgrade(&request)?;
    let id = target.container_id(context, &pod)?;
    let url = if new_process {
        context.streaming.exec(&id, query::all(pairs, "command"), streams).await
    } else {
        context.streaming.attach(&id, streams).await
    };
    Ok(dial::replay(request, &url.map_err(refused)?, context.cancel.clone()).await)
}

async fn forward_or_refuse(
    context: &Context,
    path: &str,
    pairs: &query::Pairs,
    request: Request,
) -> Result<Response, Refusal> {
    let ports = if dial::is_websocket(request.headers()) {
        // SPDY inside a WebSocket names no ports: refused here, whereupon its clients take SPDY itself
        query::websocket_ports(pairs).map_err(bad)?
    } else {
        Vec::new()
    };
    let target = Target::parse(path, false).ok_or_else(not_a_path)?;
    let pod = target.pod(context)?;
    must_upgrade(&request)?;
    let Some(sandbox) = context.pods.sandbox_id(uid(&pod)) else {
        let words = format!("pod not found (\"{}_{}\")", target.pod, target.namespace);
        return Err((StatusCode::INTERNAL_SERVER_ERROR, words));
    };
    let url = context.streaming.port_forward(&sandbox, ports).await.map_err(refused)?;
    Ok(dial::replay(request, &url, context.cancel.clone()).await)
}

async fn run_or_refuse(context: &Context, path: &str, pairs: &query::Pairs) -> Result<Response, Refusal> {
    let target = Target::parse(path, true).ok_or_else(not_a_path)?;
    let pod = target.pod(context)?;
    let id = target.container_id(context, &pod)?;
    let command = query::all(pairs, "cmd").into_iter().next().unwrap_or_default();
    let command = command.split(' ').map(str::to_owned).collect();
    let output = context.streaming.run(&id, command).await.map_err(refused)?;
    Ok(respond::with_type(StatusCode::OK, "text/plain; charset=utf-8", output))
}

fn bad(words: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, words.into())
}

fn not_a_path() -> Refusal {
    (
        StatusCode::NOT_FOUND,
        "404 page not found
"
        .to_owned(),
    )
}

fn must_upgrade(request: &Request) -> Result<(), Refusal> {
    if dial::is_upgrade(request.headers()) {
        return Ok(());
    }
    Err(bad("Upgrade request required"))
}

/// The statuses upstream gives to the runtime's errors.
fn refused(error: StreamingError) -> Refusal {
    let status = match &error {
        StreamingError::NotFound(_) => StatusCode::NOT_FOUND,
        StreamingError::Exhausted(_) => StatusCode::TOO_MANY_REQUESTS,
        StreamingError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

/// What a streaming path names.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    namespace: &'a str,
    pod: &'a str,
    uid: Option<&'a str>,
    container: &'a str,
}

impl<'a> Target<'a> {
    fn parse(path: &'a str, with_container: bool) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return None;
        }
        let (namespace, pod, uid, container) = match (segments.as_slice(), with_container) {
            ([namespace, pod, container], true) => (namespace, pod, None, *container),
            ([namespace, pod, uid, container], true) => (namespace, pod, Some(*uid), *container),
            ([namespace, pod], false) => (namespace, pod, None, ""),
            ([namespace, pod, uid], false) => (namespace, pod, Some(*uid), ""),
            _ => return None,
        };
        Some(Self { namespace, pod, uid, container })
    }

    fn pod(&self, context: &Context) -> Result<Arc<Pod>, Refusal> {
        let found = context.pods.find(self.namespace, self.pod, self.uid);
        found.ok_or_else(|| (StatusCode::NOT_FOUND, "pod does not exist".to_owned()))
    }

    fn container_id(&self, context: &Context, pod: &Pod) -> Result<String, Refusal> {
        let id = context.pods.container_id(pod, self.container).filter(|id| !id.is_empty());
        id.ok_or_else(|| {
            let words = format!("container not found (\"{}\")", self.container);
            (StatusCode::INTERNAL_SERVER_ERROR, words)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_uid_or_not() {
        let short = Target::parse("ns/p/c", true).unwrap();
        assert_eq!(short, Target { namespace: "ns", pod: "p", uid: None, container: "c" });
        assert_eq!(Target::parse("ns/p/u/c", true).unwrap().uid, Some("u"));
        assert_eq!(Target::parse("ns/p/u", false).unwrap().uid, Some("u"));
        assert_eq!(Target::parse("ns/p", false).unwrap().uid, None);
        for bad in ["ns/p", "ns//c", "ns/p/u/c/x", ""] {
            assert_eq!(Target::parse(bad, true), None, "{bad}");
        }
    }
}
