//! The Event that says which node answers for an address. Pure. Enters: a takeover. Leaves: a v1 Event: nodes may write no
//! Events of events.k8s.io (upstream's role `system:node`).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use crate::election::Announced;

const COMPONENT: &str = "xebec-announcer";

/// `node` answers for an address of a Service from `now` on.
pub(crate) fn assigned(node: &str, address: IpAddr, announced: &Announced, now: Timestamp) -> Event {
    let (namespace, name) = (announced.service.namespace.to_string(), announced.service.name.to_string());
    // Events of v1 know whole seconds.
    let at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}.")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(namespace),
            name: Some(name),
            uid: Some(announced.uid.clone()),
            ..ObjectReference::default()
        },
        reason: Some("NodeAssigned".to_owned()),
        message: Some(format!("node {node} answers for {address}")),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
        first_timestamp: Some(at.clone()),
        last_timestamp: Some(at),
        count: Some(1),
        type_: Some("Normal".to_owned()),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use xebec_dataplane::compile::facts::Owner;

    #[test]
    fn it_is_about_the_service_in_its_namespace() {
        let announced = Announced { service: Owner::new("d", "web"), uid: "u".to_owned() };
        let now = "2026-01-01T00:00:01.5Z".parse().unwrap();
        let event = assigned("n", IpAddr::from([192, 0, 2, 1]), &announced, now);
        let value = serde_json::to_value(event).unwrap();
        assert_eq!(value["apiVersion"], "v1");
        assert_eq!(value["metadata"], json!({"generateName": "web.", "namespace": "d"}));
        let about =
            json!({"apiVersion": "v1", "kind": "Service", "namespace": "d", "name": "web", "uid": "u"});
        assert_eq!(value["involvedObject"], about);
        assert_eq!(value["message"], "node n answers for 192.0.2.1");
        assert_eq!(value["lastTimestamp"], "2026-01-01T00:00:01Z");
    }
}
