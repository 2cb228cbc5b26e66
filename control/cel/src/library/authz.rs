//! Kubernetes' authorizer library: an expression asks whether the user, or a service account, may do something.
//!
//! The authorizer itself is behind [`Authorizer`]; what the expression sees is a value that grows a check step by step.

use std::fmt;
use std::sync::Arc;

use xebec_api::names;

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::{Opaque, Value};

const fn def(id: &'static str, signature: &'static str, run: crate::function::Run) -> Def {
    (id, signature, run)
}

pub(super) const DEFS: &[Def] = &[
    def(
        "authorizer_path",
        "kubernetes.authorization.Authorizer!path(string): kubernetes.authorization.PathCheck",
        path,
    ),
    def(
        "authorizer_group",
        "kubernetes.authorization.Authorizer!group(string): kubernetes.authorization.GroupCheck",
        group,
    ),
    def(
        "authorizer_serviceaccount",
        "kubernetes.authorization.Authorizer!serviceAccount(string, string): kubernetes.authorization.Authorizer",
        service_account,
    ),
    def(
        "groupcheck_resource",
        "kubernetes.authorization.GroupCheck!resource(string): kubernetes.authorization.ResourceCheck",
        resource,
    ),
    def(
        "resourcecheck_subresource",
        "kubernetes.authorization.ResourceCheck!subresource(string): kubernetes.authorization.ResourceCheck",
        |_, args| refine(args, |check, text| check.subresource = text),
    ),
    def(
        "resourcecheck_namespace",
        "kubernetes.authorization.ResourceCheck!namespace(string): kubernetes.authorization.ResourceCheck",
        |_, args| refine(args, |check, text| check.namespace = text),
    ),
    def(
        "resourcecheck_name",
        "kubernetes.authorization.ResourceCheck!name(string): kubernetes.authorization.ResourceCheck",
        |_, args| refine(args, |check, text| check.name = text),
    ),
    def(
        "authorizer_fieldselector",
        "kubernetes.authorization.ResourceCheck!fieldSelector(string): kubernetes.authorization.ResourceCheck",
        |_, args| refine(args, |check, text| check.field_selector = text),
    ),
    def(
        "authorizer_labelselector",
        "kubernetes.authorization.ResourceCheck!labelSelector(string): kubernetes.authorization.ResourceCheck",
        |_, args| refine(args, |check, text| check.label_selector = text),
    ),
    def(
        "pathcheck_check",
        "kubernetes.authorization.PathCheck!check(string): kubernetes.authorization.Decision",
        check,
    ),
    def(
        "resourcecheck_check",
        "kubernetes.authorization.ResourceCheck!check(string): kubernetes.authorization.Decision",
        check,
    ),
    def("decision_errored", "kubernetes.authorization.Decision!errored(): bool", errored),
    def("decision_error", "kubernetes.authorization.Decision!error(): string", error),
    def("decision_allowed", "kubernetes.authorization.Decision!allowed(): bool", allowed),
    def("decision_reason", "kubernetes.authorization.Decision!reason(): string", reason),
];

/// Who a check is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The unique id, if there is one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// Further attributes.
    pub extra: Vec<(String, Vec<String>)>,
}

/// What is asked of an authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attributes {
    /// A request for a path that is no resource.
    Path(PathAttributes),
    /// A request for a resource.
    Resource(ResourceAttributes),
}

/// A request for a path that is no resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathAttributes {
    /// The path.
    pub path: String,
    /// The HTTP verb as the expression gives it.
    pub verb: String,
}

/// A request for a resource; empty fields are not set. The version is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceAttributes {
    /// The API group.
    pub group: String,
    /// The resource's plural name.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The API verb.
    pub verb: String,
    /// A field selector as it was written; one that does not parse is for the authorizer to ignore.
    pub field_selector: String,
    /// A label selector as it was written; one that does not parse is for the authorizer to ignore.
    pub label_selector: String,
}

/// What an authorizer answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it allows the request; no opinion is no.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while deciding.
    pub error: Option<String>,
}

/// What decides. Called while an expression is evaluated, at most twice in each by cost.
pub trait Authorizer: Send + Sync {
    /// Whether `user` may do what the attributes say.
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision;
}

/// The authorizer, or a check that is being built.
#[derive(Clone)]
pub struct Stage {
    authorizer: Arc<dyn Authorizer>,
    user: Arc<User>,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Authorizer,
    Path(String),
    Group(String),
    Resource(ResourceAttributes),
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("user", &self.user.name)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl Stage {
    pub(crate) fn type_name(&self) -> &'static str {
        match self.step {
            Step::Authorizer => "kubernetes.authorization.Authorizer",
            Step::Path(_) => "kubernetes.authorization.PathCheck",
            Step::Group(_) => "kubernetes.authorization.GroupCheck",
            Step::Resource(_) => "kubernetes.authorization.ResourceCheck",
        }
    }

