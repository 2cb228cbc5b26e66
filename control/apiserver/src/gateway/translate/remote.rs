//! The kubelet's side: a SPDY/3.1 upgrade and the streams of one process.
//!
//! Authority: k8s.io/client-go/tools/remotecommand (spdy.go, v2.go to v5.go).

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use xebec_api::status::ApiError;
use xebec_spdy::{Connection, Receiver, Role, Sender, Stream};

use super::Streams;
use crate::ApiServer;
use crate::gateway::backend::Backend;
use crate::gateway::forward::Errand;
use crate::gateway::tunnel::{STREAM_PROTOCOL, agreed};

/// Longest refusal of a kubelet that is read.
const REFUSAL: usize = 64 * 1024;

/// What a stream protocol means for the error stream and the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The error stream carries a text.
    Text,
    /// The error stream carries a Status (v4 and later).
    Status,
}

/// What is offered, best first: v1 mixes errors into stderr and has no client left.
const OFFERED: [&str; 4] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io"];

/// Where the process is started.
pub struct Kubelet {
    /// The server, whose dialer is used.
    pub server: Arc<ApiServer>,
    /// The kubelet.
    pub backend: Backend,
    /// `/exec/...` with its query.
    pub path: String,
    /// The query.
    pub query: String,
}

/// A process and its streams.
pub struct Process {
    pub connection: Connection,
    pub stdin: Option<Sender>,
    pub stdout: Option<Receiver>,
    pub stderr: Option<Receiver>,
    pub resize: Option<Sender>,
    pub error: Receiver,
    pub version: Version,
}

impl Kubelet {
    /// Upgrades and opens the streams that are wanted; a terminal has no stderr of its own.
    pub async fn start(self, streams: Streams) -> Result<Process, ApiError> {
        let (connection, version) = self.connect().await?;
        let open = async |kind: &str| -> Result<Stream, ApiError> {
            let headers = vec![("streamtype".to_owned(), kind.to_owned())];
            let opened = connection.open(headers).await;
            opened.map_err(|error| ApiError::internal(format!("error creating {kind} stream: {error}")))
        };
        // The order of client-go, which some servers rely on: error first.
        let (_, error) = open("error").await?.split();
        let stdin = if streams.stdin { Some(open("stdin").await?.split().0) } else { None };
        let stdout = Some(open("stdout").await?.split().1);
        let stderr = if streams.tty { None } else { Some(open("stderr").await?.split().1) };
        let resize = if streams.tty { Some(open("resize").await?.split().0) } else { None };
        Ok(Process { connection, stdin, stdout, stderr, resize, error, version })
    }

    async fn connect(&self) -> Result<(Connection, Version), ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        for protocol in OFFERED {
            headers.append(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
        }
        let errand = Errand {
            backend: &self.backend,
            path: self.path.clone(),
            query: self.query.clone(),
            client: None,
        };
        let asked = errand.ask_upgrade(&self.server.dialer, Method::POST, headers).await;
        let mut answer = asked.map_err(|error| ApiError::internal(error.message))?;
        if answer.status().is_redirection() {
            return Err(ApiError::internal("redirect not allowed"));
        }
        if !agreed(&answer) {
            return Err(refused(answer).await);
        }
        let chosen = answer.headers().get(&STREAM_PROTOCOL).and_then(|value| value.to_str().ok());
        let version = match chosen.map(str::trim) {
            Some("v5.channel.k8s.io" | "v4.channel.k8s.io") => Version::Status,
            Some("v3.channel.k8s.io" | "v2.channel.k8s.io") => Version::Text,
            other => {
                let other = other.unwrap_or_default();
                return Err(ApiError::internal(format!(
                    "unable to upgrade connection: the kubelet chose stream protocol {other:?}, want one of {OFFERED:?}"
                )));
            }
        };
        let far = hyper::upgrade::on(&mut answer).await.map_err(ApiError::internal)?;
        let connection = Connection::new(TokioIo::new(far), Role::Client).map_err(ApiError::internal)?;
        Ok((connection, version))
    }
}

/// What a kubelet that does not upgrade says: a Status of its own, or a text.
async fn refused(answer: Response) -> ApiError {
    let body = Limited::new(answer.into_body(), REFUSAL);
    let text = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => "unable to read error from server response".to_owned(),
    };
    let parsed = serde_json::from_str::<Value>(&text).ok().filter(|value| value["kind"] == "Status");
    if let Some(status) = parsed.as_ref().and_then(ApiError::from_value) {
        return status;
    }
    ApiError::internal(format!("unable to upgrade connection: {}", text.trim()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn refusal_of(text: &'static str) -> ApiError {
        refused(Response::new(Body::from(text))).await
    }

    #[tokio::test]
    async fn refusals_are_told() {
        let text = refusal_of("container not found (\"x\")\n").await;
        assert_eq!(
            text.message,
            "Internal error occurred: unable to upgrade connection: container not found (\"x\")"
        );
        let status =
            refusal_of(r#"{"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "later"}"#);
        let status = status.await;
        assert_eq!((status.code, status.message.as_str()), (429, "later"));
    }
}
