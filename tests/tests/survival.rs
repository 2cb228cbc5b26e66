//! Acceptance 3 and 4: what dies comes back, and nothing that was promised is lost.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use xebec_tests::{
    Namespace, Outage, PATIENCE, PodManifest, Proxy, kill, kubectl, namespaced, pod_process, program,
    shell_pod, until, web,
};

const RATE: u64 = 200;

/// Three web pods and their virtual IP.
fn servers(ns: &Namespace) -> Result<String> {
    ns.apply(web("web", 3))?;
    ns.rolled_out("web")?;
    let vip = ns.field("service/web", ".spec.clusterIP")?;
    until("the Service has three ready endpoints", PATIENCE, || {
        let ready =
            ns.field("endpointslices", ".items[*].endpoints[?(@.conditions.ready==true)].addresses[0]")?;
        ensure!(ready.split_whitespace().count() == 3, "{ready:?}");
        Ok(Some(()))
    })?;
    Ok(vip)
}

/// Starts a pod that opens 200 connections a second to the address, and waits until it does.
fn load(ns: &Namespace, vip: &str, seconds: u64) -> Result<()> {
    let pod = shell_pod("load", "").spec(json!({"restartPolicy": "Never"})).container(json!({
        "image": "xebec.local/workload:1",
        "command": ["/bin/xebec-workload", "load", format!("{vip}:80"), "--rate", RATE.to_string(), "--seconds", seconds.to_string()],
    }));
    ns.apply(pod)?;
    until("the load has run for a second", PATIENCE, || {
        Ok(ns.kubectl("logs load").ok()?.contains("second ok=").then_some(()))
    })
}

/// The last line of the load: connections that were answered, and that failed.
fn verdict(ns: &Namespace) -> Result<(u64, u64, String)> {
    until("the load is over", PATIENCE, || {
        let phase = ns.field("pod/load", ".status.phase")?;
        Ok((phase == "Succeeded" || phase == "Failed").then_some(()))
    })?;
    let log = ns.kubectl("logs load").ok()?;
    let total =
        log.lines().rfind(|line| line.starts_with("total ")).context("the load ended without a verdict")?;
    let number = |key: &str| {
        let word = total
            .split_whitespace()
            .find_map(|word| word.strip_prefix(key))
            .with_context(|| total.to_owned())?;
        word.parse::<u64>().context("not a number")
    };
    let failures: Vec<_> = log.lines().filter(|line| line.starts_with("failed after")).take(5).collect();
    Ok((number("ok=")?, number("failed=")?, format!("{total}\n{}", failures.join("\n"))))
}

/// Kills a component of Xebec under load and brings it back; no connection may fail.
fn no_connection_fails_without(component: &'static str, label: &str) -> Result<()> {
    const SECONDS: u64 = 20;
    namespaced(label, |ns| {
        let vip = servers(ns)?;
        load(ns, &vip, SECONDS)?;
        let outage = Outage::kill(component)?;
        outage.restart()?;
        let (ok, failed, text) = verdict(ns)?;
        ensure!(failed == 0 && ok == RATE * SECONDS, "{text}");
        // It came back whole: new pods and Services work.
        ns.kubectl("scale deployment web --replicas=4").ok()?;
        ns.rolled_out("web")?;
        ns.kubectl("expose deployment web --name=after --port=80 --target-port=8080").ok()?;
        let after = ns.field("service/after", ".spec.clusterIP")?;
        every_server_answers(ns, &after, 4)
    })
}

#[test]
fn no_connection_fails_while_the_agent_is_killed() -> Result<()> {
    no_connection_fails_without("xebec-agent", "kill-agent")
}

#[test]
fn no_connection_fails_while_the_control_plane_is_killed() -> Result<()> {
    no_connection_fails_without("xebec-control", "kill-control")
}

#[test]
fn an_acknowledged_write_survives_kill_9() -> Result<()> {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    namespaced("durable", |ns| {
        let proxy = Proxy::start()?;
        let path = format!("/api/v1/namespaces/{}/configmaps", ns.name);
        let (acknowledged, give_up) = (AtomicUsize::new(0), AtomicBool::new(false));
        // Writers go on until each of their objects was acknowledged, through the outage.
        let write = |writer: usize| -> Result<Vec<String>> {
            let mut names = Vec::new();
            for index in 0..EACH {
                let name = format!("w{writer}-{index}");
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": name}});
                let start = Instant::now();
                loop {
                    match proxy
                        .send("POST", &path, "application/json", body.to_string())
                        .map(|answer| answer.status)
                    {
                        // 409: the acknowledgement was lost with the server, the object was not.
                        Ok(201 | 409) => break,
                        _ if give_up.load(Ordering::Relaxed) || start.elapsed() > PATIENCE => {
                            bail!("{name} was never taken")
                        }
                        _ => std::thread::sleep(std::time::Duration::from_millis(50)),
                    }
                }
                acknowledged.fetch_add(1, Ordering::Relaxed);
                names.push(name);
            }
            Ok(names)
        };
        let written = std::thread::scope(|scope| -> Result<Vec<String>> {
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect::<Vec<_>>();
            let outage = until("a quarter is written", PATIENCE, || {
                Ok((acknowledged.load(Ordering::Relaxed) >= WRITERS * EACH / 4).then_some(()))
            })
            .and_then(|()| Outage::kill("xebec-control"))
            .and_then(Outage::restart);
            give_up.store(outage.is_err(), Ordering::Relaxed);
            let names = writers
                .into_iter()
                .map(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?);
            let names: Vec<String> = names.collect::<Result<Vec<_>>>()?.concat();
            outage.map(|()| names)
        })?;
        ensure!(written.len() == WRITERS * EACH);
        let list: Value = serde_json::from_str(&ns.kubectl("get configmaps -o json").ok()?)?;
        let stored: Vec<_> = list["items"].as_array().into_iter().flatten().collect();
        for name in &written {
            let found = stored.iter().find(|object| object["metadata"]["name"] == name.as_str());
            ensure!(
                found.is_some_and(|object| object["data"]["n"] == name.as_str()),
                "{name} was acknowledged and is lost"
            );
        }
        Ok(())
    })
}

