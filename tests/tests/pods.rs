//! Pods: environment, init containers, restart policies, security, resources, what the status tells.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xebec_tests::{PATIENCE, namespaced, node, pod_process, shell_pod, until};

fn once() -> serde_json::Value {
    json!({"restartPolicy": "Never"})
}

#[test]
fn environment_from_every_source() -> Result<()> {
    namespaced("env", |ns| {
        ns.kubectl("create configmap settings --from-literal=COLOR=blue --from-literal=SIZE=9").ok()?;
        ns.kubectl("create secret generic hidden --from-literal=KEY=s3cret").ok()?;
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let pod = shell_pod("pod", "env").spec(once()).metadata(json!({"annotations": {"note": "hello"}})).container(json!({
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
            "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "X_", "secretRef": {"name": "hidden"}}, {"configMapRef": {"name": "none", "optional": true}}],
            "env": [
                {"name": "PLAIN", "value": "a b"},
                {"name": "EXPANDED", "value": "$(PLAIN)-$(NOPE)-$$(PLAIN)"},
                {"name": "POD", "valueFrom": field("metadata.name")},
                {"name": "NS", "valueFrom": field("metadata.namespace")},
                {"name": "LABEL", "valueFrom": field("metadata.labels['app']")},
                {"name": "NOTE", "valueFrom": field("metadata.annotations['note']")},
                {"name": "NODE", "valueFrom": field("spec.nodeName")},
                {"name": "IP", "valueFrom": field("status.podIP")},
                {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "SIZE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "SIZE"}}},
                {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "KEY"}}},
            ],
        }));
        ns.apply(pod)?;
        let log = ns.ended("pod", "Succeeded")?;
        let (node, ip) = (node()?, ns.field("pod/pod", ".status.podIP")?);
        for expected in [
            "COLOR=blue",
            "SIZE=9",
            "X_KEY=s3cret",
            "PLAIN=a b",
            "EXPANDED=a b-$(NOPE)-$(PLAIN)",
            "POD=pod",
            "LABEL=pod",
            "NOTE=hello",
            "MEMORY=64",
            "CPU=1",
            "SECRET=s3cret",
            "HOSTNAME=pod",
            "KUBERNETES_SERVICE_HOST=10.96.0.1",
            &format!("NS={}", ns.name),
            &format!("NODE={node}"),
            &format!("IP={ip}"),
        ] {
            ensure!(log.lines().any(|line| line == expected), "no {expected} in:\n{log}");
        }
        Ok(())
    })
}

#[test]
fn a_missing_configmap_holds_the_pod_until_it_comes() -> Result<()> {
    namespaced("later", |ns| {
        ns.apply(
            shell_pod("pod", "echo $A; sleep 600")
                .container(json!({"envFrom": [{"configMapRef": {"name": "late"}}]})),
        )?;
        let waiting = ".status.containerStatuses[0].state.waiting";
        ns.until_field("pod/pod", &format!("{waiting}.reason"), "CreateContainerConfigError")?;
        let message = ns.field("pod/pod", &format!("{waiting}.message"))?;
        ensure!(message.contains("configmap \"late\" not found"), "{message}");
        ns.kubectl("create configmap late --from-literal=A=came").ok()?;
        ns.ready("pod")?;
        ensure!(ns.kubectl("logs pod").ok()? == "came\n");
        Ok(())
    })
}

