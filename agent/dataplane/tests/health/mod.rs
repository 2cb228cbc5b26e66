//! What load balancers are told, over HTTP, in a network namespace of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use xebec_dataplane::DataplaneError;
use xebec_dataplane::compile::facts::Owner;
use xebec_dataplane::events::ServiceEvents;
use xebec_dataplane::failures::{Failed, Failure, Failures};
use xebec_dataplane::health::{self, Check, Checks, Places, Wanted};
use xebec_dataplane::metrics::ProxyMetrics;
use xebec_dataplane::model::Family;

use xebec_rig::objects::{service, slice, tcp_udp};
use xebec_rig::{Rig, api, enter};

const HEALTHZ: &str = "127.0.0.1:10256";

/// Status, weight header (if any) and body; the error's kind if nobody answers.
async fn get(address: &str, path: &str) -> Result<(u16, Option<String>, String), std::io::ErrorKind> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = exchange.await.map_err(|e| e.kind())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let header = |name: &str| {
        let line =
            head.lines().filter_map(|l| l.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.to_owned())
    };
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{head}");
    if status != 404 {
        assert_eq!(header("content-type").as_deref(), Some("application/json"), "{head}");
    }
    Ok((status, header("x-load-balancing-endpoint-weight"), body.to_owned()))
}

/// Asks until the status is there.
async fn until(address: &str, path: &str, status: u16) -> (Option<String>, String) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = get(address, path).await;
        match answer {
            Ok((found, weight, body)) if found == status => return (weight, body),
            other => assert!(Instant::now() < end, "{address}{path}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// kube-proxy's text, tabs and all.
fn body(name: &str, endpoints: usize) -> String {
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
         \"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": true\n}}"
    )
}

/// Runs in the rig's server namespace.
fn inside<F: Future<Output = ()>>(rig: &Rig, work: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let run = || {
            enter(&rig.server_ns.path());
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work());
        };
        scope.spawn(run).join().unwrap();
    });
}

fn metrics() -> Arc<parking_lot::Mutex<ProxyMetrics>> {
    Arc::new(parking_lot::Mutex::new(ProxyMetrics::new(k8s_openapi::jiff::Timestamp::now())))
}

fn check(port: u16, endpoints: usize) -> Check {
    Check { uid: "1-2".into(), port, endpoints }
}

/// Remembers the addresses.
#[derive(Clone, Debug, Default)]
struct Noted(Arc<parking_lot::Mutex<Vec<String>>>);

impl Noted {
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock()).join(" ")
    }
}

impl Failures for Noted {
    fn failed(&self, failure: &Failure) {
        let Failed::HealthCheck { address, .. } = &failure.what else { panic!("{failure:?}") };
        self.0.lock().push(format!("{}@{address}", failure.owner.name));
    }
}

/// Takes one request; returns its first line and body.
async fn request(listener: &TcpListener) -> (String, Value) {
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).await.unwrap();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim().to_ascii_lowercase().strip_prefix("content-length: ") {
            Some(number) => length = number.parse().unwrap(),
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (first, serde_json::from_slice(&body).unwrap())
}

/// Of IPv4.
fn want(list: &[(&str, u16, usize)]) -> Wanted {
    let check = |(name, port, endpoints): &(&str, u16, usize)| {
        ((Owner::new("default", name), Family::V4), check(*port, *endpoints))
    };
    list.iter().map(check).collect()
}

fn places(list: &[&str]) -> Places {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

fn balanced(port: u16) -> Value {
    json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port})
}

