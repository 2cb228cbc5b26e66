//! The OpenAPI documents, with those of custom resources, made when first asked for and kept until they change.
//!
//! Enters: what is served. Leaves: `/openapi/v3`, `/openapi/v3/apis/GROUP/VERSION` and both forms for [`super::swagger`].
//! Writing a definition builds nothing; the next reader does, off the threads that must not block, and only what changed.
//!
//! Authority: k8s.io/kube-openapi/pkg/handler3, KEP-2896.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use xebec_api::resource::Resource;
use xebec_api::status::ApiError;
use xebec_crd::definition::Definition;
use xebec_crd::openapi::{Published, v2 as addition, v3};
use xebec_identity::User;
use xebec_kinds::openapi::{self, custom, v2};

use crate::ApiServer;
use crate::aggregate;
use crate::resources::Snapshot;
use crate::serve::respond;

/// A resource with the definition behind it.
type Source = (Arc<Definition>, &'static Resource);

/// One v3 document with what it was made of.
struct Document {
    made_of: Vec<Source>,
    body: Bytes,
    hash: String,
}

/// The v3 documents of custom resources by path: `apis/example.com/v1`.
type ByPath = BTreeMap<String, Arc<Document>>;

/// Both forms of the v2 document.
pub(super) struct Forms {
    pub(super) json: v2::Form,
    pub(super) protobuf: v2::Form,
}

/// The documents of built-in resources, and those with custom resources as of the last time somebody asked.
pub struct Documents {
    built_in: Arc<openapi::Documents>,
    v3: Mutex<Option<(Arc<Snapshot>, Arc<ByPath>)>>,
    v2: Mutex<Option<(Arc<Snapshot>, Arc<Forms>)>>,
}

impl Documents {
    /// Over the built-in resources that are served.
    pub(crate) fn new(served: &[&'static Resource]) -> Self {
        Self { built_in: openapi::Documents::of(served), v3: Mutex::default(), v2: Mutex::default() }
    }

    /// The documents of built-in resources.
    pub(super) fn built_in(&self) -> &openapi::Documents {
        &self.built_in
    }

    /// The v3 documents of what is served now. Builds those that are new: keep it off threads that must not block.
    fn v3(&self, snapshot: &Arc<Snapshot>) -> Arc<ByPath> {
        let mut kept = self.v3.lock();
        if let Some((of, documents)) = kept.as_ref()
            && Arc::ptr_eq(of, snapshot)
        {
            return Arc::clone(documents);
        }
        let before = kept.take().map(|(_, documents)| documents).unwrap_or_default();
        let made = grouped(snapshot).into_iter().map(|(path, sources)| {
            let known = before.get(&path).filter(|document| same(&document.made_of, &sources));
            let document = known.cloned().unwrap_or_else(|| Arc::new(self.build(&path, sources)));
            (path, document)
        });
        let documents = Arc::new(made.collect());
        *kept = Some((Arc::clone(snapshot), Arc::clone(&documents)));
        documents
    }

    /// Both forms of the v2 document; none when there are no custom resources and the built-in one will do. Takes as
    /// long as building the whole document when something has changed.
    pub(super) fn v2(&self, snapshot: &Arc<Snapshot>) -> Option<Arc<Forms>> {
        let sources: Vec<Source> = grouped(snapshot).into_values().flatten().collect();
        if sources.is_empty() {
            return None;
        }
        let mut kept = self.v2.lock();
        if let Some((of, forms)) = kept.as_ref()
            && Arc::ptr_eq(of, snapshot)
        {
            return Some(Arc::clone(forms));
        }
        let additions: Vec<v2::Addition> = published(&sources).map(|one| addition(&one)).collect();
        let (json, protobuf) = v2::with(&self.built_in, &additions);
        let forms = Arc::new(Forms { json, protobuf });
        *kept = Some((Arc::clone(snapshot), Arc::clone(&forms)));
        Some(forms)
    }

    fn build(&self, path: &str, made_of: Vec<Source>) -> Document {
        let all: Vec<Published<'_>> = published(&made_of).collect();
        let mut document = v3(&all);
        // A definition may add to a group that is built in.
        if let Some((known, _)) = self.built_in.v3_document(path) {
            let known: Value = serde_json::from_slice(&known).unwrap_or_default();
            for pointer in ["/paths", "/components/schemas"] {
                let (Some(own), Some(known)) = (document.pointer_mut(pointer), known.pointer(pointer)) else {
                    continue;
                };
                let (Some(own), Some(known)) = (own.as_object_mut(), known.as_object()) else { continue };
                own.extend(known.clone());
            }
        }
        let body = Bytes::from(document.to_string());
        Document { made_of, hash: custom::hash(&body), body }
    }
}

fn grouped(snapshot: &Snapshot) -> BTreeMap<String, Vec<Source>> {
    let mut groups: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for kind in snapshot.kinds() {
        let Some(custom) = kind.custom.as_ref().filter(|custom| custom.is_discovered()) else { continue };
        let Some(definition) = custom.definition() else { continue };
        let path = format!("apis/{}/{}", kind.served.group, kind.served.version);
        groups.entry(path).or_default().push((Arc::clone(definition), kind.served));
    }
    groups
}

fn same(one: &[Source], other: &[Source]) -> bool {
    let equal =
        |((a, row_a), (b, row_b)): (&Source, &Source)| Arc::ptr_eq(a, b) && std::ptr::eq(*row_a, *row_b);
    one.len() == other.len() && one.iter().zip(other).all(equal)
}

fn published(sources: &[Source]) -> impl Iterator<Item = Published<'_>> {
    sources.iter().map(|(definition, resource)| Published { definition, resource })
}

async fn documents(server: &Arc<ApiServer>) -> Result<Arc<ByPath>, ApiError> {
    let server = Arc::clone(server);
    let built = tokio::task::spawn_blocking(move || {
        let snapshot = server.registry.resources().snapshot();
        server.openapi.v3(&snapshot)
    });
    built.await.map_err(|_| ApiError::internal("the OpenAPI documents could not be built"))
}

/// GET /openapi/v3.
pub async fn index(State(server): State<Arc<ApiServer>>) -> Response {
    let documents = match documents(&server).await {
        Ok(documents) => documents,
        Err(error) => return respond::failure(&error),
    };
    let mut index = server.openapi.built_in.v3_index();
    server.aggregator.add_openapi_v3(&mut index);
    for (path, document) in documents.iter() {
        index["paths"][path] =
            json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", document.hash)});
    }
    respond::json(StatusCode::OK, &index)
}

/// GET /openapi/v3/apis/apps/v1.
pub async fn document(
    State(server): State<Arc<ApiServer>>,
    Path(path): Path<String>,
    request: Request,
) -> Response {
    if let Some(route) = server.aggregator.openapi_v3_route(&path) {
        let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let user = request.extensions().get::<User>().cloned().unwrap_or_default();
        let answer = aggregate::document(route, &user, request.headers(), &target).await;
        return answer.unwrap_or_else(|| respond::failure(&ApiError::generic_404()));
    }
    let documents = match documents(&server).await {
        Ok(documents) => documents,
        Err(error) => return respond::failure(&error),
    };
    let name = path.trim_matches('/');
    let custom = documents.get(name).map(|document| (document.body.clone(), document.hash.clone()));
    let built_in = || server.openapi.built_in.v3_document(name).map(|(body, hash)| (body, hash.to_owned()));
    let Some((body, hash)) = custom.or_else(built_in) else {
        return respond::failure(&ApiError::generic_404());
    };
    tagged(body, &hash, request.uri().query().unwrap_or_default(), request.headers())
}

/// The document with its ETag; one that was asked for by its hash never changes.
fn tagged(body: Bytes, hash: &str, query: &str, headers: &HeaderMap) -> Response {
    let tag = format!("\"{hash}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if !hash.is_empty() && known.is_some_and(|known| known == tag) {
        respond::bytes(StatusCode::NOT_MODIFIED, "application/json", Bytes::new())
    } else {
        respond::bytes(StatusCode::OK, "application/json", body)
    };
    if let Some(value) = HeaderValue::from_str(&tag).ok().filter(|_| !hash.is_empty()) {
        response.headers_mut().insert(header::ETAG, value);
    }
    let by_hash: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    if !hash.is_empty() && by_hash.get("hash") == Some(&hash) {
        let forever = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    response
}
