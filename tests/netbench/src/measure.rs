//! The run: rigs are made and filled, then every measurement is taken on all of them in turn. Leaves: a line of JSON each,
//! on standard output: `{"title", "target", "kind", "answer"}`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xebec_rig::bpf::{self, Nothing};
use xebec_rig::enter;

use crate::frames::{self, Driver, Verdict};
use crate::load::Client;
use crate::plan::{self, From, Step, TARGETS, Target};
use crate::rig::{NODE, Rig, server_address};
use crate::rules::{self, PORT, iptables, nftables};
use crate::server::{self, Server};
use crate::xebec::Xebec;
use crate::{RunArgs, cost};

/// Single changes that are timed.
const CHANGES: usize = 201;

/// A target's node, with who calls and who serves.
struct Place {
    target: Target,
    server: Server,
    // Ends before the cgroup that it is in is removed.
    inside: Client,
    outside: Client,
    xebec: Option<Xebec>,
    rig: Rig,
}

/// Runs all of it.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "network namespaces and eBPF need root");
    let most = args.services.iter().copied().max().context("--services is empty")?;
    let mut places = Vec::new();
    for target in TARGETS {
        places.push(Place::new(target, args, most).with_context(|| target.name())?);
    }
    for (index, services) in args.services.iter().copied().enumerate() {
        ensure!(services > 0, "--services {services}: at least 1");
        let with_peers = services <= args.peers_up_to;
        for place in places.iter_mut().filter(|place| with_peers || !place.target.is_peer()) {
            place.fill(services, args.endpoints).with_context(|| place.target.name())?;
        }
        let targets: Vec<Target> =
            TARGETS.into_iter().filter(|target| with_peers || !target.is_peer()).collect();
        for step in plan::steps(services, index + 1 == args.services.len()) {
            let (turns, seconds) = plan::turns(step.kind, args.rounds, args.seconds);
            for target in plan::order(&targets, turns) {
                let place =
                    places.iter_mut().find(|place| place.target == target).context("no such target")?;
                place.take(&step, services, seconds)?;
            }
        }
        programs(&mut places, services, args)?;
        if index + 1 == args.services.len() {
            forwarding(&mut places, &targets, args)?;
        }
    }
    Ok(())
}

/// Frames to a machine elsewhere, through the stack and then, for those that can, in the driver. `direct` turns every frame
/// round unseen both times.
fn forwarding(places: &mut [Place], targets: &[Target], args: &RunArgs) -> Result<()> {
    for in_driver in [false, true] {
        let title = if in_driver {
            "frames to another node, the flow in the driver (XDP)"
        } else {
            "frames to another node, the flow in the stack"
        };
        for place in places.iter_mut() {
            frames::prepare(&place.rig);
            if let Some(xebec) = place.xebec.as_mut().filter(|_| in_driver) {
                enter(&place.rig.node.path());
                xebec.drive();
            }
        }
        for target in plan::order(targets, args.rounds) {
            let place = places.iter().find(|place| place.target == target).context("no such target")?;
            let driver = match target {
                Target::Xebec if in_driver => Driver::Own,
                Target::Direct => Driver::Always(Verdict::Turn),
                _ => Driver::Always(Verdict::Pass),
            };
            if !in_driver && target != Target::Direct {
                frames::answered(&place.rig).with_context(|| target.name())?;
            }
            let answer = frames::measure(&place.rig, &driver, args.seconds);
            let answer = answer.with_context(|| format!("{}: {title}", target.name()))?;
            tell(title, target, "frames", &answer);
        }
    }
    Ok(())
}

/// What each program takes, with the kernel counting, after everything else: medians of many short turns. Beside the programs
/// at `connect` is one that does nothing: what it takes is what counting adds to each, and is taken off.
fn programs(places: &mut [Place], services: usize, args: &RunArgs) -> Result<()> {
    let place =
        places.iter_mut().find(|place| place.target == Target::Xebec).context("xebec is not there")?;
    let Some(xebec) = &place.xebec else { return Ok(()) };
    let nothing = Nothing::attach(xebec.cgroup()).context("a program that does nothing")?;
    let mut ids = bpf::pinned(&xebec.pins())?;
    ids.push(nothing.id);
    let counting = bpf::count().context("kernel.bpf_stats")?;
    let steps = plan::steps(services, true);
    let mut turns: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for _ in 0..args.rounds * 2 {
        let before = bpf::counted(&ids);
        for step in steps.iter().filter(|step| matches!(step.kind, "crr" | "udp")) {
            let to = address(place.target, step, services)?;
            let client = if step.from == From::Pod { &mut place.inside } else { &mut place.outside };
            client.ask(step.kind, to, args.seconds / 4.0)?;
        }
        for program in bpf::counted(&ids) {
            let mean = program.mean_since(before.iter().find(|earlier| earlier.id == program.id));
            turns.entry(program.id).or_default().extend(mean);
        }
    }
    let all = bpf::counted(&ids);
    drop(counting);
    let mut median = |id| {
        let turns = turns.get_mut(&id)?;
        turns.sort_unstable_by(f64::total_cmp);
        turns.get(turns.len() / 2).copied()
    };
    let empty = median(nothing.id).context("the program that does nothing never ran")?;
    for program in all {
        let Some(mean) = median(program.id) else { continue };
        let name = if program.id == nothing.id { "that does nothing" } else { &program.name };
        let title = format!("program {name}; {}", plan::count(services));
        let answer = json!({"operations": program.runs, "ns": mean, "net_ns": mean - empty});
        tell(&title, place.target, "program", &answer);
    }
    Ok(())
}

