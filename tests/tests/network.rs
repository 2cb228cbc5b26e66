//! Pod network and virtual IPs, from inside pods.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xebec_tests::{Namespace, PATIENCE, PodManifest, kubectl, namespaced, node, shell_pod, until, web};

fn client() -> PodManifest {
    shell_pod("client", "sleep 600").container(json!({"image": "xebec.local/workload:1"}))
}

/// Web servers behind a Service, and a client pod; the virtual IP.
fn stage(ns: &Namespace, replicas: u32) -> Result<String> {
    ns.apply(web("web", replicas))?;
    ns.apply(client())?;
    ns.rolled_out("web")?;
    ns.ready("client")?;
    ns.field("service/web", ".spec.clusterIP")
}

/// `xebec-workload` in the client pod, tried until it succeeds: programming a Service takes a moment.
fn eventually(ns: &Namespace, words: &str) -> Result<String> {
    until(words, PATIENCE, || ns.exec("client", &format!("/bin/xebec-workload {words}")).map(Some))
}

#[test]
fn pods_reach_each_other_by_address() -> Result<()> {
    namespaced("pod-to-pod", |ns| {
        stage(ns, 1)?;
        let server = &ns.pods("app=web")?[0];
        let address = ns.field(&format!("pod/{server}"), ".status.podIP")?;
        let answer = ns.exec("client", &format!("wget -qO- http://{address}:8080/"))?;
        let own = ns.field("pod/client", ".status.podIP")?;
        ensure!(
            answer.starts_with(server.as_str()) && answer.contains(&own),
            "the peer is not the pod's own address: {answer}"
        );
        Ok(())
    })
}

#[test]
fn a_service_spreads_over_all_its_pods() -> Result<()> {
    namespaced("spread", |ns| {
        let vip = stage(ns, 3)?;
        let said = eventually(ns, &format!("call {vip}:80 --distinct 3 --tries 200"))?;
        for pod in ns.pods("app=web")? {
            ensure!(said.contains(&format!("answered name={pod} ")), "{said}");
        }
        // A pod that goes leaves the Service, one that comes joins it.
        ns.kubectl("scale deployment web --replicas=1").ok()?;
        until("one pod is left", PATIENCE, || Ok((ns.pods("app=web")?.len() == 1).then_some(())))?;
        for _ in 0..10 {
            eventually(ns, &format!("call {vip}:80 --distinct 1 --tries 1"))?;
        }
        ns.kubectl("scale deployment web --replicas=2").ok()?;
        ns.rolled_out("web")?;
        eventually(ns, &format!("call {vip}:80 --distinct 2 --tries 200")).map(drop)
    })
}

#[test]
fn udp_answers_come_from_the_virtual_ip() -> Result<()> {
    namespaced("udp", |ns| {
        let vip = stage(ns, 1)?;
        let said = eventually(ns, &format!("udp {vip}:7 hello"))?;
        ensure!(said.contains("hello") && said.trim_end().ends_with(&format!("from={vip}:7")), "{said}");
        let log = ns.kubectl("logs").arg(&ns.pods("app=web")?[0]).ok()?;
        ensure!(log.contains("served-udp "), "{log}");
        Ok(())
    })
}

#[test]
fn several_ports_lead_to_their_own_targets() -> Result<()> {
    namespaced("ports", |ns| {
        let vip = stage(ns, 1)?;
        ns.apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "many"},
            "spec": {"selector": {"app": "web"}, "ports": [
                {"name": "a", "port": 80, "targetPort": "http"}, {"name": "b", "port": 8888, "targetPort": 8080},
                {"name": "closed", "port": 99, "targetPort": 9}, {"name": "c", "port": 80, "targetPort": 8081, "protocol": "UDP"},
            ]},
        }))?;
        let many = ns.field("service/many", ".spec.clusterIP")?;
        ensure!(many != vip);
        for target in [format!("call {many}:80"), format!("call {many}:8888")] {
            eventually(ns, &format!("{target} --distinct 1 --tries 1"))?;
        }
        eventually(ns, &format!("udp {many}:80 x"))?;
        ns.kubectl(&format!("exec client -- /bin/xebec-workload call {many}:99 --distinct 1 --tries 1"))
            .fails("onnection refused")?;
        ns.kubectl(&format!("exec client -- /bin/xebec-workload call {many}:81 --distinct 1 --tries 1"))
            .fails("1 tries")?;
        Ok(())
    })
}

#[test]
fn no_endpoints_means_refused() -> Result<()> {
    namespaced("refused", |ns| {
        ns.kubectl("create service clusterip empty --tcp=80").ok()?;
        ns.apply(client())?;
        ns.ready("client")?;
        let vip = ns.field("service/empty", ".spec.clusterIP")?;
        until("refused, not dropped", PATIENCE, || {
            let call = ns
                .kubectl(&format!("exec client -- /bin/xebec-workload call {vip}:80 --distinct 1 --tries 1"));
            call.fails("Connection refused").map(Some)
        })?;
        Ok(())
    })
}

