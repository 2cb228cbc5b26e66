use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::indexes;
use super::plan::{Backoff, Plan, TRACKING, is, plan};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn job(spec: Value, status: Value) -> Job {
    let mut value = json!({
        "metadata": {"name": "j", "namespace": "d", "uid": "job"},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6,
                 "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}},
        "status": {"startTime": "2026-01-01T00:59:00Z"},
    });
    xebec_api::patch::merge_patch(&mut value, &json!({"spec": spec, "status": status}));
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str, phase: &str, tracked: bool, more: Value) -> Arc<Pod> {
    let finalizers = if tracked { json!([TRACKING]) } else { Value::Null };
    let mut value = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name, "finalizers": finalizers}, "status": {"phase": phase},
    });
    xebec_api::patch::merge_patch(&mut value, &more);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn run(job: &Job, pods: &[Arc<Pod>]) -> Plan {
    plan(job, pods, Backoff::default(), now())
}

#[test]
fn how_many_pods() {
    // (spec, running, succeeded before) -> (created, deleted)
    let cases = [
        (json!({}), 0, 0, (1, 0)),
        (json!({"parallelism": 3, "completions": 5}), 0, 0, (3, 0)),
        (json!({"parallelism": 3, "completions": 5}), 1, 4, (0, 0)),
        (json!({"parallelism": 3, "completions": 5}), 3, 4, (0, 2)),
        (json!({"parallelism": 4, "completions": null}), 1, 0, (3, 0)),
        (json!({"parallelism": 4, "completions": null}), 1, 1, (0, 0)),
        (json!({"parallelism": 0}), 2, 0, (0, 2)),
        (json!({"suspend": true}), 1, 0, (0, 1)),
    ];
    for (spec, running, succeeded, expected) in cases {
        let job = job(spec.clone(), json!({"succeeded": succeeded}));
        let pods: Vec<_> = (0..running).map(|i| pod(&format!("p{i}"), "Running", true, json!({}))).collect();
        let plan = run(&job, &pods);
        assert_eq!((plan.create.count, plan.delete.len()), expected, "{spec} {running} {succeeded}");
    }
}

#[test]
fn a_success_is_written_down_released_and_then_counted() {
    let fresh = job(json!({}), json!({}));
    let first = run(&fresh, &[pod("p", "Succeeded", true, json!({}))]);
    let books = first.status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!(books.succeeded.as_deref(), Some(&["p".to_owned()][..]));
    assert_eq!((first.release.len(), first.create.count), (1, 0));
    assert!(is(&first.status, "SuccessCriteriaMet") && !is(&first.status, "Complete"));

    let mut next = fresh;
    next.status = Some(first.status);
    let second = run(&next, &[pod("p", "Succeeded", false, json!({}))]);
    assert_eq!(second.status.succeeded, Some(1));
    assert!(is(&second.status, "Complete"));
    assert_eq!(second.status.completion_time.as_ref().unwrap().0, now());
    assert_eq!(second.events, [(true, "Completed", "Job completed".to_owned())]);
    assert_eq!(second.status.uncounted_terminated_pods, Some(Default::default()));
}

#[test]
fn a_failure_is_retried_after_a_back_off_that_doubles() {
    let ended = json!({"status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:59:58Z"}}}]}});
    let job = job(json!({}), json!({}));
    let plan = run(&job, &[pod("p", "Failed", true, ended)]);
    assert_eq!((plan.create.count, plan.backoff.failures), (0, 1));
    assert_eq!(plan.again, Some(Duration::from_secs(8)));
    for (failures, seconds) in [(0, 0), (1, 10), (2, 20), (5, 160), (9, 600)] {
        let backoff = Backoff { failures, last: Some(now()) };
        assert_eq!(backoff.remaining(now()).as_secs(), seconds);
    }
}

#[test]
fn the_back_off_limit_fails_the_job() {
    let failed: Vec<_> = (0..3).map(|i| pod(&format!("p{i}"), "Failed", true, json!({}))).collect();
    let fresh = job(json!({"backoffLimit": 2}), json!({}));
    let first = run(&fresh, &failed);
    assert!(is(&first.status, "FailureTarget") && !is(&first.status, "Failed"));
    let mut next = fresh;
    next.status = Some(first.status);
    let second = run(&next, &[]);
    assert!(is(&second.status, "Failed"));
    assert_eq!(second.status.failed, Some(3));
    let text = "Job has reached the specified backoff limit".to_owned();
    assert_eq!(second.events, [(false, "BackoffLimitExceeded", text)]);
}

