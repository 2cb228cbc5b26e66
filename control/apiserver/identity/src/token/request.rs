//! TokenRequest: a token for a service account, bound to a pod, Secret or node.
//!
//! Enters: the account's name and the request's `spec`. Leaves: the answered TokenRequest with `status.token`.
//! Called by the subresource `serviceaccounts/token` after authorization and admission.
//!
//! Authority: `pkg/registry/core/serviceaccount/storage/token.go`, `pkg/serviceaccount/claims.go`,
//! `pkg/apis/authentication/validation`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Claims, KubernetesClaims, Reference, TokenError, TokenSigner};
use crate::{ObjectReader, strings, text};

/// Lifetime asked for by projected volumes, which the server may extend.
const EXTENDABLE_SECONDS: i64 = 3607;
/// Lifetime of an extended token: one year.
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

/// How the server answers token requests.
#[derive(Clone, Debug)]
pub struct TokenRequestOptions {
    /// Audiences of a request that names none, and those whose tokens may be extended.
    pub api_audiences: Vec<String>,
    /// Whether tokens of 3607 s bound to pods live a year (`--service-account-extend-token-expiration`).
    pub extend_expiration: bool,
}

/// Why no token was made; the comment says the status.
#[derive(Debug, thiserror::Error)]
pub enum TokenRequestError {
    /// An object does not exist (404).
    #[error("{plural} {name:?} not found")]
    NotFound {
        /// Plural of the missing object.
        plural: &'static str,
        /// Its name.
        name: String,
    },
    /// A uid does not match (409, for the object named).
    #[error("{message}")]
    Conflict {
        /// Plural of the object.
        plural: &'static str,
        /// Its name.
        name: String,
        /// The cause.
        message: String,
    },
    /// The request can't be served (400).
    #[error("{0}")]
    BadRequest(String),
    /// A field is wrong (422).
    #[error("{field}: Invalid value: {value}: {detail}")]
    Invalid {
        /// The field's path.
        field: &'static str,
        /// The value given.
        value: Value,
        /// What would be right.
        detail: &'static str,
    },
    /// Signing failed (500).
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// The objects a token is bound to, as claims.
#[derive(Default)]
struct Bound {
    pod: Option<Reference>,
    secret: Option<Reference>,
    node: Option<Reference>,
}

fn reference(object: &Value) -> Reference {
    Reference {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
    }
}

/// Completes and checks a TokenRequest for `namespace/name`, which is how validating admission sees it: not answered.
///
/// `spec` defaults are filled in: 3600 s and the API server's audiences; `metadata` says which account it is about, and
/// when. What is complete comes out as it is.
pub fn complete_token_request(
    reader: &dyn ObjectReader,
    options: &TokenRequestOptions,
    (namespace, name): (&str, &str),
    request: &Value,
    now: Timestamp,
) -> Result<Value, TokenRequestError> {
    let given = text(request, "/metadata/name");
    if !given.is_empty() && given != name {
        let detail = "must match the service account name if specified";
        return Err(TokenRequestError::Invalid { field: "metadata.name", value: json!(given), detail });
    }
    if reader.get("", "serviceaccounts", namespace, name).is_none() {
        return Err(TokenRequestError::NotFound { plural: "serviceaccounts", name: name.to_owned() });
    }
    let mut audiences = strings(request, "/spec/audiences");
    if audiences.is_empty() {
        audiences.clone_from(&options.api_audiences);
    }
    let mut spec = json!({"audiences": audiences, "expirationSeconds": lifetime(request)?});
    spec["boundObjectRef"] = request.pointer("/spec/boundObjectRef").cloned().unwrap_or(Value::Null);
    let mut metadata =
        request.get("metadata").filter(|given| given.is_object()).cloned().unwrap_or(json!({}));
    for (field, value) in
        [("name", name), ("namespace", namespace), ("creationTimestamp", rfc3339(now).as_str())]
    {
        metadata[field] = json!(value);
    }
    Ok(json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": metadata, "spec": spec,
    }))
}

