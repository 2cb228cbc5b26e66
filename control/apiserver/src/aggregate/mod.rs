//! API aggregation: groups that other API servers serve, behind this one's address.
//!
//! Enters: APIServices, Services and EndpointSlices (from the caches), and requests of groups that have a Service.
//! Leaves: the remote servers' answers ([`proxy`]), the condition Available and the APIServices of this server's own
//! groups ([`run`]), and discovery and OpenAPI documents of all servers in one. Called by `serve::resource` and
//! `discovery`; started by `ApiServer::build`.
//!
//! Pure: `priority`, `register`, `available`, `merge`, `openapi`, `identity`. Where no APIService names a Service, a
//! request costs one read lock and no lookup.

mod available;
mod contents;
mod identity;
mod merge;
mod openapi;
mod priority;
pub mod proxy;
mod register;
mod remote;
mod run;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use xebec_api::resource::{self, Resource};
use xebec_identity::User;

use crate::discovery::Group;
use crate::gateway::Dialer;
use crate::registry::Registry;
use priority::Ranked;
use remote::Remote;

/// A group and version that is not this server's to answer for.
#[derive(Clone)]
pub enum Route {
    /// A remote server's.
    Remote {
        /// The server.
        remote: Arc<Remote>,
        /// Whether it is available.
        available: bool,
    },
    /// A remote server's that cannot be reached as its APIService says.
    Broken {
        /// What is wrong with the APIService.
        error: String,
        /// Whether it is available nevertheless.
        available: bool,
    },
}

/// The APIServices at one moment.
#[derive(Default)]
struct State {
    routes: HashMap<String, HashMap<String, Route>>,
    ranks: HashMap<merge::GroupVersion, Ranked>,
}

/// The aggregator.
pub struct Aggregator {
    registry: Arc<Registry>,
    dialer: Arc<Dialer>,
    /// Certificate and key that remote servers know this one by.
    identity: (PathBuf, PathBuf),
    state: RwLock<Arc<State>>,
    /// The merged /openapi/v2 and the tags it was made from.
    merged_v2: Mutex<Option<(String, Arc<Value>)>>,
}

