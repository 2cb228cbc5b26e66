//! The dataplane on real sockets. Needs root and the built object; says why when it cannot run.
#![expect(clippy::unwrap_used, reason = "test code and its child processes")]

mod cost;
mod direct;
mod drain;
mod flows;
mod health;
mod nodes;
mod packet;
mod packets;
mod parts;
mod path;
mod peer;
mod pitfalls;
mod policy;
mod ranges;
mod reserved;
mod sctp;
mod sources;
mod upgrade;

use serde_json::json;
use xebec_abi::state::{NODE_IP_ANY, NODE_IP_HOST_ONLY, NODE_IP_OWN};
use xebec_rig::Rig;
use xebec_rig::client::Client;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;

const VIP: &str = "10.196.77.1";
const VIP6: &str = "fd96::77";
const ECONNREFUSED: &str = "error 111";

/// What the child processes of these tests run.
#[test]
#[ignore = "entry point of these tests' own child processes"]
fn child() {
    if xebec_rig::client::child() {
        return;
    }
    match std::env::var("XEBEC_ROLE").as_deref() {
        Ok("watcher") => flows::serve(),
        Ok("probe") => {
            let cgroup = std::path::PathBuf::from(std::env::var("XEBEC_CGROUP").unwrap());
            let mount = xebec_dataplane::attach::root_cgroup().unwrap();
            println!("@{:?}", xebec_dataplane::probe::probe(&cgroup, &mount));
            std::fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();
            println!("@{:?}", xebec_dataplane::probe::probe(&cgroup, &mount));
            let mut options = xebec_dataplane::Options::new("node-a");
            options.pin_dir = std::env::var("XEBEC_PIN_DIR").unwrap().into();
            options.cgroup_path = Some(cgroup.clone());
            drop(xebec_dataplane::install(&options).unwrap());
            println!("@{:?}", xebec_dataplane::probe::probe(&cgroup, &mount));
        }
        other => panic!("not a child process: {other:?}"),
    }
}

#[test]
fn a_vip_reaches_its_backends_and_answers_as_itself() {
    let Some(rig) = Rig::new() else { return };
    let tcp = [
        Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1"),
        Server::tcp(&rig.server_ns, "10.199.1.2:8080", "A2"),
    ];
    let udp = [
        Server::udp(&rig.server_ns, "10.199.1.1:8080", "A1"),
        Server::udp(&rig.server_ns, "10.199.1.2:8080", "A2"),
    ];
    let mut client = Client::start(&rig);
    // Without the dataplane there is no way to the VIP at all: what follows is the programs' doing.
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), "error 101");
    let mut agent = Agent::new(&rig.options);
    let backends = ["10.199.1.1", "10.199.1.2"];
    agent.sync(
        vec![service("a", &[VIP], tcp_udp(80), json!({}))],
        vec![slice("a", 8080, "TCP", &backends), slice("a", 8080, "UDP", &backends)],
    );
    for command in ["tcp", "udp", "udpc"] {
        for to in [format!("{VIP}:80"), format!("[::ffff:{VIP}]:80")] {
            for _ in 0..12 {
                let answer = client.ask(&format!("{command} {to}"));
                let (name, peer) = answer.split_once(' ').unwrap();
                assert!(name == "A1" || name == "A2", "{command} {to}: {answer}");
                assert_eq!(peer, to, "{command}: the peer is shown as the VIP");
            }
        }
    }
    // By the servers' own count: every exchange arrived, and the choice is spread.
    assert_eq!(tcp.iter().map(Server::served).sum::<usize>(), 24);
    assert_eq!(udp.iter().map(Server::served).sum::<usize>(), 48);
    assert!(tcp.iter().chain(&udp).all(|s| s.served() > 0));
    // A port the Service does not have is not touched.
    assert_eq!(client.ask(&format!("tcp {VIP}:81")), "error 101");
    let explained =
        xebec_dataplane::explain(rig.pin_dir(), VIP.parse().unwrap(), 80, xebec_dataplane::Protocol::Tcp);
    let explained = explained.unwrap();
    assert_eq!(
        explained.cluster.iter().map(|e| e.address).collect::<Vec<_>>(),
        tcp.each_ref().map(|s| s.address)
    );
    assert!(explained.cluster.iter().all(|e| e.usable));
    let counters = agent.applier.maps().counters().unwrap();
    assert!(counters[0] >= 72 && counters[3] == 0 && counters[4] >= 72, "{counters:?}");
}

