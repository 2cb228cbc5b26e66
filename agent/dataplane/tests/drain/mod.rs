//! Sockets of endpoints that left: which are released, which are not, and that it happens by itself.

use std::time::{Duration, Instant};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use xebec_dataplane::drain::Drain;

use crate::{VIP, VIP6};
use xebec_rig::client::Client;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;
use xebec_rig::{Rig, api};

const ECONNABORTED: &str = "error 103";

fn pass(agent: &Agent, drain: &Drain) -> usize {
    drain.pass(|vip, endpoint| agent.applier.serves(vip, endpoint)).unwrap()
}

/// Opens a socket in the client and sees it answered.
fn open(client: &mut Client, kind: &str, name: &str, to: &str, answer: &str) {
    assert_eq!(client.ask(&format!("{kind} {name} {to}")), "open");
    assert_eq!(client.ask(&format!("exchange {name}")), answer, "{name}");
}

#[test]
fn only_connected_sockets_through_a_vip_are_released() {
    let Some(rig) = Rig::new() else { return };
    let _stream = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let servers = ["10.199.1.1:8080", "10.199.1.2:8080", "[fd99:1::1]:8080"];
    let _servers: Vec<Server> =
        servers.iter().zip(["A1", "A2", "S6"]).map(|(a, n)| Server::udp(&rig.server_ns, a, n)).collect();
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let drain = agent.devices.drain().unwrap();
    agent.sync(
        vec![
            service("a", &[VIP, VIP6], tcp_udp(80), json!({})),
            service("b", &["10.196.77.2"], tcp_udp(80), json!({})),
        ],
        vec![
            slice("a", 8080, "UDP", &["10.199.1.1"]),
            slice("a", 8080, "TCP", &["10.199.1.1"]),
            slice("a", 8080, "UDP", &["fd99:1::1"]),
            slice("b", 8080, "UDP", &["10.199.1.1"]),
        ],
    );
    assert!(agent.applier.take_drain(), "after the first synchronisation, for what left before");
    let (v4, v6) = (format!("{VIP}:80"), format!("[{VIP6}]:80"));
    open(&mut client, "connected", "v4", &v4, "A1");
    open(&mut client, "connected", "mapped", &format!("[::ffff:{VIP}]:80"), "A1");
    open(&mut client, "connected", "v6", &v6, "S6");
    open(&mut client, "connected", "direct", "10.199.1.1:8080", "A1");
    open(&mut client, "connected", "direct6", "[fd99:1::1]:8080", "S6");
    open(&mut client, "connected", "other", "10.196.77.2:80", "A1");
    // Through the VIP first, then to the pod itself: that is no VIP's business any more.
    open(&mut client, "connected", "moved", &v4, "A1");
    assert_eq!(client.ask("reconnect moved 10.199.1.1:8080"), "open");
    open(&mut client, "loose", "loose", &v4, "A1");
    assert_eq!(client.ask(&format!("stream stream {v4}")), "open");
    assert_eq!(drain.list().unwrap(), []);
    assert_eq!(pass(&agent, &drain), 0);

    agent.set_slice(slice("a", 8080, "TCP", &[]));
    assert!(!agent.applier.take_drain(), "TCP is nobody's reason");
    let mut gone = slice("a", 8080, "UDP", &["fd99:1::1"]);
    gone.endpoints = Some(vec![]);
    agent.set_slice(gone);
    agent.set_slice(slice("a", 8080, "UDP", &["10.199.1.2"]));
    assert!(agent.applier.take_drain());
    assert_eq!(drain.list().unwrap().len(), 3);
    client.send("wait v4");
    assert_eq!(pass(&agent, &drain), 3);
    assert_eq!(client.answer(), ECONNABORTED);
    for name in ["mapped", "v6"] {
        assert_eq!(client.ask(&format!("wait {name}")), ECONNABORTED, "{name}");
    }
    for (name, answer) in [
        ("direct", "A1"),
        ("direct6", "S6"),
        ("other", "A1"),
        ("moved", "A1"),
        ("loose", "A2"),
        ("stream", "A1"),
    ] {
        assert_eq!(client.ask(&format!("exchange {name}")), answer, "{name}");
    }
    // The same sockets may be used again, as a resolver does it.
    assert_eq!(pass(&agent, &drain), 0, "released sockets are not released again");
    assert_eq!(client.ask(&format!("reconnect v4 {v4}")), "open");
    assert_eq!(client.ask("exchange v4"), "A2");
    assert_eq!(pass(&agent, &drain), 0);
    // A Service that is deleted: its endpoints left it.
    agent.sync(vec![], vec![]);
    assert!(agent.applier.take_drain());
    assert_eq!(pass(&agent, &drain), 2, "of both Services");
    for name in ["v4", "other"] {
        assert_eq!(client.ask(&format!("wait {name}")), ECONNABORTED, "{name}");
    }
}