impl Aggregator {
    /// An aggregator that knows no remote server yet; [`run::start`] brings them.
    #[must_use]
    pub fn new(registry: Arc<Registry>, dialer: Arc<Dialer>, identity: (PathBuf, PathBuf)) -> Self {
        Self { registry, dialer, identity, state: RwLock::default(), merged_v2: Mutex::default() }
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read())
    }

    /// Whose a group and version is; none for this server's own.
    #[must_use]
    pub fn route(&self, group: &str, version: &str) -> Option<Route> {
        self.state.read().routes.get(group)?.get(version).cloned()
    }

    /// Whose the path `/apis/G/V...` is.
    #[must_use]
    pub fn route_of_path(&self, path: &str) -> Option<Route> {
        let mut parts = path.trim_start_matches('/').split('/');
        if parts.next() != Some("apis") {
            return None;
        }
        self.route(parts.next()?, parts.next()?)
    }

    /// Groups and versions of everyone in the order clients look in; `own` are this server's.
    #[must_use]
    pub fn order(&self, own: &[Group]) -> Vec<(String, Vec<String>)> {
        let state = self.state();
        let mut all: HashMap<merge::GroupVersion, Ranked> = HashMap::new();
        for group in own {
            for (version, resources) in &group.versions {
                let built_in = |served: &&Resource| {
                    resource::lookup(served.group, served.version, served.plural).is_some()
                };
                let custom = !resources.iter().any(built_in);
                let (group_priority, version_priority) = priority::local(group.name, version, custom);
                let key = (group.name.to_owned(), (*version).to_owned());
                let ranked =
                    Ranked { group: key.0.clone(), version: key.1.clone(), group_priority, version_priority };
                all.insert(key, ranked);
            }
        }
        for (key, ranked) in &state.ranks {
            let remote = state.routes.get(&key.0).is_some_and(|versions| versions.contains_key(&key.1));
            // An APIService of this server's own counts for what is served only.
            if remote || all.contains_key(key) {
                all.insert(key.clone(), ranked.clone());
            }
        }
        priority::ordered(all.into_values())
    }

    /// `/apis` in its old form.
    #[must_use]
    pub fn group_list(&self, own: &[Group]) -> Value {
        merge::group_list(&self.order(own))
    }

    /// `/apis/G`; none for a group nobody serves.
    #[must_use]
    pub fn group(&self, own: &[Group], name: &str) -> Option<Value> {
        merge::group(&self.order(own), name)
    }

    /// `/apis` as aggregated discovery, of which `list` is this server's part.
    #[must_use]
    pub fn aggregated(&self, own: &[Group], list: Value) -> Value {
        let mut remote = merge::Versions::new();
        for (group, versions) in &self.state().routes {
            for (version, route) in versions {
                let key = (group.clone(), version.clone());
                let entry = match route {
                    Route::Broken { .. } => merge::entry(version, None, false),
                    Route::Remote { remote, available } => {
                        let known = remote.known.read();
                        merge::entry(version, known.versions.get(&key), known.current && *available)
                    }
                };
                remote.insert(key, entry);
            }
        }
        merge::aggregated(list, &self.order(own), &remote)
    }

    fn remotes(&self) -> Vec<Arc<Remote>> {
        let state = self.state();
        let routes = state.routes.values().flat_map(HashMap::values);
        let mut remotes: Vec<Arc<Remote>> = routes
            .filter_map(|route| match route {
                Route::Remote { remote, .. } => Some(Arc::clone(remote)),
                Route::Broken { .. } => None,
            })
            .collect();
        remotes.sort_by(|a, b| (&a.spec.group, &a.spec.version).cmp(&(&b.spec.group, &b.spec.version)));
        remotes
    }

    /// Adds the remote servers' documents to the index of /openapi/v3.
    pub fn add_openapi_v3(&self, index: &mut Value) {
        for remote in self.remotes() {
            let known = remote.known.read();
            if let Some(theirs) = &known.openapi_v3 {
                let own = [(remote.spec.group.clone(), remote.spec.version.clone())];
                openapi::add_v3(index, theirs, &own);
            }
        }
    }

    /// The remote server that answers /openapi/v3/`path`.
    #[must_use]
    pub fn openapi_v3_route(&self, path: &str) -> Option<Route> {
        let rest = path.trim_matches('/').strip_prefix("apis/")?;
        let (group, version) = rest.split_once('/')?;
        self.route(group, version)
    }

    /// /openapi/v2 of everyone, and what names its content; none while this server's own is all there is.
    ///
    /// `own` is this server's, named by `tag`. The merged document is made again only when one of them changed.
    #[must_use]
    pub fn openapi_v2(&self, tag: &str, own: impl FnOnce() -> Value) -> Option<(String, Arc<Value>)> {
        let mut tags = tag.to_owned();
        let mut documents = Vec::new();
        for remote in self.remotes() {
            if let Some((tag, document)) = &remote.known.read().openapi_v2 {
                tags.push_str(tag);
                documents.push((remote.spec.clone(), Arc::clone(document)));
            }
        }
        if documents.is_empty() {
            return None;
        }
        let mut merged = self.merged_v2.lock();
        if let Some((known, document)) = merged.as_ref().filter(|(known, _)| *known == tags) {
            return Some((known.clone(), Arc::clone(document)));
        }
        let mut document = own();
        for (spec, theirs) in documents {
            openapi::add_v2(&mut document, &theirs, &spec.group, &spec.version);
        }
        let document = Arc::new(document);
        *merged = Some((tags.clone(), Arc::clone(&document)));
        Some((tags, document))
    }
}

/// Answers a request for a group and version of another server; gives it back when it is this server's own.
pub async fn answer(
    aggregator: &Aggregator,
    user: &User,
    request: Request,
) -> Result<Response, Box<Request>> {
    match aggregator.route_of_path(request.uri().path()) {
        Some(route) => Ok(proxy::handle(route, user, request).await),
        None => Err(Box::new(request)),
    }
}

/// A GET of a remote server's document as `user`, with what the client's headers say about its form.
pub async fn document(route: Route, user: &User, headers: &HeaderMap, target: &str) -> Option<Response> {
    let mut request = Request::new(axum::body::Body::empty());
    *request.uri_mut() = target.parse().ok()?;
    for name in [http::header::ACCEPT, http::header::IF_NONE_MATCH, http::header::ACCEPT_ENCODING] {
        if let Some(value) = headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    Some(proxy::handle(route, user, request).await)
}

pub use run::start;
