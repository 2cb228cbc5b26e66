//! Jobs: completions, parallelism, failure, deadline, suspension, clean-up.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use xebec_tests::{PATIENCE, namespaced, shell_pod, until};

/// A Job of pods that are never restarted in place.
fn job(name: &str, script: &str, fields: Value) -> Value {
    let template = shell_pod(name, script).spec(json!({"restartPolicy": "Never"})).template();
    let mut spec = fields;
    spec["template"] = template;
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

const COMPLETE: &str = "wait --for=condition=Complete --timeout=55s";
const FAILED: &str = "wait --for=condition=Failed --timeout=55s";
const REASON: &str = ".status.conditions[?(@.type==\"Failed\")].reason";

#[test]
fn several_completions_in_parallel() -> Result<()> {
    namespaced("job", |ns| {
        ns.apply(job("work", "echo done", json!({"completions": 4, "parallelism": 2})))?;
        ns.kubectl(COMPLETE).arg("job/work").ok()?;
        let status = &ns.json("job/work")?["status"];
        ensure!(status["succeeded"] == 4 && status["completionTime"].is_string(), "{status}");
        ensure!(status["active"].is_null() && status["failed"].is_null(), "{status}");
        let log = ns.kubectl("logs -l batch.kubernetes.io/job-name=work --tail=-1").ok()?;
        ensure!(log == "done\n".repeat(4), "{log}");
        let table = ns.kubectl("get job work").ok()?;
        ensure!(table.contains("Complete") && table.contains("4/4"), "{table}");
        Ok(())
    })
}

#[test]
fn indexed_pods_know_their_index() -> Result<()> {
    namespaced("indexed", |ns| {
        let fields = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
        ns.apply(job("work", "echo index $JOB_COMPLETION_INDEX", fields))?;
        ns.kubectl(COMPLETE).arg("job/work").ok()?;
        let log = ns.kubectl("logs -l batch.kubernetes.io/job-name=work --tail=-1").ok()?;
        for index in 0..3 {
            ensure!(log.contains(&format!("index {index}\n")), "{log}");
        }
        ensure!(ns.field("job/work", ".status.completedIndexes")? == "0-2");
        Ok(())
    })
}

#[test]
fn it_fails_at_its_back_off_limit() -> Result<()> {
    namespaced("job-fails", |ns| {
        ns.apply(job("work", "exit 1", json!({"backoffLimit": 1})))?;
        ns.kubectl(FAILED).arg("job/work").ok()?;
        ensure!(ns.field("job/work", REASON)? == "BackoffLimitExceeded");
        ensure!(ns.field("job/work", ".status.failed")? == "2");
        let events = ns.kubectl("events --for job/work").ok()?;
        ensure!(events.contains("Job has reached the specified backoff limit"), "{events}");
        Ok(())
    })
}

#[test]
fn it_fails_at_its_deadline() -> Result<()> {
    namespaced("job-deadline", |ns| {
        ns.apply(job("work", "sleep 600", json!({"activeDeadlineSeconds": 2})))?;
        ns.kubectl(FAILED).arg("job/work").ok()?;
        ensure!(ns.field("job/work", REASON)? == "DeadlineExceeded");
        until("its pod is gone", PATIENCE, || Ok(ns.pods("app=work")?.is_empty().then_some(())))
    })
}

#[test]
fn a_container_is_restarted_in_place_on_failure() -> Result<()> {
    namespaced("job-restart", |ns| {
        let script = "[ -e /v/ran ] && exit 0; touch /v/ran; exit 1";
        let template = shell_pod("work", script)
            .spec(json!({"restartPolicy": "OnFailure", "volumes": [{"name": "v", "emptyDir": {}}]}))
            .container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))
            .template();
        ns.apply(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": {"template": template}}))?;
        ns.kubectl(COMPLETE).arg("job/work").ok()?;
        let restarts = ns.field("pods", ".items[*].status.containerStatuses[0].restartCount")?;
        ensure!(restarts == "1", "one pod, restarted once: {restarts:?}");
        Ok(())
    })
}

#[test]
fn suspended_resumed_and_deleted() -> Result<()> {
    namespaced("job-suspend", |ns| {
        ns.apply(job("work", "echo ran", json!({"suspend": true})))?;
        ns.kubectl("wait --for=condition=Suspended --timeout=55s job/work").ok()?;
        ensure!(ns.pods("app=work")?.is_empty(), "a suspended Job has no pods");
        ns.kubectl("patch job work -p").arg(r#"{"spec":{"suspend":false}}"#).ok()?;
        ns.kubectl(COMPLETE).arg("job/work").ok()?;
        ns.kubectl("delete job work").ok()?;
        until("its pod is collected", PATIENCE, || Ok(ns.pods("app=work")?.is_empty().then_some(())))
    })
}
