//! Whether an APIService is available. Pure.
//!
//! Authority: k8s.io/kube-aggregator/pkg/controllers/status.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gateway::resolve::port_name;

/// The reason of a server that was asked and did not answer.
pub const FAILED: &str = "FailedDiscoveryCheck";

/// What the objects say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This server serves it itself.
    Local,
    /// It cannot answer.
    Unavailable {
        /// The condition's reason.
        reason: &'static str,
        /// Its message.
        message: String,
    },
    /// Whether it answers has to be tried.
    Ask,
}

/// The Service behind an APIService.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Port, 443 by default.
    pub port: u16,
}

impl ServiceRef {
    /// Of an APIService; none for a local one.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let service = object["spec"]["service"].as_object()?;
        let text = |key: &str| service.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let port = service.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        Some(Self { namespace: text("namespace"), name: text("name"), port: port.unwrap_or(443) })
    }

    /// What its certificate has to be for.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

/// Judges an APIService by its Service and EndpointSlices.
#[must_use]
pub fn judge(service: Option<&ServiceRef>, object: Option<&Value>, slices: &[Arc<Value>]) -> Verdict {
    let Some(service) = service else { return Verdict::Local };
    let ServiceRef { namespace, name, port } = service;
    let unavailable = |reason, message| Verdict::Unavailable { reason, message };
    let Some(object) = object else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return unavailable("ServiceNotFound", message);
    };
    if object["spec"]["type"].as_str().unwrap_or("ClusterIP") != "ClusterIP" {
        return Verdict::Ask;
    }
    let Ok(port_name) = port_name(object, u64::from(*port)) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return unavailable("ServicePortError", message);
    };
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return unavailable("EndpointsNotFound", message);
    }
    let answers = |slice: &Value| {
        let list = |key: &str| slice[key].as_array().cloned().unwrap_or_default();
        let ready = list("endpoints").iter().any(|endpoint| endpoint["conditions"]["ready"] != false);
        let listens = list("ports").iter().any(|candidate| {
            candidate["name"].as_str().unwrap_or_default() == port_name && candidate["port"].is_u64()
        });
        ready && listens
    };
    if !slices.iter().any(|slice| answers(slice)) {
        let message = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return unavailable("MissingEndpoints", message);
    }
    Verdict::Ask
}

/// The condition Available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// True or False.
    pub available: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why.
    pub message: String,
}

impl Condition {
    /// Of what the objects say, and what asking brought (`None` while it was not asked).
    #[must_use]
    pub fn of(verdict: Verdict, asked: Result<(), String>) -> Self {
        let of = |available, reason, message: &str| Self { available, reason, message: message.to_owned() };
        match (verdict, asked) {
            (Verdict::Local, _) => of(true, "Local", "Local APIServices are always available"),
            (Verdict::Unavailable { reason, message }, _) => of(false, reason, &message),
            (Verdict::Ask, Ok(())) => of(true, "Passed", "all checks passed"),
            (Verdict::Ask, Err(message)) => of(false, FAILED, &message),
        }
    }

    /// The APIService with this condition; its time of transition changes with its status only.
    #[must_use]
    pub fn set_in(&self, object: &Value, now: Timestamp) -> Value {
        let mut new = object.clone();
        let status = if self.available { "True" } else { "False" };
        let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let at = conditions.iter().position(|condition| condition["type"] == "Available");
        let since = at.map(|at| &conditions[at]).filter(|condition| condition["status"] == status);
        let since = since.map(|condition| condition["lastTransitionTime"].clone());
        let since = since.unwrap_or_else(|| json!(xebec_api::time::format_rfc3339_seconds(now)));
        let condition = json!({"type": "Available", "status": status, "lastTransitionTime": since,
            "reason": self.reason, "message": self.message});
        match at {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
        new["status"]["conditions"] = Value::Array(conditions);
        new
    }
}

/// Whether an APIService says that it is available.
#[must_use]
pub fn is_available(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Available" && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(object: Option<&Value>, slices: &[Value]) -> (&'static str, String) {
        let service = ServiceRef { namespace: "ns".into(), name: "api".into(), port: 443 };
        let slices: Vec<Arc<Value>> = slices.iter().cloned().map(Arc::new).collect();
        let condition = Condition::of(judge(Some(&service), object, &slices), Ok(()));
        assert_eq!(condition.available, condition.reason == "Passed");
        (condition.reason, condition.message)
    }

    #[test]
    fn every_reason_has_upstreams_words() {
        let service = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}});
        let other = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        let slice = |ready: bool, port: &str| json!({"ports": [{"name": port, "port": 8443}], "endpoints": [{"conditions": {"ready": ready}}]});
        let missing = "endpointslices for service/api in \"ns\" have no addresses with port name \"https\"";
        for (object, slices, reason, message) in [
            (None, vec![], "ServiceNotFound", "service/api in \"ns\" is not present"),
            (Some(&other), vec![], "ServicePortError", "service/api in \"ns\" is not listening on port 443"),
            (
                Some(&service),
                vec![],
                "EndpointsNotFound",
                "cannot find endpointslices for service/api in \"ns\"",
            ),
            (Some(&service), vec![slice(false, "https")], "MissingEndpoints", missing),
            (Some(&service), vec![slice(true, "http")], "MissingEndpoints", missing),
            (Some(&service), vec![slice(true, "https")], "Passed", "all checks passed"),
        ] {
            assert_eq!(told(object, &slices), (reason, message.to_owned()));
        }
        let local = Condition::of(judge(None, None, &[]), Ok(()));
        assert_eq!((local.reason, local.available), ("Local", true));
        let failed = Condition::of(Verdict::Ask, Err("no".into()));
        assert_eq!((failed.reason, failed.available), ("FailedDiscoveryCheck", false));
    }

    #[test]
    fn transitions_have_a_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let condition = |available| Condition { available, reason: "Passed", message: String::new() };
        let first = condition(true).set_in(&json!({"status": {"conditions": [{"type": "Other"}]}}), at(0));
        assert_eq!(first["status"]["conditions"][1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert!(is_available(&first));
        assert_eq!(condition(true).set_in(&first, at(9)), first);
        let down = condition(false).set_in(&first, at(9));
        assert_eq!(down["status"]["conditions"][1]["lastTransitionTime"], "1970-01-01T00:00:09Z");
        assert!(!is_available(&down));
    }

    #[test]
    fn references_default_to_443() {
        let object = json!({"spec": {"service": {"namespace": "ns", "name": "api"}}});
        let reference = ServiceRef::of(&object).unwrap();
        assert_eq!((reference.port, reference.server_name().as_str()), (443, "api.ns.svc"));
        assert_eq!(ServiceRef::of(&json!({"spec": {}})), None);
    }
}
