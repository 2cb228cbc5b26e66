//! What the programs cost: measurements, to be looked at by people. Both ask for a quiet machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::VIP;
use xebec_rig::Rig;
use xebec_rig::client::Client;
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
        let stats = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
        let answer = client.ask(&format!("hammer 2 1 A={}:80", vip(last)));
        for _ in 0..50 {
            client.ask(&format!("udpseq 40 {}:80", vip(last)));
        }
        drop(stats);
        println!(
            "{services} services x 10: full sync {full:?}, one change {one:?} (slice decoding included); {answer}"
        );
        for (name, mean, runs) in run_times(&rig) {
            println!("    {name}: {mean} ns/run over {runs} runs");
        }
    }
}

/// How variants of the programs compare: objects in XEBEC_BPF_OBJECTS, separated by colons, in turns, so that what else
/// the machine does falls on all of them.
/// `cargo test -p xebec-dataplane --test socket -- --ignored --exact cost::by_variant --nocapture`
#[test]
#[ignore = "a measurement: prints ns per run of connect4 for each given object"]
fn by_variant() {
    let objects = std::env::var("XEBEC_BPF_OBJECTS").expect("XEBEC_BPF_OBJECTS=OBJECT:OBJECT...");
    let mut measured: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
    for _ in 0..9 {
        for object in objects.split(':') {
            let Some(mut rig) = Rig::new() else { return };
            rig.options.bpf_object = Some(PathBuf::from(object));
            let _server = Server::tcp(&rig.server_ns, "10.199.1.1:8080", "A1");
            let mut agent = Agent::new(&rig.options);
            agent.sync(
                vec![service("a", &[VIP], tcp_udp(80), json!({}))],
                vec![slice("a", 8080, "TCP", &["10.199.1.1"])],
            );
            let mut client = Client::start(&rig);
            let stats = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
            client.ask(&format!("hammer 0.5 1 A={VIP}:80"));
            drop(stats);
            let connect4 = run_times(&rig).into_iter().find(|(name, ..)| name == "connect4");
            measured.entry(object).or_default().extend(connect4.map(|(_, mean, _)| mean));
        }
    }
    for (object, mut means) in measured {
        means.sort_unstable();
        println!("{object}: connect4 median {} ns/run, {means:?}", means[means.len() / 2]);
    }
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

/// The pinned programs' mean run time in nanoseconds, and how often they ran.
fn run_times(rig: &Rig) -> Vec<(String, u128, u64)> {
    let links = rig.pin_dir().join(format!("v{}/links", xebec_abi::LAYOUT_VERSION));
    let ids: Vec<u32> = std::fs::read_dir(links)
        .unwrap()
        .map(|pin| aya::programs::links::PinnedLink::from_pin(pin.unwrap().path()).unwrap())
        .map(|link| aya::programs::links::FdLink::from(link).info().unwrap().program_id())
        .collect();
    aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .filter(|p| ids.contains(&p.id()) && p.run_count() > 0)
        .map(|p| {
            let mean = p.run_time().as_nanos() / u128::from(p.run_count());
            (p.name_as_str().unwrap_or("?").to_owned(), mean, p.run_count())
        })
        .collect()
}
