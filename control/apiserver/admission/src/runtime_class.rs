//! RuntimeClass: a pod takes its class' overhead and scheduling. Pure over the reader.

use std::sync::Arc;

use serde_json::{Value, json};
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_quota::ResourceList;

use crate::{Call, tolerations};

fn class(call: &Call<'_>, pod: &Value) -> Result<Option<Arc<Value>>, ApiError> {
    let Some(name) = pod["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    match call.reader.get("node.k8s.io", "runtimeclasses", "", name) {
        Some(class) => Ok(Some(class)),
        None => Err(call.forbidden(pod, format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

fn given(value: &Value) -> Option<&Value> {
    (!value.is_null()).then_some(value)
}

/// Sets overhead, and merges node selector and tolerations in.
pub(crate) fn mutate(call: &Call<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !call.request.creates_pod() {
        return Ok(());
    }
    let Some(class) = class(call, pod)? else { return Ok(()) };
    if class["overhead"].is_object() {
        let fixed = ResourceList::at(&class, "/overhead/podFixed");
        if given(&pod["spec"]["overhead"]).is_some_and(|own| ResourceList::from_value(own) != fixed) {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(call.forbidden(pod, why));
        }
        if let Some(fixed) = given(&class["overhead"]["podFixed"]) {
            pod["spec"]["overhead"] = fixed.clone();
        }
    }
    let scheduling = &class["scheduling"];
    for (key, value) in meta::string_map_at(scheduling, "/nodeSelector") {
        let own = pod["spec"]["nodeSelector"].get(&key).and_then(Value::as_str);
        if let Some(own) = own.filter(|own| *own != value) {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(call.forbidden(pod, why));
        }
        if !pod["spec"]["nodeSelector"].is_object() {
            pod["spec"]["nodeSelector"] = json!({});
        }
        pod["spec"]["nodeSelector"][key] = json!(value);
    }
    let wanted = meta::list_at(scheduling, "/tolerations");
    if !wanted.is_empty() {
        let merged = tolerations::merge(meta::list_at(pod, "/spec/tolerations"), wanted);
        pod["spec"]["tolerations"] = Value::Array(merged);
    }
    Ok(())
}

/// Overhead is the class' or none.
pub(crate) fn validate(call: &Call<'_>, pod: &Value) -> Result<(), ApiError> {
    if !call.request.creates_pod() {
        return Ok(());
    }
    let own = given(&pod["spec"]["overhead"]);
    match class(call, pod)?.filter(|class| class["overhead"].is_object()) {
        Some(class) => {
            let fixed = ResourceList::at(&class, "/overhead/podFixed");
            if own.map(ResourceList::from_value).unwrap_or_default() == fixed {
                return Ok(());
            }
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            Err(call.forbidden(pod, why))
        }
        None if own.is_some() => Err(call.forbidden(
            pod,
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use crate::testing::{World, request};

    fn world() -> World {
        let world = World::default();
        world.put(
            "node.k8s.io",
            "runtimeclasses",
            json!({"metadata": {"name": "vm"}, "handler": "kata", "overhead": {"podFixed": {"cpu": "250m"}},
                "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}}),
        );
        world
    }

    fn admitted(pod: &mut Value) -> String {
        let world = world();
        let call = world.call(request(Operation::Create, "", "pods", "ns", "p"), None);
        let result = mutate(&call, pod).and_then(|()| validate(&call, pod));
        result.map_or_else(|error| error.message, |()| String::new())
    }

    #[test]
    fn overhead_and_scheduling() {
        let mut pod = json!({"spec": {"runtimeClassName": "vm", "nodeSelector": {"a": "b"}}});
        assert_eq!(admitted(&mut pod), "");
        assert_eq!(
            pod["spec"],
            json!({"runtimeClassName": "vm", "overhead": {"cpu": "250m"}, "nodeSelector": {"a": "b", "vm": "yes"},
                "tolerations": [{"key": "vm", "operator": "Exists"}]})
        );
        let mut same = json!({"spec": {"runtimeClassName": "vm", "overhead": {"cpu": "0.25"}}});
        assert_eq!(admitted(&mut same), "");
    }

    #[test]
    fn refusals() {
        for (spec, why) in [
            (json!({"runtimeClassName": "x"}), "pod rejected: RuntimeClass \"x\" not found"),
            (
                json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}),
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ),
            (
                json!({"overhead": {"cpu": "1"}}),
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ),
            (
                json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
            ),
        ] {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
            assert_eq!(admitted(&mut pod), format!("pods \"p\" is forbidden: {why}"));
        }
    }
}