impl Place {
    fn new(target: Target, args: &RunArgs, most: usize) -> Result<Self> {
        let rig = Rig::new(target.name(), args.endpoints);
        let addresses: Vec<String> = (1..=args.endpoints).map(server_address).collect();
        let server = Server::start(&rig.server.path(), &addresses)?;
        let xebec = match target {
            Target::Xebec => Some(Xebec::start(&rig, &args.object, most, args.endpoints)?),
            _ => None,
        };
        let inside = Client::start(&rig.client, xebec.as_ref().map(Xebec::cgroup))?;
        let outside = Client::start(&rig.outside, None)?;
        Ok(Self { target, server, inside, outside, xebec, rig })
    }

    fn fill(&mut self, services: usize, endpoints: u8) -> Result<()> {
        let start = Instant::now();
        match (self.target, &mut self.xebec) {
            (Target::Xebec, Some(xebec)) => {
                let took = xebec.fill(services, endpoints, CHANGES)?;
                let at = |percent| took.changes.percentile(percent);
                let memory = cost::map_megabytes(&xebec.pins())?;
                tell(
                    &plan::count(services),
                    self.target,
                    "fill",
                    &json!({
                        "full_ms": took.full.as_secs_f64() * 1e3,
                        "change_p50_us": at(50.0), "change_p99_us": at(99.0), "maps_mb": memory,
                    }),
                );
                return Ok(());
            }
            (Target::Iptables, _) => {
                let text = iptables::rules(&rules::ports(services, endpoints));
                self.rig.node.feed("iptables-restore", &text);
            }
            (Target::Nftables, _) => {
                let text = nftables::rules(&rules::ports(services, endpoints));
                self.rig.node.feed("nft -f -", &text);
            }
            _ => return Ok(()),
        }
        let answer = json!({"full_ms": start.elapsed().as_secs_f64() * 1e3});
        tell(&plan::count(services), self.target, "fill", &answer);
        Ok(())
    }

    fn take(&mut self, step: &Step, services: usize, seconds: f64) -> Result<()> {
        let to = address(self.target, step, services)?;
        let client = if step.from == From::Pod { &mut self.inside } else { &mut self.outside };
        let before = self.server.connections();
        let answer = client.ask(step.kind, to, seconds);
        let answer = answer.with_context(|| format!("{}: {}", self.target.name(), step.title))?;
        // A network may answer in the server's place: the server tells who reached it.
        let calls = match step.kind {
            "crr" => answer["operations"].as_u64().unwrap_or(u64::MAX),
            "rr" | "stream" => 1,
            _ => 0,
        };
        let served = self.server.connections() - before;
        ensure!(served == calls, "{}: {calls} calls, but {served} connections at the server", step.title);
        tell(&step.title, self.target, step.kind, &answer);
        Ok(())
    }
}

/// Where a target's client calls.
fn address(target: Target, step: &Step, services: usize) -> Result<SocketAddr> {
    let text = match (target, step.from) {
        (Target::Direct, _) => format!("{}:{}", server_address(1), server::PORT),
        (_, From::Pod) => format!("{}:{PORT}", plan::virtual_ip(step.service)),
        (_, From::Outside) => {
            let port =
                plan::node_port(step.service, services).context("the Service has no port of the node")?;
            format!("{NODE}:{port}")
        }
    };
    text.parse().with_context(|| text.clone())
}

fn tell(title: &str, target: Target, kind: &str, answer: &Value) {
    use std::io::Write;
    let line = json!({"title": title, "target": target.name(), "kind": kind, "answer": answer});
    // Whoever reads has gone: the next measurement finds out, too, and there is nobody to tell.
    let _ = writeln!(std::io::stdout(), "{line}");
}
