//! A binding's parameters.
//!
//! Authority: CollectParams in pkg/admission/plugin/policy/generic, KEP-3488 "Parameter resources".

use std::sync::Arc;

use serde_json::Value;
use xebec_api::selector::LabelSelector;

use super::source::Binding;
use crate::{Kind, Types, World};

/// What a policy is evaluated with: each of these in turn; `None` is an evaluation without parameters.
pub(super) type Params = Vec<Option<Arc<Value>>>;

/// The parameters of `binding` for a request in `namespace`; the error is a mistake in the binding.
pub(super) async fn collect(
    world: &World,
    kind: Option<&Kind>,
    binding: &Binding,
    namespace: &str,
) -> Result<Params, String> {
    let reference = &binding.param_ref;
    let (Some(kind), true) = (kind, reference.is_object()) else { return Ok(vec![None]) };
    let (resource, namespaced) =
        world.types.resource_for(kind).ok_or_else(|| format!("paramKind kind `{kind}` not known"))?;
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let namespace = match (namespaced, text("namespace")) {
        (true, "") if namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        (true, "") => namespace,
        (true, named) => named,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
    };
    let selector = &reference["selector"];
    let (group, plural) = (&resource.group, &resource.resource);
    let found: Vec<Arc<Value>> = match text("name") {
        "" if selector.is_object() => {
            let selector = LabelSelector::from_object(selector).map_err(|error| error.to_string())?;
            let mut listed = world.reader.list(group, plural, namespaced.then_some(namespace));
            listed.retain(|param| selector.matches_object(param));
            listed
        }
        "" => return Err("one of name or selector must be provided".to_owned()),
        _ if selector.is_object() => {
            return Err("paramRef.name and paramRef.selector are mutually exclusive".to_owned());
        }
        name => world.reader.get(group, plural, namespace, name).into_iter().collect(),
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    let mut params = Vec::with_capacity(found.len());
    for param in found {
        params.push(Some(in_version(world.types.as_ref(), param, kind).await?));
    }
    Ok(params)
}

async fn in_version(types: &dyn Types, param: Arc<Value>, kind: &Kind) -> Result<Arc<Value>, String> {
    if Kind::of(&param) == *kind {
        return Ok(param);
    }
    types.convert(&param, kind).await.map(Arc::new).map_err(|error| error.to_string())
}