#[test]
fn ipv6_services() {
    let Some(rig) = Rig::new() else { return };
    let _tcp = Server::tcp(&rig.server_ns, "[fd99:1::1]:8080", "S6");
    let _udp = Server::udp(&rig.server_ns, "[fd99:1::1]:8080", "S6");
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let v6 = ["fd99:1::1"];
    agent.sync(
        vec![
            service("a", &[VIP6], tcp_udp(80), json!({})),
            service("empty", &["fd96::78"], tcp_udp(80), json!({})),
        ],
        vec![slice("a", 8080, "TCP", &v6), slice("a", 8080, "UDP", &v6)],
    );
    for command in ["tcp", "udp", "udpc"] {
        assert_eq!(client.ask(&format!("{command} [{VIP6}]:80")), format!("S6 [{VIP6}]:80"));
        assert_eq!(client.ask(&format!("{command} [fd96::78]:80")), ECONNREFUSED);
    }
}

#[test]
fn no_endpoints_is_a_refusal_and_endpoints_end_it() {
    let Some(rig) = Rig::new() else { return };
    let _server = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let udp = Server::udp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    agent.sync(vec![service("a", &[VIP], tcp_udp(80), json!({}))], vec![]);
    for command in ["tcp", "udp", "udpc"] {
        for to in [format!("{VIP}:80"), format!("[::ffff:{VIP}]:80")] {
            assert_eq!(client.ask(&format!("{command} {to}")), ECONNREFUSED, "{command} {to}");
        }
    }
    agent.set_slice(slice("a", 8080, "TCP", &["10.199.1.1"]));
    agent.set_slice(slice("a", 8080, "UDP", &["10.199.1.1"]));
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A1 {VIP}:80"));
    assert_eq!(client.ask(&format!("udp {VIP}:80")), format!("A1 {VIP}:80"));
    agent.set_slice(slice("a", 8080, "TCP", &[]));
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), ECONNREFUSED);
    // Untouched by the other port's change, and by talking to the endpoint itself.
    assert_eq!(client.ask(&format!("same {VIP}:80 10.199.1.1:8080")), {
        format!("A1 {VIP}:80,A1 10.199.1.1:8080,A1 {VIP}:80")
    });
    assert_eq!(udp.served(), 4);
}

#[test]
fn an_unconnected_socket_keeps_its_backend_until_that_leaves() {
    let Some(rig) = Rig::new() else { return };
    let names = ["A1", "A2", "A3"];
    let addresses = ["10.199.1.1", "10.199.1.2", "10.199.1.3"];
    let servers: Vec<Server> = names
        .iter()
        .zip(addresses)
        .map(|(n, a)| Server::udp(&rig.server_ns, &format!("{a}:8080"), n))
        .collect();
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    agent.sync(vec![service("a", &[VIP], tcp_udp(80), json!({}))], vec![slice("a", 8080, "UDP", &addresses)]);
    for _ in 0..5 {
        let answer = client.ask(&format!("udpseq 8 {VIP}:80"));
        let mut answers = answer.split(',');
        let first = answers.next().unwrap();
        assert!(answers.all(|a| a == first), "one socket, several backends: {answer}");
    }
    assert_eq!(servers.iter().map(Server::served).sum::<usize>(), 40);
    // Session affinity: one client, one endpoint, whatever the socket.
    agent.world.service(kube::runtime::watcher::Event::Apply(service(
        "a",
        &[VIP],
        tcp_udp(80),
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}),
    )));
    agent.apply();
    let first = client.ask(&format!("udp {VIP}:80"));
    for _ in 0..15 {
        assert_eq!(client.ask(&format!("udp {VIP}:80")), first);
    }
    // The endpoint leaves: the next datagram goes elsewhere and stays there.
    let name = first.split(' ').next().unwrap();
    let left: Vec<&str> = names.iter().zip(addresses).filter(|(n, _)| **n != name).map(|(_, a)| a).collect();
    agent.set_slice(slice("a", 8080, "UDP", &left));
    let second = client.ask(&format!("udp {VIP}:80"));
    assert!(second != first && second.ends_with(&format!(" {VIP}:80")), "{second}");
    for _ in 0..15 {
        assert_eq!(client.ask(&format!("udp {VIP}:80")), second);
    }
}

