//! Subresources: which resource has which, and what each verb on it does.

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use xebec_api::resource::Subresource;
use xebec_api::status::ApiError;

use super::negotiate::{self, Accepted};
use super::resource::{Call, read_patch};
use super::{body, render};
use crate::gateway;
use crate::registry::{Patch, Sub, Target, UpdateOptions, WriteContext};
use crate::resources::Kind;

/// Answers a request for a subresource.
pub async fn handle(call: &Call, kind: &Kind, request: Request) -> Result<Response, ApiError> {
    let (info, served) = (&call.info, kind.served);
    let finalize = served.group.is_empty() && served.plural == "namespaces" && info.subresource == "finalize";
    let known = served.subresource(&info.subresource).ok_or_else(ApiError::generic_404)?;
    let method = request.method().clone();
    let verb = verb(&method);
    if !known.verbs.contains(&verb) && !finalize {
        return Err(ApiError::method_not_allowed());
    }
    let target = call.target(kind)?;
    match (served.plural, known.name) {
        (_, "status") => status(call, &target, verb, request).await,
        (_, "scale") => scale(call, &target, verb, request).await,
        ("namespaces", "finalize") => finalize_namespace(call, &target, request).await,
        ("pods", "binding") => bind(call, &target, request).await,
        ("pods", "eviction") => evict(call, &target, request).await,
        ("pods", "ephemeralcontainers" | "resize") => pod_part(call, &target, known, verb, request).await,
        ("serviceaccounts", "token") => token(call, &target, request).await,
        ("certificatesigningrequests", "approval") => approval(call, &target, verb, request).await,
        ("pods", "log") => gateway::log(call, &target).await,
        ("pods", "exec" | "attach" | "portforward") => {
            gateway::stream(call, &target, known.name, request).await
        }
        ("nodes" | "pods" | "services", "proxy") => gateway::proxy(call, &target, request).await,
        _ => Err(ApiError::generic_404()),
    }
}

fn verb(method: &http::Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    }
}

async fn status(call: &Call, target: &Target, verb: &str, request: Request) -> Result<Response, ApiError> {
    match verb {
        "get" => get(call, target).await,
        "update" => call.update(target, Sub::Status, request).await,
        _ => call.patch(target, Sub::Status, request).await,
    }
}

async fn get(call: &Call, target: &Target) -> Result<Response, ApiError> {
    let form = call.form_of(target)?;
    let object = call.server.registry.get(target, "").await?;
    render::object(&form, target, &object)
}

async fn scale(call: &Call, target: &Target, verb: &str, request: Request) -> Result<Response, ApiError> {
    let accepted = negotiate::accept(&call.headers, false)?;
    let registry = &call.server.registry;
    let scale = match verb {
        "get" => registry.get_scale(target).await?,
        "update" => {
            let bytes = body::read(request.into_body()).await?;
            let (mut scale, _) = body::decode(&call.headers, &bytes)?;
            body::set_kind(&mut scale, "autoscaling/v1", "Scale")?;
            registry.put_scale(&scaling(call)?, target, &scale).await?
        }
        _ => {
            let context = scaling(call)?;
            match call.patch_type(target)? {
                negotiate::PatchType::Apply => {
                    let bytes = body::read(request.into_body()).await?;
                    let (config, _) = body::json_or_yaml(&bytes, false)?;
                    body::check_applied_kind(&config, "autoscaling/v1", "Scale")?;
                    let context = WriteContext { applying: true, ..context };
                    registry.apply_scale(&context, target, &config, call.query.flag("force")).await?
                }
                kind => registry.patch_scale(&context, target, &read_patch(kind, request).await?).await?,
            }
        }
    };
    render::value(StatusCode::OK, accepted, &scale)
}

/// The context of a write through the scale subresource.
fn scaling(call: &Call) -> Result<WriteContext, ApiError> {
    Ok(WriteContext { through: "scale", ..call.context()? })
}

async fn finalize_namespace(call: &Call, target: &Target, request: Request) -> Result<Response, ApiError> {
    let form = call.form_of(target)?;
    let context = call.context()?;
    let (mut value, _) = call.object(request, "v1", "Namespace").await?;
    body::check_identity(&mut value, target.served, "", &target.name)?;
    let written = call.server.registry.finalize(&context, target, value).await?;
    render::written(StatusCode::OK, &form, target, written)
}

/// The answer to a create that has nothing to show.
fn created(accepted: Accepted) -> Result<Response, ApiError> {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    render::value(StatusCode::CREATED, accepted, &status)
}

