//! Live flows: what a watcher sees is what was done, and nothing is written once it is gone.
#![expect(clippy::print_stdout, reason = "how a child process answers")]

use std::time::Duration;

use serde_json::json;
use xebec_abi::event::{Event, Hook, Reason, Verdict};
use xebec_abi::flow::NO_SERVICE;
use xebec_abi::{Ip6, PROTO_ICMP, PROTO_TCP, PROTO_UDP};
use xebec_dataplane::inspect::flows::{Filter, Flow, FlowsError, NEW_FLOWS, Names, Wanted, Watcher};
use xebec_rig::Rig;
use xebec_rig::ask::{REFUSED, SILENCE, ask_tcp, ask_udp, ping};
use xebec_rig::client::Client;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;

use crate::packet::net::Outside;
use crate::policy::net::{A, B, Cluster, OUTSIDE, of_a, policy};
use crate::{ECONNREFUSED, VIP};

const ALL: Wanted = Wanted { verdicts: NEW_FLOWS, sample: 1, rate: 1_000_000 };

/// Runs what needs the kernel's notices.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Everything that is in the ring buffer.
async fn drain(watcher: &mut Watcher) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(200), watcher.next()).await {
        events.push(event.unwrap());
    }
    events
}

/// What an event is and where it led.
fn told(event: &Event) -> (u8, u8, u8, u8, u16) {
    (event.verdict, event.reason, event.hook, event.proto, event.tport.host())
}

fn kind(verdict: Verdict, reason: Reason, hook: Hook, proto: u8, to: u16) -> (u8, u8, u8, u8, u16) {
    (verdict as u8, reason as u8, hook as u8, proto, to)
}

fn written(pins: &std::path::Path) -> u64 {
    let path = pins.join(format!("v{}/maps/EVENT_COUNTS", xebec_abi::LAYOUT_VERSION));
    let map = aya::maps::Map::PerCpuArray(aya::maps::MapData::from_pin(path).unwrap());
    let map: aya::maps::PerCpuArray<_, u64> = map.try_into().unwrap();
    (0..4).map(|stat| map.get(&stat, 0).unwrap().iter().sum::<u64>()).sum()
}

/// A Service with an endpoint, and one without; the agent that serves them.
fn two_services(rig: &Rig) -> Agent {
    let mut agent = Agent::new(&rig.options);
    let empty = json!({"internalTrafficPolicy": "Local"});
    agent.sync(
        vec![
            service("a", &[VIP], tcp_udp(80), json!({})),
            service("none", &["10.196.77.2"], tcp_udp(80), json!({})),
            service("elsewhere", &["10.196.77.3"], tcp_udp(80), empty),
        ],
        vec![
            slice("a", 8080, "TCP", &["10.199.1.1"]),
            slice("a", 8080, "UDP", &["10.199.1.1"]),
            slice("elsewhere", 8080, "TCP", &["10.199.1.1@node-b"]),
        ],
    );
    agent
}

#[test]
fn a_watcher_sees_what_sockets_asked_for() {
    let Some(rig) = Rig::new() else { return };
    let _tcp = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let _udp = Server::udp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let _agent = two_services(&rig);
    let mut client = Client::start(&rig);
    client.ask(&format!("tcp {VIP}:80"));
    assert_eq!(written(rig.pin_dir()), 0, "nobody watches");
    let events = block_on(async {
        let mut watcher = Watcher::new(rig.pin_dir(), ALL).unwrap();
        assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A1 {VIP}:80"));
        // One flow, however many datagrams.
        client.ask(&format!("udpseq 5 {VIP}:80"));
        assert_eq!(client.ask("tcp 10.196.77.2:80"), ECONNREFUSED);
        assert_eq!(client.ask("tcp 10.196.77.3:80"), ECONNREFUSED);
        // No Service, no event.
        client.ask("tcp 10.199.1.1:8080");
        drain(&mut watcher).await
    });
    let translated = |hook, proto| kind(Verdict::Translated, Reason::None, hook, proto, 8080);
    let refused = |reason| kind(Verdict::Refused, reason, Hook::Connect, PROTO_TCP, 0);
    let expected = [
        translated(Hook::Connect, PROTO_TCP),
        translated(Hook::Send, PROTO_UDP),
        refused(Reason::NoEndpoints),
        refused(Reason::NoLocalEndpoints),
    ];
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    let mut names = Names::default();
    assert!(events.iter().all(|event| names.look(event.netns)), "the client's namespace has a name");
    let flow = Flow::new(&events[0], &names, 0);
    let addresses =
        [Some(&flow.source), Some(&flow.destination), flow.endpoint.as_ref()].map(|e| e.unwrap().address);
    assert_eq!(addresses, ["10.199.0.1", VIP, "10.199.1.1"].map(|text| Some(text.parse().unwrap())));
    assert!(flow.process.is_some_and(|process| process.name == "child"), "{:?}", events[0]);
    assert!(events.windows(2).all(|pair| pair[0].time <= pair[1].time));
}

