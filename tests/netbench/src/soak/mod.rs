//! Many Services that change, many connections, and an agent that is killed again and again: nothing may fail, lead
//! astray or grow. Enters: how much of each. Leaves: progress lines, then the verdict; an error for any failed
//! connection, misroute or growth. Called by `cargo xtask soak`.
//!
//! The agent is the real `xebec-agent proxy`. A misroute is an answer by an endpoint that is not one of the Service: of
//! another one, or gone for longer than a synchronised agent may take to apply it.

mod api;
mod objects;
mod plan;
mod stage;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::api::Api;
use self::objects::Objects;
use self::plan::{Dice, Verdict};
use self::stage::{Agent, Stage};
use crate::cost;
use crate::load::Client;

const NODE_NAME: &str = "soak-node";
/// Client processes in the pod, and one outside.
const INSIDE: u64 = 4;
/// How often the agent is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Options of the soak.
#[derive(clap::Args)]
pub(crate) struct SoakArgs {
    /// The eBPF object.
    #[arg(long)]
    object: PathBuf,
    /// The program `xebec-agent`.
    #[arg(long)]
    agent: PathBuf,
    /// Services, each with ten endpoints.
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Changes of the API a second.
    #[arg(long, default_value_t = 100)]
    changes: u64,
    /// Connections a second.
    #[arg(long, default_value_t = 1000)]
    connections: u64,
    /// Seconds from an agent's start to its kill -9.
    #[arg(long, default_value_t = 5)]
    kill_every: u64,
    /// Seconds that an agent may take to apply a change; only while one is synchronised do they count.
    #[arg(long, default_value_t = 2)]
    tolerance: u64,
    /// Minutes of all of it, after the first agent is synchronised; a part of one will do.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Where the agents' log goes.
    #[arg(long)]
    log: PathBuf,
}

impl SoakArgs {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

/// What is counted while it runs.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    right: AtomicU64,
    stale: AtomicU64,
    foreign: AtomicU64,
    failed: AtomicU64,
    changes: AtomicU64,
}

impl Counts {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// What the supervisor saw.
#[derive(Default)]
struct Seen {
    kills: u64,
    synchronised: u64,
    ended: u64,
    agent: Vec<f64>,
    maps: Vec<f64>,
}

/// Runs it.
pub(crate) fn run(args: &SoakArgs) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "network namespaces and eBPF need root");
    ensure!(
        (1..=plan::MOST).contains(&args.services),
        "--services {}: from 1 to {}",
        args.services,
        plan::MOST
    );
    ensure!(args.kill_every > 0, "--kill-every 0: at least 1");
    let day = 24.0 * 60.0;
    ensure!((0.0..=day).contains(&args.minutes), "--minutes {}: from 0 to {day}", args.minutes);
    tell(&format!("{} minutes; every line below counts from the start", args.minutes));
    let api = Arc::new(Api::default());
    let objects = Objects::new(args.services, &api);
    let (stage, listener) = Stage::new(&args.object, &args.agent)?;
    api.serve(listener);
    let counts = Arc::new(Counts::default());
    stop_on_signal(&counts);
    let started = Instant::now();
    let agent = first(&stage, args, &counts)?;
    tell(&format!("the first agent is synchronised after {:.1} s", started.elapsed().as_secs_f64()));
    let seen = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for caller in 0..=INSIDE {
            let (stage, objects, counts) = (&stage, &objects, &counts);
            threads.push(scope.spawn(move || call(caller, stage, args, objects, counts)));
        }
        let changer = scope.spawn(|| change(args, &objects, &api, &counts));
        let seen = supervise(&stage, args, agent, &objects, &counts);
        counts.stop.store(true, Ordering::Relaxed);
        let mut outcome = seen;
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|_| bail!("a caller panicked"));
            outcome = outcome.and_then(|seen| ended.map(|()| seen));
        }
        if changer.join().is_err() {
            bail!("the changes stopped");
        }
        outcome
    })?;
    judge(args, &counts, &seen)
}

/// The first agent, which makes the maps.
fn first(stage: &Stage, args: &SoakArgs, counts: &Counts) -> Result<Agent> {
    let mut agent = stage.agent(&args.log)?;
    let end = Instant::now() + Duration::from_secs(120);
    while !agent.is_synchronised() {
        ensure!(counts.goes_on(), "interrupted");
        ensure!(!agent.has_ended(), "the agent ended; its log is {}", args.log.display());
        ensure!(
            Instant::now() < end,
            "the agent is not synchronised after two minutes; its log is {}",
            args.log.display()
        );
        std::thread::sleep(LOOK);
    }
    Ok(agent)
}

/// Ctrl-C and SIGTERM end the soak as its time does: everything is removed and judged.
fn stop_on_signal(counts: &Arc<Counts>) {
    use tokio::signal::unix::{SignalKind, signal};
    let counts = Arc::clone(counts);
    std::thread::spawn(move || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            counts.stop.store(true, Ordering::Relaxed);
            Ok(())
        })
    });
}

/// Does something so often a second, until the end.
fn paced(rate: u64, counts: &Counts, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    let mut done = 0_u64;
    while counts.goes_on() {
        let due = start + Duration::from_micros(done * 1_000_000 / rate.max(1));
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait.min(LOOK));
            if wait > LOOK {
                continue;
            }
        }
        work()?;
        done += 1;
    }
    Ok(())
}