/// A slice whose endpoint terminates, serving or not, beside a ready one.
fn terminating(serving: bool) -> EndpointSlice {
    let mut slice = slice("a", 8080, "UDP", &["10.199.1.1", "10.199.1.2"]);
    let first = &mut slice.endpoints.as_mut().unwrap()[0];
    first.conditions = serde_json::from_value(json!({
        "ready": false, "serving": serving, "terminating": true,
    }))
    .unwrap();
    slice
}

#[test]
fn an_endpoint_that_serves_while_it_terminates_keeps_its_sockets() {
    let Some(rig) = Rig::new() else { return };
    let _servers = [("10.199.1.1:8080", "A1"), ("10.199.1.2:8080", "A2")]
        .map(|(a, n)| Server::udp(&rig.server_ns, a, n));
    let mut client = Client::start(&rig);
    let mut agent = Agent::new(&rig.options);
    let drain = agent.devices.drain().unwrap();
    let services = || vec![service("a", &[VIP], tcp_udp(80), json!({}))];
    agent.sync(services(), vec![slice("a", 8080, "UDP", &["10.199.1.1"])]);
    agent.applier.take_drain();
    open(&mut client, "connected", "one", &format!("{VIP}:80"), "A1");
    agent.set_slice(terminating(true));
    assert!(!agent.applier.take_drain());
    assert_eq!(drain.list().unwrap().len(), 1, "it is selected no more");
    assert_eq!(pass(&agent, &drain), 0);
    assert_eq!(client.ask("exchange one"), "A1");
    // An agent that starts now knows that as well.
    drop((agent, drain));
    let mut agent = Agent::new(&rig.options);
    let drain = agent.devices.drain().unwrap();
    assert!(!agent.applier.take_drain(), "not before the API has spoken");
    agent.sync(services(), vec![terminating(true)]);
    assert!(agent.applier.take_drain());
    assert_eq!(pass(&agent, &drain), 0);
    agent.set_slice(terminating(false));
    assert!(agent.applier.take_drain());
    assert_eq!(pass(&agent, &drain), 1);
    assert_eq!(client.ask("wait one"), ECONNABORTED);
    open(&mut client, "connected", "one", &format!("{VIP}:80"), "A2");
}

#[test]
fn a_resolver_with_one_socket_recovers_by_itself() {
    let Some(rig) = Rig::new() else { return };
    let _live = Server::udp(&rig.server_ns, "10.199.1.2:8080", "A2");
    let dead = Server::udp(&rig.server_ns, "10.199.1.1:8080", "A1");
    let mut client = Client::start(&rig);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let services = vec![service("a", &[VIP], tcp_udp(80), json!({}))];
        let slices = |address| slice("a", 8080, "UDP", &[address]);
        let (api, events) = api::serve(services, vec![slices("10.199.1.1")]).await;
        let options = rig.options.clone();
        let mut health = options.health.subscribe();
        let cancel = tokio_util::sync::CancellationToken::new();
        let running = tokio::spawn(xebec_dataplane::run(api, options, cancel.clone()));
        let synced = health.wait_for(|h| h.synced);
        drop(tokio::time::timeout(Duration::from_secs(10), synced).await.unwrap().unwrap());
        open(&mut client, "connected", "resolver", &format!("{VIP}:80"), "A1");
        drop(dead);
        // The event is sent until it is applied, which a new socket shows.
        let end = Instant::now() + Duration::from_secs(5);
        while client.ask(&format!("udp {VIP}:80")) != format!("A2 {VIP}:80") {
            let _ = events.send(slices("10.199.1.2"));
            assert!(Instant::now() < end, "the event was not applied");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let applied = Instant::now();
        assert_eq!(client.ask("wait resolver"), ECONNABORTED);
        eprintln!("released at most {:?} after the event was applied", applied.elapsed());
        assert_eq!(client.ask(&format!("reconnect resolver {VIP}:80")), "open");
        assert_eq!(client.ask("exchange resolver"), "A2");
        cancel.cancel();
        running.await.unwrap().unwrap();
    });
}
