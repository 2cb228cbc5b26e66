//! The scale subresource: an autoscaling/v1 Scale as a view on `spec.replicas`, or on the fields a custom resource's
//! definition names.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::selector::LabelSelector;
use xebec_api::status::ApiError;

use super::{Patch, Registry, Sub, Target, UpdateOptions, WriteContext, metadata};
use crate::resources::Custom;

impl Registry {
    /// GET X/scale.
    pub async fn get_scale(&self, target: &Target) -> Result<Value, ApiError> {
        let object = self.get(target, "").await?;
        view(target, &object.value())
    }

    /// PUT X/scale.
    pub async fn put_scale(
        &self,
        context: &WriteContext,
        target: &Target,
        scale: &Value,
    ) -> Result<Value, ApiError> {
        self.edit_scale(context, target, &|_| Ok(scale.clone())).await
    }

    /// PATCH X/scale.
    pub async fn patch_scale(
        &self,
        context: &WriteContext,
        target: &Target,
        patch: &Patch,
    ) -> Result<Value, ApiError> {
        self.edit_scale(context, target, &|old| patch.apply(old)).await
    }

    /// Server-side apply of X/scale: the number of replicas as a field of the object, owned through the subresource.
    pub async fn apply_scale(
        &self,
        context: &WriteContext,
        target: &Target,
        config: &Value,
        force: bool,
    ) -> Result<Value, ApiError> {
        self.get(target, "").await?;
        let served = target.served;
        let mut applied = json!({"apiVersion": served.api_version(), "kind": served.kind, "metadata": {"name": target.name}});
        for field in ["uid", "resourceVersion"] {
            if let Some(text) = config["metadata"][field].as_str() {
                applied["metadata"][field] = json!(text);
            }
        }
        let replicas = &config["spec"]["replicas"];
        if !replicas.is_null() {
            let count = json!(wanted_count(target, replicas)?);
            match target.custom.as_deref().and_then(Custom::scale) {
                Some(paths) => put(&mut applied, &paths.spec_replicas, count),
                None => applied["spec"]["replicas"] = count,
            }
        }
        let written = self.apply(context, target, Sub::Main, applied, force).await?;
        view(target, &written.value)
    }

    async fn edit_scale(
        &self,
        context: &WriteContext,
        target: &Target,
        edit: &super::Editor<'_>,
    ) -> Result<Value, ApiError> {
        let editor = |old: &Value| {
            let present = view(target, old)?;
            let wanted = edit(&present)?;
            let count = wanted_count(target, &wanted["spec"]["replicas"])?;
            let mut new = old.clone();
            match target.custom.as_deref().and_then(Custom::scale) {
                Some(paths) => put(&mut new, &paths.spec_replicas, json!(count)),
                None => new["spec"]["replicas"] = json!(count),
            }
            if let Some(version) = metadata::wanted_version(&wanted) {
                new["metadata"]["resourceVersion"] = json!(version);
            }
            if let Some(uid) = wanted["metadata"]["uid"].as_str() {
                new["metadata"]["uid"] = json!(uid);
            }
            Ok(new)
        };
        let written = self.update(context, target, Sub::Main, UpdateOptions::default(), &editor).await?;
        view(target, &written.value)
    }
}

/// The number asked for, none being 0; 422 for what is no count.
fn wanted_count(target: &Target, replicas: &Value) -> Result<i64, ApiError> {
    let count = if replicas.is_null() { Some(0) } else { replicas.as_i64() };
    count.filter(|count| *count >= 0).ok_or_else(|| {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, replicas.clone(), "must be greater than or equal to 0");
        ApiError::invalid("autoscaling", "Scale", &target.name, vec![error])
    })
}

/// The Scale of an object; 500 when a custom resource has no number where its definition says.
fn view(target: &Target, object: &Value) -> Result<Value, ApiError> {
    let Some(paths) = target.custom.as_deref().and_then(Custom::scale) else { return Ok(scale_of(object)) };
    let at = |path: &[String]| path.iter().try_fold(object, |value, field| value.get(field));
    let Some(replicas) = at(&paths.spec_replicas).and_then(Value::as_i64) else {
        let path = paths.spec_replicas.join(".");
        return Err(ApiError::internal(format!("the spec replicas field \".{path}\" does not exist")));
    };
    let mut scale = frame(object, replicas, at(&paths.status_replicas).and_then(Value::as_i64).unwrap_or(0));
    if let Some(selector) = paths.label_selector.as_ref().and_then(|path| at(path)?.as_str())
        && !selector.is_empty()
    {
        scale["status"]["selector"] = json!(selector);
    }
    Ok(scale)
}

fn put(object: &mut Value, path: &[String], value: Value) {
    let mut at = object;
    for field in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[field];
    }
    *at = value;
}

fn frame(object: &Value, wanted: i64, present: i64) -> Value {
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
        "spec": {"replicas": wanted},
        "status": {"replicas": present},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            scale["metadata"][field] = value.clone();
        }
    }
    scale
}

/// The Scale of a workload.
fn scale_of(object: &Value) -> Value {
    let number = |part: &str| object[part]["replicas"].as_i64().unwrap_or(0);
    let mut scale = frame(object, number("spec"), number("status"));
    let selector = &object["spec"]["selector"];
    let parsed = if object["kind"] == "ReplicationController" {
        LabelSelector::from_map(selector)
    } else {
        LabelSelector::from_object(selector)
    };
    if let Ok(parsed) = parsed {
        let text = parsed.to_string();
        if !text.is_empty() {
            scale["status"]["selector"] = json!(text);
        }
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_replicas_and_selector() {
        let deployment = json!({"kind": "Deployment", "metadata": {"name": "web", "uid": "u"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 2}});
        let scale = scale_of(&deployment);
        assert_eq!(scale["spec"], json!({"replicas": 3}));
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web"}));
        assert_eq!(scale["metadata"], json!({"name": "web", "uid": "u"}));
    }
}
