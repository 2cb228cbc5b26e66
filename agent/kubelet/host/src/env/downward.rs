//! The downward API. Enters: a field path or a resource. Leaves: its text. Used by environments and by volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use xebec_api::gotext::quote;
use xebec_api::quantity::Quantity;

use super::{Context, EnvError};
use crate::qos::{Amounts, amounts, container_limits, container_requests};

/// `metadata.labels['key']` as its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.split_once("['")?;
    Some((field, rest.strip_suffix("']")?))
}

fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A field of the pod's metadata: what both volumes and environments may name.
pub(crate) fn field_value(pod: &Pod, path: &str) -> Result<String, EnvError> {
    let meta = &pod.metadata;
    if let Some((field, key)) = subscript(path) {
        let map = match field {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(EnvError::Field(path.to_owned())),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => Ok(meta.name.clone().unwrap_or_default()),
        "metadata.namespace" => Ok(meta.namespace.clone().unwrap_or_default()),
        "metadata.uid" => Ok(meta.uid.clone().unwrap_or_default()),
        "metadata.labels" => Ok(format_map(meta.labels.as_ref())),
        "metadata.annotations" => Ok(format_map(meta.annotations.as_ref())),
        _ => Err(EnvError::Field(path.to_owned())),
    }
}

/// A field an environment variable may name, with the pod's and the node's addresses.
pub(super) fn env_field(context: &Context<'_>, path: &str) -> Result<String, EnvError> {
    let spec = context.pod.spec.as_ref();
    let first = |ips: &[String]| ips.first().cloned().unwrap_or_default();
    match path {
        "spec.nodeName" => Ok(context.node_name.to_owned()),
        "spec.serviceAccountName" => {
            Ok(spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default())
        }
        "status.hostIP" => Ok(first(context.host_ips)),
        "status.hostIPs" => Ok(context.host_ips.join(",")),
        "status.podIP" => Ok(first(context.pod_ips)),
        "status.podIPs" => Ok(context.pod_ips.join(",")),
        _ => field_value(context.pod, path),
    }
}

fn ceil_ratio(amount: i64, divisor: i64) -> String {
    // Positive amounts only; i128 keeps the rounding free of overflow.
    let (amount, divisor) = (i128::from(amount), i128::from(divisor.max(1)));
    ((amount + divisor - 1) / divisor).to_string()
}

/// A container's resource in units of the divisor, rounded up; a limit that is not set is the node's allocatable.
pub(crate) fn resource_value(
    pod: &Pod,
    default_container: Option<&str>,
    selector: &ResourceFieldSelector,
    allocatable: &Amounts,
) -> Result<String, EnvError> {
    let name = selector
        .container_name
        .as_deref()
        .filter(|n| !n.is_empty())
        .or(default_container)
        .unwrap_or_default();
    let container = find(pod, name).ok_or_else(|| EnvError::Container(name.to_owned()))?;
    let divisor = selector.divisor.as_ref().and_then(|q| Quantity::parse(&q.0).ok()).filter(|q| !q.is_zero());
    let divisor = divisor.unwrap_or_else(|| Quantity::from_milli(1000));
    let unknown = || EnvError::Resource(selector.resource.clone());
    let (list, resource) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let known =
        matches!(resource, "cpu" | "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    if !known {
        return Err(unknown());
    }
    let amount = match list {
        "limits" => {
            let level = pod.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.limits.as_ref());
            let own = container_limits(container).get(resource).copied().filter(|q| !q.is_zero());
            let whole = || amounts(level).get(resource).copied();
            own.or_else(whole).or_else(|| allocatable.get(resource).copied())
        }
        "requests" => container_requests(container).get(resource).copied(),
        _ => return Err(unknown()),
    }
    .unwrap_or(Quantity::ZERO);
    Ok(match resource {
        "cpu" => ceil_ratio(amount.milli_value(), divisor.milli_value()),
        _ => ceil_ratio(amount.value(), divisor.value()),
    })
}

fn find<'p>(pod: &'p Pod, name: &str) -> Option<&'p Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "x\"y\n"}, "annotations": {"k/x": "v"}},
            "spec": {"containers": [{"name": "c", "resources": {
                "requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}}, {"name": "d"}]}
        }))
        .unwrap()
    }

    #[test]
    fn metadata_fields() {
        let of = |path| field_value(&pod(), path);
        assert_eq!(of("metadata.name").as_deref(), Ok("p"));
        assert_eq!(of("metadata.labels").as_deref(), Ok("a=\"x\\\"y\\n\"\nb=\"2\""));
        assert_eq!(of("metadata.labels['b']").as_deref(), Ok("2"));
        assert_eq!(of("metadata.labels['none']").as_deref(), Ok(""));
        assert_eq!(of("metadata.annotations['k/x']").as_deref(), Ok("v"));
        assert_eq!(of("spec.hostname"), Err(EnvError::Field("spec.hostname".into())));
        assert_eq!(of("status.x['y']").unwrap_err().to_string(), "unsupported fieldPath: status.x['y']");
    }

    #[test]
    fn resources_round_up_by_their_divisor() {
        let allocatable: Amounts = [("cpu".to_owned(), Quantity::from_milli(1900))].into();
        let of = |container: &str, resource: &str, divisor: &str| {
            let selector = serde_json::from_value(
                json!({"containerName": container, "resource": resource, "divisor": divisor}),
            );
            resource_value(&pod(), None, &selector.unwrap(), &allocatable)
        };
        assert_eq!(of("c", "limits.cpu", "0").as_deref(), Ok("2"));
        assert_eq!(of("c", "limits.cpu", "1m").as_deref(), Ok("1250"));
        assert_eq!(of("c", "requests.cpu", "1").as_deref(), Ok("1"));
        assert_eq!(of("c", "requests.memory", "1Mi").as_deref(), Ok("32"));
        assert_eq!(of("c", "limits.memory", "1Gi").as_deref(), Ok("1"));
        assert_eq!(of("d", "limits.cpu", "1m").as_deref(), Ok("1900"));
        assert_eq!(of("d", "requests.cpu", "1m").as_deref(), Ok("0"));
        assert_eq!(of("d", "limits.gpu", "1"), Err(EnvError::Resource("limits.gpu".into())));
        assert_eq!(of("e", "limits.cpu", "1"), Err(EnvError::Container("e".into())));
    }
}