#[test]
fn internal_traffic_policy_local_and_node_ports() {
    let Some(rig) = Rig::new() else { return };
    let _here = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "HERE");
    let there = Server::tcp(&rig.server_ns, "10.199.1.2:8080", "THERE");
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let ports = json!([{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080}]);
    let local = json!({"internalTrafficPolicy": "Local", "type": "NodePort"});
    let external = json!({"externalIPs": ["198.51.100.7"]});
    agent.sync(
        vec![
            service("a", &[VIP], ports, local.clone()),
            service("b", &["10.196.77.2"], tcp_udp(80), local),
            service("c", &["10.196.77.3"], tcp_udp(80), external),
        ],
        vec![
            slice("a", 8080, "TCP", &["10.199.1.1@node-a", "10.199.1.2@node-b"]),
            slice("b", 8080, "TCP", &["10.199.1.2@node-b"]),
            slice("c", 8080, "TCP", &["10.199.1.2@node-b"]),
        ],
    );
    for _ in 0..10 {
        assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("HERE {VIP}:80"));
    }
    assert_eq!(there.served(), 0);
    assert_eq!(client.ask("tcp 10.196.77.2:80"), ECONNREFUSED);
    assert_eq!(client.ask("tcp 198.51.100.7:80"), "THERE 198.51.100.7:80");
    // The node port answers at the node's addresses with the cluster's endpoints, and nowhere else.
    let flags = [("10.199.0.7", NODE_IP_ANY), ("10.199.0.8", NODE_IP_OWN), ("127.0.0.1", NODE_IP_HOST_ONLY)];
    let own = flags.map(|(address, flags)| (address.parse().unwrap(), flags));
    agent.applier.maps().set_node_addresses(&own.into()).unwrap();
    let answers: Vec<String> = (0..30).map(|_| client.ask("tcp 10.199.0.7:30080")).collect();
    assert!(answers.iter().any(|a| a == "HERE 10.199.0.7:30080"), "{answers:?}");
    assert!(answers.iter().any(|a| a == "THERE 10.199.0.7:30080"), "{answers:?}");
    assert_eq!(client.ask("tcp 10.199.0.2:30080"), ECONNREFUSED, "the server's own kernel answers here");
    // Loopback is a node address in the host's namespace only; this client is in another.
    assert_eq!(client.ask("tcp 127.0.0.1:30080"), ECONNREFUSED);
    assert_eq!(agent.applier.maps().counters().unwrap()[1], 1, "one refusal was the programs' own");
}

#[test]
fn endpoints_swap_under_load_without_a_misroute() {
    let Some(rig) = Rig::new() else { return };
    let servers: Vec<Server> = (1..=6)
        .map(|i| {
            Server::tcp(
                &rig.server_ns,
                &format!("10.199.1.{i}:8080"),
                &format!("{}{i}", if i < 4 { "A" } else { "B" }),
            )
        })
        .collect();
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let a = ["10.199.1.1", "10.199.1.2", "10.199.1.3"];
    let b = ["10.199.1.4", "10.199.1.5", "10.199.1.6"];
    agent.sync(
        vec![
            service("a", &[VIP], tcp_udp(80), json!({})),
            service("b", &["10.196.77.2"], tcp_udp(80), json!({})),
        ],
        vec![slice("a", 8080, "TCP", &a), slice("b", 8080, "TCP", &b)],
    );
    client.send(&format!("hammer 6 2 A={VIP}:80 B=10.196.77.2:80"));
    let end = std::time::Instant::now() + std::time::Duration::from_millis(2900);
    let mut swaps = 0;
    while std::time::Instant::now() < end {
        let keep = 1 + swaps % 3;
        let skip = swaps % (4 - keep);
        agent.set_slice(slice("a", 8080, "TCP", &a[skip..skip + keep]));
        agent.set_slice(slice("b", 8080, "TCP", &b[3 - keep - skip..3 - skip]));
        swaps += 1;
    }
    let answer = client.answer();
    eprintln!("{swaps} swaps of both services: {answer}");
    assert!(answer.ends_with(" misrouted=0 failed=0"), "{answer}");
    assert!(swaps > 100 && servers.iter().all(|s| s.served() > 0));
    let counters = agent.applier.maps().counters().unwrap();
    assert_eq!((counters[1], counters[3]), (0, 0), "nobody was refused: {counters:?}");
}

