//! From another layout of the maps to this one, under load: calls from a pod, calls from outside, a connection and a socket that were
//! there before. Layout 1 is the real one (`older`); one that cannot be read is today's under another name.
#![expect(unsafe_code, reason = "a descriptor from bpf(2)")]

mod generic;
mod older;
mod parts;
mod steps;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::MapInfo;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use xebec_abi::LAYOUT_VERSION;
use xebec_dataplane::load::versioned;
use xebec_rig::ask::say;
use xebec_rig::client::Client;
use xebec_rig::cluster::{Cluster, Node};
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, enter, within};

use crate::nodes::echoing;
use crate::packet::{node_port, ports};

const A: &str = "10.196.77.1:80";
const B: &str = "10.196.77.2:80";
/// Leads to A from outside.
const OUTSIDE: &str = "10.199.0.101:30080";
/// Leads to a server that says everything back.
const ECHO: &str = "10.199.0.101:30090";

/// Two and two and one of Services, and the probe's.
const PORTS: usize = 6;

/// A node with two pods, each the only endpoint of a Service, and a machine outside.
struct Stage {
    // Dropped in this order.
    _servers: Vec<Server>,
    client: Client,
    other: Client,
    _pods: [NetNs; 2],
    cluster: Cluster,
}

fn objects() -> (Vec<Service>, Vec<EndpointSlice>) {
    let echo = json!([{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30090}]);
    let services = vec![
        service("a", &["10.196.77.1"], ports(), node_port(json!({}))),
        service("b", &["10.196.77.2"], tcp_udp(80), json!({})),
        service("echo", &["10.196.77.3"], echo, node_port(json!({}))),
    ];
    let both = [("a", "10.244.1.1@node-1"), ("b", "10.244.1.2@node-1")]
        .into_iter()
        .flat_map(|(name, at)| ["TCP", "UDP"].map(|protocol| slice(name, 8080, protocol, &[at])));
    (services, both.chain([slice("echo", 9090, "TCP", &["10.244.1.1@node-1"])]).collect())
}

impl Stage {
    /// Served by today's programs, whose agent is gone; `None` where the machine cannot run this.
    fn new() -> Option<Self> {
        let cluster = Cluster::new(1, 1, 1500)?;
        let node = &cluster.nodes[0];
        let pods = [node.pod(1), node.pod(2)];
        let mut servers = vec![echoing(&pods[0], "10.244.1.1:9090")];
        for (pod, name, address) in [(&pods[0], "A", "10.244.1.1:8080"), (&pods[1], "B", "10.244.1.2:8080")] {
            servers.push(Server::seeing_tcp(pod, address, name));
            servers.push(Server::seeing_udp(pod, address, name));
        }
        // Both of one pod, so that the other is called from elsewhere.
        let (client, other) = (node.client(&pods[1]), node.client(&pods[1]));
        let stage = Self { _servers: servers, client, other, _pods: pods, cluster };
        let mut agent = stage.agent();
        stage.sync(&mut agent);
        Some(stage)
    }

    fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    fn pin_dir(&self) -> PathBuf {
        self.node().place().pin_dir().to_owned()
    }

    fn own(&self) -> PathBuf {
        versioned(&self.pin_dir())
    }

    fn agent(&self) -> Agent {
        self.node().agent()
    }

    fn sync(&self, agent: &mut Agent) {
        let (services, slices) = objects();
        within(&self.node().netns, || agent.sync(services, slices));
    }

    /// Makes what serves layout 1.
    fn downgrade(&self) {
        within(&self.node().netns, || older::downgrade(&self.pin_dir()));
        assert_eq!(older::names(&self.pin_dir()), ["v1"]);
    }

    /// Only our layout is pinned, and everything leads where it should.
    fn assert_taken_over(&mut self) {
        assert_eq!(older::names(&self.pin_dir()), [format!("v{LAYOUT_VERSION}")]);
        assert!(!older::names(&self.own().join("maps")).iter().any(|name| name.contains("filling")));
        self.assert_serves();
    }

    fn assert_serves(&mut self) {
        for (to, expected) in [(A, "A 10.244.1.2"), (B, "B ")] {
            for command in ["tcp", "udp", "udpc"] {
                let answer = self.client.ask(&format!("{command} {to}"));
                assert!(answer.starts_with(expected) && answer.ends_with(to), "{command} {to}: {answer}");
            }
        }
        let outside = &self.cluster.outside[0];
        assert_eq!(within(outside, || say(OUTSIDE)).unwrap(), "A 10.199.0.1");
    }

