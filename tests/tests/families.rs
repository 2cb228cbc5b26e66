//! Pods and Services of both families. The cluster is of both where the machine is; where it is of one, a test says so.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use serde_json::json;
use xebec_tests::{Namespace, PATIENCE, kubectl, namespaced, node, shell_pod, until, web};

const PORT: u16 = 38_046;

/// Whether pods have two addresses here.
fn is_dual() -> Result<bool> {
    let shares = kubectl("get node").arg(node()?).arg("-ojsonpath={.spec.podCIDRs}").ok()?;
    let dual = shares.contains(',');
    if !dual {
        writeln!(std::io::stderr(), "skipped: the machine, and so the cluster, has one family of addresses")?;
    }
    Ok(dual)
}

/// A pod's, or a Service's, two addresses, IPv4 first.
fn both(ns: &Namespace, object: &str, path: &str) -> Result<[String; 2]> {
    let text = ns.field(object, path)?;
    let found: Vec<&str> = text.split_whitespace().collect();
    let [four, six] = found[..] else { anyhow::bail!("{object} has {text:?}") };
    ensure!(!four.contains(':') && six.contains(':'), "{object} has {text:?}");
    Ok([four.to_owned(), format!("[{six}]")])
}

fn pod_addresses(ns: &Namespace, pod: &str) -> Result<[String; 2]> {
    both(ns, &format!("pod/{pod}"), ".status.podIPs[*].ip")
}

fn reaches(ns: &Namespace, pod: &str, to: &str, distinct: u8) -> bool {
    ns.exec(pod, &format!("/bin/xebec-workload call {to} --distinct {distinct} --tries 60")).is_ok()
}

#[test]
fn services_answer_and_policies_hold_on_both_families() -> Result<()> {
    namespaced("families", |ns| {
        if !is_dual()? {
            return Ok(());
        }
        ns.apply(web("web", 2))?;
        for name in ["friend", "stranger"] {
            ns.apply(shell_pod(name, "sleep 600").container(json!({"image": "xebec.local/workload:1"})))?;
        }
        ns.rolled_out("web")?;
        ns.ready("friend")?;
        ns.ready("stranger")?;
        // A Service is of the first family until it is asked for both.
        ensure!(ns.field("service/web", ".spec.ipFamilies")? == "[\"IPv4\"]");
        ns.kubectl("patch service web -p").arg(r#"{"spec":{"ipFamilyPolicy":"RequireDualStack"}}"#).ok()?;
        let vips = both(ns, "service/web", ".spec.clusterIPs[*]")?;
        for vip in &vips {
            let what = format!("both endpoints at {vip}");
            until(&what, PATIENCE, || Ok(reaches(ns, "friend", &format!("{vip}:80"), 2).then_some(())))?;
        }
        // By its full name: this nslookup complains of every other that it tries.
        let question = format!("nslookup -type=aaaa web.{}.svc.cluster.local.", ns.name);
        until("the name has the second address", PATIENCE, || {
            let said = ns.exec("friend", &question)?;
            Ok(said.contains(vips[1].trim_matches(['[', ']'])).then_some(()))
        })?;

        // Pods see each other's own addresses.
        let server = pod_addresses(ns, &ns.pods("app=web")?[0])?;
        for (to, own) in server.iter().zip(pod_addresses(ns, "friend")?) {
            let answer = ns.exec("friend", &format!("wget -qO- http://{to}:8080/"))?;
            ensure!(answer.contains(own.trim_matches(['[', ']'])), "{answer} from {to}, asked from {own}");
        }
        ns.apply(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "friends"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]},
            ]},
        }))?;
        for to in &server {
            let once = |pod: &str| {
                ns.exec(pod, &format!("/bin/xebec-workload call {to}:8080 --distinct 1 --tries 1")).is_ok()
            };
            until(&format!("a stranger is kept from {to}"), PATIENCE, || {
                Ok((!once("stranger")).then_some(()))
            })?;
            ensure!(once("friend"), "a friend is kept from {to}");
        }
        Ok(())
    })
}

#[test]
fn a_host_port_answers_on_both_families() -> Result<()> {
    namespaced("families-port", |ns| {
        if !is_dual()? {
            return Ok(());
        }
        ns.apply(shell_pod("web", "").container(json!({
            "image": "xebec.local/workload:1", "command": ["/bin/xebec-workload", "serve"],
            "ports": [{"containerPort": 8080, "hostPort": PORT}],
        })))?;
        ns.apply(shell_pod("client", "sleep 600").container(json!({"image": "xebec.local/workload:1"})))?;
        ns.ready("web")?;
        ns.ready("client")?;
        for at in both(ns, "pod/web", ".status.hostIPs[*].ip")? {
            let answer = ns.exec("client", &format!("wget -qO- http://{at}:{PORT}/"))?;
            ensure!(answer.starts_with("web "), "{answer} at {at}");
        }
        for at in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            ensure!(xebec_tests::get((at, PORT).into(), "/")?.status == 200, "from the node at {at}");
        }
        Ok(())
    })
}
