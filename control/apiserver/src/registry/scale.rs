//! The scale subresource: an autoscaling/v1 Scale as a view on `spec.replicas`.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::selector::LabelSelector;
use xebec_api::status::ApiError;

use super::{Patch, Registry, Sub, Target, UpdateOptions, WriteContext, metadata};

impl Registry {
    /// GET X/scale.
    pub async fn get_scale(&self, target: &Target) -> Result<Value, ApiError> {
        let object = self.get(target, "").await?;
        Ok(scale_of(&object.value()))
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

    async fn edit_scale(
        &self,
        context: &WriteContext,
        target: &Target,
        edit: &super::Editor<'_>,
    ) -> Result<Value, ApiError> {
        let editor = |old: &Value| {
            let present = scale_of(old);
            let wanted = edit(&present)?;
            let replicas = &wanted["spec"]["replicas"];
            let count = if replicas.is_null() { Some(0) } else { replicas.as_i64() };
            let Some(count) = count.filter(|count| *count >= 0) else {
                let path = Path::new("spec").child("replicas");
                let error =
                    FieldError::invalid(&path, replicas.clone(), "must be greater than or equal to 0");
                return Err(ApiError::invalid("autoscaling", "Scale", &target.name, vec![error]));
            };
            let mut new = old.clone();
            new["spec"]["replicas"] = json!(count);
            if let Some(version) = metadata::wanted_version(&wanted) {
                new["metadata"]["resourceVersion"] = json!(version);
            }
            if let Some(uid) = wanted["metadata"]["uid"].as_str() {
                new["metadata"]["uid"] = json!(uid);
            }
            Ok(new)
        };
        let written = self.update(context, target, Sub::Main, UpdateOptions::default(), &editor).await?;
        Ok(scale_of(&written.value))
    }
}

/// The Scale of a workload.
fn scale_of(object: &Value) -> Value {
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            scale["metadata"][field] = value.clone();
        }
    }
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
