//! Namespaces: they stay until their contents are gone, held by `spec.finalizers`.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::status::ApiError;
use xebec_api::{meta, time};

use super::delete_plan::DeletePlan;
use super::{Registry, Sub, Target, UpdateOptions, WriteContext, Written, metadata};

/// Whether `spec.finalizers` still holds the namespace.
#[must_use]
pub fn held(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// What a DELETE does: mark it Terminating; only an unheld one goes.
#[must_use]
pub fn delete_plan(old: &Value, now: Timestamp) -> DeletePlan {
    if !held(old) && meta::finalizers(old).is_empty() {
        return DeletePlan::Remove;
    }
    if meta::deletion_timestamp(old).is_some() && old["status"]["phase"] == "Terminating" {
        return DeletePlan::Nothing;
    }
    let mut new = old.clone();
    let metadata = metadata::metadata(&mut new);
    if !metadata.contains_key("deletionTimestamp") {
        metadata.insert("deletionTimestamp".to_owned(), Value::String(time::format_rfc3339_seconds(now)));
    }
    if !new["status"].is_object() {
        new["status"] = json!({});
    }
    new["status"]["phase"] = json!("Terminating");
    DeletePlan::Mark(new)
}

impl Registry {
    /// PUT namespaces/X/finalize: replaces `spec.finalizers` alone; a namespace nothing holds any more goes.
    pub async fn finalize(
        &self,
        context: &WriteContext,
        target: &Target,
        value: Value,
    ) -> Result<Written, ApiError> {
        let finalizers = value["spec"]["finalizers"].clone();
        let wanted = metadata::wanted_version(&value).map(str::to_owned);
        let options = UpdateOptions::default();
        let editor = move |old: &Value| {
            let mut new = old.clone();
            if !new["spec"].is_object() {
                new["spec"] = json!({});
            }
            if let Some(spec) = new["spec"].as_object_mut() {
                if finalizers.as_array().is_some_and(|list| !list.is_empty()) {
                    spec.insert("finalizers".to_owned(), finalizers.clone());
                } else {
                    spec.remove("finalizers");
                }
            }
            if let Some(wanted) = &wanted {
                metadata::metadata(&mut new).insert("resourceVersion".to_owned(), json!(wanted));
            }
            Ok(new)
        };
        self.update(context, target, Sub::Other("finalize"), options, &editor).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminates_before_it_goes() {
        let now: Timestamp = "2026-11-24T02:00:00Z".parse().unwrap();
        let old = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let DeletePlan::Mark(marked) = delete_plan(&old, now) else { panic!("must be marked") };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-11-24T02:00:00Z");
        assert_eq!(delete_plan(&marked, now), DeletePlan::Nothing);
        assert_eq!(delete_plan(&json!({"metadata": {}}), now), DeletePlan::Remove);
    }
}
