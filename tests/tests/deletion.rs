//! Acceptance 2: deletion in its kinds, finalizers, and what happens to what was owned.

use anyhow::{Result, ensure};
use serde_json::json;
use xebec_tests::{Namespace, PATIENCE, namespaced, shell_pod, until, web};

fn two_pods(ns: &Namespace) -> Result<Vec<String>> {
    ns.apply(web("web", 2))?;
    ns.rolled_out("web")?;
    ns.pods("app=web")
}

fn nothing_left(ns: &Namespace) -> Result<()> {
    until("its ReplicaSet and pods are collected", PATIENCE, || {
        let left = ns.kubectl("get replicasets,pods -o name").ok()?;
        ensure!(left.is_empty(), "{left}");
        Ok(Some(()))
    })
}

#[test]
fn in_the_background() -> Result<()> {
    namespaced("background", |ns| {
        two_pods(ns)?;
        let said = ns.kubectl("delete deployment web --cascade=background").ok()?;
        ensure!(said.starts_with("deployment.apps \"web\" deleted"), "{said}");
        nothing_left(ns)
    })
}

#[test]
fn in_the_foreground_the_owner_goes_last() -> Result<()> {
    namespaced("foreground", |ns| {
        two_pods(ns)?;
        ns.kubectl("delete deployment web --cascade=foreground --wait=false").ok()?;
        // While it waits for what it owns, it shows that it does.
        if let Ok(deployment) = ns.json("deployment/web") {
            ensure!(deployment["metadata"]["finalizers"] == json!(["foregroundDeletion"]), "{deployment}");
            ensure!(!deployment["metadata"]["deletionTimestamp"].is_null(), "{deployment}");
        }
        ns.kubectl("wait --for=delete deployment/web --timeout=55s").ok()?;
        let left = ns.kubectl("get replicasets,pods -o name").ok()?;
        ensure!(left.is_empty(), "the owner went before what it owned: {left}");
        Ok(())
    })
}

#[test]
fn orphans_stay_and_are_adopted_again() -> Result<()> {
    namespaced("orphan", |ns| {
        let pods = two_pods(ns)?;
        ns.kubectl("delete deployment web --cascade=orphan").ok()?;
        ns.until_field("replicasets", ".items[0].metadata.ownerReferences", "")?;
        ensure!(ns.pods("app=web")? == pods, "the pods did not stay");
        two_pods(ns)?;
        ensure!(ns.pods("app=web")? == pods, "the new Deployment did not adopt the pods");
        ns.until_field("replicasets", ".items[*].metadata.ownerReferences[*].name", "web")
    })
}

#[test]
fn now_and_by_force() -> Result<()> {
    namespaced("force", |ns| {
        for name in ["now", "force"] {
            let pod = shell_pod(name, "trap '' TERM; while true; do sleep 1; done");
            ns.apply(pod.spec(json!({"terminationGracePeriodSeconds": 300})))?;
        }
        ns.ready("now")?;
        ns.ready("force")?;
        // Both would take five minutes with the grace of their own.
        let said = ns.kubectl("delete pod now --now").ok()?;
        ensure!(said.contains("pod \"now\" deleted"), "{said}");
        let said = ns.kubectl("delete pod force --force").done()?;
        ensure!(said.stderr.contains("Immediate deletion does not wait for confirmation"), "{said}");
        ensure!(said.stdout.contains("pod \"force\" force deleted"), "{said}");
        ns.kubectl("get pod force").fails("NotFound")?;
        Ok(())
    })
}

#[test]
fn a_finalizer_holds_an_object() -> Result<()> {
    namespaced("finalizer", |ns| {
        ns.apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "held", "finalizers": ["example.com/hold"]},
        }))?;
        ns.kubectl("delete cm held --wait=false").ok()?;
        ensure!(!ns.field("cm/held", ".metadata.deletionTimestamp")?.is_empty());
        ns.kubectl("patch cm held --type=merge -p")
            .arg(r#"{"metadata":{"finalizers":["x.example.com/more"]}}"#)
            .fails("no new finalizers can be added if the object is being deleted")?;
        ns.kubectl("patch cm held --type=merge -p").arg(r#"{"metadata":{"finalizers":null}}"#).ok()?;
        ns.kubectl("get cm held").fails("NotFound")?;
        Ok(())
    })
}

#[test]
fn by_label_and_all() -> Result<()> {
    namespaced("delete-all", |ns| {
        for name in ["one", "two", "three"] {
            ns.kubectl("create configmap").arg(name).ok()?;
        }
        ns.kubectl("label cm one two group=x").ok()?;
        ns.kubectl("delete cm -l group=x").ok()?;
        ns.kubectl("get cm one").fails("NotFound")?;
        ensure!(ns.kubectl("get cm three -o name").ok()? == "configmap/three\n");
        ns.kubectl("delete cm --all").ok()?;
        ns.kubectl("get cm three").fails("NotFound")?;
        ns.kubectl("delete cm three").fails("configmaps \"three\" not found")?;
        // The certificate authority that pods need comes back by itself.
        ns.kubectl("wait --for=create cm/kube-root-ca.crt --timeout=55s").ok()?;
        Ok(())
    })
}

#[test]
fn a_pod_that_ends_gracefully_runs_its_hook_first() -> Result<()> {
    namespaced("grace", |ns| {
        let script = "trap 'echo term; exit 0' TERM; echo up; while true; do usleep 50000; done";
        let pod = shell_pod("pod", script)
            .spec(json!({"terminationGracePeriodSeconds": 30}))
            .container(json!({"lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "echo hook > /proc/1/fd/1"]}}}}));
        ns.apply(pod)?;
        ns.ready("pod")?;
        let mut log = ns.kubectl("logs -f pod").stream()?;
        log.line("it runs", |line| line == "up")?;
        ns.kubectl("delete pod pod --wait=false").ok()?;
        log.line("the hook ran", |line| line == "hook")?;
        log.line("then SIGTERM came", |line| line == "term")?;
        ns.kubectl("wait --for=delete pod/pod --timeout=55s").ok()?;
        Ok(())
    })
}
