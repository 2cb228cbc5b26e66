//! Ports that a ClusterIP does not have, and addresses that no Service has.

use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher::Event;
use serde_json::json;
use xebec_abi::state::{NODE_IP_OWN, Stat};

use crate::{ECONNREFUSED, VIP, VIP6};
use xebec_rig::Rig;
use xebec_rig::client::Client;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;

/// The client's own kernel knows no way there: nobody interfered.
const ENETUNREACH: &str = "error 101";
const EHOSTUNREACH: &str = "error 113";

/// A Service of another proxy.
fn foreign(name: &str, ip: &str) -> Service {
    let mut service = service(name, &[ip], tcp_udp(53), json!({}));
    let labels = service.metadata.labels.get_or_insert_default();
    labels.insert("service.kubernetes.io/service-proxy-name".to_owned(), "another".to_owned());
    service
}

fn all(client: &mut Client, to: &str, wanted: &str) {
    for command in ["tcp", "udp", "udpc"] {
        assert_eq!(client.ask(&format!("{command} {to}")), wanted, "{command} {to}");
        if !to.starts_with('[') {
            let (ip, port) = to.split_once(':').unwrap();
            assert_eq!(
                client.ask(&format!("{command} [::ffff:{ip}]:{port}")),
                wanted,
                "{command} mapped {to}"
            );
        }
    }
}

fn services() -> Vec<Service> {
    let mut sctp = service("sctp", &["10.196.77.11"], json!([{"port": 9, "protocol": "SCTP"}]), json!({}));
    sctp.metadata.namespace = Some("other".to_owned());
    let none = json!({"clusterIP": "None", "clusterIPs": ["None"]});
    vec![
        service("a", &[VIP, VIP6], tcp_udp(80), json!({})),
        foreign("dns", "10.196.77.10"),
        sctp,
        service("headless", &["None"], tcp_udp(80), none),
    ]
}

/// Of addresses, ports and what a call to them comes to, with both networks known.
fn refusals(client: &mut Client) {
    for (to, wanted) in [
        ("10.196.77.1:81", ECONNREFUSED),
        ("[fd96::77]:81", ECONNREFUSED),
        // Of a Service of SCTP alone.
        ("10.196.77.11:80", ECONNREFUSED),
        ("10.196.77.99:80", EHOSTUNREACH),
        ("10.200.3.5:80", EHOSTUNREACH),
        ("[fd96::99]:80", EHOSTUNREACH),
        // Outside the networks, of Services that are another's business, and the node's own.
        ("10.200.4.5:80", ENETUNREACH),
        ("[fd97::99]:80", ENETUNREACH),
        ("10.196.77.10:53", ENETUNREACH),
        ("10.196.77.50:80", ENETUNREACH),
    ] {
        all(client, to, wanted);
    }
}

#[test]
fn only_what_services_have_is_reached() {
    let Some(rig) = Rig::new() else { return };
    let _tcp = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let own = [("10.196.77.50".parse().unwrap(), NODE_IP_OWN)];
    agent.applier.maps().set_node_addresses(&own.into()).unwrap();
    let slices = || vec![slice("a", 8080, "TCP", &["10.199.1.1"])];
    agent.sync(services(), slices());
    // While the networks are not known nothing is anybody's business.
    for to in ["10.196.77.1:81", "10.196.77.99:80", "[fd96::99]:80"] {
        all(&mut client, to, ENETUNREACH);
    }
    let cidrs: &[&[&str]] = &[&["10.196.0.0/16", "fd96::/112"], &["10.200.3.0/24"]];
    agent.set_cidrs(cidrs);
    refusals(&mut client);
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A1 {VIP}:80"));

    // A new Service is reached at once, and no more when it is deleted.
    let new = || service("new", &["10.196.77.99"], tcp_udp(80), json!({}));
    agent.world.slice(Event::Apply(slice("new", 8080, "TCP", &["10.199.1.1"])));
    agent.world.service(Event::Apply(new()));
    agent.apply();
    assert_eq!(client.ask("tcp 10.196.77.99:80"), "A1 10.196.77.99:80");
    assert_eq!(client.ask("tcp 10.196.77.99:81"), ECONNREFUSED);
    // Given to another proxy, it is left alone.
    agent.world.service(Event::Apply(foreign("new", "10.196.77.99")));
    agent.apply();
    all(&mut client, "10.196.77.99:80", ENETUNREACH);
    agent.world.service(Event::Apply(new()));
    agent.apply();
    assert_eq!(client.ask("tcp 10.196.77.99:80"), "A1 10.196.77.99:80");
    agent.world.service(Event::Delete(new()));
    agent.apply();

    // The next agent changes nothing before the API has spoken, nor after it said the same.
    drop(agent);
    let mut agent = Agent::new(&rig.options);
    refusals(&mut client);
    agent.sync(services(), slices());
    refusals(&mut client);
    agent.set_cidrs(cidrs);
    refusals(&mut client);
    let counters = agent.applier.maps().counters().unwrap();
    assert!(
        counters[Stat::NoPort as usize] >= 9 && counters[Stat::Unallocated as usize] >= 15,
        "{counters:?}"
    );

    // A network is taken away, then the API knows of none at all.
    agent.set_cidrs(&cidrs[1..]);
    all(&mut client, "10.196.77.98:80", ENETUNREACH);
    all(&mut client, "10.200.3.5:80", EHOSTUNREACH);
    agent.world.no_service_cidrs();
    agent.apply();
    all(&mut client, "10.200.3.5:80", ENETUNREACH);
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A1 {VIP}:80"));
}
