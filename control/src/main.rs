//! `xebec-control`: the control plane in one program.
//!
//! Enters: a subcommand and options, or a configuration file. Leaves: a running API server, controllers and scheduler,
//! together (`all`) or alone, or certificates for a node (`certs`). Exit code 1 with one clear line when it cannot
//! start, 2 for wrong usage.

mod certs;
mod client;
mod etcd;
mod options;
mod parts;
mod ranges;
mod security;
mod service_dns;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use xebec_program::{Failure, Program};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of Xebec.
#[derive(Parser)]
#[command(name = "xebec-control", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// API server, controllers and scheduler in one process; the latter two use the server in memory.
    All(options::ServerOptions),
    /// The API server alone.
    Apiserver(options::ServerOptions),
    /// The controllers alone, as a client of an API server.
    Controllers(options::ControllerOptions),
    /// The scheduler alone, as a client of an API server; several may run under different names.
    Scheduler(options::SchedulerOptions),
    /// Certificates and kubeconfigs.
    #[command(subcommand)]
    Certs(certs::Command),
    /// Look into the store, compact, defragment, back up and restore it; the server may run.
    Store(store::StoreArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A command's own words are enough; a server's life goes into its log.
    let level = if matches!(cli.command, Command::Store(_)) { "warn" } else { "info" };
    let program = Program { name: "xebec-control", level, json: false, stopping: "stopping" };
    program.start_log();
    program.run(|stop| run(cli.command, stop))
}

async fn run(command: Command, stop: CancellationToken) -> Result<(), Failure> {
    match command {
        Command::All(options) => parts::server(options.resolved()?, true, stop).await,
        Command::Apiserver(options) => parts::server(options.resolved()?, false, stop).await,
        Command::Controllers(options) => parts::controllers_alone(&options, stop).await,
        Command::Scheduler(options) => parts::scheduler_alone(&options, stop).await,
        Command::Certs(command) => certs::run(&command),
        Command::Store(args) => store::run(&args).await,
    }
}
