//! What Services take of the agent's memory: this process with the agent's own dataplane, which hears of one after the other,
//! so that nothing of a list is left over. Enters: how many Services. Leaves: a line of JSON for each stage.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use crate::rig::Rig;
use crate::xebec::Xebec;

/// Options of `memory`.
#[derive(clap::Args)]
pub(crate) struct MemoryArgs {
    /// The eBPF object.
    #[arg(long)]
    object: PathBuf,
    /// Services, each with `--endpoints` endpoints.
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Endpoints of each Service.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=64))]
    endpoints: u8,
}

/// A line of the kernel's account of this process, in MB.
fn resident(line: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let text =
        status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).context("no such line")?;
    Ok(text.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn tell(stage: &str) -> Result<()> {
    // Programs' maps that the process looks at without a system call are files to the kernel.
    let (all, own, mapped) = (resident("VmRSS")?, resident("RssAnon")?, resident("RssFile")?);
    let answer = json!({"rss_mb": all, "anon_mb": own, "file_mb": mapped});
    let line = json!({"title": stage, "target": "xebec", "kind": "memory", "answer": answer});
    writeln!(std::io::stdout(), "{line}").context("standard output")
}

/// Runs it.
pub(crate) fn run(args: &MemoryArgs) -> Result<()> {
    let rig = Rig::new("memory", args.endpoints);
    tell("the process alone")?;
    let mut xebec = Xebec::start(&rig, &args.object, args.services, args.endpoints)?;
    tell("with the programs")?;
    xebec.learn(args.services, args.endpoints)?;
    tell("with the facts of all Services")?;
    xebec.apply()?;
    tell("with the tables, in force")?;
    xebec.fill(args.services, args.endpoints, 200)?;
    tell("after the same list again and 200 changes")
}