    fn value<'a>(&self, step: Step) -> Value<'a> {
        let stage = Stage { authorizer: self.authorizer.clone(), user: self.user.clone(), step };
        Value::Opaque(Opaque::Authorizer(Arc::new(stage)))
    }
}

impl Value<'_> {
    /// The variable `authorizer`: checks about `user`. Declare it with [`crate::Type::Opaque`] and the name
    /// `kubernetes.authorization.Authorizer`.
    pub fn authorizer(authorizer: Arc<dyn Authorizer>, user: User) -> Self {
        let stage = Stage { authorizer, user: Arc::new(user), step: Step::Authorizer };
        Value::Opaque(Opaque::Authorizer(Arc::new(stage)))
    }

    /// The variable `authorizer.requestResource`: a check about the resource of a request, to which the expression adds
    /// the verb. Its type is `kubernetes.authorization.ResourceCheck`.
    pub fn request_resource(
        authorizer: Arc<dyn Authorizer>,
        user: User,
        resource: ResourceAttributes,
    ) -> Self {
        let stage = Stage { authorizer, user: Arc::new(user), step: Step::Resource(resource) };
        Value::Opaque(Opaque::Authorizer(Arc::new(stage)))
    }
}

fn stage<'v>(args: &'v [Value<'_>]) -> EvalResult<&'v Stage> {
    match args.opaque(0)? {
        Opaque::Authorizer(stage) => Ok(stage),
        _ => Err(EvalError::no_overload()),
    }
}

fn path<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let path = args.string(1)?;
    if path.trim().is_empty() {
        return Err(EvalError::other("path must not be empty"));
    }
    Ok(stage(args)?.value(Step::Path(path.to_owned())))
}

fn group<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(stage(args)?.value(Step::Group(args.string(1)?.to_owned())))
}

fn service_account<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (namespace, name) = (args.string(1)?, args.string(2)?);
    if !names::is_dns1123_subdomain(name).is_empty() {
        return Err(EvalError::other("Invalid service account name"));
    }
    if !names::is_dns1123_label(namespace).is_empty() {
        return Err(EvalError::other("Invalid service account namespace"));
    }
    let user = User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        ..User::default()
    };
    let stage =
        Stage { authorizer: stage(args)?.authorizer.clone(), user: Arc::new(user), step: Step::Authorizer };
    Ok(Value::Opaque(Opaque::Authorizer(Arc::new(stage))))
}

fn resource<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (stage, resource) = (stage(args)?, args.string(1)?);
    let Step::Group(group) = &stage.step else { return Err(EvalError::no_overload()) };
    if resource.trim().is_empty() {
        return Err(EvalError::other("resource must not be empty"));
    }
    let check =
        ResourceAttributes { group: group.clone(), resource: resource.to_owned(), ..Default::default() };
    Ok(stage.value(Step::Resource(check)))
}

fn refine<'a>(args: &[Value<'a>], set: fn(&mut ResourceAttributes, String)) -> EvalResult<Value<'a>> {
    let stage = stage(args)?;
    let Step::Resource(check) = &stage.step else { return Err(EvalError::no_overload()) };
    let mut check = check.clone();
    set(&mut check, args.string(1)?.to_owned());
    Ok(stage.value(Step::Resource(check)))
}

fn check<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let (stage, verb) = (stage(args)?, args.string(1)?.to_owned());
    let attributes = match &stage.step {
        Step::Path(path) => Attributes::Path(PathAttributes { path: path.clone(), verb }),
        Step::Resource(check) => Attributes::Resource(ResourceAttributes { verb, ..check.clone() }),
        Step::Authorizer | Step::Group(_) => return Err(EvalError::no_overload()),
    };
    let decision = stage.authorizer.authorize(&stage.user, &attributes);
    Ok(Value::Opaque(Opaque::Decision(Arc::new(decision))))
}

fn decision<'v>(args: &'v [Value<'_>]) -> EvalResult<&'v Decision> {
    match args.opaque(0)? {
        Opaque::Decision(decision) => Ok(decision),
        _ => Err(EvalError::no_overload()),
    }
}

fn errored<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(decision(args)?.error.is_some()))
}

fn error<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(decision(args)?.error.clone().unwrap_or_default()))
}

fn allowed<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(decision(args)?.allowed))
}

fn reason<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::from(decision(args)?.reason.clone()))
}
