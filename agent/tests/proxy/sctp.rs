//! Services of SCTP by the program itself: with nft and without.

use std::process::Command;

use serde_json::json;

use crate::stage::Stage;
use crate::{answers, sample, service, slice, until};
use xebec_rig::client::Client;
use xebec_rig::sctp::ask_sctp;
use xebec_rig::server::Server;

const SCTP: &str = "10.196.77.9:9";
const TCP: &str = "10.196.77.1:80";
const FAILURES: &str = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"}";

fn tables(stage: &Stage) -> String {
    let words = ["netns", "exec", &stage.rig.server_ns.name, "nft", "list", "tables"];
    String::from_utf8(Command::new("ip").args(words).output().unwrap().stdout).unwrap()
}

#[test]
fn sctp_is_served_by_tables_of_nft_or_said_not_to_be() {
    let Some(stage) = Stage::new() else { return };
    let ports = json!([{"port": 9, "targetPort": 8080, "protocol": "SCTP", "nodePort": 30009}]);
    let spec = json!({"type": "NodePort", "ports": ports});
    stage.apply(&service("signal", "10.196.77.9", json!({}), spec));
    let mut ends = slice("signal", &[("10.199.1.1", "z1")], false);
    ends["ports"][0]["protocol"] = "SCTP".into();
    stage.apply(&ends);
    stage.apply(&service("web", "10.196.77.1", json!({}), json!({})));
    stage.apply(&slice("web", &[("10.199.1.1", "z1")], false));
    let _servers = [
        Server::tcp(&stage.rig.server_ns, "10.199.1.1:8080", "A1"),
        Server::sctp(&stage.rig.server_ns, "10.199.1.1:8080", "S1"),
    ];
    let mut client = Client::start(&stage.rig);

    // Without nft: said once of the Service, by the log, the metrics and the commands; all else goes on.
    let mut proxy = stage.lonely_proxy();
    answers(&mut client, TCP, &format!("A1 {TCP}"));
    let events = || -> Vec<String> {
        let list = stage.api("GET", "/api/v1/namespaces/default/events");
        let of = list["items"].as_array().unwrap().iter().filter(|e| e["reason"] == "FailedToServeSCTP");
        of.map(|event| format!("{} {}", event["involvedObject"]["name"], event["message"])).collect()
    };
    let told = until("an Event", events, |events| !events.is_empty());
    assert!(told[0].starts_with("\"signal\"") && told[0].contains("cannot run nft"), "{told:?}");
    let failed = || sample(&stage.get(10249, "/metrics").1, FAILURES);
    until("tried again", failed, |failures| *failures >= 2.0);
    assert_eq!(events().len(), 1);
    assert_eq!(stage.get(10256, "/livez").0, 200);
    let (_, status) = stage.ask(&["status"]);
    assert!(
        status.contains("sctp    1 service ports") && status.contains("BEHIND: cannot run nft"),
        "{status}"
    );
    let (code, doctor) = stage.ask(&["doctor"]);
    assert!(code == Some(1) && doctor.contains("SCTP is not served"), "{doctor}");
    assert_eq!(proxy.terminate(), Some(0));
    assert_eq!(proxy.log().matches("cannot write the tables of SCTP").count(), 1, "{}", proxy.log());

    let mut proxy = stage.proxy(&[]);
    let node_port = || ask_sctp(&stage.rig.client_ns, "10.199.0.2:30009");
    until("the node port", node_port, |answer| answer.starts_with("S1 10.199."));
    let (code, text) = stage.ask(&["explain", SCTP, "--protocol", "sctp", "--from", "10.199.0.1"]);
    for part in ["default/signal:9", "<node>:30009/SCTP", "-> 10.199.1.1:8080", "passed on as it is"] {
        assert!(code == Some(0) && text.contains(part), "{part}: {text}");
    }
    let (_, text) = stage.ask(&["explain", "10.196.77.9:10", "--protocol", "sctp"]);
    assert!(text.contains("no service here"), "{text}");
    let (_, services) = stage.ask(&["services"]);
    assert!(
        services.contains("default/signal:9  nft table xebec-sctp") && services.contains("default/web:80"),
        "{services}"
    );

    // The last one goes, and the tables with it; another comes, and goes with everything.
    stage.api("DELETE", "/api/v1/namespaces/default/services/signal");
    until("no table", || tables(&stage), String::is_empty);
    let spec = json!({"ports": [{"port": 9, "targetPort": 8080, "protocol": "SCTP"}]});
    stage.apply(&service("signal", "10.196.77.9", json!({}), spec));
    until("a table", || tables(&stage), |tables| tables == "table ip xebec-sctp\n");
    assert_eq!(proxy.terminate(), Some(0));
    assert_eq!(tables(&stage), "table ip xebec-sctp\n", "it stays");
    let mut cleanup = stage.proxy(&["--cleanup"]);
    assert_eq!(cleanup.wait(), Some(0), "{}", cleanup.log());
    assert_eq!(tables(&stage), "");
}
