//! Virtual resources: questions that are answered and not stored.
//!
//! TokenReview, the SubjectAccessReview family, SelfSubjectReview, the deprecated Binding and ComponentStatus. The
//! answers come from `xebec-identity`.

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use xebec_api::resource::Resource;
use xebec_api::status::ApiError;
use xebec_identity::authz::selectors;
use xebec_identity::{Attributes, Decision, User};

use crate::registry::Target;
use crate::resources::StrategyRef;
use crate::serve::negotiate::Shape;
use crate::serve::resource::Call;
use crate::serve::{body, negotiate, render, subresource, table};

/// Answers a request about a virtual resource.
pub async fn handle(call: &Call, served: &'static Resource, request: Request) -> Result<Response, ApiError> {
    if served.plural == "componentstatuses" {
        return component_statuses(call, served).await;
    }
    if call.info.verb != "create" {
        return Err(ApiError::method_not_allowed());
    }
    if served.plural == "bindings" {
        let target = Target::find(call.server.registry.resources(), "", "pods", &call.info.namespace, "")?;
        return subresource::bind(call, &target, request).await;
    }
    let accepted = negotiate::accept(&call.headers, false)?;
    let (mut review, _) = call.object(request, &served.api_version(), served.kind).await?;
    review["status"] = status(call, served, &mut review).await?;
    if review["metadata"].is_null() {
        review["metadata"] = json!({});
    }
    render::value(StatusCode::CREATED, accepted, &review)
}

async fn status(call: &Call, served: &Resource, review: &mut Value) -> Result<Value, ApiError> {
    let server = &call.server;
    match served.plural {
        "tokenreviews" => server
            .authenticator
            .review_token(review)
            .await
            .ok_or_else(|| ApiError::bad_request("token is required for TokenReview in authentication")),
        "selfsubjectreviews" => Ok(json!({"userInfo": call.user.to_user_info()})),
        "selfsubjectrulesreviews" => {
            let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
            if namespace.is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            Ok(server.authorizer.rules_for(&call.user, namespace).to_status())
        }
        _ => {
            check(call, served, review)?;
            let user = match served.plural {
                "selfsubjectaccessreviews" => call.user.clone(),
                _ => subject(&review["spec"]),
            };
            Ok(answer(&server.authorizer.decide(&access(&user, &review["spec"])).await))
        }
    }
}

fn answer(decision: &Decision) -> Value {
    let mut status = json!({"allowed": decision.allowed()});
    if matches!(decision, Decision::Deny(_)) {
        status["denied"] = json!(true);
    }
    if !decision.reason().is_empty() {
        status["reason"] = json!(decision.reason());
    }
    status
}

/// Completes a question about access and checks it by its kind's rules.
fn check(call: &Call, served: &Resource, review: &mut Value) -> Result<(), ApiError> {
    let known = call.server.registry.resources().lookup(served.group, served.version, served.plural);
    let kind = known.ok_or_else(ApiError::generic_404)?;
    if served.namespaced {
        body::check_identity(review, served, &call.info.namespace, "")?;
        review["metadata"]["namespace"] = json!(call.info.namespace);
    }
    kind.strategy.defaults(review);
    let errors = kind.strategy.validate(review);
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(served.group, served.kind, "", errors)) }
}

fn subject(spec: &Value) -> User {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let name = spec["user"].as_str().unwrap_or_default().to_owned();
    let groups = texts(&spec["groups"]);
    let extra = spec["extra"].as_object().into_iter().flatten();
    User {
        name,
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups,
        extra: extra.map(|(key, values)| (key.to_ascii_lowercase(), texts(values))).collect(),
    }
}

/// What a checked question asks about: a resource or a path.
fn access(user: &User, spec: &Value) -> Attributes {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let asked = &spec["resourceAttributes"];
    if asked.is_null() {
        let asked = &spec["nonResourceAttributes"];
        return Attributes::path(user, &text(asked, "verb"), &text(asked, "path"));
    }
    let resource = text(asked, "resource");
    let (verb, group) = (text(asked, "verb"), text(asked, "group"));
    let (namespace, name) = (text(asked, "namespace"), text(asked, "name"));
    let mut attributes = Attributes::resource(user, &verb, &group, &resource, &namespace, &name)
        .with_subresource(&text(asked, "subresource"));
    let version = text(asked, "version");
    if !version.is_empty() {
        attributes.version = version;
    }
    attributes.field_selector = selectors::asked_fields(&asked["fieldSelector"]);
    attributes.label_selector = selectors::asked_labels(&asked["labelSelector"]);
    attributes
}

/// The server knows of its store only; the deprecated list says whether that is healthy.
async fn component_statuses(call: &Call, served: &Resource) -> Result<Response, ApiError> {
    if !matches!(call.info.verb.as_str(), "get" | "list") {
        return Err(ApiError::method_not_allowed());
    }
    call.warnings.lock().push("v1 ComponentStatus is deprecated in v1.19+".to_owned());
    let form = call.form(true)?;
    let healthy = match call.server.registry.store().head().await {
        Ok(_) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(error) => json!({"type": "Healthy", "status": "False", "error": error.to_string()}),
    };
    let store = json!({
        "kind": served.kind, "apiVersion": served.api_version(), "metadata": {"name": "etcd-0"},
        "conditions": [healthy],
    });
    let single = call.info.named_in_path;
    if single && call.info.name != "etcd-0" {
        return Err(ApiError::not_found("", served.plural, &call.info.name));
    }
    let answer = match form.accepted.shape {
        Shape::Plain if single => store,
        Shape::Metadata(version) if single => table::partial(version, &store),
        _ => {
            let strategy =
                StrategyRef::built_in(served.group, served.plural).ok_or_else(ApiError::generic_404)?;
            render::shaped(
                &form,
                &served.list_kind(),
                &served.api_version(),
                &*strategy,
                json!({}),
                vec![store],
            )
        }
    };
    render::value(StatusCode::OK, form.accepted, &answer)
}
