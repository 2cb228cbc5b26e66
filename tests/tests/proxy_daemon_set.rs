//! `deploy/proxy.yaml` on a node whose agent leaves Services alone: its pod takes the place of kube-proxy, and goes again.
//! Nothing makes pods of DaemonSets here, so the test makes the one of this node.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xebec_tests::{
    Call, Namespace, OtherAgent, PATIENCE, get, kubectl, namespaced, node, program, setting, shell_pod,
    until, web,
};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/proxy.yaml");
const POD: &str = "xebec-proxy-here";

/// What the manifest makes, and the proxy's pods; gone when dropped.
struct Deployed;

impl Deployed {
    fn new() -> Result<Self> {
        let deployed = Self;
        kubectl("apply --validate=strict -f").arg(MANIFEST).ok()?;
        Ok(deployed)
    }

    /// Applies the pod of this node, as the DaemonSet's controller would make it, with these changes.
    fn pod(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let set = kubectl("get daemonset -n kube-system xebec-proxy -o json").ok()?;
        let set: Value = serde_json::from_str(&set)?;
        let template = &set["spec"]["template"];
        let mut spec = template["spec"].clone();
        spec["nodeName"] = node()?.into();
        // As the manifest says, before a deployment: the API server's own address.
        let (host, port) = api_server()?;
        let variables =
            spec["containers"][0]["env"].as_array_mut().context("the manifest sets no variables")?;
        for (name, value) in [("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)] {
            let variable = variables.iter_mut().find(|variable| variable["name"] == name);
            variable.with_context(|| format!("the manifest does not set {name}"))?["value"] = value.into();
        }
        change(&mut spec);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"name": POD, "namespace": "kube-system", "labels": template["metadata"]["labels"]},
        });
        kubectl("apply --validate=strict -f -").stdin(pod.to_string()).ok().map(drop)
    }

    /// The proxy, until it says that it is healthy.
    fn proxy(&self) -> Result<()> {
        self.pod(|_| {})?;
        until("the proxy is healthy", PATIENCE, || {
            let answer = get(([127, 0, 0, 1], 10256).into(), "/healthz").with_context(log)?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(Some(()))
        })
    }

    fn remove_pod(&self) -> Result<()> {
        kubectl("delete pod -n kube-system --ignore-not-found --timeout=50s").arg(POD).ok().map(drop)
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        // A failure here must not hide the test's own error.
        self.remove_pod().ok();
        kubectl("delete --ignore-not-found -f").arg(MANIFEST).run().ok();
    }
}

fn api_server() -> Result<(String, String)> {
    let path = "jsonpath={.endpoints[0].addresses[0]}:{.ports[0].port}";
    let text = kubectl("get endpointslices -n default kubernetes -o").arg(path).ok()?;
    let (host, port) = text.rsplit_once(':').with_context(|| format!("no address in {text:?}"))?;
    Ok((host.to_owned(), port.to_owned()))
}

/// What the pod said, and what was said of it.
fn log() -> String {
    let show = |call: Call| call.run().map(|output| output.to_string()).unwrap_or_default();
    let events =
        kubectl("get events -n kube-system --field-selector").arg(format!("involvedObject.name={POD}"));
    show(kubectl("logs -n kube-system").arg(POD)) + &show(events)
}

/// What the client pod gets from a server, within two seconds.
fn page(ns: &Namespace, from: &str) -> Result<String> {
    ns.exec("client", &format!("timeout 2 wget -qO- http://{from}/"))
}

fn until_page(ns: &Namespace, from: &str) -> Result<()> {
    until(&format!("{from} answers"), PATIENCE, || page(ns, from).map(Some)).map(drop)
}

fn agent(words: &str) -> Result<String> {
    program(setting("XEBEC_AGENT")?).words(words).ok()
}

/// The programs that are pinned on this node.
fn links() -> Result<Vec<String>> {
    let status: Value = serde_json::from_str(&agent("dataplane status -o json")?)?;
    let links = status["links"].as_array().context("no links")?;
    Ok(links.iter().filter_map(|link| link["name"].as_str()).map(str::to_owned).collect())
}

fn has_services(links: &[String]) -> bool {
    links.iter().any(|link| link == "connect4" || link.starts_with("tcx_"))
}