#[test]
fn load_balancers_are_told_where_endpoints_are() {
    let Some(rig) = Rig::new() else { return };
    inside(&rig, || async {
        let ends = ["10.199.1.1@node-a", "10.199.1.2@node-a", "10.199.1.3@node-b"];
        let (client, events) = api::serve(
            vec![
                service("a", &["10.196.77.1", "fd96::77"], tcp_udp(80), balanced(32_000)),
                service("b", &["10.196.77.2"], tcp_udp(80), balanced(32_001)),
            ],
            vec![
                slice("a", 8080, "TCP", &ends),
                slice("a", 8080, "TCP", &["fd99::1@node-a", "fd99::3@node-b"]),
                slice("b", 8080, "TCP", &["10.199.1.3@node-b"]),
            ],
        )
        .await;
        // Somebody else has the first Service's port.
        let squatter = TcpListener::bind("0.0.0.0:32000").await.unwrap();
        let mut options = rig.options.clone();
        let healthz: SocketAddr = HEALTHZ.parse().unwrap();
        options.healthz = Some(healthz);
        let cancel = CancellationToken::new();
        let running = tokio::spawn(xebec_dataplane::run(client.clone(), options.clone(), cancel.clone()));
        // The other Service is served all the same; it has no endpoint here, and no IPv6.
        let (weight, text) = until("127.0.0.1:32001", "/", 503).await;
        assert_eq!((weight.as_deref(), text), (Some("0"), body("b", 0)));
        assert_eq!(get("[::1]:32001", "/").await, Err(std::io::ErrorKind::ConnectionRefused));
        let (_, text) = until(HEALTHZ, "/healthz", 200).await;
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&report["nodeEligible"], &report["healthy"]), (&json!(true), &json!(true)), "{text}");
        assert!(
            report["lastUpdated"] == report["currentTime"] && report["currentTime"].is_string(),
            "{text}"
        );
        let (_, text) = until(HEALTHZ, "/livez", 200).await;
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap().get("nodeEligible"), None, "{text}");
        assert_eq!(get(HEALTHZ, "/").await, Ok((404, None, "404 page not found\n".to_owned())));
        // The port is free, and taken without a change of anything else.
        drop(squatter);
        let (weight, text) = until("127.0.0.1:32000", "/any/path", 200).await;
        assert_eq!((weight.as_deref(), text), (Some("2"), body("a", 2)));
        let (weight, text) = until("[::1]:32000", "/", 200).await;
        assert_eq!((weight.as_deref(), text), (Some("1"), body("a", 1)), "IPv6 has a number of its own");
        // The endpoints leave this node. The event is sent until it is seen, as this server keeps no history.
        let end = Instant::now() + Duration::from_secs(10);
        while get("127.0.0.1:32000", "/").await != Ok((503, Some("0".to_owned()), body("a", 0))) {
            let _ = events.send(slice("a", 8080, "TCP", &["10.199.1.3@node-b"]));
            assert!(Instant::now() < end, "the event was not applied");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Another agent at the same address is told which option to change, and touches nothing.
        let error = xebec_dataplane::run(client, options, cancel.clone()).await.unwrap_err();
        let text = xebec_program::chain(&error);
        assert!(matches!(error, DataplaneError::Listen { address, .. } if address == healthz), "{text}");
        assert!(text.starts_with("--healthz-bind-address 127.0.0.1:10256: "), "{text}");
        assert!(text.contains("in use"), "{text}");
        cancel.cancel();
        running.await.unwrap().unwrap();
    });
}

#[test]
fn the_proxys_health_is_told_to_clients_of_both_families() {
    let Some(rig) = Rig::new() else { return };
    inside(&rig, || async {
        // A host whose sockets are of one family unless they say otherwise.
        std::fs::write("/proc/sys/net/ipv6/bindv6only", "1").unwrap();
        for (address, v4, v6) in [
            ("0.0.0.0:10256", true, true),
            ("[::]:10256", true, true),
            ("[::1]:10256", false, true),
            ("127.0.0.1:10256", true, false),
        ] {
            let listener = health::bind(address.parse().unwrap()).unwrap();
            let serving = tokio::spawn(health::serve(listener, Arc::default(), metrics()));
            for (client, reached) in [(HEALTHZ, v4), ("[::1]:10256", v6)] {
                let answer = get(client, "/livez").await;
                let expected = if reached { Ok(200) } else { Err(std::io::ErrorKind::ConnectionRefused) };
                assert_eq!(answer.map(|(status, ..)| status), expected, "{address} asked at {client}");
            }
            serving.abort();
            let _ = serving.await;
        }
    });
}

