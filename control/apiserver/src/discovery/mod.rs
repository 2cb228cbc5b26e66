//! Discovery: which groups, versions and resources there are, in three forms, and the OpenAPI documents.
//!
//! Everything here is made from the resource table once and answered from memory.

mod aggregated;
mod legacy;
pub mod swagger;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use xebec_api::resource::Resource;
use xebec_api::status::ApiError;
use xebec_identity::User;

use crate::ApiServer;
use crate::aggregate;
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
        group.versions.sort_by_key(|(version, _)| std::cmp::Reverse(rank(version)));
        for (_, resources) in &mut group.versions {
            resources.sort_by_key(|served| served.plural);
        }
    }
    groups.sort_by_key(|group| group.name);
    groups
}

/// `v2` before `v1` before `v1beta1` before `v1alpha1`.
pub(crate) fn rank(version: &str) -> (u8, u32, u32) {
    let digits =
        |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    let rest = version.strip_prefix('v').unwrap_or(version);
    let major = digits(rest);
    let stage = match rest {
        _ if rest.contains("alpha") => 0,
        _ if rest.contains("beta") => 1,
        _ => 2,
    };
    let minor = rest.rsplit(|c: char| !c.is_ascii_digit()).next().map_or(0, digits);
    (stage, major, if stage == 2 { 0 } else { minor })
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
        ["api", version] => legacy::resources(groups, "", version).ok_or_else(ApiError::generic_404)?,
        ["apis", group] => server.aggregator.group(groups, group).ok_or_else(ApiError::generic_404)?,
        ["apis", group, version] => {
            legacy::resources(groups, group, version).ok_or_else(ApiError::generic_404)?
        }
        _ => return Err(ApiError::generic_404()),
    };
    Ok(respond::json(StatusCode::OK, &document))
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

/// GET /openapi/v3.
pub async fn openapi_index(State(server): State<Arc<ApiServer>>) -> Response {
    let mut index = xebec_kinds::openapi::v3_index();
    server.aggregator.add_openapi_v3(&mut index);
    respond::json(StatusCode::OK, &index)
}

/// GET /openapi/v3/apis/apps/v1.
pub async fn openapi_document(
    State(server): State<Arc<ApiServer>>,
    Path(path): Path<String>,
    request: Request,
) -> Response {
    let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    if let Some(route) = server.aggregator.openapi_v3_route(&path) {
        let user = request.extensions().get::<User>().cloned().unwrap_or_default();
        let answer = aggregate::document(route, &user, request.headers(), &target).await;
        return answer.unwrap_or_else(|| respond::failure(&ApiError::generic_404()));
    }
    match xebec_kinds::openapi::v3_document(&path) {
        Some(document) => respond::bytes(StatusCode::OK, "application/json", document),
        None => respond::failure(&ApiError::generic_404()),
    }
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
    fn stable_versions_go_first() {
        let mut versions = ["v1beta1", "v1", "v2", "v1alpha1", "v1beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(rank(version)));
        assert_eq!(versions, ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1"]);
    }

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
