//! The pod subresources that change pods: binding, eviction, ephemeralcontainers, resize.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::status::ApiError;
use xebec_api::{meta, time};
use xebec_kinds::pod;

use crate::admission::{Attributes, Operation};

use super::{DeleteOptions, Deleted, Registry, Sub, Target, UpdateOptions, WriteContext, Written};

impl Registry {
    /// POST pods/X/binding (and bindings): puts the pod on a node, once.
    pub async fn bind(
        &self,
        context: &WriteContext,
        target: &Target,
        binding: &Value,
    ) -> Result<(), ApiError> {
        let kind = binding["target"]["kind"].as_str().unwrap_or("Node");
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        let path = Path::new("target");
        if !matches!(kind, "" | "Node") {
            let error = FieldError::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]);
            return Err(ApiError::invalid("", "Binding", &target.name, vec![error]));
        }
        if node.is_empty() {
            let error = FieldError::required(&path.child("name"), "");
            return Err(ApiError::invalid("", "Binding", &target.name, vec![error]));
        }
        self.settle().await?;
        let attributes = Attributes::new(context, target, "binding", Operation::Create);
        let binding = self.admission.subresource(&attributes, binding).await?;
        let now = self.now();
        let editor = |old: &Value| bound(old, &binding, &node, target, now);
        let options = UpdateOptions { admitted: true, ..UpdateOptions::default() };
        self.update(context, target, Sub::Other("binding"), options, &editor).await.map(drop)
    }

    /// POST pods/X/eviction: a graceful delete with the options the eviction carries.
    pub async fn evict(
        &self,
        context: &WriteContext,
        target: &Target,
        eviction: &Value,
    ) -> Result<Deleted, ApiError> {
        let name = meta::name(eviction);
        if !name.is_empty() && name != target.name {
            return Err(ApiError::bad_request(format!(
                "name in URL does not match name in Eviction object: {name}"
            )));
        }
        self.settle().await?;
        let attributes = Attributes::new(context, target, "eviction", Operation::Create);
        let eviction = self.admission.subresource(&attributes, eviction).await?;
        let options = DeleteOptions::from_value(&eviction["deleteOptions"])?;
        self.check_budgets(target).await?;
        self.delete_as(context, target, &options, false).await
    }

    /// 429 while a PodDisruptionBudget that covers the pod has no disruption left.
    async fn check_budgets(&self, target: &Target) -> Result<(), ApiError> {
        let Some(pod) = self.current(target).await? else { return Err(target.not_found()) };
        let value = pod.value();
        if matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending")) {
            return Ok(());
        }
        let budgets = Target::find(&self.resources, "policy", "poddisruptionbudgets", &target.namespace, "")?;
        let selection = crate::watch::Selection::everything(Some(target.namespace.clone()));
        for budget in budgets.cache.list(&selection, crate::watch::Cut::default()).objects {
            let spec = budget.value();
            let selector = xebec_api::selector::LabelSelector::from_object(&spec["spec"]["selector"])
                .map_err(|error| ApiError::internal(error.to_string()))?;
            let observed = spec["status"]["observedGeneration"].as_i64().unwrap_or(0);
            if !selector.matches(&pod.labels) || observed == 0 {
                continue;
            }
            if spec["status"]["disruptionsAllowed"].as_i64().unwrap_or(0) <= 0 {
                let (needed, healthy) =
                    (&spec["status"]["desiredHealthy"], &spec["status"]["currentHealthy"]);
                return Err(ApiError::too_many_requests(
                    "Cannot evict pod as it would violate the pod's disruption budget.",
                    10,
                )
                .with_cause(
                    "DisruptionBudget",
                    &format!(
                        "The disruption budget {} needs {needed} healthy pods and has {healthy} currently",
                        budget.name
                    ),
                    "",
                ));
            }
        }
        Ok(())
    }

    /// PUT or PATCH pods/X/ephemeralcontainers: that list alone; the kind's rules see to it that it only grows.
    pub async fn set_ephemeral_containers(
        &self,
        context: &WriteContext,
        target: &Target,
        edit: &super::Editor<'_>,
    ) -> Result<Written, ApiError> {
        let editor = |old: &Value| {
            let mut wanted = edit(old)?;
            pod::update::only_ephemeral_containers(&mut wanted, old);
            Ok(wanted)
        };
        self.update(context, target, Sub::Other("ephemeralcontainers"), UpdateOptions::default(), &editor)
            .await
    }

    /// PUT or PATCH pods/X/resize: resources of the containers and of the pod alone.
    pub async fn resize(
        &self,
        context: &WriteContext,
        target: &Target,
        edit: &super::Editor<'_>,
    ) -> Result<Written, ApiError> {
        let editor = |old: &Value| {
            let mut wanted = edit(old)?;
            pod::resize::only_resources(&mut wanted, old);
            Ok(wanted)
        };
        self.update(context, target, Sub::Other("resize"), UpdateOptions::default(), &editor).await
    }
}

fn bound(
    old: &Value,
    binding: &Value,
    node: &str,
    target: &Target,
    now: jiff::Timestamp,
) -> Result<Value, ApiError> {
    let name = meta::name(old);
    let uid = meta::uid(binding);
    if !uid.is_empty() && uid != meta::uid(old) {
        return Err(target.conflict(&format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(old)
        )));
    }
    if meta::is_being_deleted(old) {
        return Err(target.conflict(&format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    if let Some(assigned) = old["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
        return Err(target.conflict(&format!("pod {name} is already assigned to node {assigned:?}")));
    }
    if old["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return Err(target.conflict(&format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let mut new = old.clone();
    new["spec"]["nodeName"] = json!(node);
    for (key, value) in meta::annotations(binding) {
        new["metadata"]["annotations"][key] = json!(value);
    }
    for (key, value) in meta::labels(binding) {
        new["metadata"]["labels"][key] = json!(value);
    }
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": time::format_rfc3339_seconds(now),
        "observedGeneration": old["metadata"]["generation"],
    });
    let mut conditions = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    let mut scheduled = scheduled;
    meta::drop_nulls(&mut scheduled);
    conditions.push(scheduled);
    new["status"]["conditions"] = Value::Array(conditions);
    Ok(new)
}
