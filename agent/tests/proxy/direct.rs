//! Direct server return by the program itself: it follows the cluster's Nodes, with the rights of `system:node-proxier`, once
//! a Service wants it.

use std::process::Command;

use serde_json::{Value, json};

use crate::stage::Stage;
use crate::{VIP, service, slice, until};

/// A Service with a node port, and what its annotation says.
fn annotated(mode: &str) -> Value {
    let ports = json!([{"port": 80, "targetPort": 8080, "nodePort": 30080}]);
    let mut web = service("web", VIP, json!({}), json!({"type": "NodePort", "ports": ports}));
    web["metadata"]["annotations"] = json!({"network.xebec.dev/forwarding-mode": mode});
    web
}

fn devices(stage: &Stage) -> String {
    let words = ["-n", &stage.rig.server_ns.name, "-br", "link"];
    String::from_utf8(Command::new("ip").args(words).output().unwrap().stdout).unwrap()
}

#[test]
fn packets_go_to_endpoints_nodes_as_they_are_once_a_service_wants_it() {
    let Some(stage) = Stage::new() else { return };
    let node = |name: &str, address: &str| {
        stage.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}));
        stage.apply_status(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }));
    };
    node("node-a", "10.199.0.2");
    node("node-b", "10.198.0.9");
    stage.apply(&annotated("DSR"));
    let mut far = slice("web", &[("10.244.9.9", "z1")], false);
    far["endpoints"][0]["nodeName"] = "node-b".into();
    stage.apply(&far);
    let mut proxy = stage.proxy(&["--bpf-tunnel-port=8474"]);
    let fate = || {
        let (_, text) =
            stage.ask(&["explain", "10.199.0.2:30080", "--from", "10.199.0.1:4000", "-o", "json"]);
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        answer["packet"]["fate"].clone()
    };
    // What is not known counts as absent, and is said to whoever wrote it.
    until("served", fate, |fate| *fate == json!({"endpoint": "10.244.9.9:8080"}));
    let events = || {
        let list = stage.api("GET", "/api/v1/namespaces/default/events");
        let of = list["items"].as_array().unwrap().iter().filter(|e| e["reason"] == "UnknownForwardingMode");
        of.map(|event| event["message"].to_string()).collect::<Vec<_>>()
    };
    let told = until("an Event", events, |events| !events.is_empty());
    assert!(told[0].contains("DSR") && told[0].contains("snat and dsr are known"), "{told:?}");
    assert!(!devices(&stage).contains("xebec-dsr"), "nobody needs it");

    // Its port is taken: all is served as before, and that is said once.
    let ip = |words: &str| xebec_rig::run(&format!("ip -n {} {words}", stage.rig.server_ns.name));
    ip("link add other type vxlan id 5 dstport 8474");
    ip("link set other up");
    stage.apply(&annotated("dsr"));
    let told = || proxy.log().matches("cannot make the VXLAN device xebec-dsr at port 8474").count();
    until("the reason", told, |told| *told == 1);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!((told(), fate()), (1, json!({"endpoint": "10.244.9.9:8080"})), "{}", proxy.log());
    assert_eq!(stage.get(10256, "/healthz").0, 200);
    ip("link del other");
    until("sent on", fate, |fate| *fate == json!({"node": "10.198.0.9"}));
    assert!(devices(&stage).contains("xebec-dsr"));
    let (_, text) = stage.ask(&["services", "default/web"]);
    assert!(text.contains("direct server return"), "{text}");
    let (_, text) = stage.ask(&["doctor"]);
    assert!(text.contains("direct server return"), "{text}");
    // A node moves; it goes, and its endpoint is reached as any other.
    node("node-b", "10.198.0.10");
    until("sent on elsewhere", fate, |fate| *fate == json!({"node": "10.198.0.10"}));
    stage.api("DELETE", "/api/v1/nodes/node-b");
    until("by source translation", fate, |fate| *fate == json!({"endpoint": "10.244.9.9:8080"}));
    node("node-b", "10.198.0.9");
    until("sent on again", fate, |fate| *fate == json!({"node": "10.198.0.9"}));

    assert_eq!(proxy.terminate(), Some(0));
    assert_eq!(fate(), json!({"node": "10.198.0.9"}), "it outlives the program");
    let mut cleanup = stage.proxy(&["--cleanup"]);
    assert_eq!(cleanup.wait(), Some(0), "{}", cleanup.log());
    assert!(!devices(&stage).contains("xebec-dsr"));
}
