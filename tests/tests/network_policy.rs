//! NetworkPolicy between pods, applied by kubectl and enforced by the node.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use xebec_tests::{Namespace, PATIENCE, namespaced, shell_pod, until, web};

/// A web server, and two clients that differ by their labels; the server's address.
fn stage(ns: &Namespace) -> Result<String> {
    ns.apply(web("web", 1))?;
    for name in ["friend", "stranger"] {
        ns.apply(shell_pod(name, "sleep 600").container(json!({"image": "xebec.local/workload:1"})))?;
    }
    ns.rolled_out("web")?;
    ns.ready("friend")?;
    ns.ready("stranger")?;
    ns.field(&format!("pod/{}", ns.pods("app=web")?[0]), ".status.podIP")
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

/// Whether one call from a pod is answered.
fn reaches(ns: &Namespace, pod: &str, to: &str) -> bool {
    ns.exec(pod, &format!("/bin/xebec-workload call {to} --distinct 1 --tries 1")).is_ok()
}

/// Waits until a pod's calls are answered, or not.
fn until_reaches(ns: &Namespace, pod: &str, to: &str, wanted: bool) -> Result<()> {
    let what = format!("{pod} {} {to}", if wanted { "reaches" } else { "does not reach" });
    until(&what, PATIENCE, || Ok((reaches(ns, pod, to) == wanted).then_some(())))
}

#[test]
fn policies_say_who_reaches_whom() -> Result<()> {
    namespaced("policy", |ns| {
        let server = stage(ns)?;
        let (direct, vip) = (format!("{server}:8080"), ns.field("service/web", ".spec.clusterIP")? + ":80");
        for client in ["friend", "stranger"] {
            until_reaches(ns, client, &direct, true)?;
        }

        ns.apply(policy("deny", json!({"podSelector": {}, "policyTypes": ["Ingress"]})))?;
        for client in ["friend", "stranger"] {
            until_reaches(ns, client, &direct, false)?;
            until_reaches(ns, client, &vip, false)?;
        }
        // The node's own probes go on: the pod stays ready.
        ensure!(ns.field("deployment/web", ".status.readyReplicas")? == "1");

        let from = json!([{"podSelector": {"matchLabels": {"app": "friend"}}}]);
        let select = json!({"matchLabels": {"app": "web"}});
        let allow = |ports: Value| {
            policy("allow", json!({"podSelector": select, "ingress": [{"from": from, "ports": ports}]}))
        };
        ns.apply(allow(json!([{"port": "http"}])))?;
        until_reaches(ns, "friend", &direct, true)?;
        until_reaches(ns, "friend", &vip, true)?;
        ensure!(!reaches(ns, "stranger", &direct));
        // What is new is judged from its first packet.
        ns.kubectl("label pod stranger app=friend --overwrite").ok()?;
        until_reaches(ns, "stranger", &direct, true)?;
        ns.kubectl("label pod stranger app=stranger --overwrite").ok()?;
        until_reaches(ns, "stranger", &direct, false)?;

        // Another port, another protocol.
        ns.apply(allow(json!([{"port": 9000, "endPort": 9100}, {"port": 8081, "protocol": "UDP"}])))?;
        until_reaches(ns, "friend", &direct, false)?;
        let said = until("UDP is allowed", PATIENCE, || {
            ns.exec("friend", &format!("/bin/xebec-workload udp {server}:8081 hello")).map(Some)
        })?;
        ensure!(said.contains("hello"), "{said}");

        ns.kubectl("delete networkpolicy deny allow").ok()?;
        until_reaches(ns, "stranger", &direct, true)
    })
}

#[test]
fn policies_say_where_a_pod_may_go() -> Result<()> {
    namespaced("egress", |ns| {
        let server = stage(ns)?;
        let direct = format!("{server}:8080");
        until_reaches(ns, "friend", &direct, true)?;
        let select = json!({"matchLabels": {"app": "friend"}});
        let egress = |rules: Value| {
            policy("out", json!({"podSelector": select, "policyTypes": ["Egress"], "egress": rules}))
        };
        ns.apply(egress(json!([])))?;
        until_reaches(ns, "friend", &direct, false)?;
        ensure!(reaches(ns, "stranger", &direct), "nobody isolated it");
        // The cluster DNS, as every manual has it, and pods by name.
        let dns = json!({"to": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]});
        let web = json!({"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]});
        ns.apply(egress(json!([dns, web])))?;
        until_reaches(ns, "friend", &direct, true)?;
        until_reaches(ns, "friend", "web:80", true)?;
        ensure!(!reaches(ns, "friend", "10.96.0.1:443"), "nothing allows the API server");
        Ok(())
    })
}

/// A pod that begins to talk with its first instruction is judged from its first packet.
#[test]
fn a_new_pod_is_isolated_before_it_runs() -> Result<()> {
    namespaced("early", |ns| {
        let server = stage(ns)?;
        ns.apply(policy(
            "deny",
            json!({"podSelector": {"matchLabels": {"app": "early"}}, "policyTypes": ["Egress"]}),
        ))?;
        let script =
            format!("/bin/xebec-workload call {server}:8080 --distinct 1 --tries 1 && exit 3; exit 0");
        let early = |name: &str| {
            let image = json!({"image": "xebec.local/workload:1"});
            shell_pod(name, &script).container(image).spec(json!({"restartPolicy": "Never"}))
        };
        ns.apply(early("early"))?;
        ns.ended("early", "Succeeded")?;
        // The same without a policy does get through.
        ns.apply(early("open"))?;
        ns.ended("open", "Failed").map(drop)
    })
}
