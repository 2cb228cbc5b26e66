//! Acceptance 2: cordon, taints, and what the scheduler says when nothing fits.

use anyhow::{Result, ensure};
use serde_json::json;
use xebec_tests::{Call, Namespace, PATIENCE, kubectl, namespaced, node, shell_pod, until, web};

/// Undoes a change of the node when dropped.
struct Undo(Option<Call>);

impl Undo {
    fn with(line: &str, rest: &str) -> Result<Self> {
        Ok(Self(Some(kubectl(line).arg(node()?).words(rest))))
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // It fails when the test has undone it already.
        self.0.take().map(Call::run);
    }
}

/// Waits until the scheduler says this about the pod.
fn unschedulable(ns: &Namespace, pod: &str, why: &str) -> Result<()> {
    until(&format!("{pod} is said not to fit: {why}"), PATIENCE, || {
        let message =
            ns.field(&format!("pod/{pod}"), ".status.conditions[?(@.type==\"PodScheduled\")].message")?;
        ensure!(message.starts_with("0/1 nodes are available: ") && message.contains(why), "{message:?}");
        Ok(Some(()))
    })?;
    until("the scheduler's event", PATIENCE, || {
        let text = ns.kubectl("events --for").arg(format!("pod/{pod}")).ok()?;
        ensure!(text.contains("FailedScheduling") && text.contains(why), "{text}");
        Ok(Some(()))
    })
}

#[test]
fn a_cordoned_node_takes_no_pods() -> Result<()> {
    namespaced("cordon", |ns| {
        let node = node()?;
        let _undo = Undo::with("uncordon", "")?;
        ensure!(kubectl("cordon").arg(&node).ok()? == format!("node/{node} cordoned\n"));
        ensure!(kubectl("get node").arg(&node).ok()?.contains("SchedulingDisabled"));
        ns.apply(shell_pod("pod", "sleep 600"))?;
        unschedulable(ns, "pod", "1 node(s) were unschedulable")?;
        ensure!(kubectl("uncordon").arg(&node).ok()? == format!("node/{node} uncordoned\n"));
        ns.ready("pod")
    })
}

#[test]
fn a_drained_node_gives_its_pods_up_and_takes_them_back() -> Result<()> {
    namespaced("drain", |ns| {
        let node = node()?;
        ns.apply(web("web", 2))?;
        ns.rolled_out("web")?;
        let before = ns.pods("app=web")?;
        let _undo = Undo::with("uncordon", "")?;
        // The selector keeps it from other tests' pods; the node is cordoned all the same.
        let said = kubectl("drain").arg(&node).words("--pod-selector=app=web --timeout=120s").ok()?;
        for pod in &before {
            ensure!(said.contains(&format!("pod/{pod} evicted\n")), "{said}");
        }
        ensure!(said.ends_with(&format!("node/{node} drained\n")), "{said}");
        let after = ns.pods("app=web")?;
        ensure!(!after.iter().any(|pod| before.contains(pod)), "{before:?} {after:?}");
        kubectl("uncordon").arg(&node).ok()?;
        ns.rolled_out("web")
    })
}

#[test]
fn a_taint_keeps_pods_away_that_do_not_tolerate_it() -> Result<()> {
    namespaced("taint", |ns| {
        let node = node()?;
        let _undo = Undo::with("taint node", "e2e-")?;
        kubectl("taint node").arg(&node).arg("e2e=yes:NoSchedule").ok()?;
        ns.apply(shell_pod("plain", "sleep 600"))?;
        let tolerant = json!({"tolerations": [{"key": "e2e", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]});
        ns.apply(shell_pod("tolerant", "sleep 600").spec(tolerant))?;
        ns.ready("tolerant")?;
        unschedulable(ns, "plain", "untolerated taint")?;
        kubectl("taint node").arg(&node).arg("e2e-").ok()?;
        ns.ready("plain")
    })
}

#[test]
fn a_pod_that_fits_nowhere_says_why_and_fits_later() -> Result<()> {
    namespaced("fit", |ns| {
        let huge = json!({"resources": {"requests": {"cpu": "4000", "memory": "100Ti"}}});
        ns.apply(shell_pod("huge", "sleep 600").container(huge))?;
        unschedulable(ns, "huge", "1 Insufficient cpu, 1 Insufficient memory")?;
        ns.apply(shell_pod("picky", "sleep 600").spec(json!({"nodeSelector": {"e2e-disk": "fast"}})))?;
        unschedulable(ns, "picky", "1 node(s) didn't match Pod's node affinity/selector")?;
        let node = node()?;
        let _undo = Undo::with("label node", "e2e-disk-")?;
        kubectl("label node").arg(&node).arg("e2e-disk=fast").ok()?;
        ns.ready("picky")
    })
}

#[test]
fn a_host_port_is_taken_once() -> Result<()> {
    namespaced("hostport", |ns| {
        let ports = json!({"ports": [{"containerPort": 80, "hostPort": 38_080}]});
        ns.apply(shell_pod("first", "sleep 600").container(ports.clone()))?;
        ns.ready("first")?;
        ns.apply(shell_pod("second", "sleep 600").container(ports))?;
        unschedulable(ns, "second", "1 node(s) didn't have free ports for the requested pod ports")?;
        ns.kubectl("delete pod first").ok()?;
        ns.ready("second")
    })
}

#[test]
fn the_node_reports_the_machine() -> Result<()> {
    namespaced("machine", |_| {
        let node = node()?;
        let field = |path: &str| kubectl("get node").arg(&node).arg(format!("-o=jsonpath={{{path}}}")).ok();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        ensure!(field(".status.nodeInfo.kernelVersion")? == release.trim());
        let processors = std::fs::read_to_string("/proc/cpuinfo")?.matches("processor\t:").count();
        ensure!(field(".status.capacity.cpu")? == processors.to_string());
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let total = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .map(|rest| rest.replace(" kB", "Ki"));
        ensure!(Some(field(".status.capacity.memory")?.as_str()) == total.as_deref().map(str::trim));
        ensure!(field(".status.conditions[?(@.type==\"Ready\")].status")? == "True");
        ensure!(field(".spec.podCIDR")?.starts_with("10.244."));
        let before = kubectl("get lease -n kube-node-lease -o jsonpath={.spec.renewTime}").arg(&node).ok()?;
        until("the lease is renewed", PATIENCE, || {
            let now =
                kubectl("get lease -n kube-node-lease -o jsonpath={.spec.renewTime}").arg(&node).ok()?;
            Ok((now != before).then_some(()))
        })
    })
}