/// POST pods/X/binding; also the deprecated POST bindings, whose name is in the body.
pub async fn bind(call: &Call, target: &Target, request: Request) -> Result<Response, ApiError> {
    let accepted = negotiate::accept(&call.headers, false)?;
    let (binding, _) = call.object(request, "v1", "Binding").await?;
    let name = xebec_api::meta::name(&binding);
    let target = if target.name.is_empty() { target.named(&target.namespace, name) } else { target.clone() };
    if !name.is_empty() && name != target.name {
        return Err(ApiError::bad_request(format!(
            "name in URL ({}) does not match name in Binding ({name})",
            target.name
        )));
    }
    call.server.registry.bind(&call.context()?, &target, &binding).await?;
    created(accepted)
}

async fn evict(call: &Call, target: &Target, request: Request) -> Result<Response, ApiError> {
    let accepted = negotiate::accept(&call.headers, false)?;
    let bytes = body::read(request.into_body()).await?;
    let (mut eviction, _) = body::decode(&call.headers, &bytes)?;
    if eviction["apiVersion"] == "policy/v1beta1" {
        eviction["apiVersion"] = json!("policy/v1");
    }
    body::set_kind(&mut eviction, "policy/v1", "Eviction")?;
    call.server.registry.evict(&call.context()?, target, &eviction).await?;
    created(accepted)
}

async fn token(call: &Call, target: &Target, request: Request) -> Result<Response, ApiError> {
    let accepted = negotiate::accept(&call.headers, false)?;
    let (mut token_request, warnings) =
        call.object(request, "authentication.k8s.io/v1", "TokenRequest").await?;
    call.warnings.lock().extend(warnings);
    body::check_identity(&mut token_request, target.served, &target.namespace, "")?;
    let answer = call.server.registry.token(&call.context()?, target, &token_request).await?;
    render::value(StatusCode::CREATED, accepted, &answer)
}

async fn pod_part(
    call: &Call,
    target: &Target,
    known: &Subresource,
    verb: &str,
    request: Request,
) -> Result<Response, ApiError> {
    if verb == "get" {
        return get(call, target).await;
    }
    let form = call.form_of(target)?;
    let context = call.context()?;
    let registry = &call.server.registry;
    let written = if verb == "update" {
        let (mut value, _) = call.object(request, "v1", "Pod").await?;
        body::check_identity(&mut value, target.served, &target.namespace, &target.name)?;
        let edit = |_: &Value| Ok(value.clone());
        match known.name {
            "resize" => registry.resize(&context, target, &edit).await?,
            _ => registry.set_ephemeral_containers(&context, target, &edit).await?,
        }
    } else {
        let patch = read_patch(negotiate::patch_type(&call.headers)?, request).await?;
        let edit = |old: &Value| patch.apply(old);
        match known.name {
            "resize" => registry.resize(&context, target, &edit).await?,
            _ => registry.set_ephemeral_containers(&context, target, &edit).await?,
        }
    };
    render::written(StatusCode::OK, &form, target, written)
}

/// Approval of a certificate request changes its Approved and Denied conditions alone.
async fn approval(call: &Call, target: &Target, verb: &str, request: Request) -> Result<Response, ApiError> {
    if verb == "get" {
        return get(call, target).await;
    }
    let form = call.form_of(target)?;
    let context = call.context()?;
    let sent = match verb {
        "patch" => Approval::Patch(read_patch(negotiate::patch_type(&call.headers)?, request).await?),
        _ => {
            let (mut value, _) =
                call.object(request, &target.served.api_version(), target.served.kind).await?;
            body::check_identity(&mut value, target.served, "", &target.name)?;
            Approval::Whole(value)
        }
    };
    let edit = |old: &Value| {
        let wanted = match &sent {
            Approval::Patch(patch) => patch.apply(old)?,
            Approval::Whole(value) => value.clone(),
        };
        let mut new = old.clone();
        new["status"]["conditions"] = wanted["status"]["conditions"].clone();
        if let Some(version) = wanted["metadata"]["resourceVersion"].as_str() {
            new["metadata"]["resourceVersion"] = json!(version);
        }
        Ok(new)
    };
    let options = UpdateOptions::default();
    let written =
        call.server.registry.update(&context, target, Sub::Other("approval"), options, &edit).await?;
    render::written(StatusCode::OK, &form, target, written)
}

enum Approval {
    Patch(Patch),
    Whole(Value),
}
