//! What the programs cost: measurements, to be looked at by people. Both ask for a quiet machine.

use std::path::PathBuf;

use serde_json::json;

use crate::VIP;
use xebec_rig::Rig;
use xebec_rig::bpf::{self, Counted, Nothing};
use xebec_rig::client::Client;
use xebec_rig::netns::pin;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;

/// `cargo test -p xebec-dataplane --test socket -- --ignored --exact cost::by_size --nocapture`
#[test]
#[ignore = "a measurement: prints ns per run of the programs and the time of a full and of a single change"]
fn by_size() {
    for services in [1, 1_000, 10_000] {
        let Some(mut rig) = Rig::new() else { return };
        rig.options.capacity = xebec_dataplane::Capacity::default();
        let _server = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
        let _udp = Server::udp(&rig.server_ns, "10.199.1.1:8080", "A1");
        let mut agent = Agent::new(&rig.options);
        let ports = json!([{"name": "tcp", "port": 80, "protocol": "TCP"}, {"name": "udp", "port": 80, "protocol": "UDP"}]);
        let vip = |i: usize| format!("10.200.{}.{}", i / 250, 1 + i % 250);
        let backends: Vec<String> = (1..=10).map(|i| format!("10.198.1.{i}")).collect();
        let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
        let name = |i: usize| format!("s{i}");
        let objects =
            (0..services).map(|i| service(&name(i), &[&vip(i)], ports.clone(), json!({}))).collect();
        let mut slices: Vec<_> = (0..services).map(|i| slice(&name(i), 8080, "TCP", &backends)).collect();
        let last = services - 1;
        slices[last] = slice(&name(last), 8080, "TCP", &["10.199.1.1"]);
        slices.push(slice(&name(last), 8080, "UDP", &["10.199.1.1"]));
        let start = std::time::Instant::now();
        agent.sync(objects, slices);
        let full = start.elapsed();
        let start = std::time::Instant::now();
        let changes = 200;
        for i in 0..changes {
            let endpoints = &backends[..9 + i % 2];
            agent.world.slice(kube::runtime::watcher::Event::Apply(slice(&name(0), 8080, "UDP", endpoints)));
            agent.applier.apply(&mut agent.world).unwrap();
        }
        let one = start.elapsed() / changes as u32;
        let mut client = Client::start(&rig);
        let counting = bpf::count().unwrap();
        let answer = client.ask(&format!("hammer 2 1 A={}:80", vip(last)));
        for _ in 0..50 {
            client.ask(&format!("udpseq 40 {}:80", vip(last)));
        }
        drop(counting);
        println!(
            "{services} services x 10: full sync {full:?}, one change {one:?} (slice decoding included); {answer}"
        );
        for program in bpf::counted(&bpf::pinned(&rig.place().pins()).unwrap()) {
            if let Some(mean) = program.mean_since(None) {
                println!("    {}: {mean:.0} ns/run over {} runs", program.name, program.runs);
            }
        }
    }
}

/// How variants of the programs compare: objects in XEBEC_BPF_OBJECTS, separated by colons, forth and back in short turns, so
/// that what else the machine does falls on all of them. Each has a client of its own, and beside its programs one that does
/// nothing, whose time (what counting adds) is taken off. XEBEC_BPF_PROGRAM names another program than `connect4`.
/// `cargo test -p xebec-dataplane --test socket -- --ignored --exact cost::by_variant --nocapture`
#[test]
#[ignore = "a measurement: prints ns per run of connect4 for each given object"]
fn by_variant() {
    const TURNS: usize = 40;
    let objects = std::env::var("XEBEC_BPF_OBJECTS").expect("XEBEC_BPF_OBJECTS=OBJECT:OBJECT...");
    let program = std::env::var("XEBEC_BPF_PROGRAM").unwrap_or_else(|_| "connect4".to_owned());
    let mut variants = Vec::new();
    for object in objects.split(':') {
        let Some(mut rig) = Rig::new() else { return };
        rig.options.bpf_object = Some(PathBuf::from(object));
        let server = on(1, || Server::tcp(&rig.server_ns, "0.0.0.0:8080", "A1"));
        let client = on(0, || Client::start(&rig));
        let mut agent = Agent::new(&rig.options);
        let endpoints: Vec<String> = (1..8).map(|i| format!("10.199.1.{i}")).collect();
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        agent.sync(
            vec![service("a", &[VIP], tcp_udp(80), json!({}))],
            vec![slice("a", 8080, "TCP", &endpoints)],
        );
        let nothing = Nothing::attach(rig.cgroup()).unwrap();
        variants.push((object, Vec::new(), client, nothing, agent, server, rig));
    }
    let counting = bpf::count().unwrap();
    for turn in 0..TURNS {
        for at in 0..variants.len() {
            let at = if turn % 2 == 0 { at } else { variants.len() - 1 - at };
            let (_, means, client, nothing, _, _, rig) = &mut variants[at];
            let mut ids = bpf::pinned(&rig.place().pins()).unwrap();
            ids.push(nothing.id);
            let before = bpf::counted(&ids);
            client.ask(&format!("hammer 0.1 1 A={VIP}:80"));
            let after = bpf::counted(&ids);
            let mean = |is: &dyn Fn(&Counted) -> bool| {
                after.iter().find(|p| is(p))?.mean_since(before.iter().find(|p| is(p)))
            };
            let (whole, empty) = (mean(&|p| p.name == program), mean(&|p| p.id == nothing.id));
            means.extend(whole.zip(empty));
        }
    }
    drop(counting);
    for (object, means, ..) in variants {
        let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = means.iter().map(of).collect();
            all.sort_unstable_by(f64::total_cmp);
            let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
            format!("{:.0} ({:.0} to {:.0})", at(0.5), at(0.25), at(0.75))
        };
        println!(
            "{object}: {program} {} ns/run, nothing {}, difference {}",
            median(&|m| m.0),
            median(&|m| m.1),
            median(&|m| m.0 - m.1),
        );
    }
}

/// Does something on one processor, where whatever it starts stays.
fn on<T: Send>(processor: usize, work: impl FnOnce() -> T + Send) -> T {
    let work = move || {
        pin(processor);
        work()
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// How near the programs are to the most that the verifier looks at, a million instructions.
/// `cargo test -p xebec-dataplane --test socket -- --ignored --exact cost::to_verify --nocapture`
#[test]
#[ignore = "a measurement: prints how many instructions the verifier went through for each program"]
fn to_verify() {
    let ids = || aya::programs::loaded_programs().flatten().map(|program| program.id());
    let before: Vec<u32> = ids().collect();
    let Some(mut rig) = Rig::new() else { return };
    rig.options.xdp = true;
    let _agent = Agent::new(&rig.options);
    let _paths = xebec_dataplane::pods::PodPaths::install(&rig.options).unwrap();
    let _policies = xebec_dataplane::policy::Policies::install(&rig.options).unwrap();
    for program in aya::programs::loaded_programs().flatten().filter(|p| !before.contains(&p.id())) {
        let name = program.name_as_str().unwrap_or("?").to_owned();
        println!("{name}: {:?}", program.verified_instruction_count());
    }
}
