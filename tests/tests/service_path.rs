//! Pods that reach Services packet by packet, by their annotation: started by the real runtime, which passes it on.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xebec_tests::{Namespace, Outage, PATIENCE, namespaced, shell_pod, until, web};

/// The other end of a connection to the VIP, as the pod's own kernel has it.
fn peer(ns: &Namespace, pod: &str, vip: &str) -> Result<String> {
    // An input that ends would end the connection.
    let script = format!("sleep 2 | nc {vip} 80 >/dev/null & sleep 1; netstat -tn");
    until(&format!("a connection of {pod}"), PATIENCE, || {
        let text = ns.kubectl("exec").arg(pod).words("-- /bin/sh -c").arg(&script).ok()?;
        let line = text.lines().find(|line| line.contains("ESTABLISHED"));
        Ok(line.and_then(|line| line.split_whitespace().nth(4)).map(str::to_owned))
    })
}

#[test]
fn a_pod_with_the_annotation_sees_virtual_ips() -> Result<()> {
    namespaced("service-path", |ns| {
        ns.apply(web("web", 2))?;
        let image = json!({"image": "xebec.local/workload:1"});
        let by_packets = json!({"annotations": {"network.xebec.dev/service-path": "packet"}});
        ns.apply(shell_pod("packets", "sleep 600").container(image.clone()).metadata(by_packets))?;
        ns.apply(shell_pod("sockets", "sleep 600").container(image))?;
        ns.rolled_out("web")?;
        ns.ready("packets")?;
        ns.ready("sockets")?;
        let vip = ns.field("service/web", ".spec.clusterIP")?;
        ensure!(peer(ns, "packets", &vip)?.contains(&format!("{vip}:80")), "its kernel knows the VIP");
        ensure!(!peer(ns, "sockets", &vip)?.contains(&vip), "its socket has the endpoint");
        for pod in ["packets", "sockets"] {
            ns.exec(pod, "/bin/xebec-workload call web:80 --distinct 2 --tries 60")?;
            let refused = ns.kubectl("exec").arg(pod).words("-- wget -qO-").arg(format!("http://{vip}:81/"));
            refused.fails("refused")?;
        }
        // Another agent goes on with it.
        Outage::kill("xebec-agent")?.restart()?;
        ns.exec("packets", "/bin/xebec-workload call web:80 --distinct 2 --tries 60")?;
        // Another word is refused, with the reason.
        let typo = json!({"annotations": {"network.xebec.dev/service-path": "packets"}});
        ns.apply(shell_pod("typo", "sleep 600").metadata(typo))?;
        until("the reason", PATIENCE, || {
            let events = ns.kubectl("get events -o jsonpath={.items[*].message}").ok()?;
            Ok(events.contains("must be \"socket\" or \"packet\"").then_some(()))
        })
        .context("the annotation is not refused")
    })
}
