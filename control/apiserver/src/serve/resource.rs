//! The verbs on objects and collections of the resource table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::resource::Resource;
use xebec_api::schema::Finding;
use xebec_api::status::ApiError;
use xebec_identity::User;

use super::audit::Record;
use super::negotiate::{self, Accepted, Media, PatchType};
use super::query::Query;
use super::render::{self, Form};
use super::respond::{self, Failure};
use super::route::RequestInfo;
use super::sink::Sink;
use super::table::Include;
use super::{body, compress, subresource, watching};
use crate::ApiServer;
use crate::registry::{
    DeleteOptions, Patch, Sub, Target, WriteContext, from_storage, manager_of, to_storage,
};
use crate::resources::{Deprecation, Kind};
use crate::{aggregate, gateway};

/// The encodings of custom resources.
const WITHOUT_PROTOBUF: &str = "application/json, application/yaml";

/// A request about a resource, with everything the verbs need.
pub struct Call {
    /// The server.
    pub server: Arc<ApiServer>,
    /// Who asks.
    pub user: User,
    /// What is asked.
    pub info: RequestInfo,
    /// With which parameters.
    pub query: Query,
    /// The request's headers.
    pub headers: HeaderMap,
    /// Collected for the response's Warning headers, whatever comes of the request.
    pub warnings: Arc<Mutex<Vec<String>>>,
    /// Collected for the request's audit event, likewise.
    pub audit_annotations: Arc<Mutex<BTreeMap<String, String>>>,
}

/// Longest time a write may take before it is stored, admission included.
const WRITE_PATIENCE: Duration = Duration::from_secs(34);

/// Everything that is not one of the fixed paths.
pub async fn handle(State(server): State<Arc<ApiServer>>, mut request: Request) -> Response {
    let extensions = request.extensions_mut();
    let (user, info, query) =
        (extensions.remove::<User>(), extensions.remove::<RequestInfo>(), extensions.remove::<Query>());
    let (Some(user), Some(info), Some(query)) = (user, info, query) else {
        return respond::failure(&ApiError::internal("the request was not authenticated"));
    };
    let request = match aggregate::answer(&server.aggregator, &user, request).await {
        Ok(response) => return response,
        Err(own) => *own,
    };
    if !info.is_resource {
        return crate::discovery::handle(&server, request.method(), &info.path, request.headers())
            .unwrap_or_else(|error| respond::failure(&error));
    }
    let (headers, warnings) = (request.headers().clone(), Arc::default());
    let record = request.extensions().get::<Record>().cloned();
    let call = Call { server, user, info, query, headers, warnings, audit_annotations: Arc::default() };
    let mut response = match call.dispatch(request).await {
        Ok(response) => response,
        Err(error) => Failure(error).into_response(),
    };
    // What other servers say is passed on as it is.
    if !gateway::SUBRESOURCES.contains(&call.info.subresource.as_str()) {
        response = compress::answer(&call.headers, response);
    }
    respond::warn(&mut response, &call.warnings.lock());
    if let Some(record) = record {
        for (key, value) in &*call.audit_annotations.lock() {
            record.0.annotate(key, value);
        }
    }
    response
}