/// Answers a TokenRequest for `namespace/name`; the result is the whole object to return with 201.
///
/// It is completed as by [`complete_token_request`] if it is not.
pub fn token_request(
    reader: &dyn ObjectReader,
    signer: &TokenSigner,
    options: &TokenRequestOptions,
    (namespace, name): (&str, &str),
    request: &Value,
    now: Timestamp,
) -> Result<Value, TokenRequestError> {
    let account = reader.get("", "serviceaccounts", namespace, name);
    let account = account
        .ok_or_else(|| TokenRequestError::NotFound { plural: "serviceaccounts", name: name.to_owned() })?;
    let mut answer = complete_token_request(reader, options, (namespace, name), request, now)?;
    let seconds = lifetime(&answer)?;
    let audiences = strings(&answer, "/spec/audiences");
    let bound = match request.pointer("/spec/boundObjectRef") {
        Some(wanted) if !wanted.is_null() => bind(reader, namespace, name, wanted)?,
        _ => Bound::default(),
    };
    let extend = options.extend_expiration
        && bound.pod.is_some()
        && seconds == EXTENDABLE_SECONDS
        && audiences.iter().all(|audience| options.api_audiences.contains(audience));
    let issued = now.as_second();
    let claims = Claims {
        aud: audiences,
        exp: issued.saturating_add(if extend { EXTENDED_SECONDS } else { seconds }),
        iat: issued,
        iss: signer.issuer().to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        kubernetes: KubernetesClaims {
            namespace: namespace.to_owned(),
            node: bound.node,
            pod: bound.pod,
            secret: bound.secret,
            serviceaccount: reference(&account),
            warnafter: extend.then(|| issued.saturating_add(seconds)),
        },
        nbf: issued,
        sub: format!("system:serviceaccount:{namespace}:{name}"),
    };
    let expires = Timestamp::from_second(issued.saturating_add(seconds)).unwrap_or(Timestamp::MAX);
    answer["status"] = json!({"token": signer.sign(&claims)?, "expirationTimestamp": rfc3339(expires)});
    Ok(answer)
}

fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn lifetime(request: &Value) -> Result<i64, TokenRequestError> {
    let Some(given) = request.pointer("/spec/expirationSeconds").filter(|v| !v.is_null()) else {
        return Ok(DEFAULT_SECONDS);
    };
    let invalid =
        |detail| TokenRequestError::Invalid { field: "spec.expirationSeconds", value: given.clone(), detail };
    let Some(seconds) = given.as_i64() else { return Err(invalid("must be a whole number of seconds")) };
    if seconds < MIN_SECONDS {
        return Err(invalid("may not specify a duration less than 10 minutes"));
    }
    if seconds > MAX_SECONDS {
        return Err(invalid("may not specify a duration larger than 2^32 seconds"));
    }
    Ok(seconds)
}

fn bind(
    reader: &dyn ObjectReader,
    namespace: &str,
    account: &str,
    wanted: &Value,
) -> Result<Bound, TokenRequestError> {
    let (kind, api_version) = (text(wanted, "/kind"), text(wanted, "/apiVersion"));
    let name = text(wanted, "/name");
    let (plural, scope) = match (api_version, kind) {
        ("v1", "Pod") => ("pods", namespace),
        ("v1", "Secret") => ("secrets", namespace),
        ("v1", "Node") => ("nodes", ""),
        _ => {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(TokenRequestError::BadRequest(message));
        }
    };
    let object = reader
        .get("", plural, scope, name)
        .ok_or_else(|| TokenRequestError::NotFound { plural, name: name.to_owned() })?;
    let own = reference(&object);
    let wanted_uid = text(wanted, "/uid");
    if !wanted_uid.is_empty() && wanted_uid != own.uid {
        let message = format!(
            "the UID in the bound object reference ({wanted_uid}) does not match the UID in record. The object might \
             have been deleted and then recreated"
        );
        return Err(TokenRequestError::Conflict { plural, name: name.to_owned(), message });
    }
    Ok(match kind {
        "Pod" => {
            if text(&object, "/spec/serviceAccountName") != account {
                return Err(TokenRequestError::BadRequest(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = text(&object, "/spec/nodeName");
            let node = (!node.is_empty()).then(|| {
                let known = reader.get("", "nodes", "", node);
                known.map_or_else(
                    || Reference { name: node.to_owned(), uid: String::new() },
                    |n| reference(&n),
                )
            });
            Bound { pod: Some(own), node, secret: None }
        }
        "Secret" => Bound { secret: Some(own), ..Bound::default() },
        _ => Bound { node: Some(own), ..Bound::default() },
    })
}
