//! The scale subresource: an autoscaling/v1 Scale as a view on `spec.replicas`, or on the fields a custom resource's
//! definition names.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::meta;
use xebec_api::selector::LabelSelector;
use xebec_api::status::ApiError;

use super::{Patch, Registry, Sub, Target, UpdateOptions, WriteContext, metadata};
use crate::admission::{Attributes, Operation};
use crate::resources::Custom;

/// Attempts against others writing the same object.
const ATTEMPTS: usize = 16;

impl Registry {
    /// GET X/scale.
    pub async fn get_scale(&self, target: &Target) -> Result<Value, ApiError> {
        let object = self.get(target, "").await?;
        match target.custom.as_deref().and_then(Custom::scale) {
            Some(scale) => scale.read(&object.value()),
            None => Ok(scale_of(&object.value())),
        }
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
        let present = shown(target, &self.get(target, "").await?.value())?;
        let served = target.served;
        let mut applied = json!({"apiVersion": served.api_version(), "kind": served.kind, "metadata": {"name": target.name}});
        for field in ["uid", "resourceVersion"] {
            if let Some(text) = config["metadata"][field].as_str() {
                applied["metadata"][field] = json!(text);
            }
        }
        if !config["spec"]["replicas"].is_null() {
            let mut asked = present.clone();
            asked["spec"]["replicas"] = config["spec"]["replicas"].clone();
            let attributes = Attributes::new(context, target, "scale", Operation::Update);
            let wanted = self.admission.subresource_update(&attributes, &asked, &present).await?;
            applied = match target.custom.as_deref().and_then(Custom::scale) {
                Some(scale) => scale.scaled(&applied, &wanted)?,
                None => scaled(&applied, &wanted, target)?,
            };
        }
        let written = self.apply(context, target, Sub::Main, applied, force).await?;
        shown(target, &written.value)
    }

    async fn edit_scale(
        &self,
        context: &WriteContext,
        target: &Target,
        edit: &super::Editor<'_>,
    ) -> Result<Value, ApiError> {
        for _ in 0..ATTEMPTS {
            let current = self.get(target, "").await?.value();
            let present = shown(target, &current)?;
            let asked = edit(&present)?;
            let pinned =
                metadata::wanted_version(&asked).is_some_and(|v| v != meta::resource_version(&present));
            let attributes = Attributes::new(context, target, "scale", Operation::Update);
            let wanted = self.admission.subresource_update(&attributes, &asked, &present).await?;
            match self.write_scale(context, target, &current, &wanted).await {
                // Somebody else wrote in between: the edit is made again, unless it names the version it is about.
                Err(error) if error.is_conflict() && !pinned => {}
                result => return result,
            }
        }
        Err(target.modified())
    }

    /// Writes the wanted Scale over the object as `current` shows it.
    async fn write_scale(
        &self,
        context: &WriteContext,
        target: &Target,
        current: &Value,
        wanted: &Value,
    ) -> Result<Value, ApiError> {
        let editor = |old: &Value| {
            let mut new = match target.custom.as_deref().and_then(Custom::scale) {
                Some(scale) => scale.scaled(old, wanted)?,
                None => scaled(old, wanted, target)?,
            };
            let read = meta::resource_version(current);
            let version = metadata::wanted_version(wanted).unwrap_or(read);
            new["metadata"]["resourceVersion"] = json!(version);
            if let Some(uid) = wanted["metadata"]["uid"].as_str() {
                new["metadata"]["uid"] = json!(uid);
            }
            Ok(new)
        };
        let options = UpdateOptions { admitted: true, ..UpdateOptions::default() };
        let written = self.update(context, target, Sub::Main, options, &editor).await?;
        shown(target, &written.value)
    }
}

/// The Scale of an object as the start of a write and as its answer.
fn shown(target: &Target, object: &Value) -> Result<Value, ApiError> {
    match target.custom.as_deref().and_then(Custom::scale) {
        Some(scale) => scale.shown(object),
        None => Ok(scale_of(object)),
    }
}

/// A workload with the replicas of a Scale.
fn scaled(old: &Value, wanted: &Value, target: &Target) -> Result<Value, ApiError> {
    let replicas = &wanted["spec"]["replicas"];
    let count = if replicas.is_null() { Some(0) } else { replicas.as_i64() };
    let Some(count) = count.filter(|count| *count >= 0) else {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, replicas.clone(), "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", "Scale", &target.name, vec![error]));
    };
    let mut new = old.clone();
    new["spec"]["replicas"] = json!(count);
    Ok(new)
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