/// What the agent does besides Services goes on: names, ways between pods, policies.
fn the_rest_works(ns: &Namespace) -> Result<()> {
    let address = |pod: &str| ns.field(&format!("pod/{pod}"), ".status.podIP").map(|ip| format!("{ip}:8080"));
    until_page(ns, &address(&ns.pods("app=web")?[0])?)?;
    ensure!(page(ns, &address("closed")?).is_err(), "the policy of a pod is gone");
    let vip = ns.field("service/web", ".spec.clusterIP")?;
    let found = ns.exec("client", "/bin/xebec-workload resolve web")?;
    ensure!(found.trim() == vip, "{found}");
    let links = links()?;
    for program in ["pod_path-", "policy_ingress-"] {
        ensure!(links.iter().any(|link| link.starts_with(program)), "no {program} in {links:?}");
    }
    // The agent has no proxy's address to serve them at.
    let metrics = kubectl(&format!("get --raw /api/v1/nodes/{}/proxy/metrics", node()?)).ok()?;
    for name in ["flows_allowed_total{direction=\"egress\"}", "packets_dropped_total{direction=\"ingress\"}"]
    {
        let name = format!("\nxebec_network_policy_{name} ");
        ensure!(metrics.contains(&name), "no {name:?} in {metrics}");
    }
    Ok(())
}

#[test]
fn the_pod_of_the_manifest_serves_in_place_of_the_agent() -> Result<()> {
    namespaced("proxy-daemon-set", |ns| {
        ns.apply(web("web", 2))?;
        let workload = json!({"image": "xebec.local/workload:1"});
        ns.apply(shell_pod("client", "sleep 600").container(workload))?;
        ns.apply(shell_pod("closed", "").container(json!({
            "image": "xebec.local/workload:1", "command": ["/bin/xebec-workload", "serve", "--port", "8080"],
        })))?;
        ns.apply(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"},
            "spec": {"podSelector": {"matchLabels": {"app": "closed"}}, "policyTypes": ["Ingress"]},
        }))?;
        ns.kubectl("create service clusterip empty --tcp=80").ok()?;
        ns.rolled_out("web")?;
        ns.ready("client")?;
        ns.ready("closed")?;
        let vip = ns.field("service/web", ".spec.clusterIP")?;
        let empty = ns.field("service/empty", ".spec.clusterIP")?;
        until_page(ns, &vip)?;

        // What the agent had made for Services stays without it, until it is removed: nothing else is.
        let other = OtherAgent::start("--no-proxy")?;
        let reserved = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports");
        let deployed = Deployed::new()?;
        page(ns, &vip)?;
        agent("proxy --cleanup")?;
        ensure!(
            page(ns, &vip).is_err() && !has_services(&links()?),
            "Services are there still: {:?}",
            links()?
        );
        let before = reserved()?;
        the_rest_works(ns)?;

        deployed.proxy()?;
        let both = format!("/bin/xebec-workload call {vip}:80 --distinct 2 --tries 50");
        until("both pods answer", PATIENCE, || ns.exec("client", &both).map(Some))?;
        until_page(ns, "web")?;
        until("refused without endpoints", PATIENCE, || {
            let call = format!("exec client -- /bin/xebec-workload call {empty}:80 --distinct 1 --tries 1");
            ns.kubectl(&call).fails("Connection refused").map(Some)
        })?;
        the_rest_works(ns)?;

        // Without the proxy everything goes on, and what is new waits for the next.
        deployed.remove_pod()?;
        ensure!(
            get(([127, 0, 0, 1], 10256).into(), "/healthz").is_err(),
            "somebody answers for a proxy that is gone"
        );
        for _ in 0..5 {
            page(ns, &vip)?;
        }
        ns.kubectl("expose deployment web --name=new --port=80 --target-port=8080").ok()?;
        let new = ns.field("service/new", ".spec.clusterIP")?;
        ensure!(page(ns, &new).is_err(), "somebody serves a Service without a proxy");
        deployed.proxy()?;
        let said = log();
        let adopted = said.split_once("adopted=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        ensure!(adopted > Some(1u32), "it did not take over what was there: {said}");
        page(ns, &vip)?;
        until_page(ns, &new)?;

        // Its image cleans up as well, and leaves what the agent has made.
        deployed.remove_pod()?;
        deployed.pod(|spec| {
            spec["restartPolicy"] = "Never".into();
            let container = &mut spec["containers"][0];
            container["args"] = json!(["proxy", "--cleanup"]);
            container["livenessProbe"] = Value::Null;
        })?;
        let phase = "jsonpath={.status.phase}";
        until("the clean-up is done", PATIENCE, || {
            let phase = kubectl("get pod -n kube-system").arg(POD).arg("-o").arg(phase).ok()?;
            ensure!(phase == "Succeeded", "{phase}: {}", log());
            Ok(Some(()))
        })?;
        ensure!(
            page(ns, &vip).is_err() && !has_services(&links()?),
            "Services are there still: {:?}",
            links()?
        );
        ensure!(reserved()? == before, "ports stay reserved: {:?}", reserved()?);
        the_rest_works(ns)?;
        drop(deployed);
        other.end()?;
        until_page(ns, &vip)
    })
}