#[test]
fn health_check_ports_follow_their_services() {
    let Some(rig) = Rig::new() else { return };
    inside(&rig, || async {
        let noted = Noted::default();
        let mut checks = Checks::new(Arc::default(), noted.clone());
        let at = places(&["0.0.0.0", "::"]);
        let ask = |port: u16| async move { get(&format!("127.0.0.1:{port}"), "/").await };
        let is = |status, name: &str, count: usize| Ok((status, Some(count.to_string()), body(name, count)));
        let refused = Err(std::io::ErrorKind::ConnectionRefused);
        assert!(!checks.sync(&want(&[("a", 32_000, 1), ("b", 32_001, 0)]), &at).await);
        assert_eq!((ask(32_000).await, ask(32_001).await), (is(200, "a", 1), is(503, "b", 0)));
        // The numbers alone change: the listener stays.
        assert!(!checks.sync(&want(&[("a", 32_000, 0), ("b", 32_001, 3)]), &at).await);
        assert_eq!((ask(32_000).await, ask(32_001).await), (is(503, "a", 0), is(200, "b", 3)));
        // One moves to a port of its own, the other takes the port left behind, in one step.
        assert!(!checks.sync(&want(&[("a", 32_002, 1), ("b", 32_000, 3)]), &at).await);
        assert_eq!((ask(32_002).await, ask(32_000).await), (is(200, "a", 1), is(200, "b", 3)));
        assert_eq!(ask(32_001).await, refused);
        // Two of one port: the second has to be tried again, and gets it when the first is gone.
        assert!(checks.sync(&want(&[("b", 32_000, 3), ("c", 32_000, 1)]), &at).await);
        assert_eq!(ask(32_000).await, is(200, "b", 3));
        assert_eq!(noted.take(), "c@0.0.0.0:32000");
        assert!(!checks.sync(&want(&[("c", 32_000, 1)]), &at).await);
        assert_eq!(ask(32_000).await, is(200, "c", 1));
        assert!(!checks.sync(&want(&[]), &at).await);
        assert_eq!(ask(32_000).await, refused);
    });
}

#[test]
fn health_checks_are_where_node_ports_answer() {
    let Some(rig) = Rig::new() else { return };
    inside(&rig, || async {
        let noted = Noted::default();
        let mut checks = Checks::new(Arc::default(), noted.clone());
        let mut wanted = want(&[("a", 32_000, 1)]);
        wanted.insert((Owner::new("default", "a"), Family::V6), check(32_000, 0));
        let ask = |address: &'static str| async move {
            get(&format!("{address}:32000"), "/").await.map(|(status, ..)| status)
        };
        let refused = Err(std::io::ErrorKind::ConnectionRefused);
        assert!(!checks.sync(&wanted, &places(&["127.0.0.1", "::1"])).await);
        assert_eq!(
            (ask("127.0.0.1").await, ask("[::1]").await, ask("127.0.0.2").await),
            (Ok(200), Ok(503), refused)
        );
        // Both families have one port, each a socket of its own: one may move without the other.
        assert!(!checks.sync(&wanted, &places(&["127.0.0.2", "::"])).await);
        assert_eq!(
            (ask("127.0.0.1").await, ask("[::1]").await, ask("127.0.0.2").await),
            (refused, Ok(503), Ok(200))
        );
        // An address that the node does not have yet is tried again, and keeps nobody from the others.
        assert!(checks.sync(&wanted, &places(&["127.0.0.2", "192.0.2.1"])).await);
        assert_eq!((ask("127.0.0.2").await, ask("[::1]").await), (Ok(200), refused));
        assert_eq!(noted.take(), "a@192.0.2.1:32000");
        assert!(checks.sync(&wanted, &places(&["127.0.0.2", "192.0.2.1"])).await);
        assert_eq!(noted.take(), "", "told once for a while");
    });
}

#[test]
fn a_port_that_cannot_be_opened_is_an_event_of_the_service() {
    let Some(rig) = Rig::new() else { return };
    inside(&rig, || async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let _squatter = TcpListener::bind("0.0.0.0:32000").await.unwrap();
        let mut checks =
            Checks::new(Arc::default(), ServiceEvents::new(client, "kube-proxy", "node-a".to_owned()));
        assert!(checks.sync(&want(&[("a", 32_000, 1)]), &places(&["0.0.0.0", "::"])).await);
        let (first, event) = request(&server).await;
        assert!(first.starts_with("POST /api/v1/namespaces/default/events?"), "{first}");
        let told = ["type", "reason", "reportingComponent", "reportingInstance"];
        let expected = ["Warning", "FailedToStartServiceHealthcheck", "kube-proxy", "node-a"];
        assert_eq!(told.map(|field| event[field].as_str().unwrap()), expected);
        let about =
            json!({"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "a", "uid": "1-2"});
        assert_eq!(event["involvedObject"], about);
        let text = "node node-a failed to start healthcheck \"default/a\" on port 32000: listen tcp 0.0.0.0:32000: \
                    Address already in use (os error 98)";
        assert_eq!(event["message"], text);
    });
}
