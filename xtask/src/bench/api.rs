//! `cargo xtask bench api`: builds, starts the servers, takes every measurement on all of them in turn, reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::ApiArgs;
use super::plan::{self, Group, Metric, Step, less};
use super::report::{self, Measured};
use super::servers::{Programs, Target};
use crate::build::Profile;
use crate::progress::human;
use crate::{packages, shell};

const NAME: report::Name = report::Name {
    file: "api",
    heading: "API server bench",
    setting: "Client and servers share the machine.",
};

/// How long a server rests before its memory is read.
const REST: Duration = Duration::from_secs(3);

/// Runs the whole comparison.
pub(crate) fn run(args: &ApiArgs) -> Result<()> {
    if !args.no_etcd {
        packages::ensure(&[packages::ETCD])?;
    }
    let programs = match &args.programs {
        Some(folder) => Programs::of(&folder.canonicalize().context("--programs")?)?,
        None => build(args.profile)?,
    };
    let folder = shell::target().join("bench").join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut bench = Bench { args, programs, measured: Measured::default() };
    let outcome = bench.all(&folder);
    if args.keep || outcome.is_err() {
        println!("data and logs stay in {}", folder.display());
    } else {
        fs::remove_dir_all(&folder)?;
    }
    outcome?;
    let names = bench.names()?;
    let files = report::write(&shell::target().join("bench"), &NAME, &bench.measured, &names)?;
    print!("\n{}", fs::read_to_string(&files.0)?);
    println!("\nwritten to {} and {}", files.0.display(), files.1.display());
    Ok(())
}

fn build(profile: Profile) -> Result<Programs> {
    packages::ensure(&[packages::BUILD])?;
    let mut cargo = shell::command("cargo build --package xebec-control --package xebec-load");
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    shell::stream(&mut cargo)?;
    let folder = shell::target().join(if profile == Profile::Release { "release" } else { "debug" });
    Programs::of(&folder)
}

struct Bench<'a> {
    args: &'a ApiArgs,
    programs: Programs,
    measured: Measured,
}