impl Call {
    async fn dispatch(&self, request: Request) -> Result<Response, ApiError> {
        let info = &self.info;
        let resources = self.server.registry.resources();
        let kind =
            resources.lookup(&info.group, &info.version, &info.resource).ok_or_else(ApiError::generic_404)?;
        let served = kind.served;
        self.note_deprecation(&kind);
        self.check_scope(served)?;
        if !info.subresource.is_empty() {
            return subresource::handle(self, &kind, request).await;
        }
        if !served.storage {
            return crate::reviews::handle(self, served, request).await;
        }
        if kind.custom.is_none() && !served.has_verb(&info.verb) {
            return Err(ApiError::method_not_allowed());
        }
        if info.verb == "create" && kind.custom.as_ref().is_some_and(|custom| custom.is_terminating()) {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(ApiError { message: why.to_owned(), ..ApiError::method_not_allowed() });
        }
        let target = self.target(&kind)?;
        match info.verb.as_str() {
            "get" => self.get(&target).await,
            "list" => self.list(&target).await,
            "watch" => self.watch(&target).await,
            "create" => self.create(&target, request).await,
            "update" => self.update(&target, Sub::Main, request).await,
            "patch" => self.patch(&target, Sub::Main, request).await,
            "delete" => self.delete(&target, request).await,
            "deletecollection" => self.delete_collection(&target, request).await,
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    /// Tells the client, the audit log and the metrics of a version that is on its way out.
    ///
    /// Authority: `k8s.io/apiserver/pkg/endpoints/metrics.MonitorRequest`.
    fn note_deprecation(&self, kind: &Kind) {
        let Some(Deprecation { warning, removed_release }) = kind.deprecation() else { return };
        self.warnings.lock().push(warning);
        let mut annotations = self.audit_annotations.lock();
        annotations.insert("k8s.io/deprecated".to_owned(), "true".to_owned());
        if !removed_release.is_empty() {
            annotations.insert("k8s.io/removed-release".to_owned(), removed_release.to_owned());
        }
        self.server.metrics.request_deprecated(kind.served, &self.info.subresource, removed_release);
    }

    fn check_scope(&self, served: &Resource) -> Result<(), ApiError> {
        let info = &self.info;
        let collection = matches!(info.verb.as_str(), "list" | "watch") && !info.named_in_path;
        if served.namespaced && info.namespace.is_empty() && !collection {
            return Err(if info.named_in_path {
                ApiError::generic_404()
            } else {
                ApiError::method_not_allowed()
            });
        }
        if !served.namespaced
            && !info.namespace.is_empty()
            && (served.group, served.plural) != ("", "namespaces")
        {
            return Err(ApiError::generic_404());
        }
        // A collection takes new objects, an object takes changes; not the other way round.
        let misplaced = match info.verb.as_str() {
            "create" => info.named_in_path && info.subresource.is_empty(),
            "update" | "patch" => !info.named_in_path,
            _ => false,
        };
        if misplaced {
            return Err(ApiError::method_not_allowed());
        }
        Ok(())
    }

    /// The target of the request.
    pub fn target(&self, kind: &Kind) -> Result<Target, ApiError> {
        let namespace = if kind.served.namespaced { self.info.namespace.as_str() } else { "" };
        let name = if self.info.named_in_path { self.info.name.as_str() } else { "" };
        Target::new(kind, namespace, name).ok_or_else(ApiError::generic_404)
    }

    /// The form of the answer; `shapes` as in [`negotiate::accept`].
    pub fn form(&self, shapes: bool) -> Result<Form, ApiError> {
        Ok(Form {
            accepted: negotiate::accept(&self.headers, shapes)?,
            include: Include::parse(self.query.get("includeObject")),
            now: self.server.registry.now(),
        })
    }

    /// The form of an answer that is this resource's; 406 when it has no such form.
    pub fn form_of(&self, target: &Target) -> Result<Form, ApiError> {
        let form = self.form(true)?;
        let accepted = form.accepted;
        if target.custom.is_some()
            && accepted.media == Media::Protobuf
            && accepted.shape == negotiate::Shape::Plain
        {
            return Err(ApiError::not_acceptable(format!(
                "only the following media types are accepted: {WITHOUT_PROTOBUF}"
            )));
        }
        Ok(form)
    }

    /// The kind of patch in the body; custom resources know no strategic merge.
    pub fn patch_type(&self, target: &Target) -> Result<PatchType, ApiError> {
        let kind = negotiate::patch_type(&self.headers)?;
        if kind == PatchType::Strategic && target.custom.is_some() {
            return Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        Ok(kind)
    }

    /// The context of a write.
    pub fn context(&self) -> Result<WriteContext, ApiError> {
        self.check_options()?;
        let manager = match self.query.get("fieldManager").filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => manager_of(
                self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default(),
            ),
        };
        let mut context = WriteContext::new(self.user.clone(), manager, self.query.dry_run()?);
        if self.info.verb == "patch" {
            context.verb = "patch";
        }
        context.warnings = Arc::clone(&self.warnings);
        context.audit_annotations = Arc::clone(&self.audit_annotations);
        context.deadline = Some(tokio::time::Instant::now() + WRITE_PATIENCE);
        for name in ["fieldManager", "fieldValidation"] {
            if let Some(value) = self.query.get(name).filter(|value| !value.is_empty()) {
                context.options.insert(name, value.to_owned());
            }
        }
        Ok(context)
    }

    /// What CreateOptions, UpdateOptions and PatchOptions say of field managers.
    fn check_options(&self) -> Result<(), ApiError> {
        let (force, manager) = (self.query.get("force"), self.query.get("fieldManager").unwrap_or_default());
        let mut errors = Vec::new();
        let kind = match self.info.verb.as_str() {
            "patch" if negotiate::patch_type(&self.headers)? == PatchType::Apply => {
                if manager.is_empty() {
                    errors.push(FieldError::required(
                        &Path::new("fieldManager"),
                        "is required for apply patch",
                    ));
                }
                "PatchOptions"
            }
            "patch" => {
                if force.is_some() {
                    let path = Path::new("force");
                    errors.push(FieldError::forbidden(&path, "may not be specified for non-apply patch"));
                }
                "PatchOptions"
            }
            "update" => "UpdateOptions",
            "create" => "CreateOptions",
            // A delete has no manager.
            _ => return Ok(()),
        };
        errors.extend(check_manager(manager));
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", kind, "", errors)) }
    }

    async fn get(&self, target: &Target) -> Result<Response, ApiError> {
        let form = self.form_of(target)?;
        let version = self.query.get("resourceVersion").unwrap_or_default();
        let object = self.server.registry.get(target, version).await?;
        render::object(&form, target, &object)
    }

    async fn list(&self, target: &Target) -> Result<Response, ApiError> {
        let form = self.form_of(target)?;
        let selection = self.selection(target)?;
        let options = self.query.list_options()?;
        let page = self.server.registry.list(target, &selection, &options).await?;
        render::list(&form, target, page)
    }

    async fn watch(&self, target: &Target) -> Result<Response, ApiError> {
        let form = self.form_of(target)?;
        let selection = self.selection(target)?;
        let sink = Sink { target: target.clone(), form };
        watching::watch(&self.server, target, selection, &self.query, sink).await
    }

    fn selection(&self, target: &Target) -> Result<crate::watch::Selection, ApiError> {
        let known = target.strategy.selectable_field_names();
        let mut selection = self.query.selection(&target.namespace, known, target.served.kind)?;
        if self.info.named_in_path {
            selection.fields =
                Some(xebec_api::selector::FieldSelector::equals("metadata.name", &self.info.name));
        }
        Ok(selection)
    }

    /// Reads and decodes the body as an object of `api_version`/`kind`.
    pub async fn object(
        &self,
        request: Request,
        api_version: &str,
        kind: &str,
    ) -> Result<(Value, Vec<String>), ApiError> {
        let validation = self.query.field_validation()?;
        let bytes = body::read(request.into_body()).await?;
        let (mut value, findings) = body::decode(&self.headers, &bytes)?;
        body::set_kind(&mut value, api_version, kind)?;
        let warnings = body::check_fields(&mut value, None, findings, validation)?;
        Ok((value, warnings))
    }

    /// Reads and decodes the body as an object of the target's resource in the served version.
    async fn object_of(&self, request: Request, target: &Target) -> Result<(Value, Vec<String>), ApiError> {
        let validation = self.query.field_validation()?;
        if target.custom.is_some() && negotiate::content_type(&self.headers)? == Media::Protobuf {
            return Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: {WITHOUT_PROTOBUF}"
            )));
        }
        let bytes = body::read(request.into_body()).await?;
        let (mut value, findings) = body::decode(&self.headers, &bytes)?;
        body::set_kind(&mut value, &target.served.api_version(), target.served.kind)?;
        let warnings = body::check_fields(&mut value, target.custom.as_deref(), findings, validation)?;
        Ok((value, warnings))
    }

    async fn create(&self, target: &Target, request: Request) -> Result<Response, ApiError> {
        let form = self.form_of(target)?;
        let context = self.context()?;
        let served = target.served;
        let (mut value, warnings) = self.object_of(request, target).await?;
        body::check_identity(&mut value, served, &target.namespace, "")?;
        context.warnings.lock().extend(warnings);
        let stored = to_storage(served, target.stored, value);
        let written = self.server.registry.create(&context, target, stored).await?;
        render::written(StatusCode::CREATED, &form, target, written)
    }

    /// PUT of the object or a subresource that takes the whole object.
    pub async fn update(&self, target: &Target, sub: Sub, request: Request) -> Result<Response, ApiError> {
        let form = self.form_of(target)?;
        let context = self.context()?;
        let served = target.served;
        let (mut value, warnings) = self.object_of(request, target).await?;
        body::check_identity(&mut value, served, &target.namespace, &target.name)?;
        context.warnings.lock().extend(warnings);
        let stored = to_storage(served, target.stored, value);
        let written = self.server.registry.replace(&context, target, sub, stored).await?;
        let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        render::written(code, &form, target, written)
    }

    /// PATCH of the object or its status.
    pub async fn patch(&self, target: &Target, sub: Sub, request: Request) -> Result<Response, ApiError> {
        let form = self.form_of(target)?;
        let mut context = self.context()?;
        let kind = self.patch_type(target)?;
        if kind == PatchType::Apply {
            context.applying = true;
            return self.apply(&form, &context, target, sub, request).await;
        }
        let validation = self.query.field_validation()?;
        let patch = read_patch(kind, request).await?;
        let served = target.served;
        let check = |value: &mut Value| {
            body::set_kind(value, &served.api_version(), served.kind)?;
            let warnings = body::check_fields(value, target.custom.as_deref(), Vec::new(), validation)?;
            context.warnings.lock().extend(warnings);
            body::check_identity(value, served, &target.namespace, &target.name)
        };
        let written = self.server.registry.patch(&context, target, sub, &patch, &check).await?;
        render::written(StatusCode::OK, &form, target, written)
    }

    async fn apply(
        &self,
        form: &Form,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        request: Request,
    ) -> Result<Response, ApiError> {
        let validation = self.query.field_validation()?;
        let bytes = body::read(request.into_body()).await?;
        let (config, findings): (Value, Vec<Finding>) = body::json_or_yaml(&bytes, false)?;
        let served = target.served;
        body::check_applied_kind(&config, &served.api_version(), served.kind)?;
        // The configuration goes on with its nulls, which own fields; checked is what it is without them.
        let mut checked = config.clone();
        let mut findings = findings;
        findings.extend(body::undeclared(&mut checked, target)?);
        let warnings = body::check_fields(&mut checked, target.custom.as_deref(), findings, validation)?;
        context.warnings.lock().extend(warnings);
        let name = if xebec_api::meta::name(&config).is_empty() { "" } else { target.name.as_str() };
        body::check_identity(&mut checked, served, &target.namespace, name)?;
        let force = self.query.flag("force");
        let written = self.server.registry.apply(context, target, sub, config, force).await?;
        let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        render::written(code, form, target, written)
    }

    /// DeleteOptions from body or query.
    pub async fn delete_options(&self, request: Request) -> Result<DeleteOptions, ApiError> {
        let bytes = body::read(request.into_body()).await?;
        let mut value = if bytes.iter().all(u8::is_ascii_whitespace) {
            json!({})
        } else {
            body::decode(&self.headers, &bytes)?.0
        };
        for name in ["propagationPolicy", "gracePeriodSeconds", "orphanDependents"] {
            let Some(text) = self.query.get(name).filter(|_| value[name].is_null()) else { continue };
            value[name] = match name {
                "propagationPolicy" => json!(text),
                "gracePeriodSeconds" => json!(self.query.number(name)?),
                _ => json!(self.query.flag(name)),
            };
        }
        let mut options = DeleteOptions::from_value(&value)?;
        options.dry_run |= self.query.dry_run()?;
        Ok(options)
    }

    async fn delete(&self, target: &Target, request: Request) -> Result<Response, ApiError> {
        let form = self.form_of(target)?;
        let context = self.context()?;
        let options = self.delete_options(request).await?;
        let deleted = self.server.registry.delete(&context, target, &options).await?;
        match deleted.answer(target) {
            Some(status) => render::value(StatusCode::OK, plain(form.accepted), &status),
            None => render::stored_value(StatusCode::OK, &form, target, deleted.value),
        }
    }

    async fn delete_collection(&self, target: &Target, request: Request) -> Result<Response, ApiError> {
        let form = self.form_of(target)?;
        let context = self.context()?;
        let selection = self.selection(target)?;
        let options = self.delete_options(request).await?;
        let deleted = self.server.registry.delete_collection(&context, target, &selection, &options).await?;
        let revision = self.server.registry.caches().applied().to_string();
        let items =
            deleted.into_iter().map(|value| from_storage(target.served, target.stored, value)).collect();
        let list = render::shaped_list(&form, target, json!({ "resourceVersion": revision }), items);
        render::value(StatusCode::OK, form.accepted, &list)
    }
}