#[test]
fn one_watches_at_a_time_and_its_end_ends_the_events() {
    let Some(rig) = Rig::new() else { return };
    let _tcp = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let _agent = two_services(&rig);
    let mut client = Client::start(&rig);
    let connect = format!("tcp {VIP}:80");
    let watching = block_on(async {
        let mut watcher = Watcher::new(rig.pin_dir(), Wanted { verdicts: 0b10, ..ALL }).unwrap();
        let second = Watcher::new(rig.pin_dir(), ALL).unwrap_err();
        assert!(matches!(second, FlowsError::Busy(pid) if pid == std::process::id()), "{second}");
        client.ask(&connect);
        client.ask("tcp 10.196.77.2:80");
        let events = drain(&mut watcher).await;
        assert_eq!(events.iter().map(|event| event.verdict).collect::<Vec<_>>(), [Verdict::Refused as u8]);
        written(rig.pin_dir())
    });
    assert_eq!(watching, 1, "what is not wanted is not written");
    client.ask(&connect);
    assert_eq!(written(rig.pin_dir()), watching, "the watcher is gone");
    // One that is killed ends nothing itself.
    let mut killed = Client::role(rig.place(), &rig.client_ns, "watcher", "");
    assert_eq!(killed.answer(), "watching");
    client.ask(&connect);
    assert_eq!(written(rig.pin_dir()), watching + 1);
    killed.kill();
    std::thread::sleep(Duration::from_millis(3200));
    client.ask(&connect);
    assert_eq!(written(rig.pin_dir()), watching + 1);
    // The next sees nothing of what was left behind.
    block_on(async {
        let mut watcher = Watcher::new(rig.pin_dir(), ALL).unwrap();
        watcher.renew().unwrap();
        client.ask(&connect);
        assert_eq!(drain(&mut watcher).await.len(), 1);
    });
}

/// The side of a watcher that is to be killed.
pub fn serve() {
    let pins: std::path::PathBuf = std::env::var("XEBEC_PIN_DIR").unwrap().into();
    block_on(async {
        let _watcher = Watcher::new(&pins, ALL).unwrap();
        println!("@watching");
        std::future::pending::<()>().await;
    });
}

#[test]
fn what_is_lost_in_a_flood_is_counted() {
    let Some(rig) = Rig::new() else { return };
    let _tcp = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let mut agent = two_services(&rig);
    let mut client = Client::start(&rig);
    let mut flood = |wanted| {
        let translated = |agent: &mut Agent| agent.applier.maps().counters().unwrap()[0];
        block_on(async {
            let before = translated(&mut agent);
            let mut watcher = Watcher::new(rig.pin_dir(), wanted).unwrap();
            // Nobody reads meanwhile, for less time than the watch lasts.
            client.ask(&format!("hammer 1 2 A1={VIP}:80"));
            watcher.renew().unwrap();
            let seen = drain(&mut watcher).await.len() as u64;
            let lost = watcher.lost().unwrap();
            let happened = translated(&mut agent) - before;
            assert_eq!(seen + lost.full + lost.limited + lost.unsampled, happened, "{lost:?}");
            (seen, lost)
        })
    };
    let (seen, lost) = flood(ALL);
    assert!(lost.full > 0 && seen > 1000 && lost.limited == 0, "{seen} {lost:?}");
    let (seen, lost) = flood(Wanted { rate: 100, ..ALL });
    assert!(lost.limited > 0 && seen < 300 && lost.full == 0, "{seen} {lost:?}");
    let (seen, lost) = flood(Wanted { sample: 100, ..ALL });
    assert!(lost.unsampled > seen * 20 && seen > 0, "{seen} {lost:?}");
}