impl Bench<'_> {
    fn wanted(&self, group: Group) -> bool {
        self.args.only.is_empty() || self.args.only.contains(&group)
    }

    /// The targets, none started.
    fn targets(&self, folder: &Path) -> Result<Vec<Target>> {
        let mut targets = vec![Target::own(folder, false)?];
        if !self.args.no_etcd {
            targets.push(Target::own(folder, true)?);
        }
        for peer in &self.args.peer {
            targets.push(Target::peer(peer)?);
        }
        Ok(targets)
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names = vec!["embedded".to_owned()];
        if !self.args.no_etcd {
            names.push("etcd".to_owned());
        }
        for peer in &self.args.peer {
            names.push(Target::peer(peer)?.name);
        }
        Ok(names)
    }

    fn all(&mut self, folder: &Path) -> Result<()> {
        let mut targets = self.targets(&folder.join("small"))?;
        self.start(&mut targets, "empty, first start")?;
        if self.wanted(Group::Start) {
            for _ in 0..self.args.rounds.max(1) {
                self.start(&mut targets, "empty")?;
            }
            std::thread::sleep(REST);
            self.memory(&targets, "idle", Some(40.0))?;
        }
        self.prepare(&mut targets)?;
        let wanted: Vec<Group> = Group::value_variants_all().filter(|group| self.wanted(*group)).collect();
        for step in plan::small(|group| wanted.contains(&group), self.args.seconds) {
            self.measure(&mut targets, &step)?;
        }
        self.clean(&mut targets)?;
        drop(targets);
        if self.wanted(Group::List) {
            self.lists(&folder.join("pods"))?;
        }
        Ok(())
    }

    /// On servers of their own, so that nothing of the other measurements is in memory.
    fn lists(&mut self, folder: &Path) -> Result<()> {
        let mut targets = self.targets(folder)?;
        for target in &mut targets {
            target.start(&self.programs)?;
        }
        self.prepare(&mut targets)?;
        for pods in self.args.pods.clone() {
            let fill = Step {
                title: format!("create up to {pods} pods, 64 clients"),
                arguments: ["fill", "--pods", &pods.to_string()].map(str::to_owned).to_vec(),
                metrics: vec![
                    plan::more("per_second", "operations/s", None),
                    less("p99_ms", "p99, ms", None),
                ],
            };
            for target in 0..targets.len() {
                self.take(&mut targets, target, &fill)?;
            }
            std::thread::sleep(REST);
            self.memory(&targets, &format!("{pods} pods"), None)?;
            for step in plan::lists(pods) {
                self.measure(&mut targets, &step)?;
            }
            self.memory(&targets, &format!("{pods} pods, after the lists"), None)?;
            for _ in 0..self.args.rounds.max(1) {
                self.start(&mut targets, &format!("{pods} pods"))?;
            }
            std::thread::sleep(REST);
            self.memory(&targets, &format!("{pods} pods, after a restart"), None)?;
        }
        self.clean(&mut targets)
    }

    fn start(&mut self, targets: &mut [Target], state: &str) -> Result<()> {
        let title = format!("start, {state}");
        let aim = (!state.contains("first")).then_some(300.0);
        let metric = less("ready_ms", "time to ready, ms", aim);
        for target in targets {
            if let Some(took) = target.start(&self.programs)? {
                println!("{title}: {} ready after {}", target.name, human(took));
                let value = json!({"ready_ms": took.as_secs_f64() * 1e3});
                self.measured.add(&title, &target.name, std::slice::from_ref(&metric), &value);
            }
        }
        Ok(())
    }

    fn memory(&mut self, targets: &[Target], state: &str, aim: Option<f64>) -> Result<()> {
        let title = format!("memory, {state}");
        for target in targets {
            let Some((server, etcd)) = target.memory()? else { continue };
            println!("{title}: {} {server} MiB", target.name);
            let mut metrics: Vec<Metric> = vec![less("rss", "API server RSS, MiB", aim)];
            if etcd.is_some() {
                metrics.push(less("etcd", "its etcd's RSS, MiB", None));
            }
            self.measured.add(&title, &target.name, &metrics, &json!({"rss": server, "etcd": etcd}));
        }
        Ok(())
    }

    fn prepare(&self, targets: &mut [Target]) -> Result<()> {
        for target in targets {
            target.load(&self.programs, self.args.http, &["prepare".to_owned()])?;
        }
        Ok(())
    }

    /// Removes from peers what the load made there; our own servers' data is deleted as a whole.
    fn clean(&self, targets: &mut [Target]) -> Result<()> {
        for target in targets.iter_mut().filter(|target| !target.is_own()) {
            target.load(&self.programs, self.args.http, &["clean".to_owned()])?;
        }
        Ok(())
    }

    fn measure(&mut self, targets: &mut [Target], step: &Step) -> Result<()> {
        for target in plan::order(targets.len(), self.args.rounds) {
            self.take(targets, target, step)?;
        }
        Ok(())
    }

    fn take(&mut self, targets: &mut [Target], index: usize, step: &Step) -> Result<()> {
        let target = &mut targets[index];
        let answer = target.load(&self.programs, self.args.http, &step.arguments);
        let answer = answer.with_context(|| step.title.clone())?;
        let shown: Vec<String> =
            step.metrics.iter().map(|metric| format!("{} {}", answer[metric.field], metric.label)).collect();
        println!("{}: {}: {}", step.title, target.name, shown.join("; "));
        ensure!(answer["operations"].as_u64() != Some(0), "{}: nothing was done", step.title);
        self.measured.add(&step.title, &target.name, &step.metrics, &answer);
        Ok(())
    }
}

impl Group {
    fn value_variants_all() -> impl Iterator<Item = Self> {
        <Self as clap::ValueEnum>::value_variants().iter().copied()
    }
}

/// What the numbers were taken on.
pub(crate) fn machine() -> serde_json::Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let commit = shell::output(&mut shell::command("git describe --always --dirty")).unwrap_or_default();
    let etcd = shell::output(Command::new("etcd").arg("--version")).unwrap_or_default();
    json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']).trim(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": kernel.trim(), "load_at_the_end": load.split(' ').next(),
        "commit": commit.trim(), "etcd": etcd.lines().next(),
    })
}

/// The report's two files: Markdown and JSON.
pub(crate) type Files = (PathBuf, PathBuf);