#[test]
fn the_deadline_ends_the_job_and_its_pods() {
    let running = [pod("p", "Running", true, json!({}))];
    let early = run(&job(json!({"activeDeadlineSeconds": 90}), json!({})), &running);
    assert_eq!((early.again, early.delete.len()), (Some(Duration::from_secs(30)), 0));
    let late = run(&job(json!({"activeDeadlineSeconds": 60}), json!({})), &running);
    assert!(is(&late.status, "FailureTarget"));
    assert_eq!(late.delete.len(), 1);
}

#[test]
fn indexes_are_handed_out_once() {
    let at = |i: i32| json!({"metadata": {"annotations": {indexes::INDEX: i.to_string()}}});
    let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 3});
    let job = job(spec, json!({"completedIndexes": "0", "succeeded": 1}));
    let plan = run(&job, &[pod("a", "Running", true, at(1)), pod("b", "Succeeded", true, at(2))]);
    assert_eq!(plan.create.indexes, [3, 4]);
    assert_eq!(plan.status.completed_indexes.as_deref(), Some("0,2"));
    assert_eq!(plan.status.succeeded, Some(2));
    let mut made = Pod { spec: Some(Default::default()), ..Pod::default() };
    made.spec.as_mut().unwrap().containers.push(Default::default());
    indexes::apply(&mut made, "j", 3, "abcde");
    assert_eq!(made.metadata.name.as_deref(), Some("j-3-abcde"));
    assert_eq!(made.spec.as_ref().unwrap().hostname.as_deref(), Some("j-3"));
    assert_eq!(made.spec.unwrap().containers[0].env.as_ref().unwrap()[0].name, "JOB_COMPLETION_INDEX");
}

#[test]
fn index_ranges() {
    for text in ["", "0", "1,2", "1-3", "0,2,3,5-9"] {
        assert_eq!(indexes::format(&indexes::parse(text)), text);
    }
}

#[test]
fn failure_policy_rules() {
    let ended = json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}],
        "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                               "state": {"terminated": {"exitCode": 42}}}]}});
    let exit = json!({"podFailurePolicy": {"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]}});
    let failed = run(&job(exit, json!({})), &[pod("p", "Failed", true, ended.clone())]);
    let target = &failed.status.conditions.as_ref().unwrap()[0];
    assert_eq!(target.reason.as_deref(), Some("PodFailurePolicy"));
    assert_eq!(
        target.message.as_deref(),
        Some("Container c for pod d/p failed with exit code 42 matching FailJob rule at index 0")
    );
    let disrupted = json!({"podFailurePolicy": {"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}});
    let ignored = run(&job(disrupted, json!({})), &[pod("p", "Failed", true, ended)]);
    assert_eq!((ignored.status.failed, ignored.release.len(), ignored.create.count), (None, 1, 1));
}

#[test]
fn suspending_and_resuming() {
    let suspended = run(&job(json!({"suspend": true}), json!({})), &[]);
    assert!(is(&suspended.status, "Suspended") && suspended.status.start_time.is_none());
    let mut resumed = job(json!({}), json!({}));
    resumed.status = Some(suspended.status);
    let plan = run(&resumed, &[]);
    assert!(!is(&plan.status, "Suspended") && plan.create.count == 1);
    assert_eq!(plan.events, [(true, "Resumed", "Job resumed".to_owned())]);
    assert_eq!(plan.status.start_time.unwrap().0, now());
}

#[test]
fn pods_about_to_go_are_neither_active_nor_ready() {
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let pods = [pod("p", "Running", true, ready.clone()), pod("q", "Running", true, ready)];
    for (spec, left) in [(json!({"suspend": true}), (None, Some(0))), (json!({}), (Some(1), Some(1)))] {
        let plan = run(&job(spec, json!({})), &pods);
        assert_eq!((plan.status.active, plan.status.ready), left);
    }
}