/// Longest name of a field manager, in bytes.
const MAX_MANAGER: usize = 128;

/// A field manager's name is short and printable.
fn check_manager(name: &str) -> Vec<FieldError> {
    let path = Path::new("fieldManager");
    let mut errors = Vec::new();
    if name.len() > MAX_MANAGER {
        errors.push(FieldError::too_long(&path, MAX_MANAGER));
    }
    // Of all spaces only the plain one is printable.
    let printable = |c: char| c == ' ' || !c.is_control() && !c.is_whitespace() && c != '\u{feff}';
    for (at, c) in name.char_indices().filter(|(_, c)| !printable(*c)) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(FieldError::invalid(&path, name, detail));
    }
    errors
}

/// A Status has no Table.
fn plain(accepted: Accepted) -> Accepted {
    Accepted { shape: negotiate::Shape::Plain, ..accepted }
}

/// Reads a JSON, merge or strategic patch.
pub async fn read_patch(kind: PatchType, request: Request) -> Result<Patch, ApiError> {
    let bytes = body::read(request.into_body()).await?;
    let document: Value = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    Ok(match kind {
        PatchType::Json => Patch::Json(document),
        PatchType::Merge => Patch::Merge(document),
        PatchType::Strategic => Patch::Strategic(document),
        PatchType::Apply => {
            return Err(ApiError::unsupported_media_type("apply is not supported for this subresource"));
        }
    })
}
