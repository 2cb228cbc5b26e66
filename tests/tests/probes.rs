//! Probes: what liveness, readiness and startup do to a pod, in each of their forms.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use xebec_tests::{Namespace, PATIENCE, namespaced, shell_pod, until, web};

const RESTARTS: &str = ".status.containerStatuses[0].restartCount";

fn exec(script: &str) -> Value {
    json!({"exec": {"command": ["/bin/sh", "-c", script]}, "periodSeconds": 1, "failureThreshold": 1})
}

fn events_tell(ns: &Namespace, pod: &str, texts: &[&str]) -> Result<()> {
    until(&format!("events of {pod}"), PATIENCE, || {
        let events = ns.kubectl("events --for").arg(format!("pod/{pod}")).ok()?;
        for text in texts {
            ensure!(events.contains(text), "no {text:?} in:\n{events}");
        }
        Ok(Some(()))
    })
}

#[test]
fn a_failed_liveness_probe_restarts_the_container() -> Result<()> {
    namespaced("liveness", |ns| {
        ns.apply(
            shell_pod("pod", "touch /tmp/alive; sleep 600")
                .container(json!({"livenessProbe": exec("[ -e /tmp/alive ]")})),
        )?;
        ns.ready("pod")?;
        ns.exec("pod", "rm /tmp/alive")?;
        ns.until_field("pod/pod", RESTARTS, "1")?;
        ns.ready("pod")?;
        events_tell(
            ns,
            "pod",
            &[
                "Unhealthy",
                "Liveness probe failed",
                "Killing",
                "Container main failed liveness probe, will be restarted",
            ],
        )
    })
}

#[test]
fn readiness_takes_a_pod_out_of_its_service_and_back() -> Result<()> {
    namespaced("readiness", |ns| {
        let pod = shell_pod("pod", "touch /tmp/ready; sleep 600")
            .container(json!({"readinessProbe": exec("[ -e /tmp/ready ]")}));
        ns.apply(pod)?;
        ns.kubectl("expose pod pod --port=80").ok()?;
        ns.ready("pod")?;
        let ready = ".items[0].endpoints[0].conditions.ready";
        ns.until_field("endpointslices", ready, "true")?;
        ns.exec("pod", "rm /tmp/ready")?;
        ns.until_field("endpointslices", ready, "false")?;
        ns.until_field("pod/pod", ".status.conditions[?(@.type==\"Ready\")].status", "False")?;
        ns.exec("pod", "touch /tmp/ready")?;
        ns.until_field("endpointslices", ready, "true")?;
        ensure!(ns.field("pod/pod", RESTARTS)? == "0", "readiness restarts nothing");
        events_tell(ns, "pod", &["Readiness probe failed"])
    })
}

#[test]
fn a_startup_probe_holds_the_others_back() -> Result<()> {
    namespaced("startup", |ns| {
        let startup = json!({"exec": {"command": ["/bin/sh", "-c", "[ -e /tmp/started ]"]}, "periodSeconds": 1, "failureThreshold": 100});
        // The liveness probe would fail at once.
        let pod = shell_pod("pod", "sleep 600")
            .container(json!({"startupProbe": startup, "livenessProbe": exec("[ -e /tmp/started ]")}));
        ns.apply(pod)?;
        events_tell(ns, "pod", &["Startup probe failed"])?;
        ensure!(ns.field("pod/pod", ".status.containerStatuses[0].started")? == "false");
        ensure!(ns.field("pod/pod", RESTARTS)? == "0");
        ns.exec("pod", "touch /tmp/started")?;
        ns.ready("pod")?;
        ensure!(ns.field("pod/pod", ".status.containerStatuses[0].started")? == "true");
        ensure!(ns.field("pod/pod", RESTARTS)? == "0");
        Ok(())
    })
}

#[test]
fn http_and_tcp_probes() -> Result<()> {
    namespaced("http-probe", |ns| {
        let good = |probe: Value| json!({"image": "xebec.local/workload:1", "command": ["/bin/xebec-workload", "serve"], "readinessProbe": probe});
        let http = json!({"httpGet": {"path": "/healthz", "port": 8080, "httpHeaders": [{"name": "X-A", "value": "b"}]}, "periodSeconds": 1});
        ns.apply(shell_pod("http", "").container(good(http)))?;
        ns.apply(
            shell_pod("tcp", "").container(good(json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1}))),
        )?;
        ns.ready("http")?;
        ns.ready("tcp")?;
        let closed = json!({"tcpSocket": {"port": 9}, "periodSeconds": 1});
        ns.apply(shell_pod("closed", "").container(good(closed)))?;
        events_tell(ns, "closed", &["Readiness probe failed: dial tcp", "connection refused"])?;
        ensure!(ns.field("pod/closed", ".status.containerStatuses[0].ready")? == "false");
        Ok(())
    })
}

#[test]
fn a_rolling_update_waits_for_readiness() -> Result<()> {
    namespaced("gate", |ns| {
        ns.apply(web("web", 2))?;
        ns.rolled_out("web")?;
        let never = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "readinessProbe": {"httpGet": {"path": "/healthz", "port": 9}}}]}}}});
        ns.kubectl("patch deployment web -p").arg(never.to_string()).ok()?;
        ns.until_field("deployment/web", ".status.updatedReplicas", "1")?;
        until("the new pod runs without being ready", PATIENCE, || {
            let phases = ns.field("pods", ".items[*].status.phase")?;
            Ok((phases == "Running Running Running").then_some(()))
        })?;
        ensure!(ns.field("deployment/web", ".status.availableReplicas")? == "2", "an old pod went too early");
        Ok(())
    })
}