#[test]
fn a_killed_agent_leaves_everything_working_and_the_next_takes_over() {
    let Some(rig) = Rig::new() else { return };
    let servers: Vec<Server> = (1..=3)
        .map(|i| Server::tcp(&rig.server_ns, &format!("10.199.1.{i}:8080"), &format!("A{i}")))
        .collect();
    let mut client = Client::start(&rig);
    let objects = |addresses: &[&str]| {
        (
            vec![service("a", &[VIP], tcp_udp(80), json!({}))],
            vec![slice("a", 8080, "TCP", addresses), slice("a", 8080, "UDP", addresses)],
        )
    };
    let (services, slices) = objects(&["10.199.1.1", "10.199.1.2"]);
    let loader = Client::agent(rig.place(), &rig.server_ns, &services, &slices);
    client.send(&format!("hammer 6 2 A={VIP}:80"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    loader.kill();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = servers[0].served();
    // The next agent: same maps, new programs on the same links, nothing removed before the API has spoken.
    let mut agent = Agent::new(&rig.options);
    assert_eq!(agent.applier.len(), 3, "two ports and the probe were adopted");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(servers[0].served() > before, "connections went on while no API server had spoken");
    let (services, slices) = objects(&["10.199.1.2", "10.199.1.3"]);
    agent.sync(services, slices);
    // And once more, as an upgrade does it.
    drop(agent);
    let mut agent = Agent::new(&rig.options);
    let answer = client.answer();
    assert!(answer.ends_with(" misrouted=0 failed=0"), "{answer}");
    assert!(servers[2].served() > 0);
    // What the API does not have is removed with the first full synchronisation.
    agent.sync(vec![], vec![]);
    assert_eq!(agent.applier.len(), 1);
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), "error 101");
    drop(agent);
    xebec_dataplane::detach(rig.pin_dir()).unwrap();
    assert!(!rig.pin_dir().exists());
}

#[test]
fn one_socket_and_more_vips_than_its_ring_holds() {
    let Some(rig) = Rig::new() else { return };
    let _servers: Vec<Server> = (1..=6)
        .map(|i| Server::udp(&rig.server_ns, &format!("10.199.1.{i}:8080"), &format!("S{i}")))
        .collect();
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let names: Vec<String> = (1..=6).map(|i| format!("s{i}")).collect();
    agent.sync(
        (1..=6)
            .map(|i| service(&names[i - 1], &[&format!("10.196.77.{i}")], tcp_udp(80), json!({})))
            .collect(),
        (1..=6).map(|i| slice(&names[i - 1], 8080, "UDP", &[&format!("10.199.1.{i}")])).collect(),
    );
    // All six are asked before the first answer is read: two of the answers are no longer in the ring.
    let vips: Vec<String> = (1..=6).map(|i| format!("10.196.77.{i}:80")).collect();
    let answer = client.ask(&format!("fan {}", vips.join(" ")));
    let mut answers: Vec<&str> = answer.split(',').collect();
    answers.sort_unstable();
    let wanted: Vec<String> = vips.iter().enumerate().map(|(i, vip)| format!("S{} {vip}", i + 1)).collect();
    assert_eq!(answers, wanted);
    assert!(agent.applier.maps().counters().unwrap()[5] >= 2);
}

#[test]
fn the_agent_follows_an_api_server() {
    let Some(rig) = Rig::new() else { return };
    let _server = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let mut client = Client::start(&rig);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (api, events) = xebec_rig::api::serve(
            vec![service("a", &[VIP], tcp_udp(80), json!({}))],
            vec![slice("a", 8080, "TCP", &["10.199.1.1"])],
        )
        .await;
        let mut options = rig.options.clone();
        // The programs' own log on: it must load and attach, too.
        options.log_programs = true;
        let mut health = options.health.subscribe();
        let cancel = tokio_util::sync::CancellationToken::new();
        let running = tokio::spawn(xebec_dataplane::run(api, options, cancel.clone()));
        let synced = health.wait_for(|h| h.synced);
        let health = tokio::time::timeout(std::time::Duration::from_secs(10), synced).await.unwrap().unwrap();
        assert_eq!((health.attached, health.service_ports, health.behind), (true, 3, false));
        drop(health);
        assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A1 {VIP}:80"));
        // One watch event later the last endpoint is gone. It is sent until it is seen: after its list the agent takes a
        // moment to watch, and this server keeps no history.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while client.ask(&format!("tcp {VIP}:80")) != ECONNREFUSED {
            // An error says that nobody watches yet.
            let _ = events.send(slice("a", 8080, "TCP", &[]));
            assert!(std::time::Instant::now() < end, "the event was not applied");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        cancel.cancel();
        running.await.unwrap().unwrap();
    });
    // The agent is gone, the programs are not.
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), ECONNREFUSED);
}

#[test]
fn the_self_probe_tells_attached_from_working() {
    let Some(rig) = Rig::new() else { return };
    let mut child = Client::role(rig.place(), &rig.client_ns, "probe", "");
    assert_eq!(child.answer(), "Outside");
    let unseen = child.answer();
    assert!(unseen.starts_with("Unseen(\"connect4: "), "{unseen}");
    assert_eq!(child.answer(), "Working");
}
