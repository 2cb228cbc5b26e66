//! A pod at a port of the node: from outside, from the node and from pods, without the agent, and when the pod is gone.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Result, ensure};
use serde_json::json;
use xebec_tests::{Namespace, Outage, Outside, namespaced, shell_pod};

const PORT: u16 = 38_043;

fn serve(ns: &Namespace, ports: serde_json::Value) -> Result<()> {
    ns.apply(shell_pod("web", "").container(json!({
        "image": "xebec.local/workload:1", "command": ["/bin/xebec-workload", "serve", "--udp-port", "8081"], "ports": ports,
    })))?;
    ns.ready("web")
}

#[test]
fn a_host_port_leads_to_its_pod_as_long_as_it_is_there() -> Result<()> {
    namespaced("host-port", |ns| {
        let outside = Outside::new()?;
        let at = SocketAddrV4::new(Outside::NODE_END, PORT);
        outside.is_refused(at)?;
        serve(
            ns,
            json!([
                {"containerPort": 8080, "hostPort": PORT},
                {"containerPort": 8081, "hostPort": PORT, "protocol": "UDP"},
            ]),
        )?;
        outside.is_answered(at)?;
        let from_node: SocketAddr = ([127, 0, 0, 1], PORT).into();
        ensure!(xebec_tests::get(from_node, "/")?.status == 200, "from the node's loopback");
        ns.apply(shell_pod("client", "sleep 600").container(json!({"image": "xebec.local/workload:1"})))?;
        ns.ready("client")?;
        let answer = ns.exec("client", &format!("wget -qO- http://{at}/"))?;
        ensure!(answer.starts_with("web "), "{answer}");
        let answer = ns.exec("client", &format!("/bin/xebec-workload udp {at} hello"))?;
        ensure!(answer.trim_end().ends_with(&format!("from={at}")), "{answer}");
        // Through the agent's death and return.
        let outage = Outage::kill("xebec-agent")?;
        outside.is_answered(at)?;
        outage.restart()?;
        outside.is_answered(at)?;
        ns.kubectl("delete pod web").ok()?;
        outside.is_refused(at)?;
        ensure!(xebec_tests::get(from_node, "/").is_err(), "the node still reaches it");
        // Another pod may have the port now.
        serve(
            ns,
            json!([{"containerPort": 8081, "hostPort": PORT, "protocol": "UDP", "hostIP": Outside::NODE_END}]),
        )?;
        outside.is_answered(at)?;
        Ok(())
    })
}
