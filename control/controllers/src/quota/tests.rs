use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::{Holdings, counts, status};

#[derive(Default)]
struct Fake {
    objects: HashMap<(&'static str, &'static str), Vec<Value>>,
    counts: HashMap<(&'static str, &'static str), u64>,
}

impl Holdings for Fake {
    fn objects(&self, group: &str, plural: &str) -> Option<Vec<Value>> {
        self.objects.iter().find(|((g, p), _)| *g == group && *p == plural).map(|(_, o)| o.clone())
    }

    fn count(&self, group: &str, plural: &str) -> Option<u64> {
        self.counts.iter().find(|((g, p), _)| *g == group && *p == plural).map(|(_, n)| *n)
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn pod(cpu: &str, phase: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}})
}

#[test]
fn everything_is_counted() {
    let mut fake = Fake::default();
    fake.objects.insert(("", "pods"), vec![pod("1", "Running"), pod("500m", "Pending"), pod("4", "Failed")]);
    fake.objects.insert(("", "services"), vec![json!({"spec": {"type": "NodePort", "ports": [{}, {}]}})]);
    fake.counts.insert(("apps", "deployments"), 3);
    fake.counts.insert(("", "secrets"), 2);
    let hard = json!({"requests.cpu": "4", "pods": "10", "count/pods": "10", "services.nodeports": "5",
        "count/deployments.apps": "9", "secrets": "9", "count/secrets": "9", "count/widgets.example.com": "1"});
    let quota =
        json!({"spec": {"hard": hard}, "status": {"used": {"count/widgets.example.com": "1", "old": "1"}}});
    assert_eq!(
        status(&quota, &fake, now()).unwrap(),
        json!({"hard": hard, "used": {"requests.cpu": "1500m", "pods": "2", "count/pods": "3", "services.nodeports": "2",
            "count/deployments.apps": "3", "secrets": "2", "count/secrets": "2", "count/widgets.example.com": "1"}})
    );
}

#[test]
fn a_status_that_is_right_is_left_alone() {
    let mut fake = Fake::default();
    fake.counts.insert(("", "configmaps"), 1);
    let quota = |hard: &str, used: Value| json!({"spec": {"hard": {"configmaps": "5"}}, "status": {"hard": {"configmaps": hard}, "used": used}});
    assert_eq!(status(&quota("5", json!({"configmaps": 1})), &fake, now()), None);
    assert!(status(&quota("4", json!({"configmaps": 1})), &fake, now()).is_some());
    assert!(status(&quota("5", json!({"configmaps": 2})), &fake, now()).is_some());
    let fresh = json!({"spec": {"hard": {}}});
    assert_eq!(status(&fresh, &fake, now()).unwrap(), json!({"hard": {}, "used": {}}));
}

#[test]
fn scopes_choose() {
    let mut fake = Fake::default();
    let mut ending = pod("1", "Running");
    ending["spec"]["activeDeadlineSeconds"] = json!(10);
    fake.objects.insert(("", "pods"), vec![pod("1", "Running"), ending]);
    fake.counts.insert(("", "configmaps"), 7);
    let quota = json!({"spec": {"scopes": ["Terminating"], "hard": {"pods": "5", "configmaps": "5"}}});
    assert_eq!(status(&quota, &fake, now()).unwrap()["used"], json!({"pods": "1", "configmaps": "0"}));
}

#[test]
fn which_quotas_an_object_is_about() {
    let quota = json!({"spec": {"hard": {"requests.memory": "1", "count/jobs.batch": "1"}}});
    assert!(counts(&quota, "", "pods") && counts(&quota, "batch", "jobs"));
    assert!(!counts(&quota, "", "services") && !counts(&quota, "", "events"));
}
