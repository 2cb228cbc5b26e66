//! Measures the service dataplane beside its peers. Enters: how many Services, how long. Leaves: a JSON line per
//! measurement. Called by `cargo xtask bench dataplane`, which makes a table and a chart of them.
//!
//! Every target has a rig of its own (a node, a pod that calls, a pod that serves, an outside client, without a default
//! route), so that all are ready at once and take turns. The servers run on the second processor, the clients on the
//! first.

mod bypass;
mod cost;
mod frames;
mod latencies;
mod load;
mod measure;
mod memory;
mod paths;
mod plan;
mod rig;
mod rules;
mod server;
mod soak;
mod xebec;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures; needs root.
    Run(RunArgs),
    /// Measures the experiment of sockets that pass TCP by; needs root.
    Bypass(bypass::BypassArgs),
    /// Measures what the agent's knowledge of Services takes of its memory; needs root.
    Memory(memory::MemoryArgs),
    /// Measures pods' way past the node's IP stack; needs root.
    Paths(paths::PathsArgs),
    /// Runs for long under changes, connections and kills of the agent; needs root.
    Soak(soak::SoakArgs),
    /// A client that is driven by lines; started by `run`.
    Client {
        /// The namespace it calls from.
        #[arg(long)]
        netns: PathBuf,
        /// The cgroup it belongs to.
        #[arg(long)]
        cgroup: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct RunArgs {
    /// The eBPF object.
    #[arg(long)]
    object: PathBuf,
    /// Numbers of Services, each with `--endpoints` endpoints.
    #[arg(long, value_delimiter = ',', default_value = "1,1000,10000")]
    services: Vec<usize>,
    /// Endpoints of each Service.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=64))]
    endpoints: u8,
    /// Every measurement is taken in the order A B .. B A, this often.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 0.4)]
    seconds: f64,
    /// The peers' rules are not loaded above this many Services: iptables takes minutes for 50k.
    #[arg(long, default_value_t = 10_000)]
    peers_up_to: usize,
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Run(args) => measure::run(&args),
        Command::Bypass(args) => bypass::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Paths(args) => paths::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Client { netns, cgroup } => load::serve(&netns, cgroup.as_deref()),
    }
}
