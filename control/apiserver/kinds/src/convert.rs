//! Objects between the version a client speaks and the version that is stored. One entry for every kind.
//!
//! Enters: an object of the served version (or of the stored one) and both rows of the resource table. Leaves: the
//! same object in the other version. Called by xebec-apiserver's registry on the way in and out. Pure.
//!
//! Stored: events as core/v1, autoscalers as v2; what the 1.20 clients speak (policy/v1beta1,
//! discovery.k8s.io/v1beta1, batch/v1beta1) as v1. Versions that differ in name alone need no code here.

use serde_json::{Value, json};
use xebec_api::resource::{self, Resource};

use crate::shared::access::set;
use crate::{autoscaling, discovery, events, policy};

/// The row of the version a resource is stored in; a row that is stored as it is served is its own.
#[must_use]
pub fn stored_as(served: &'static Resource) -> &'static Resource {
    let (group, version) = served.storage_version();
    resource::lookup(group, version, served.plural).unwrap_or(served)
}

fn same(served: &Resource, stored: &Resource) -> bool {
    served.group == stored.group && served.version == stored.version
}

/// An object of the served version in the stored version; what is no object is returned as it is.
#[must_use]
pub fn to_storage(served: &Resource, stored: &Resource, mut value: Value) -> Value {
    if same(served, stored) || !value.is_object() {
        return value;
    }
    // The converters go by it, and a client may leave it out.
    set(&mut value, &["apiVersion"], json!(served.api_version()));
    let mut value = match (served.group, served.plural) {
        ("events.k8s.io", "events") => events::to_core(&value),
        ("autoscaling", "horizontalpodautoscalers") => autoscaling::to_v2(&value),
        ("policy", "poddisruptionbudgets") => policy::convert::to_v1(value),
        ("discovery.k8s.io", "endpointslices") => discovery::convert::to_v1(value),
        _ => value,
    };
    set(&mut value, &["apiVersion"], json!(stored.api_version()));
    value
}

/// A stored object in the served version; what is no object is returned as it is.
#[must_use]
pub fn from_storage(served: &Resource, stored: &Resource, mut value: Value) -> Value {
    if same(served, stored) || !value.is_object() {
        return value;
    }
    set(&mut value, &["apiVersion"], json!(stored.api_version()));
    let mut value = match (served.group, served.plural) {
        ("events.k8s.io", "events") => events::to_events(&value),
        ("autoscaling", "horizontalpodautoscalers") => autoscaling::to_v1(&value),
        ("policy", "poddisruptionbudgets") => policy::convert::to_v1beta1(value),
        ("discovery.k8s.io", "endpointslices") => discovery::convert::to_v1beta1(value),
        _ => value,
    };
    set(&mut value, &["apiVersion"], json!(served.api_version()));
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_api::resource::lookup;

    /// Converts there and back; returns the stored form.
    fn round(group: &str, version: &str, plural: &str, object: &Value) -> Value {
        let served = lookup(group, version, plural).expect("a row");
        let stored = stored_as(served);
        let kept = to_storage(served, stored, object.clone());
        assert_eq!(kept["apiVersion"], stored.api_version());
        assert_eq!(&from_storage(served, stored, kept.clone()), object, "{plural} of {group}/{version}");
        kept
    }

    #[test]
    fn every_converted_kind_goes_both_ways() {
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n", "regarding": {"name": "p"},
            "reportingController": "c", "deprecatedCount": 2});
        let core = round("events.k8s.io", "v1", "events", &event);
        assert_eq!(
            (&core["message"], &core["involvedObject"]["name"], &core["count"]),
            (&json!("n"), &json!("p"), &json!(2))
        );
        let v1 = json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}});
        let v2 = round("autoscaling", "v1", "horizontalpodautoscalers", &v1);
        assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        let budget = json!({"apiVersion": "policy/v1beta1", "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
        assert_eq!(round("policy", "v1beta1", "poddisruptionbudgets", &budget)["spec"], budget["spec"]);
        let job =
            json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "spec": {"schedule": "* * * * *"}});
        assert_eq!(round("batch", "v1beta1", "cronjobs", &job)["apiVersion"], "batch/v1");
        let endpoint = json!({"addresses": ["10.0.0.1"], "topology": {"topology.kubernetes.io/zone": "z"}});
        let slice = json!({"apiVersion": "discovery.k8s.io/v1beta1", "endpoints": [endpoint]});
        assert_eq!(
            round("discovery.k8s.io", "v1beta1", "endpointslices", &slice)["endpoints"][0]["zone"],
            "z"
        );
    }

    #[test]
    fn others_are_left_alone() {
        for served in resource::table().iter().filter(|row| same(row, stored_as(row))) {
            let object = json!({"apiVersion": "x", "spec": {"selector": {}}});
            assert_eq!(to_storage(served, stored_as(served), object.clone()), object);
        }
        let served = lookup("events.k8s.io", "v1", "events").expect("a row");
        assert_eq!(to_storage(served, stored_as(served), json!(3)), json!(3));
        let bare = to_storage(served, stored_as(served), json!({"note": "n"}));
        assert_eq!(bare["message"], "n", "without an apiVersion, as in an apply configuration");
    }
}
