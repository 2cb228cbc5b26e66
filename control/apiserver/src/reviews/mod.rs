//! Virtual resources: questions that are answered and not stored.
//!
//! TokenReview, the SubjectAccessReview family, SelfSubjectReview, the deprecated Binding and ComponentStatus. The
//! answers come from `xebec-identity`; before that a question passes admission like anything that is created.

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use xebec_api::meta;
use xebec_api::resource::Resource;
use xebec_api::status::ApiError;
use xebec_identity::authz::{Evaluation, selectors};
use xebec_identity::{Attributes as Access, Decision, User};
use xebec_kinds::Strategy;

use crate::admission::Attributes;
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
    // A question has no table: who takes nothing else is told so.
    let accepted = negotiate::accept(&call.headers, false)?;
    let context = call.context()?;
    let (mut review, warnings) = call.object(request, &served.api_version(), served.kind).await?;
    context.warnings.lock().extend(warnings);
    let namespace = if served.namespaced { call.info.namespace.as_str() } else { "" };
    if served.namespaced {
        body::check_identity(&mut review, served, namespace, "")?;
        review["metadata"]["namespace"] = json!(namespace);
    }
    if review["metadata"].is_null() {
        review["metadata"] = json!({});
    }
    let known = call.server.registry.resources().lookup(served.group, served.version, served.plural);
    let strategy = &known.ok_or_else(ApiError::generic_404)?.strategy;
    strategy.defaults(&mut review);
    let name = meta::name(&review).to_owned();
    let attributes = Attributes::asking(&context, served, namespace, &name);
    let admission = call.server.registry.admission();
    admission.mutate(&attributes, &mut review, None).await?;
    check(served, &**strategy, &review)?;
    admission.validate(&attributes, Some(&review), None).await?;
    review["status"] = status(call, served, &review).await?;
    render::value(StatusCode::CREATED, accepted, &review)
}

/// What is wrong with a question, by its kind's rules.
fn check(served: &Resource, strategy: &dyn Strategy, review: &Value) -> Result<(), ApiError> {
    let is_missing = |field: &str| review["spec"][field].as_str().unwrap_or_default().is_empty();
    match served.plural {
        "tokenreviews" if is_missing("token") => {
            Err(ApiError::bad_request("token is required for TokenReview in authentication"))
        }
        "selfsubjectrulesreviews" if is_missing("namespace") => {
            Err(ApiError::bad_request("no namespace on request"))
        }
        "tokenreviews" | "selfsubjectrulesreviews" | "selfsubjectreviews" => Ok(()),
        _ => {
            let errors = strategy.validate(review);
            if errors.is_empty() {
                Ok(())
            } else {
                Err(ApiError::invalid(served.group, served.kind, "", errors))
            }
        }
    }
}

/// The answer to a question that was found in order.
async fn status(call: &Call, served: &Resource, review: &Value) -> Result<Value, ApiError> {
    let (server, spec) = (&call.server, &review["spec"]);
    match served.plural {
        "tokenreviews" => {
            let answer = server.authenticator.review_token(review).await;
            answer.ok_or_else(|| ApiError::internal("a TokenReview that was checked has no token"))
        }
        "selfsubjectreviews" => Ok(json!({"userInfo": call.user.to_user_info()})),
        "selfsubjectrulesreviews" => {
            let namespace = spec["namespace"].as_str().unwrap_or_default();
            Ok(server.authorizer.rules_for(&call.user, namespace).to_status())
        }
        plural => {
            let user = if plural == "selfsubjectaccessreviews" { call.user.clone() } else { subject(spec) };
            Ok(answer(&server.authorizer.evaluate(&access(&user, spec)).await))
        }
    }
}

fn answer(Evaluation { decision, error }: &Evaluation) -> Value {
    let mut status = json!({"allowed": decision.allowed()});
    if matches!(decision, Decision::Deny(_)) {
        status["denied"] = json!(true);
    }
    if !decision.reason().is_empty() {
        status["reason"] = json!(decision.reason());
    }
    if !error.is_empty() {
        status["evaluationError"] = json!(error);
    }
    status
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
fn access(user: &User, spec: &Value) -> Access {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let asked = &spec["resourceAttributes"];
    if asked.is_null() {
        let asked = &spec["nonResourceAttributes"];
        return Access::path(user, &text(asked, "verb"), &text(asked, "path"));
    }
    let resource = text(asked, "resource");
    let (verb, group) = (text(asked, "verb"), text(asked, "group"));
    let (namespace, name) = (text(asked, "namespace"), text(asked, "name"));
    let mut attributes = Access::resource(user, &verb, &group, &resource, &namespace, &name)
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