#[test]
fn init_containers_run_in_order_and_once() -> Result<()> {
    namespaced("init", |ns| {
        let init = |name: &str| {
            json!({
                "name": name, "image": "xebec.local/busybox:1", "command": ["/bin/sh", "-c", format!("echo {name} >> /shared/order")],
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
            })
        };
        let pod = shell_pod("pod", "cat /shared/order")
            .spec(once())
            .spec(json!({"initContainers": [init("first"), init("second"), init("third")], "volumes": [{"name": "shared", "emptyDir": {}}]}))
            .container(json!({"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}));
        ns.apply(pod)?;
        ensure!(ns.ended("pod", "Succeeded")? == "first\nsecond\nthird\n");
        let reasons = ns.field("pod/pod", ".status.initContainerStatuses[*].state.terminated.reason")?;
        ensure!(reasons == "Completed Completed Completed", "{reasons}");

        let failing = json!({"initContainers": [{"name": "bad", "image": "xebec.local/busybox:1", "command": ["/bin/sh", "-c", "exit 3"]}]});
        ns.apply(shell_pod("bad", "echo never").spec(once()).spec(failing))?;
        ns.until_field("pod/bad", ".status.phase", "Failed")?;
        ensure!(ns.field("pod/bad", ".status.initContainerStatuses[0].state.terminated.exitCode")? == "3");
        ensure!(ns.kubectl("get pod bad").ok()?.contains("Init:Error"));
        Ok(())
    })
}

#[test]
fn a_sidecar_runs_beside_the_containers_and_does_not_hold_the_end() -> Result<()> {
    namespaced("sidecar", |ns| {
        let sidecar = json!({"initContainers": [{
            "name": "side", "image": "xebec.local/workload:1", "restartPolicy": "Always",
            "startupProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        }]});
        ns.apply(shell_pod("pod", "wget -qO- http://127.0.0.1:8080/").spec(once()).spec(sidecar))?;
        let log = ns
            .kubectl("wait --for=jsonpath={.status.phase}=Succeeded pod/pod --timeout=55s")
            .ok()
            .and_then(|_| ns.kubectl("logs pod -c main").ok())?;
        ensure!(log.starts_with("pod "), "the sidecar did not answer: {log}");
        Ok(())
    })
}

#[test]
fn restart_policies() -> Result<()> {
    namespaced("policy", |ns| {
        let count = ".status.containerStatuses[0].restartCount";
        ns.apply(shell_pod("never", "exit 4").spec(once()))?;
        ns.until_field("pod/never", ".status.phase", "Failed")?;
        ensure!(ns.field("pod/never", count)? == "0");
        ensure!(ns.field("pod/never", ".status.containerStatuses[0].state.terminated.exitCode")? == "4");
        ns.apply(shell_pod("good", "exit 0").spec(json!({"restartPolicy": "OnFailure"})))?;
        ns.until_field("pod/good", ".status.phase", "Succeeded")?;
        ensure!(ns.field("pod/good", count)? == "0");
        for (pod, script, policy) in [("bad", "exit 1", "OnFailure"), ("always", "exit 0", "Always")] {
            ns.apply(shell_pod(pod, script).spec(json!({"restartPolicy": policy})))?;
            let object = format!("pod/{pod}");
            ns.until_field(&object, count, "1")?;
            ns.until_field(&object, ".status.containerStatuses[0].state.waiting.reason", "CrashLoopBackOff")?;
            let message = ns.field(&object, ".status.containerStatuses[0].state.waiting.message")?;
            ensure!(message.contains("back-off 10s restarting failed container=main"), "{message}");
            ensure!(
                ns.field(&object, ".status.phase")? == "Running",
                "a pod that will be restarted is Running"
            );
        }
        until("the event says so", PATIENCE, || {
            let events = ns.kubectl("events --for pod/bad").ok()?;
            Ok((events.contains("BackOff") && events.contains("Back-off restarting failed container"))
                .then_some(()))
        })
    })
}

#[test]
fn a_termination_message_is_kept() -> Result<()> {
    namespaced("message", |ns| {
        ns.apply(shell_pod("file", "echo -n the reason > /dev/termination-log; exit 5").spec(once()))?;
        ns.until_field("pod/file", ".status.containerStatuses[0].state.terminated.message", "the reason")?;
        let from_log = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
        ns.apply(shell_pod("log", "echo last words; exit 5").spec(once()).container(from_log))?;
        ns.until_field("pod/log", ".status.containerStatuses[0].state.terminated.message", "last words\n")?;
        ensure!(ns.field("pod/log", ".status.containerStatuses[0].state.terminated.reason")? == "Error");
        Ok(())
    })
}

#[test]
fn quality_of_service_is_in_the_cgroups() -> Result<()> {
    namespaced("qos", |ns| {
        let of = |requests, limits| json!({"resources": {"requests": requests, "limits": limits}});
        for (name, class, resources) in [
            (
                "guaranteed",
                "Guaranteed",
                of(json!({"cpu": "100m", "memory": "64Mi"}), json!({"cpu": "100m", "memory": "64Mi"})),
            ),
            ("burstable", "Burstable", of(json!({"memory": "16Mi"}), json!({"memory": "64Mi"}))),
            ("best-effort", "BestEffort", json!({})),
        ] {
            ns.apply(shell_pod(name, "sleep 600").container(resources))?;
            ns.ready(name)?;
            let object = format!("pod/{name}");
            ensure!(ns.field(&object, ".status.qosClass")? == class);
            let uid = ns.field(&object, ".metadata.uid")?;
            let pid = pod_process(&uid, &["sh", "sleep"])?;
            let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            let tier = class.to_lowercase();
            ensure!((class == "Guaranteed") != cgroup.contains(&tier), "{class}: {cgroup}");
            ensure!(cgroup.contains("kubepods"), "{cgroup}");
            let memory = limit_of(&cgroup)?;
            let limited = memory == (64 << 20).to_string();
            ensure!(limited == (class != "BestEffort"), "{class}: the memory limit is {memory}");
        }
        Ok(())
    })
}

/// The memory limit of a process's cgroup, v1 or v2, from `/proc/<pid>/cgroup`.
fn limit_of(cgroup: &str) -> Result<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mount = |wanted: &dyn Fn(&[&str]) -> bool| {
        mounts
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|f| wanted(f))
            .map(|f| f[1].to_owned())
    };
    let path =
        |key: &str| cgroup.lines().find_map(|line| line.split_once(key).map(|(_, path)| path.to_owned()));
    let v1 = mount(&|f| f[2] == "cgroup" && f[3].split(',').any(|option| option == "memory"));
    let file = match (v1, path(":memory:")) {
        (Some(mount), Some(path)) => format!("{mount}{path}/memory.limit_in_bytes"),
        _ => {
            let mount = mount(&|f| f[2] == "cgroup2").unwrap_or_default();
            format!("{mount}{}/memory.max", path("0::").unwrap_or_default())
        }
    };
    Ok(std::fs::read_to_string(&file).map_err(|error| anyhow::anyhow!("{file}: {error}"))?.trim().to_owned())
}

#[test]
fn too_much_memory_is_killed_and_said() -> Result<()> {
    namespaced("oom", |ns| {
        let limit = json!({"resources": {"limits": {"memory": "32Mi"}}});
        // tail keeps all of a line without an end in memory.
        ns.apply(shell_pod("pod", "exec tail -n 1 /dev/zero").spec(once()).container(limit))?;
        ns.until_field("pod/pod", ".status.containerStatuses[0].state.terminated.reason", "OOMKilled")?;
        ensure!(ns.field("pod/pod", ".status.containerStatuses[0].state.terminated.exitCode")? == "137");
        Ok(())
    })
}

#[test]
fn security_context_and_identity() -> Result<()> {
    namespaced("security", |ns| {
        let script =
            "id -u; id -g; id -G; touch /x 2>&1; grep -E '^(CapEff|NoNewPrivs):' /proc/self/status; hostname";
        let pod = shell_pod("pod", script)
            .spec(once())
            .spec(json!({"hostname": "named", "securityContext": {"runAsUser": 1234, "runAsGroup": 2345, "supplementalGroups": [77]}}))
            .container(json!({"securityContext": {
                "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            }}));
        ns.apply(pod)?;
        let log = ns.ended("pod", "Succeeded")?;
        let lines: Vec<_> = log.lines().collect();
        ensure!(lines.first() == Some(&"1234") && lines.get(1) == Some(&"2345"), "{log}");
        ensure!(
            lines.get(2).is_some_and(|groups| groups.split_whitespace().any(|group| group == "77")),
            "{log}"
        );
        ensure!(log.contains("Read-only file system") && log.ends_with("named\n"), "{log}");
        ensure!(log.contains("CapEff:\t0000000000000000") && log.contains("NoNewPrivs:\t1"), "{log}");

        let pod = shell_pod("root", "true")
            .spec(once())
            .container(json!({"securityContext": {"runAsNonRoot": true}}));
        ns.apply(pod)?;
        ns.until_field(
            "pod/root",
            ".status.containerStatuses[0].state.waiting.reason",
            "CreateContainerConfigError",
        )?;
        let message = ns.field("pod/root", ".status.containerStatuses[0].state.waiting.message")?;
        ensure!(message.contains("container has runAsNonRoot and image will run as root"), "{message}");
        Ok(())
    })
}

#[test]
fn a_pod_may_share_the_hosts_network() -> Result<()> {
    namespaced("hostnet", |ns| {
        ns.apply(
            shell_pod("pod", "readlink /proc/self/ns/net").spec(once()).spec(json!({"hostNetwork": true})),
        )?;
        let log = ns.ended("pod", "Succeeded")?;
        let here = std::fs::read_link("/proc/self/ns/net")?;
        ensure!(Some(log.trim()) == here.to_str(), "{log}");
        ensure!(ns.field("pod/pod", ".status.podIP")? == ns.field("pod/pod", ".status.hostIP")?);
        Ok(())
    })
}

#[test]
fn conditions_and_times_of_a_running_pod() -> Result<()> {
    namespaced("status", |ns| {
        ns.apply(shell_pod("pod", "sleep 600"))?;
        ns.ready("pod")?;
        let pod = ns.json("pod/pod")?;
        let status = &pod["status"];
        for condition in
            ["PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"]
        {
            let found =
                status["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == condition);
            ensure!(
                found.is_some_and(|c| c["status"] == "True" && c["lastTransitionTime"].is_string()),
                "{condition}: {status}"
            );
        }
        let container = &status["containerStatuses"][0];
        ensure!(
            container["containerID"].as_str().is_some_and(|id| id.starts_with("containerd://")),
            "{container}"
        );
        ensure!(
            container["ready"] == true && container["started"] == true && container["restartCount"] == 0,
            "{container}"
        );
        ensure!(
            container["state"]["running"]["startedAt"].is_string() && status["startTime"].is_string(),
            "{status}"
        );
        ensure!(status["podIPs"][0]["ip"] == status["podIP"] && status["hostIP"].is_string(), "{status}");
        ensure!(
            pod["spec"]["serviceAccountName"] == "default" && pod["spec"]["tolerations"].is_array(),
            "{}",
            pod["spec"]
        );
        Ok(())
    })
}

#[test]
fn debug_adds_a_container_to_a_running_pod() -> Result<()> {
    namespaced("debug", |ns| {
        ns.apply(shell_pod("shell", "sleep 600"))?;
        ns.ready("shell")?;
        let started = ns.field("pod/shell", ".status.containerStatuses[0].state.running.startedAt")?;
        ns.kubectl("debug shell --image=xebec.local/busybox:1 -c look -- sh -c 'echo here; sleep 600'")
            .ok()?;
        let state = ".status.ephemeralContainerStatuses[?(@.name==\"look\")].state.running.startedAt";
        until("the debug container runs", PATIENCE, || {
            Ok((!ns.field("pod/shell", state)?.is_empty()).then_some(()))
        })?;
        ensure!(ns.kubectl("logs shell -c look").ok()? == "here\n");
        ensure!(ns.kubectl("exec shell -c look -- hostname").ok()? == "shell\n");
        let still = ns.field("pod/shell", ".status.containerStatuses[0].state.running.startedAt")?;
        ensure!(still == started, "the pod's own container goes on");
        Ok(())
    })
}

#[test]
fn debug_of_a_node_sees_its_files() -> Result<()> {
    namespaced("debug-node", |ns| {
        let target = format!("node/{}", node()?);
        let said = ns
            .kubectl("debug --image=xebec.local/busybox:1")
            .arg(target)
            .words("-- cat /host/proc/sys/kernel/ostype");
        let said = said.ok()?;
        let pod = said.split_whitespace().find(|word| word.starts_with("node-debugger-"));
        let pod = pod.with_context(|| format!("no pod is named: {said}"))?;
        ensure!(ns.ended(pod, "Succeeded")? == "Linux\n");
        Ok(())
    })
}
