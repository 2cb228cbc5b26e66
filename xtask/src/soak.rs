//! `cargo xtask soak`: builds the eBPF object, `xebec-agent` and `xebec-netbench`, and runs the latter's soak.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{ebpf, packages, shell};

/// Options of `soak`.
#[derive(clap::Args)]
pub(crate) struct SoakArgs {
    /// Minutes of it.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
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
}

/// Runs it; a failed connection, a misroute or growing memory is an error.
pub(crate) fn run(args: &SoakArgs) -> Result<()> {
    ensure!(packages::is_root(), "the soak makes network namespaces and loads eBPF: run it as root");
    packages::ensure(&[packages::BUILD, packages::EBPF, packages::NODE])?;
    let object = ebpf::build()?;
    shell::stream(&mut shell::command("cargo build --package xebec-netbench --package xebec-agent"))?;
    let programs = shell::target().join("debug");
    let folder = shell::target().join("soak");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let log = folder.join("agents.log");
    // One soak's log; the program appends to it.
    std::fs::write(&log, "").with_context(|| log.display().to_string())?;
    let mut soak = Command::new(programs.join("xebec-netbench"));
    soak.arg("soak").arg("--object").arg(object).arg("--agent").arg(programs.join("xebec-agent"));
    soak.arg("--log").arg(&log);
    for (flag, value) in [
        ("--seconds", args.minutes * 60),
        ("--services", args.services as u64),
        ("--changes", args.changes),
        ("--connections", args.connections),
        ("--kill-every", args.kill_every),
    ] {
        soak.arg(flag).arg(value.to_string());
    }
    println!("{} minutes; every line below counts from the start", args.minutes);
    shell::stream(&mut soak)?;
    println!(
        "the agents' log is {}\nnext: `cargo xtask bench dataplane` measures what a connection costs",
        log.display()
    );
    Ok(())
}
