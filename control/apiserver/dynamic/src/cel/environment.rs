//! The types of what expressions see.
//!
//! Authority: pkg/admission/plugin/cel/compile.go (BuildRequestType, BuildNamespaceType).

use std::sync::{Arc, LazyLock};

use serde_json::json;
use xebec_cel::{Decl, Env, Type};

/// Names of the variables.
pub(super) const OBJECT: &str = "object";
pub(super) const OLD_OBJECT: &str = "oldObject";
pub(super) const PARAMS: &str = "params";
pub(super) const REQUEST: &str = "request";
pub(super) const NAMESPACE: &str = "namespaceObject";
pub(super) const AUTHORIZER: &str = "authorizer";
pub(super) const REQUEST_RESOURCE: &str = "authorizer.requestResource";
pub(super) const VARIABLES: &str = "variables";

/// An environment with everything but the authorizer and the composed variables.
pub(super) fn base(has_params: bool, object: Type, params: Type) -> Env {
    let env = Env::kubernetes()
        .declare(OBJECT, object.clone())
        .declare(OLD_OBJECT, object)
        .declare(NAMESPACE, NAMESPACE_TYPE.clone())
        .declare(REQUEST, REQUEST_TYPE.clone());
    if has_params { env.declare(PARAMS, params) } else { env }
}

/// The same environment with the authorizer.
pub(super) fn with_authorizer(env: Env) -> Env {
    env.declare(AUTHORIZER, Type::Opaque("kubernetes.authorization.Authorizer"))
        .declare(REQUEST_RESOURCE, Type::Opaque("kubernetes.authorization.ResourceCheck"))
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    Type::object(name, fields.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())))
}

static REQUEST_TYPE: LazyLock<Type> = LazyLock::new(|| {
    let strings = |name, fields: &[&str]| {
        object(name, &fields.iter().map(|field| (*field, Type::String)).collect::<Vec<_>>())
    };
    let kind = strings("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = strings("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::String),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
});

static NAMESPACE_TYPE: LazyLock<Type> = LazyLock::new(|| {
    let texts = Type::map(Type::String, Type::String);
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", texts.clone()),
            ("annotations", texts),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::String))]);
    let status = object(
        "kubernetes.NamespaceStatus",
        &[("conditions", Type::list(condition)), ("phase", Type::String)],
    );
    object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
});

/// How a Namespace's JSON is read: times as times, and nothing that the type does not have.
pub(super) static NAMESPACE_DECL: LazyLock<Option<Arc<Decl>>> = LazyLock::new(|| {
    let (text, time) = (json!({"type": "string"}), json!({"type": "string", "format": "date-time"}));
    let texts = json!({"type": "object", "additionalProperties": text});
    let list = json!({"type": "array", "items": text});
    let schema = json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {
            "name": text, "generateName": text, "namespace": text, "labels": texts, "annotations": texts, "UID": text,
            "creationTimestamp": time, "deletionGracePeriodSeconds": {"type": "integer"}, "deletionTimestamp": time,
            "generation": {"type": "integer"}, "resourceVersion": text, "finalizers": list,
        }},
        "spec": {"type": "object", "properties": {"finalizers": list}},
        "status": {"type": "object", "properties": {
            "phase": text,
            "conditions": {"type": "array", "items": {"type": "object", "properties": {
                "status": text, "type": text, "lastTransitionTime": time, "message": text, "reason": text,
            }}},
        }},
    }});
    Decl::from_schema(&schema, "kubernetes.Namespace", false)
});
