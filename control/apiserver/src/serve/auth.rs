//! Who asks, and may they: the two filters every request passes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use xebec_api::status::ApiError;
use xebec_identity::authn::Peer;
use xebec_identity::authn::impersonate::Impersonation;
use xebec_identity::authz::{Evaluation, selectors};
use xebec_identity::{Attributes, User};

use super::audit;
use super::query::Query;
use super::respond::{self, Failure};
use super::route::{self, RequestInfo};
use super::trace;
use crate::ApiServer;

/// The verified client certificate of a request's connection, and who vouches for it.
#[derive(Clone)]
pub struct PeerCertificate(pub Peer);

/// The user of a request made in this process, put there by the in-memory client only.
#[derive(Clone)]
pub struct LocalUser(pub User);

/// Authentication, then impersonation: the request goes on with a [`User`], a [`Query`] and a [`RequestInfo`]. From here
/// on it is written down in the audit log.
pub async fn authenticate(
    State(server): State<Arc<ApiServer>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let auditor = server.config.audit.as_deref();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let info = route::parse(request.method(), request.uri().path(), &query);
    let caller = match request.extensions_mut().remove::<LocalUser>() {
        Some(local) => local.0,
        None => {
            let peer = request.extensions().get::<PeerCertificate>().map(|certificate| &certificate.0);
            let asked = server.authenticator.authenticate(request.headers(), peer, request.uri().path());
            match asked.await {
                Ok(user) => user,
                Err(error) => {
                    tracing::debug!(%error, "request not authenticated");
                    audit::unauthenticated(auditor, &request, attributes(&User::default(), &info, &query));
                    return Err(ApiError::unauthorized("Unauthorized").into());
                }
            }
        }
    };
    let wanted = attributes(&caller, &info, &query);
    let outcome = impersonate(&server, request.headers(), &wanted).await;
    let user = outcome.as_ref().map_or(&caller, |became| became.as_ref().unwrap_or(&caller)).clone();
    let impersonator = (user != caller).then_some(caller);
    let audited = Attributes { user: user.clone(), ..wanted };
    let (mut request, record) = audit::begin(auditor, request, &audited, impersonator)?;
    if let Err(error) = outcome {
        return Ok(audit::finish(record, respond::failure(&error)));
    }
    tracing::Span::current().record("user", user.name.as_str());
    let extensions = request.extensions_mut();
    extensions.insert(user);
    extensions.insert(query);
    extensions.insert(info);
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => Ok(audit::finish(record, response)),
        Err(panic) => {
            if let Some(record) = record {
                record.panicked(&trace::reason(&*panic));
            }
            // The outermost filter answers it.
            std::panic::resume_unwind(panic)
        }
    }
}

/// Who the caller acts as, if they wish to and may: the first way all of whose checks hold.
async fn impersonate(
    server: &ApiServer,
    headers: &http::HeaderMap,
    request: &Attributes,
) -> Result<Option<User>, ApiError> {
    let wanted =
        Impersonation::from_headers(headers).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let Some(wanted) = wanted else { return Ok(None) };
    let mut refusal = ApiError::internal("nobody decided about the impersonation");
    for way in wanted.ways(&request.user, request) {
        match refused(server, &way.checks).await {
            None => return Ok(Some(way.user)),
            Some(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// The first of several checks that is refused, as an error.
async fn refused(server: &ApiServer, checks: &[Attributes]) -> Option<ApiError> {
    for check in checks {
        let decision = server.authorizer.decide(check).await;
        if !decision.allowed() {
            return Some(check.forbidden(&decision));
        }
    }
    None
}

/// Authorization by the request's attributes; 403 with upstream's sentence.
pub async fn authorize(
    State(server): State<Arc<ApiServer>>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let extensions = request.extensions();
    let (Some(user), Some(info), Some(query)) =
        (extensions.get::<User>(), extensions.get::<RequestInfo>(), extensions.get::<Query>())
    else {
        return Err(ApiError::internal("the request was not authenticated").into());
    };
    let attributes = attributes(user, info, query);
    let Evaluation { decision, error } = server.authorizer.evaluate(&attributes).await;
    let is_undecidable = !decision.allowed() && !error.is_empty();
    if let Some(audit::Record(record)) = request.extensions().get() {
        if is_undecidable {
            record.annotate("authorization.k8s.io/reason", "internal error");
        } else {
            let word = if decision.allowed() { "allow" } else { "forbid" };
            record.annotate("authorization.k8s.io/decision", word);
            record.annotate("authorization.k8s.io/reason", decision.reason());
        }
    }
    if decision.allowed() {
        return Ok(next.run(request).await);
    }
    if is_undecidable {
        return Ok(respond::internal(request.uri(), &error));
    }
    Err(attributes.forbidden(&decision).into())
}

fn attributes(user: &User, info: &RequestInfo, query: &Query) -> Attributes {
    let selecting = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection");
    let selector = |name: &str| query.get(name).filter(|_| selecting).unwrap_or_default();
    Attributes {
        user: user.clone(),
        verb: info.verb.clone(),
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        path: info.path.clone(),
        is_resource: info.is_resource,
        field_selector: selectors::fields(selector("fieldSelector")),
        label_selector: selectors::labels(selector("labelSelector")),
    }
}
