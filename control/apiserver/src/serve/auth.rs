//! Who asks, and may they: the two filters every request passes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use xebec_api::status::ApiError;
use xebec_identity::authn::Peer;
use xebec_identity::authn::impersonate::Impersonation;
use xebec_identity::{Attributes, Decision, User};

use super::query::Query;
use super::respond::Failure;
use super::route::{self, RequestInfo};
use crate::ApiServer;

/// The verified client certificate of a request's connection, and who vouches for it.
#[derive(Clone)]
pub struct PeerCertificate(pub Peer);

/// The user of a request made in this process, put there by the in-memory client only.
#[derive(Clone)]
pub struct LocalUser(pub User);

/// Authentication, then impersonation: the request goes on with a [`User`], a [`Query`] and a [`RequestInfo`].
pub async fn authenticate(
    State(server): State<Arc<ApiServer>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let user = match request.extensions_mut().remove::<LocalUser>() {
        Some(local) => local.0,
        None => {
            let peer = request.extensions_mut().remove::<PeerCertificate>();
            let peer = peer.as_ref().map(|certificate| &certificate.0);
            let asked = server.authenticator.authenticate(request.headers(), peer, request.uri().path());
            asked.await.map_err(|error| {
                tracing::debug!(%error, "request not authenticated");
                ApiError::unauthorized("Unauthorized")
            })?
        }
    };
    let user = impersonate(&server, request.headers(), user).await?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let info = route::parse(request.method(), request.uri().path(), &query);
    tracing::Span::current().record("user", user.name.as_str());
    let extensions = request.extensions_mut();
    extensions.insert(user);
    extensions.insert(query);
    extensions.insert(info);
    Ok(next.run(request).await)
}

async fn impersonate(server: &ApiServer, headers: &http::HeaderMap, caller: User) -> Result<User, ApiError> {
    let wanted =
        Impersonation::from_headers(headers).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let Some(wanted) = wanted else { return Ok(caller) };
    for check in wanted.checks(&caller) {
        let decision = server.authorizer.decide(&check).await;
        if !decision.allowed() {
            return Err(forbidden(&check, &decision));
        }
    }
    Ok(wanted.user)
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
    let decision = server.authorizer.decide(&attributes).await;
    if decision.allowed() {
        return Ok(next.run(request).await);
    }
    Err(forbidden(&attributes, &decision).into())
}

fn attributes(user: &User, info: &RequestInfo, query: &Query) -> Attributes {
    let selecting = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection");
    let selector = |name: &str| query.get(name).filter(|_| selecting).map(str::to_owned);
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
        field_selector: selector("fieldSelector"),
        label_selector: selector("labelSelector"),
    }
}

fn forbidden(attributes: &Attributes, decision: &Decision) -> ApiError {
    let mut message = attributes.forbidden_message();
    if !decision.reason().is_empty() {
        message.push_str(": ");
        message.push_str(decision.reason());
    }
    if attributes.is_resource {
        return ApiError::forbidden(&attributes.group, &attributes.resource, &attributes.name, message);
    }
    let mut error = ApiError::forbidden("", "", "", &message);
    error.message = format!("forbidden: {message}");
    error
}