#[test]
fn a_watcher_sees_what_came_from_outside() {
    let Some(mut outside) = Outside::new() else { return };
    let port = |extra| service("a", &[VIP], tcp_udp(80), extra);
    let closed = json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["203.0.113.0/24"]});
    let mut closed = service("b", &["10.196.77.2"], tcp_udp(80), closed);
    closed.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}})).unwrap();
    outside.agent.sync(
        vec![port(json!({})), closed, service("none", &["10.196.77.3"], tcp_udp(80), json!({}))],
        ["a", "b"].map(|name| slice(name, 8080, "TCP", &["10.244.0.5@node-a"])).to_vec(),
    );
    let client = &outside.rig.client_ns;
    let events = block_on(async {
        let mut watcher = Watcher::new(outside.rig.pin_dir(), ALL).unwrap();
        assert_eq!(ask_tcp(client, &format!("{VIP}:80")), "POD 10.199.0.1");
        assert_eq!(ask_tcp(client, "10.196.77.3:80"), REFUSED);
        assert_eq!(ask_tcp(client, &format!("{VIP}:81")), REFUSED);
        assert_eq!(ask_udp(client, "198.51.100.7:80", 10), SILENCE);
        drain(&mut watcher).await
    });
    let expected = [
        kind(Verdict::Translated, Reason::None, Hook::Ingress, PROTO_TCP, 8080),
        kind(Verdict::Answered, Reason::None, Hook::Egress, PROTO_TCP, 8080),
        kind(Verdict::Refused, Reason::NoEndpoints, Hook::Ingress, PROTO_TCP, 0),
        kind(Verdict::Refused, Reason::NoSuchPort, Hook::Ingress, PROTO_TCP, 0),
        kind(Verdict::Dropped, Reason::SourceRanges, Hook::Ingress, PROTO_UDP, 0),
    ];
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    let device = xebec_dataplane::addresses::outside_devices().unwrap();
    for event in &events {
        assert_eq!(Ip6::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 199, 0, 1]), event.src);
        assert_eq!(device[&event.device].name, "wire");
        assert!(event.sport.host() != 0 && event.pid == 0 && event.netns == 0);
    }
    assert_eq!(events[1].dst, events[0].dst, "the answer is told by the address that was asked");
    assert_eq!(
        events.iter().map(|e| e.index == NO_SERVICE).collect::<Vec<_>>(),
        [false, false, false, true, false]
    );
}

#[test]
fn a_watcher_sees_what_policies_decide() {
    let Some(mut cluster) = Cluster::new() else { return };
    let rule = json!({"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]});
    cluster
        .set(&[policy("p", json!({"podSelector": of_a(), "policyTypes": ["Ingress"], "ingress": [rule]}))]);
    let to_a = format!("{A}:80");
    let events = block_on(async {
        let mut watcher = Watcher::new(cluster.rig.pin_dir(), ALL).unwrap();
        assert_eq!(ask_tcp(&cluster.b, &to_a), format!("A {B}"));
        assert_eq!(ask_udp(&cluster.rig.client_ns, &to_a, 10), SILENCE);
        assert!(ask_tcp(&cluster.rig.server_ns, &to_a).starts_with("A "));
        assert_eq!(ping(&cluster.b, A), SILENCE);
        // Nobody selects b, and what passes between others is not seen.
        assert_eq!(ask_tcp(&cluster.rig.client_ns, &format!("{B}:80")), format!("B {OUTSIDE}"));
        // Egress is not isolated, so that this is allowed by no rule.
        assert_eq!(ask_tcp(&cluster.a, &format!("{B}:80")), format!("B {A}"));
        let mut events = drain(&mut watcher).await;
        // Listeners of IPv6 multicast report themselves when they like.
        events.retain(|event| event.src.as_mapped().is_some());
        events
    });
    let at = |verdict, reason, hook, proto| kind(verdict, reason, hook, proto, 0);
    let expected = [
        at(Verdict::Allowed, Reason::None, Hook::ToPod, PROTO_TCP),
        at(Verdict::Dropped, Reason::Policy, Hook::ToPod, PROTO_UDP),
        at(Verdict::Allowed, Reason::FromNode, Hook::ToPod, PROTO_TCP),
        at(Verdict::Dropped, Reason::Policy, Hook::ToPod, PROTO_ICMP),
        at(Verdict::Allowed, Reason::None, Hook::FromPod, PROTO_TCP),
    ];
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    let mut names = Names::default();
    names.pods.insert(A.parse().unwrap(), "x/a".to_owned());
    names.pods.insert(B.parse().unwrap(), "x/b".to_owned());
    let flows: Vec<Flow> = events.iter().map(|event| Flow::new(event, &names, 0)).collect();
    let direction = |flow: &Flow| flow.policy.clone().map(|(pod, direction)| format!("{direction} of {pod}"));
    for (flow, direction_) in flows.iter().zip(["ingress", "ingress", "ingress", "ingress", "egress"]) {
        assert_eq!(direction(flow), Some(format!("{direction_} of x/a")));
    }
    assert_eq!(flows[1].source.address, Some(OUTSIDE.parse().unwrap()));
    let of_b = Filter { pods: vec!["x/b".to_owned()], ..Filter::default() };
    assert_eq!(
        flows.iter().map(|flow| of_b.accepts(flow)).collect::<Vec<_>>(),
        [true, false, false, true, true]
    );
}
