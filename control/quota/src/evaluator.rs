//! One resource's way to use quota.

use jiff::Timestamp;
use serde_json::Value;

use crate::{ResourceList, ScopeSelector, claims, pods, services};

/// How objects of one resource are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evaluator {
    /// `pods`.
    Pods,
    /// `services`.
    Services,
    /// `persistentvolumeclaims`.
    VolumeClaims,
    /// `resourceclaims.resource.k8s.io`.
    ResourceClaims,
    /// Anything else, custom resources too: by number.
    Count {
        /// The name without a prefix that four core resources also have; empty for others.
        alias: String,
        /// `count/deployments.apps`.
        name: String,
    },
}

/// Whether a resource uses no quota: it is not kept, or kept for a while only.
pub fn ignored(group: &str, plural: &str) -> bool {
    matches!(
        (group, plural),
        ("" | "events.k8s.io", "events")
            | ("", "bindings" | "componentstatuses")
            | ("authentication.k8s.io", "tokenreviews" | "selfsubjectreviews")
            | (
                "authorization.k8s.io",
                "subjectaccessreviews"
                    | "selfsubjectaccessreviews"
                    | "localsubjectaccessreviews"
                    | "selfsubjectrulesreviews"
            )
    )
}

impl Evaluator {
    /// The evaluator of a resource; none when it is [`ignored`].
    pub fn of(group: &str, plural: &str) -> Option<Self> {
        if ignored(group, plural) {
            return None;
        }
        Some(match (group, plural) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::VolumeClaims,
            ("resource.k8s.io", "resourceclaims") => Self::ResourceClaims,
            ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => {
                Self::Count { alias: plural.to_owned(), name: format!("count/{plural}") }
            }
            ("", _) => Self::Count { alias: String::new(), name: format!("count/{plural}") },
            _ => Self::Count { alias: String::new(), name: format!("count/{plural}.{group}") },
        })
    }

    /// The resources (group, plural) whose objects can use the named quota resource, as far as the name says.
    ///
    /// What the quota controller has to count for a quota: `count/deployments.apps` is about deployments only.
    pub fn sources(name: &str) -> Vec<(String, String)> {
        if let Some(rest) = name.strip_prefix("count/") {
            let (plural, group) = rest.split_once('.').unwrap_or((rest, ""));
            return vec![(group.to_owned(), plural.to_owned())];
        }
        let known = [
            ("", "pods"),
            ("", "services"),
            ("", "persistentvolumeclaims"),
            ("resource.k8s.io", "resourceclaims"),
            ("", "configmaps"),
            ("", "secrets"),
            ("", "replicationcontrollers"),
            ("", "resourcequotas"),
        ];
        let counted = known.iter().filter(|(g, p)| Self::of(g, p).is_some_and(|e| e.counts(name)));
        counted.map(|(g, p)| ((*g).to_owned(), (*p).to_owned())).collect()
    }

    /// Whether objects of this resource can use the named quota resource.
    pub fn counts(&self, name: &str) -> bool {
        match self {
            Self::Pods => pods::counts(name),
            Self::Services => services::counts(name),
            Self::VolumeClaims => claims::counts_volume(name),
            Self::ResourceClaims => claims::counts_devices(name),
            Self::Count { alias, name: own } => name == own || (!alias.is_empty() && name == alias),
        }
    }

    /// The names out of `names` that objects of this resource can use.
    pub fn matching(&self, names: &[String]) -> Vec<String> {
        names.iter().filter(|name| self.counts(name)).cloned().collect()
    }

    /// Whether a write has to be looked at: `created` tells a create from an update.
    pub fn handles(&self, created: bool, subresource: &str, object: &Value, old: Option<&Value>) -> bool {
        match (self, subresource) {
            (Self::Pods, "") => created,
            (Self::Pods, "resize") => !created,
            (Self::Services | Self::VolumeClaims | Self::ResourceClaims, "") => true,
            (Self::VolumeClaims, "status") => {
                old.is_some_and(|old| claims::volume_status_matters(object, old))
            }
            (Self::Count { .. }, "") => created,
            _ => false,
        }
    }

    /// What the object uses now.
    pub fn usage(&self, object: &Value, now: Timestamp) -> ResourceList {
        match self {
            Self::Pods => pods::usage(object, now),
            Self::Services => services::usage(object),
            Self::VolumeClaims => claims::volume_usage(object),
            Self::ResourceClaims => claims::device_usage(object),
            Self::Count { alias, name } => {
                let mut usage = ResourceList::new();
                usage.set_count(name.as_str(), 1);
                if !alias.is_empty() {
                    usage.set_count(alias.as_str(), 1);
                }
                usage
            }
        }
    }

    /// Whether one requirement of a quota selects the object.
    pub fn selects(&self, selector: &ScopeSelector, object: &Value) -> bool {
        match self {
            Self::Pods => selector.selects_pod(object),
            Self::VolumeClaims => selector.selects_claim(object),
            _ => false,
        }
    }

    /// What the object must say because the named resources are limited, e.g. `must specify limits.cpu for: a`.
    pub fn missing(&self, limited: &[String], object: &Value) -> Option<String> {
        match self {
            Self::Pods => pods::missing(limited, object),
            _ => None,
        }
    }

    /// What all `objects` of this resource together use of the named resources, if every requirement selects them.
    pub fn total<'a>(
        &self,
        names: &[String],
        scopes: &[ScopeSelector],
        objects: impl Iterator<Item = &'a Value>,
        now: Timestamp,
    ) -> ResourceList {
        let mut total = ResourceList::new();
        let counted = self.matching(names);
        for name in &counted {
            total.set_count(name.as_str(), 0);
        }
        for object in objects.filter(|object| scopes.iter().all(|scope| self.selects(scope, object))) {
            total.add(&self.usage(object, now).mask(&counted));
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn usage(group: &str, plural: &str, object: Value) -> String {
        Evaluator::of(group, plural).unwrap().usage(&object, now()).to_string()
    }

    #[test]
    fn pods_live_and_finished() {
        let resources = json!({"requests": {"cpu": "1", "hugepages-2Mi": "4Mi", "example.com/gpu": "2",
            "ephemeral-storage": "1Gi"}, "limits": {"memory": "2Gi"}});
        let mut pod = json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        assert_eq!(
            usage("", "pods", pod.clone()),
            "count/pods=1,cpu=1,ephemeral-storage=1Gi,hugepages-2Mi=4Mi,limits.memory=2Gi,pods=1,requests.cpu=1,\
             requests.ephemeral-storage=1Gi,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi"
        );
        pod["metadata"] =
            json!({"deletionTimestamp": "2025-12-31T23:59:00Z", "deletionGracePeriodSeconds": 30});
        assert_eq!(usage("", "pods", pod.clone()), "count/pods=1");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(60);
        assert!(usage("", "pods", pod.clone()).contains(",pods=1,"));
        pod["status"] = json!({"phase": "Succeeded"});
        assert_eq!(usage("", "pods", pod), "count/pods=1");
    }

    #[test]
    fn services() {
        let service = |spec: Value| usage("", "services", json!({"spec": spec}));
        let none = "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0";
        assert_eq!(service(json!({"type": "ClusterIP", "ports": [{}, {}]})), none);
        assert!(service(json!({"type": "NodePort", "ports": [{}, {}]})).ends_with("services.nodeports=2"));
        let balancer = json!({"type": "LoadBalancer", "ports": [{"nodePort": 30001}, {}], "allocateLoadBalancerNodePorts": false});
        assert!(service(balancer).ends_with("services.loadbalancers=1,services.nodeports=1"));
    }

    #[test]
    fn claims() {
        let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}},
            "status": {"allocatedResources": {"storage": "1"}}});
        assert_eq!(
            usage("", "persistentvolumeclaims", claim.clone()),
            "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
             gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2"
        );
        let mut bigger = claim.clone();
        bigger["status"]["allocatedResources"]["storage"] = json!("3Gi");
        assert!(usage("", "persistentvolumeclaims", bigger.clone()).ends_with("requests.storage=3Gi"));
        let evaluator = Evaluator::of("", "persistentvolumeclaims").unwrap();
        assert!(evaluator.handles(false, "status", &bigger, Some(&claim)));
        assert!(!evaluator.handles(false, "status", &claim, Some(&claim)));
        assert_eq!(
            usage(
                "resource.k8s.io",
                "resourceclaims",
                json!({"spec": {"devices": {"requests": [
                    {"exactly": {"deviceClassName": "a", "allocationMode": "ExactCount", "count": 2}},
                    {"exactly": {"deviceClassName": "b", "allocationMode": "All"}},
                    {"firstAvailable": [{"deviceClassName": "a", "count": 1}, {"deviceClassName": "a", "count": 4},
                        {"deviceClassName": "c"}]},
                ]}}})
            ),
            "a.deviceclass.resource.k8s.io/devices=6,b.deviceclass.resource.k8s.io/devices=32,\
             c.deviceclass.resource.k8s.io/devices=1,count/resourceclaims.resource.k8s.io=1"
        );
    }

    #[test]
    fn counting() {
        assert_eq!(usage("apps", "deployments", json!({})), "count/deployments.apps=1");
        assert_eq!(usage("", "secrets", json!({})), "count/secrets=1,secrets=1");
        assert_eq!(usage("example.com", "widgets", json!({})), "count/widgets.example.com=1");
        assert_eq!(Evaluator::of("events.k8s.io", "events"), None);
        assert_eq!(Evaluator::sources("secrets"), [(String::new(), "secrets".to_owned())]);
        assert_eq!(Evaluator::sources("requests.cpu"), [(String::new(), "pods".to_owned())]);
        assert_eq!(
            Evaluator::sources("count/widgets.example.com"),
            [("example.com".to_owned(), "widgets".to_owned())]
        );
    }

    #[test]
    fn what_pods_must_say() {
        let limited = ["limits.cpu", "requests.memory", "requests.ephemeral-storage"].map(str::to_owned);
        let pod = json!({"spec": {"containers": [{"name": "b"}, {"name": "a",
            "resources": {"requests": {"memory": "1Mi"}}}]}});
        assert_eq!(
            Evaluator::Pods.missing(&limited, &pod).unwrap(),
            "must specify limits.cpu for: a,b; requests.memory for: b"
        );
        let whole = json!({"spec": {"resources": {"limits": {"cpu": "1"}}, "containers": [{"name": "a"}]}});
        assert_eq!(Evaluator::Pods.missing(&limited, &whole), None);
    }

    #[test]
    fn totals_by_scope() {
        let pods = [
            json!({"spec": {"containers": [{"name": "a"}]}}),
            json!({"spec": {"activeDeadlineSeconds": 5, "containers": [{"name": "a"}]}}),
        ];
        let scope = ScopeSelector { scope: "Terminating".into(), operator: "Exists".into(), values: vec![] };
        let names = ["pods".to_owned(), "requests.cpu".to_owned()];
        let total = Evaluator::Pods.total(&names, &[scope], pods.iter(), now());
        assert_eq!(total.to_string(), "pods=1,requests.cpu=0");
    }
}
