//! Limits of bandwidth by a pod's annotations: on the node's devices, felt by what is sent and received, gone with the pod.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xebec_tests::{Namespace, PATIENCE, PodManifest, namespaced, program, shell_pod, until};

/// A pod that sends whoever calls it as much as they take.
fn source(name: &str) -> PodManifest {
    shell_pod(name, "while true; do dd if=/dev/zero bs=64k 2>/dev/null | nc -l -p 9000; done")
}

/// How many bytes one pod sends another in three seconds.
fn passed(ns: &Namespace, from: &str, to: &str) -> Result<u64> {
    let address = ns.field(&format!("pod/{from}"), ".status.podIP")?;
    // An input that ends would end the connection.
    let command = format!("/bin/sh -c 'sleep 4 | timeout 3 nc {address} 9000 | wc -c'");
    until(&format!("{from} sends {to} something"), PATIENCE, || {
        let bytes: u64 = ns.exec(to, &command)?.trim().parse()?;
        // Between two callers nobody listens for a moment.
        Ok((bytes > 0).then_some(bytes))
    })
}

/// The node's end of a pod's device, which the way to its address leads by.
fn device(ns: &Namespace, pod: &str) -> Result<String> {
    let address = ns.field(&format!("pod/{pod}"), ".status.podIP")?;
    let way = program("ip").words("route get").arg(&address).ok()?;
    let mut words = way.split_whitespace().skip_while(|word| *word != "dev");
    Ok(words.nth(1).with_context(|| format!("no device in {way:?}"))?.to_owned())
}

/// What waits where on a device, in tc's words.
fn queues(device: &str) -> Result<String> {
    program("tc").words("qdisc show dev").arg(device).ok()
}

#[test]
fn annotations_bound_what_a_pod_sends_and_receives() -> Result<()> {
    namespaced("bandwidth", |ns| {
        let limits = json!({"annotations": {
            "kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "8M",
        }});
        ns.apply(source("held").metadata(limits))?;
        for pod in ["free", "peer"] {
            ns.apply(source(pod))?;
        }
        for pod in ["held", "free", "peer"] {
            ns.ready(pod)?;
        }
        let (held, free) = (device(ns, "held")?, device(ns, "free")?);
        // What it sends waits on a device beside its own.
        let beside = held.replacen("xeb", "xi", 1);
        for limited in [&held, &beside] {
            let text = queues(limited)?;
            ensure!(text.contains("qdisc tbf") && text.contains("rate 8Mbit"), "{limited}: {text}");
        }
        ensure!(!queues(&free)?.contains("tbf"), "a pod without annotations is limited");

        // The same way between the same pods, but for the limit: 8 Mbit/s are a small part of what two pods of one node can.
        let unbounded = [passed(ns, "free", "peer")?, passed(ns, "peer", "free")?];
        let bounded = [passed(ns, "held", "peer")?, passed(ns, "peer", "held")?];
        for (bounded, unbounded) in bounded.into_iter().zip(unbounded) {
            ensure!(bounded < unbounded / 5, "{bounded} bytes with the limit, {unbounded} without");
        }

        ns.kubectl("delete pod held").ok()?;
        for gone in [&held, &beside] {
            program("ip").words("link show dev").arg(gone).fails("does not exist")?;
        }
        Ok(())
    })
}