#[test]
fn a_killed_container_is_restarted_under_load() -> Result<()> {
    heals("kill-container", |ns, pod| {
        let uid = ns.field(&format!("pod/{pod}"), ".metadata.uid")?;
        kill(pod_process(&uid, &["xebec-workload"])?)?;
        let object = format!("pod/{pod}");
        ns.until_field(&object, ".status.containerStatuses[0].restartCount", "1")?;
        ns.until_field(&object, ".status.containerStatuses[0].lastState.terminated.exitCode", "137")
    })
}

#[test]
fn a_killed_sandbox_is_replaced_under_load() -> Result<()> {
    heals("kill-sandbox", |ns, pod| {
        let uid = ns.field(&format!("pod/{pod}"), ".metadata.uid")?;
        let before = pod_process(&uid, &["pause"])?;
        kill(before)?;
        until("the pod has a new sandbox and runs again", PATIENCE, || {
            let now = pod_process(&uid, &["pause"])?;
            pod_process(&uid, &["xebec-workload"])?;
            Ok((now != before).then_some(()))
        })
    })
}

#[test]
fn a_pod_deleted_by_force_is_replaced_under_load() -> Result<()> {
    heals("force-delete", |ns, pod| {
        ns.kubectl("delete pod --force").arg(pod).ok()?;
        until("a new pod took its place", PATIENCE, || {
            let now = ns.pods("app=web")?;
            Ok((now.len() == 3 && !now.iter().any(|name| name == pod)).then_some(()))
        })
    })
}

/// Breaks one of three web pods under load; all three serve again, and most connections never noticed.
fn heals(label: &str, wreck: impl FnOnce(&Namespace, &str) -> Result<()>) -> Result<()> {
    namespaced(label, |ns| {
        let vip = servers(ns)?;
        load(ns, &vip, 8)?;
        wreck(ns, &ns.pods("app=web")?[0])?;
        ns.until_field("deployment/web", ".status.availableReplicas", "3")?;
        ns.until_field("deployment/web", ".status.unavailableReplicas", "")?;
        let (ok, failed, text) = verdict(ns)?;
        ensure!(ok > failed, "{text}");
        for pod in ns.pods("app=web")? {
            ns.ready(&pod)?;
        }
        every_server_answers(ns, &vip, 3)
    })
}

/// A pod calls the address until that many different servers answered.
fn every_server_answers(ns: &Namespace, address: &str, servers: u32) -> Result<()> {
    ns.apply(client())?;
    ns.ready("client")?;
    let servers = servers.to_string();
    ns.exec("client", &format!("/bin/xebec-workload call {address}:80 --distinct {servers} --tries 200"))
        .map(drop)
}

fn client() -> PodManifest {
    shell_pod("client", "sleep 600").container(json!({"image": "xebec.local/workload:1"}))
}

/// Acceptance 4: a gateway could accept a connection to any address; without a route to one, only eBPF can.
#[test]
fn a_pod_without_a_default_route_reaches_the_virtual_ip() -> Result<()> {
    namespaced("no-route", |ns| {
        ns.apply(web("web", 1))?;
        ns.rolled_out("web")?;
        let vip = ns.field("service/web", ".spec.clusterIP")?;
        ns.apply(client())?;
        ns.ready("client")?;
        let pid = pod_process(&ns.field("pod/client", ".metadata.uid")?, &["sh", "sleep"])?.to_string();
        let ip = |words: &str| {
            program("nsenter").words("--net --target").arg(&pid).words("-- ip").words(words).ok()
        };
        let default = ip("-4 route show default")?;
        let way =
            default.trim().strip_prefix("default ").context("the pod has no default route to begin with")?;
        ip(&format!("-4 route add 10.244.0.0/16 {way}"))?;
        ip("-4 route del default")?;
        let left = ip("-4 route show")?;
        ensure!(!left.contains("default"), "{left}");
        ip(&format!("-4 route get {vip}"))
            .map_or_else(|_| Ok(()), |route| bail!("there is a route to the virtual IP: {route}"))?;

        ns.exec("client", &format!("/bin/xebec-workload call {vip}:80 --distinct 1 --tries 5"))?;
        let server = &ns.pods("app=web")?[0];
        let address = ns.field("pod/client", ".status.podIP")?;
        let log = ns.kubectl("logs").arg(server).ok()?;
        let served = log.lines().any(|line| line.starts_with("served ") && line.contains(&address));
        ensure!(served, "the server's own log shows no request from {address}:\n{log}");

        let free = unallocated()?;
        ns.kubectl(&format!("exec client -- /bin/xebec-workload call {free}:80 --distinct 1 --tries 1"))
            .fails("No route to host")?;
        Ok(())
    })
}

/// A Service address that no Service has.
fn unallocated() -> Result<Ipv4Addr> {
    let taken = kubectl("get services -A -o jsonpath={.items[*].spec.clusterIP}").ok()?;
    let candidates = (1..200).map(|last| Ipv4Addr::new(10, 111, 222, last));
    let mut free = candidates.filter(|address| !taken.split_whitespace().any(|ip| ip == address.to_string()));
    free.next().context("every candidate is taken")
}