fn change(args: &SoakArgs, objects: &Objects, api: &Api, counts: &Counts) {
    let mut dice = Dice(7);
    // The work cannot fail.
    let _ = paced(args.changes, counts, || {
        objects.change(&mut dice, api);
        counts.changes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
}

/// A client process and who judges its answers. The last one is outside and calls ports of the node.
fn call(caller: u64, stage: &Stage, args: &SoakArgs, objects: &Objects, counts: &Counts) -> Result<()> {
    let outside = caller == INSIDE;
    let mut client = match outside {
        true => Client::start(&stage.outside, None)?,
        false => Client::start(&stage.client, Some(stage.place.cgroup()))?,
    };
    let mut dice = Dice(100 + caller);
    paced(args.connections / (INSIDE + 1), counts, || {
        let service = dice.below(if outside { plan::NODE_PORTS.min(objects.steady) } else { objects.steady });
        let to = match plan::node_port(service).filter(|_| outside) {
            Some(port) => format!("{}:{port}", stage::NODE),
            None => format!("{}:80", plan::virtual_ip(service)),
        };
        let began = objects.now();
        let counter = match client.ask("who", to.parse()?, 0.0) {
            Err(error) => {
                tell(&format!("FAILED: {to}: {error:#}"));
                &counts.failed
            }
            Ok(answer) => {
                let text = answer["who"].as_str().unwrap_or_default();
                let who = text.parse().with_context(|| format!("{to} answered {text:?}"))?;
                match objects.judge(service, who, began, args.tolerance * 1000) {
                    Verdict::Right => &counts.right,
                    Verdict::Stale => {
                        tell(&format!("STALE: {to}: answered by {who}, which left the Service before"));
                        &counts.stale
                    }
                    Verdict::Foreign => {
                        tell(&format!("MISROUTED: {to}: answered by {who}, which is not of the Service"));
                        &counts.foreign
                    }
                }
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

/// Kills the agent and starts the next, looks at memory, tells how it goes.
fn supervise(
    stage: &Stage,
    args: &SoakArgs,
    agent: Agent,
    objects: &Objects,
    counts: &Counts,
) -> Result<Seen> {
    let mut seen = Seen { synchronised: 1, ..Seen::default() };
    let (start, mut agent) = (Instant::now(), Some(agent));
    let (mut born, mut synchronised, mut told) = (Instant::now(), true, Instant::now());
    while counts.goes_on() && start.elapsed() < args.length() {
        std::thread::sleep(LOOK);
        let Some(current) = &mut agent else { break };
        if current.has_ended() {
            seen.ended += 1;
            (agent, born, synchronised) = (Some(stage.agent(&args.log)?), Instant::now(), false);
            continue;
        }
        let before = synchronised;
        synchronised = current.is_synchronised();
        if synchronised {
            seen.synchronised += u64::from(!before);
            objects.tick(u64::try_from(LOOK.as_millis())?);
        }
        if born.elapsed() >= Duration::from_secs(args.kill_every) {
            if synchronised {
                seen.agent.extend(current.megabytes());
            }
            seen.maps.push(cost::map_megabytes(&stage.place.pins())?);
            // Killed before the next begins, as by a crash.
            drop(agent.take());
            seen.kills += 1;
            (agent, born, synchronised) = (Some(stage.agent(&args.log)?), Instant::now(), false);
        }
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            progress(start.elapsed(), counts, &seen);
        }
    }
    Ok(seen)
}

fn progress(elapsed: Duration, counts: &Counts, seen: &Seen) {
    let last = |samples: &[f64]| samples.last().map_or_else(|| "-".to_owned(), |mb| format!("{mb:.1}"));
    tell(&format!(
        "{:>4} s: {} connections right, {} failed, {} stale, {} misrouted; {} changes; {} kills, {} agents synchronised; \
         agent {} MB, maps {} MB",
        elapsed.as_secs(),
        Counts::read(&counts.right),
        Counts::read(&counts.failed),
        Counts::read(&counts.stale),
        Counts::read(&counts.foreign),
        Counts::read(&counts.changes),
        seen.kills,
        seen.synchronised,
        last(&seen.agent),
        last(&seen.maps),
    ));
}

/// What it all amounts to.
fn judge(args: &SoakArgs, counts: &Counts, seen: &Seen) -> Result<()> {
    progress(args.length(), counts, seen);
    let shown = |samples: &[f64]| {
        let step = (samples.len() / 12).max(1);
        samples.iter().step_by(step).map(|mb| format!("{mb:.1}")).collect::<Vec<_>>().join(" ")
    };
    tell(&format!("memory of the agents before each kill, MB: {}", shown(&seen.agent)));
    tell(&format!("kernel memory of the maps, MB: {}", shown(&seen.maps)));
    let mut faults = Vec::new();
    for (counter, what) in [
        (&counts.failed, "connections failed"),
        (&counts.stale, "answers by endpoints that had left"),
        (&counts.foreign, "answers by endpoints of other Services"),
    ] {
        let number = Counts::read(counter);
        if number > 0 {
            faults.push(format!("{number} {what}"));
        }
    }
    if seen.ended > 0 {
        faults.push(format!("{} agents ended by themselves", seen.ended));
    }
    // Fewer tell nothing: a loaded machine may have been slow.
    if seen.kills >= 10 && seen.synchronised < 2 {
        faults.push(format!(
            "no agent after the first was synchronised within {} s: --kill-every",
            args.kill_every
        ));
    }
    if Counts::read(&counts.right) == 0 {
        faults.push("nobody was answered".to_owned());
    }
    for (samples, what) in [(&seen.agent, "agent"), (&seen.maps, "maps")] {
        if plan::growth(samples) == Some(true) {
            faults.push(format!("the memory of the {what} grows"));
        }
    }
    ensure!(faults.is_empty(), "{}; the agents' log is {}", faults.join(", "), args.log.display());
    tell("nothing failed, nothing was led astray, nothing grew");
    Ok(())
}

fn tell(line: &str) {
    // Whoever reads has gone: nobody to tell.
    let _ = writeln!(std::io::stdout(), "{line}");
}
