//! DefaultIngressClass and DenyServiceExternalIPs. Pure over the reader.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;

use crate::storage::default_class;
use crate::{Call, Operation};

/// An Ingress that names no class gets the default one.
pub(crate) fn set_default_ingress_class(call: &Call<'_>, ingress: &mut Value) {
    let request = &call.request;
    let creates = request.operation == Operation::Create;
    if !request.is("networking.k8s.io", "ingresses", "") || !creates {
        return;
    }
    let annotated = meta::annotation(ingress, "kubernetes.io/ingress.class").is_some();
    if annotated || ingress["spec"]["ingressClassName"].is_string() {
        return;
    }
    let classes = call.reader.list("networking.k8s.io", "ingressclasses", None);
    if let Some(class) = default_class(classes, &["ingressclass.kubernetes.io/is-default-class"]) {
        meta::set(ingress, "/spec/ingressClassName", meta::name(&class));
    }
}

/// No new external IPs: they let a Service take over any address.
pub(crate) fn deny_external_ips(call: &Call<'_>, service: &Value) -> Result<(), ApiError> {
    let writes = matches!(call.request.operation, Operation::Create | Operation::Update);
    if !call.request.is("", "services", "") || !writes {
        return Ok(());
    }
    let before = call.old.map(|old| meta::list_at(old, "/spec/externalIPs")).unwrap_or_default();
    if meta::list_at(service, "/spec/externalIPs").iter().all(|ip| before.contains(ip)) {
        return Ok(());
    }
    Err(call.forbidden(service, "Use of external IPs is denied by admission control"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};
    use serde_json::json;

    #[test]
    fn ingress_classes() {
        let world = World::default();
        let key = "ingressclass.kubernetes.io/is-default-class";
        world.put(
            "networking.k8s.io",
            "ingressclasses",
            json!({"metadata": {"name": "main", "annotations": {key: "true"}}}),
        );
        let call = world.call(request(Operation::Create, "networking.k8s.io", "ingresses", "ns", "i"), None);
        for (mut ingress, expected) in [
            (json!({"spec": {}}), json!("main")),
            (json!({"spec": {"ingressClassName": "own"}}), json!("own")),
            (
                json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}}),
                Value::Null,
            ),
        ] {
            set_default_ingress_class(&call, &mut ingress);
            assert_eq!(ingress["spec"]["ingressClassName"], expected);
        }
    }

    #[test]
    fn external_ips() {
        let world = World::default();
        let service = |ips: Value| json!({"metadata": {"name": "s"}, "spec": {"externalIPs": ips}});
        let old = service(json!(["1.2.3.4", "1.2.3.5"]));
        let update = world.call(request(Operation::Update, "", "services", "ns", "s"), Some(&old));
        deny_external_ips(&update, &service(json!(["1.2.3.5"]))).unwrap();
        let error = deny_external_ips(&update, &service(json!(["9.9.9.9"]))).unwrap_err();
        assert_eq!(
            error.message,
            "services \"s\" is forbidden: Use of external IPs is denied by admission control"
        );
        let create = world.call(request(Operation::Create, "", "services", "ns", "s"), None);
        assert!(deny_external_ips(&create, &old).is_err());
        deny_external_ips(&create, &service(Value::Null)).unwrap();
    }
}
