//! Discovery: which groups, versions and resources there are, in three forms, and the OpenAPI documents.
//!
//! Everything here is made from the resource table once and answered from memory.

mod aggregated;
mod legacy;
mod openapi;
pub mod swagger;

pub use openapi::{Documents, document as openapi_document, index as openapi_index};

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use xebec_api::resource::Resource;
use xebec_api::status::ApiError;
use xebec_crd::served::compare_versions;

use crate::ApiServer;
use crate::resources::Snapshot;
use crate::serve::respond;

/// A group with its versions in order of preference.
pub struct Group {
    /// Its name, empty for the core group.
    pub name: &'static str,
    /// Version and resources, the preferred version first.
    pub versions: Vec<(&'static str, Vec<&'static Resource>)>,
}

/// These resources as groups, core first, then by name.
pub(crate) fn groups(resources: impl Iterator<Item = &'static Resource>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for served in resources {
        let group = match groups.iter_mut().find(|group| group.name == served.group) {
            Some(group) => group,
            None => {
                groups.push(Group { name: served.group, versions: Vec::new() });
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        match group.versions.iter_mut().find(|(version, _)| *version == served.version) {
            Some((_, resources)) => resources.push(served),
            None => group.versions.push((served.version, vec![served])),
        }
    }
    for group in &mut groups {
        group.versions.sort_by(|(a, _), (b, _)| compare_versions(b, a));
        for (_, resources) in &mut group.versions {
            resources.sort_by_key(|served| served.plural);
        }
    }
    groups.sort_by_key(|group| group.name);
    groups
}

/// What a client of `/api` and `/apis` wants.
enum Wanted {
    Aggregated(&'static str),
    Legacy,
}

fn wanted(headers: &HeaderMap) -> Result<Wanted, ApiError> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.trim().is_empty() {
        return Ok(Wanted::Legacy);
    }
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<&str> = parts.collect();
        let aggregated =
            parameters.contains(&"as=APIGroupDiscoveryList") && parameters.contains(&"g=apidiscovery.k8s.io");
        match media {
            "application/json" if aggregated && parameters.contains(&"v=v2") => {
                return Ok(Wanted::Aggregated("v2"));
            }
            "application/json" if aggregated && parameters.contains(&"v=v2beta1") => {
                return Ok(Wanted::Aggregated("v2beta1"));
            }
            "application/json" | "application/*" | "*/*" if !aggregated => return Ok(Wanted::Legacy),
            _ => {}
        }
    }
    Err(ApiError::not_acceptable("only the following media types are accepted: application/json"))
}

/// Answers discovery paths; 404 for any other path that is no resource.
pub fn handle(
    server: &ApiServer,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if !matches!(parts.first(), Some(&("api" | "apis"))) {
        return Err(ApiError::generic_404());
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(ApiError::method_not_allowed());
    }
    let snapshot = server.registry.resources().snapshot();
    let groups = snapshot.groups();
    let hash_of = |served: &Resource| storage_version_hash(&snapshot, served);
    let document = match parts.as_slice() {
        [root @ ("api" | "apis")] => match wanted(headers)? {
            Wanted::Aggregated(version) => {
                let mut list = aggregated::list(groups, *root == "api", version);
                if *root == "apis" {
                    list = server.aggregator.aggregated(groups, list);
                }
                return Ok(tagged(headers, &aggregated::content_type(version), &list));
            }
            Wanted::Legacy if *root == "api" => legacy::versions(&server.config.advertise_host()),
            Wanted::Legacy => server.aggregator.group_list(groups),
        },
        ["api", version] => {
            legacy::resources(groups, "", version, &hash_of).ok_or_else(ApiError::generic_404)?
        }
        ["apis", group] => server.aggregator.group(groups, group).ok_or_else(ApiError::generic_404)?,
        ["apis", group, version] => {
            legacy::resources(groups, group, version, &hash_of).ok_or_else(ApiError::generic_404)?
        }
        _ => return Err(ApiError::generic_404()),
    };
    Ok(respond::json(StatusCode::OK, &document))
}

/// What names the version a resource is stored in; none when that is not served.
fn storage_version_hash(snapshot: &Snapshot, served: &Resource) -> Option<String> {
    match &snapshot.lookup(served.group, served.version, served.plural)?.custom {
        Some(custom) if custom.definition().is_some() => custom.storage_version_hash().map(str::to_owned),
        _ => Some(served.storage_version_hash()),
    }
}

/// The document with an ETag; 304 when the client has it.
fn tagged(headers: &HeaderMap, content_type: &str, document: &Value) -> Response {
    let body = document.to_string();
    let tag = format!("\"{}\"", hash(body.as_bytes()));
    let known =
        headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) == Some(tag.as_str());
    let mut response = if known {
        respond::bytes(StatusCode::NOT_MODIFIED, content_type, bytes::Bytes::new())
    } else {
        respond::bytes(StatusCode::OK, content_type, body.into())
    };
    if let Ok(value) = tag.parse() {
        response.headers_mut().insert(header::ETAG, value);
    }
    response.headers_mut().insert(header::VARY, http::HeaderValue::from_static("Accept"));
    response
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// GET /: the paths of this server.
pub async fn paths(State(server): State<Arc<ApiServer>>) -> Response {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/version",
        "/.well-known/openid-configuration",
    ]
    .map(str::to_owned)
    .to_vec();
    let snapshot = server.registry.resources().snapshot();
    for group in snapshot.groups() {
        for (version, _) in &group.versions {
            paths.push(if group.name.is_empty() {
                format!("/api/{version}")
            } else {
                format!("/apis/{}/{version}", group.name)
            });
        }
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
    }
    paths.sort();
    respond::json(StatusCode::OK, &json!({ "paths": paths }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_default_groups_are_there() {
        let groups = groups(crate::resources::built_in());
        assert_eq!(groups[0].name, "");
        let autoscaling = groups.iter().find(|group| group.name == "autoscaling").unwrap();
        assert_eq!(autoscaling.versions.iter().map(|(v, _)| *v).collect::<Vec<_>>(), ["v2", "v1"]);
        assert_eq!(
            groups.iter().map(|g| g.versions.iter().map(|(_, r)| r.len()).sum::<usize>()).sum::<usize>(),
            68
        );
    }
}