#[test]
fn a_pod_reaches_itself_through_its_service() -> Result<()> {
    namespaced("hairpin", |ns| {
        let vip = stage(ns, 1)?;
        let server = &ns.pods("app=web")?[0];
        let answer = until("it answers itself", PATIENCE, || {
            ns.exec(server, &format!("wget -qO- http://{vip}/")).map(Some)
        })?;
        ensure!(answer.starts_with(server.as_str()), "{answer}");
        Ok(())
    })
}

#[test]
fn a_service_of_host_network_pods() -> Result<()> {
    namespaced("host-service", |ns| {
        let pod = shell_pod("host", "").spec(json!({"hostNetwork": true})).container(json!({
            "image": "xebec.local/workload:1", "command": ["/bin/xebec-workload", "serve", "--port", "38081"],
            "ports": [{"containerPort": 38_081}],
        }));
        ns.apply(pod)?;
        ns.apply(client())?;
        ns.ready("host")?;
        ns.ready("client")?;
        ns.kubectl("expose pod host --port=80 --target-port=38081").ok()?;
        let vip = ns.field("service/host", ".spec.clusterIP")?;
        eventually(ns, &format!("call {vip}:80 --distinct 1 --tries 1"))?;
        // And the host's own processes reach virtual IPs too.
        let answer = until("from the host", PATIENCE, || {
            xebec_tests::get(format!("{vip}:80").parse()?, "/").map(Some)
        })?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
}

#[test]
fn the_api_server_is_a_service_too() -> Result<()> {
    namespaced("kubernetes", |ns| {
        ns.apply(client())?;
        ns.ready("client")?;
        let version = until("the API answers", PATIENCE, || {
            ns.exec("client", "/bin/xebec-workload api 10.96.0.1:443 /version").map(Some)
        })?;
        ensure!(version.contains("gitVersion"), "{version}");
        let endpoints = kubectl("get endpointslices kubernetes -n default -o jsonpath={.endpoints[*].addresses[*]}:{.ports[0].port}").ok()?;
        ensure!(endpoints.ends_with(":6443"), "{endpoints}");
        Ok(())
    })
}

#[test]
fn endpoint_slices_name_pod_node_and_ports() -> Result<()> {
    namespaced("slices", |ns| {
        ns.apply(web("web", 2))?;
        ns.rolled_out("web")?;
        ns.until_field("endpointslices", ".items[0].endpoints[*].conditions.ready", "true true")?;
        let list = ns.json("endpointslices -l kubernetes.io/service-name=web")?;
        let slice = &list["items"][0];
        ensure!(
            slice["addressType"] == "IPv4" && slice["ports"].as_array().is_some_and(|ports| ports.len() == 2),
            "{slice}"
        );
        let node = node()?;
        for endpoint in slice["endpoints"].as_array().context("no endpoints")? {
            let pod = endpoint["targetRef"]["name"].as_str().context("no pod")?;
            let address = ns.field(&format!("pod/{pod}"), ".status.podIP")?;
            ensure!(
                endpoint["addresses"] == json!([address]) && endpoint["nodeName"] == node.as_str(),
                "{endpoint}"
            );
        }
        ensure!(slice["metadata"]["ownerReferences"][0]["kind"] == "Service", "{slice}");
        Ok(())
    })
}

#[test]
fn endpoints_are_meant_for_their_node() -> Result<()> {
    namespaced("hints", |ns| {
        let vip = stage(ns, 2)?;
        let hints = || -> Result<Vec<Value>> {
            let items = ns.json("endpointslices -l=kubernetes.io/service-name=web")?;
            let slices = items["items"].as_array().cloned().unwrap_or_default();
            let endpoints =
                slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
            Ok(endpoints.map(|e| e["hints"]["forNodes"][0]["name"].clone()).collect())
        };
        let all = |wanted: Value| {
            until(&format!("hints {wanted}"), PATIENCE, || {
                let found = hints()?;
                Ok((found.len() == 2 && found.iter().all(|hint| *hint == wanted)).then_some(()))
            })
        };
        all(json!(null))?;
        let set = |value: Value| {
            let patch = json!({"spec": {"trafficDistribution": value}}).to_string();
            ns.kubectl("patch service web -p").arg(patch).ok()
        };
        set(json!("PreferSameNode"))?;
        all(json!(node()?))?;
        eventually(ns, &format!("call {vip}:80 --distinct 2 --tries 200"))?;
        set(json!(null))?;
        all(json!(null))
    })
}

#[test]
fn the_dataplane_explains_a_virtual_ip() -> Result<()> {
    namespaced("explain", |ns| {
        ns.apply(web("web", 1))?;
        ns.rolled_out("web")?;
        let vip = ns.field("service/web", ".spec.clusterIP")?;
        let pod = ns.field(&format!("pod/{}", ns.pods("app=web")?[0]), ".status.podIP")?;
        until("the kernel's maps lead to the pod", PATIENCE, || {
            let call = xebec_tests::program(xebec_tests::setting("XEBEC_AGENT")?);
            let text = call.words(&format!("proxy explain {vip}:80")).ok()?;
            ensure!(text.contains(&format!("{pod}:8080")), "{text}");
            Ok(Some(()))
        })
    })
}
