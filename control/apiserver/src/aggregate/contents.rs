//! What a remote API server says it serves: discovery and OpenAPI, fetched and kept.
//!
//! Authority: k8s.io/kube-aggregator/pkg/apiserver/handler_discovery.go, pkg/controllers/openapi.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::debug;
use xebec_identity::User;

use super::merge;
use super::remote::{Remote, RemoteError};

/// Longest time for discovery.
const DISCOVERY_PATIENCE: Duration = Duration::from_secs(5);
/// Longest time for an OpenAPI document.
const OPENAPI_PATIENCE: Duration = Duration::from_secs(60);
/// Largest discovery document.
const DISCOVERY_LIMIT: usize = 8 * 1024 * 1024;
/// Largest OpenAPI v2 document; a larger one is left out, and nothing but /openapi/v2 misses it.
const OPENAPI_LIMIT: usize = 16 * 1024 * 1024;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;q=0.9";

/// Why discovery is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It does not answer.
    #[error("{0}")]
    Remote(#[from] RemoteError),
    /// It took too long.
    #[error("request timed out")]
    Timeout,
    /// It answers with a refusal.
    #[error("failed to download legacy discovery for {0}: status code {1}")]
    Refused(String, u16),
    /// It answers with something else than a document.
    #[error("{0}: {1}")]
    Garbled(String, serde_json::Error),
}

fn aggregator() -> User {
    User::new("system:kube-aggregator", &["system:masters"])
}

/// Whether the group's discovery answers; upstream's words where it does not.
pub async fn probe(remote: &Remote) -> Result<(), String> {
    // Several at once, since one of several endpoints may be on its way up or down.
    let attempts = (0..5).map(|_| Box::pin(probe_once(remote)));
    match futures::future::select_ok(attempts).await {
        Ok(_) => Ok(()),
        Err(words) => Err(words),
    }
}

async fn probe_once(remote: &Remote) -> Result<(), String> {
    let path = format!("/apis/{}/{}", remote.spec.group, remote.spec.version);
    let (host, port) = remote.endpoint().map_err(|error| error.to_string())?;
    let url = format!("https://{}:{port}{path}", crate::gateway::bracketed(&host));
    let user = aggregator();
    let asked = remote.fetch(&path, &user, &[], DISCOVERY_LIMIT);
    match tokio::time::timeout(DISCOVERY_PATIENCE, asked).await {
        Err(_) => Err(format!("timed out waiting for {url}")),
        Ok(Err(error)) => Err(format!("failing or missing response from {url}: {error}")),
        Ok(Ok(answer)) if !(200..300).contains(&answer.code) => {
            Err(format!("failing or missing response from {url}: bad status from {url}: {}", answer.code))
        }
        Ok(Ok(_)) => Ok(()),
    }
}

/// Asks for everything anew. What could not be had stays as it was, discovery marked stale.
pub async fn refresh(remote: &Arc<Remote>) -> Result<(), ContentError> {
    let discovered = discover(remote).await;
    {
        let mut known = remote.known.write();
        known.current = discovered.is_ok();
        match discovered {
            Ok(versions) => known.versions = versions,
            Err(error) => return Err(error),
        }
    }
    if let Err(error) = describe(remote).await {
        debug!(%error, group = remote.spec.group, "no OpenAPI of a remote API server");
    }
    Ok(())
}

async fn discover(remote: &Remote) -> Result<merge::Versions, ContentError> {
    let user = aggregator();
    let ask = async |path: &str, accept: &str| {
        let headers = [(header::ACCEPT, accept)];
        let asked = remote.fetch(path, &user, &headers, DISCOVERY_LIMIT);
        tokio::time::timeout(DISCOVERY_PATIENCE, asked).await.map_err(|_| ContentError::Timeout)
    };
    let parse = |path: &str, body: &[u8]| {
        serde_json::from_slice::<Value>(body).map_err(|error| ContentError::Garbled(path.to_owned(), error))
    };
    let answer = ask("/apis", AGGREGATED).await??;
    let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let aggregated = kind.is_some_and(|kind| {
        kind.contains("g=apidiscovery.k8s.io")
            && kind.contains("v=v2;")
            && kind.contains("as=APIGroupDiscoveryList")
    });
    if answer.code == 200 && aggregated {
        return Ok(merge::versions(&parse("/apis", &answer.body)?));
    }
    // A server that fails is not one without aggregated discovery: what it told before stays.
    if answer.code >= 500 {
        return Err(ContentError::Refused("/apis".to_owned(), answer.code));
    }
    let (group, version) = (&remote.spec.group, &remote.spec.version);
    let path = format!("/apis/{group}/{version}");
    let answer = ask(&path, "application/json").await??;
    if answer.code != 200 {
        return Err(ContentError::Refused(path, answer.code));
    }
    let entry = merge::from_resource_list(&parse(&path, &answer.body)?, group, version);
    Ok(merge::Versions::from([((group.clone(), version.clone()), entry)]))
}

async fn describe(remote: &Remote) -> Result<(), ContentError> {
    let user = User::new("system:aggregator", &[]);
    let ask = async |path: &str, headers: &[(header::HeaderName, &str)]| {
        let asked = remote.fetch(path, &user, headers, OPENAPI_LIMIT);
        tokio::time::timeout(OPENAPI_PATIENCE, asked).await.map_err(|_| ContentError::Timeout)
    };
    let json = (header::ACCEPT, "application/json");
    let index = ask("/openapi/v3", std::slice::from_ref(&json)).await??;
    remote.known.write().openapi_v3 =
        if index.code == 200 { serde_json::from_slice(&index.body).ok() } else { None };
    let tag = remote.known.read().openapi_v2.as_ref().map(|(tag, _)| tag.clone());
    let mut headers = vec![json];
    // A tag made here says nothing to the server, which ignores it.
    if let Some(tag) = &tag {
        headers.push((header::IF_NONE_MATCH, tag));
    }
    let answer = ask("/openapi/v2", &headers).await??;
    match answer.code {
        304 => {}
        200 => {
            let own = || {
                Sha256::digest(&answer.body)
                    .iter()
                    .take(16)
                    .map(|byte| format!("{byte:02X}"))
                    .collect::<String>()
            };
            let sent = answer.headers.get(header::ETAG).and_then(|value| value.to_str().ok());
            let tag = sent.map_or_else(|| format!("\"{}\"", own()), str::to_owned);
            let document = serde_json::from_slice(&answer.body)
                .map_err(|error| ContentError::Garbled("/openapi/v2".to_owned(), error))?;
            remote.known.write().openapi_v2 = Some((tag, Arc::new(document)));
        }
        _ => remote.known.write().openapi_v2 = None,
    }
    Ok(())
}
