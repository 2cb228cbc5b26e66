//! Acceptance 2: scale and rollouts of a Deployment.

use anyhow::{Result, ensure};
use serde_json::json;
use xebec_tests::{Namespace, PATIENCE, namespaced, shell_pod, until};

/// Applies a Deployment whose pods say which version they are.
fn version(ns: &Namespace, version: &str) -> Result<()> {
    let pod =
        shell_pod("app", "sleep 600").container(json!({"env": [{"name": "VERSION", "value": version}]}));
    ns.apply(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "app"}}, "template": pod.template()},
    }))?;
    ns.rolled_out("app")
}

/// The versions that the pods which are not going away run.
fn versions(ns: &Namespace) -> Result<Vec<String>> {
    let list = ns.json("pods")?;
    let live = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(live
        .filter_map(|pod| pod["spec"]["containers"][0]["env"][0]["value"].as_str().map(str::to_owned))
        .collect())
}

fn until_versions(ns: &Namespace, expected: [&str; 2]) -> Result<()> {
    until(&format!("two pods of version {}", expected[0]), PATIENCE, || {
        let found = versions(ns)?;
        ensure!(found == expected, "found {found:?}");
        Ok(Some(()))
    })
}

#[test]
fn scale_up_and_down() -> Result<()> {
    namespaced("scale", |ns| {
        version(ns, "1")?;
        ensure!(ns.kubectl("scale deployment app --replicas=4").ok()? == "deployment.apps/app scaled\n");
        ns.until_field("deployment/app", ".status.readyReplicas", "4")?;
        ns.kubectl("scale deployment app --current-replicas=3 --replicas=5")
            .fails("Expected replicas to be 3")?;
        ns.kubectl("scale deployment app --current-replicas=4 --replicas=1").ok()?;
        ns.until_field("deployment/app", ".status.replicas", "1")?;
        ns.kubectl("scale deployment app --replicas=0").ok()?;
        until("no pod is left", PATIENCE, || Ok(ns.pods("app=app")?.is_empty().then_some(())))
    })
}

#[test]
fn status_history_and_undo() -> Result<()> {
    namespaced("undo", |ns| {
        version(ns, "1")?;
        version(ns, "2")?;
        until_versions(ns, ["2", "2"])?;
        let status = ns.kubectl("rollout status deployment/app").ok()?;
        ensure!(status == "deployment \"app\" successfully rolled out\n", "{status}");
        let history = ns.kubectl("rollout history deployment/app").ok()?;
        let revisions: Vec<_> = history.lines().filter_map(|line| line.split_whitespace().next()).collect();
        ensure!(revisions == ["deployment.apps/app", "REVISION", "1", "2"], "{history}");
        let first = ns.kubectl("rollout history deployment/app --revision=1").ok()?;
        let words: Vec<_> = first.split_whitespace().collect();
        ensure!(words.windows(2).any(|pair| pair == ["VERSION:", "1"]), "{first}");
        ensure!(ns.kubectl("rollout undo deployment/app").ok()? == "deployment.apps/app rolled back\n");
        ns.rolled_out("app")?;
        until_versions(ns, ["1", "1"])?;
        let history = ns.kubectl("rollout history deployment/app").ok()?;
        let revisions: Vec<_> =
            history.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
        ensure!(revisions == ["2", "3"], "undo makes the old revision the newest: {history}");
        ns.kubectl("rollout undo deployment/app --to-revision=2").ok()?;
        ns.rolled_out("app")?;
        until_versions(ns, ["2", "2"])
    })
}

#[test]
fn restart_replaces_every_pod() -> Result<()> {
    namespaced("restart", |ns| {
        version(ns, "1")?;
        let before = ns.pods("app=app")?;
        ensure!(ns.kubectl("rollout restart deployment/app").ok()? == "deployment.apps/app restarted\n");
        ns.rolled_out("app")?;
        until("the old pods are gone", PATIENCE, || {
            let now = ns.pods("app=app")?;
            Ok((now.len() == 2 && !now.iter().any(|pod| before.contains(pod))).then_some(()))
        })
    })
}

#[test]
fn pause_holds_a_rollout_and_resume_lets_it_go() -> Result<()> {
    namespaced("pause", |ns| {
        version(ns, "1")?;
        ns.kubectl("rollout pause deployment/app").ok()?;
        ns.kubectl("set env deployment/app VERSION=2").ok()?;
        let generation = ns.field("deployment/app", ".metadata.generation")?;
        ns.until_field("deployment/app", ".status.observedGeneration", &generation)?;
        ensure!(versions(ns)? == ["1", "1"], "a paused Deployment changed its pods");
        ns.kubectl("rollout resume deployment/app").ok()?;
        ns.rolled_out("app")?;
        until_versions(ns, ["2", "2"])
    })
}

#[test]
fn a_rollout_that_cannot_finish_keeps_the_old_pods() -> Result<()> {
    namespaced("stuck", |ns| {
        version(ns, "1")?;
        ns.kubectl("set image deployment/app main=xebec.local/no-such-image:1").ok()?;
        until("the new pod cannot pull its image", PATIENCE, || {
            let reasons = ns.field("pods", ".items[*].status.containerStatuses[*].state.waiting.reason")?;
            ensure!(reasons.contains("ErrImagePull") || reasons.contains("ImagePullBackOff"), "{reasons:?}");
            Ok(Some(()))
        })?;
        ensure!(ns.field("deployment/app", ".status.availableReplicas")? == "2");
        ns.kubectl("rollout undo deployment/app").ok()?;
        ns.rolled_out("app")
    })
}