    /// A socket that was there before still gets its answers, from the same endpoint.
    fn assert_exchange(&mut self, name: &str) {
        let answer = self.other.ask(&format!("exchange {name}"));
        assert!(answer.starts_with("A 10.244.1.2 "), "{name}: {answer}");
    }

    /// Begins to call from a pod.
    fn hammer(&mut self, seconds: f64) {
        self.client.send(&format!("hammer {seconds} 2 A={A} B={B}"));
    }

    /// Every one of those calls reached its own endpoint.
    fn assert_hammered(&mut self) {
        let answer = self.client.answer();
        assert!(answer.ends_with(" misrouted=0 failed=0") && !answer.starts_with("ok=0 "), "{answer}");
    }
}

/// Calls from outside, one after the other, until it is asked what became of them.
struct Calls {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Result<String, String>>>,
}

impl Calls {
    fn begin(from: &NetNs) -> Self {
        let (stop, path) = (Arc::new(AtomicBool::new(false)), from.path());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            enter(&path);
            let mut answers = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                answers.push(say(OUTSIDE).map_err(|error| error.to_string()));
                std::thread::sleep(Duration::from_millis(1));
            }
            answers
        });
        Self { stop, thread }
    }

    fn end(self) -> Vec<Result<String, String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn echo(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
    stream.write_all(text.as_bytes())?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8(answer).unwrap())
}

fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn an_agent_takes_over_from_layout_1_under_load() {
    let Some(mut stage) = Stage::new() else { return };
    stage.downgrade();
    let old = older::directory(&stage.pin_dir());
    let (links, programs) = (older::link_ids(&old), older::program_ids(&old));
    assert_eq!(links.len(), 13, "nine in socket calls, two on each device: {links:?}");
    stage.assert_serves();
    let mut stream = within(&stage.cluster.outside[0], || {
        let stream = TcpStream::connect(ECHO).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream
    });
    assert_eq!(echo(&mut stream, "before").unwrap(), "before");
    for kind in ["connected", "loose"] {
        assert_eq!(stage.other.ask(&format!("{kind} {kind} {A}")), "open");
        stage.assert_exchange(kind);
    }
    let calls = Calls::begin(&stage.cluster.outside[0]);
    stage.hammer(2.0);
    pause(300);
    let mut agent = stage.agent();
    // Everything is there before the API has spoken.
    assert_eq!(older::names(&stage.pin_dir()), [format!("v{LAYOUT_VERSION}")]);
    assert_eq!(older::link_ids(&stage.own()), links, "the same links");
    assert!(older::program_ids(&stage.own()).iter().all(|id| !programs.contains(id)), "other programs");
    assert_eq!(agent.applier.len(), PORTS);
    let talk = |stage: &mut Stage, stream: &mut TcpStream, text: &str| {
        assert_eq!(echo(stream, text).unwrap(), text);
        for kind in ["connected", "loose"] {
            stage.assert_exchange(kind);
        }
    };
    talk(&mut stage, &mut stream, "after");
    pause(300);
    stage.sync(&mut agent);
    talk(&mut stage, &mut stream, "with the API");
    stage.assert_hammered();
    let answers = calls.end();
    let failed: Vec<_> = answers.iter().filter(|answer| answer.as_deref() != Ok("A 10.199.0.1")).collect();
    assert!(failed.is_empty() && answers.len() > 100, "{} of {}: {failed:?}", failed.len(), answers.len());
    stage.assert_taken_over();
    // And an agent of this layout finds its own.
    drop(agent);
    let agent = stage.agent();
    assert_eq!((agent.applier.len(), older::link_ids(&stage.own())), (PORTS, links));
    stage.assert_taken_over();
}

#[test]
fn layout_1_as_it_was_last_is_the_same_but_for_its_number() {
    let Some(mut stage) = Stage::new() else { return };
    let old = older::directory(&stage.pin_dir());
    std::fs::rename(stage.own(), &old).unwrap();
    let table = |layout: &Path| MapInfo::from_pin(layout.join("maps/FE4")).unwrap().id();
    let (links, frontends) = (older::link_ids(&old), table(&old));
    stage.hammer(0.8);
    pause(100);
    let agent = stage.agent();
    assert_eq!((agent.applier.len(), older::link_ids(&stage.own())), (PORTS, links));
    assert_eq!(table(&stage.own()), frontends, "not filled anew");
    stage.assert_hammered();
    stage.assert_taken_over();
}
