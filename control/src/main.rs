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
mod security;
mod service_dns;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the program ended early; printed as one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An option or a configuration file has a value that cannot be used.
    #[error("{0}")]
    Option(String),
    /// A part did not start or ended by itself.
    #[error("{part}: {reason}")]
    Part {
        /// Which one.
        part: &'static str,
        /// Why, with all causes.
        reason: String,
    },
}

impl Failure {
    /// A part's error with its causes, in one line.
    pub(crate) fn part(part: &'static str) -> impl Fn(&dyn std::error::Error) -> Self {
        move |error| {
            let mut reason = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                let text = inner.to_string();
                if !reason.contains(&text) {
                    reason = format!("{reason}: {text}");
                }
                cause = inner.source();
            }
            Self::Part { part, reason }
        }
    }
}

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
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    // One TLS implementation for the whole process; a second call can only mean that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(run(cli.command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure.to_string()),
    }
}

#[expect(clippy::print_stderr, reason = "the one line that says why the program ends")]
fn fail(message: &str) -> ExitCode {
    eprintln!("xebec-control: {message}");
    ExitCode::FAILURE
}

async fn run(command: Command) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::part("signals")(&error))?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
        on_signal.cancel();
    });
    match command {
        Command::All(options) => parts::server(options.resolved()?, true, stop).await,
        Command::Apiserver(options) => parts::server(options.resolved()?, false, stop).await,
        Command::Controllers(options) => parts::controllers_alone(&options, stop).await,
        Command::Scheduler(options) => parts::scheduler_alone(&options, stop).await,
        Command::Certs(command) => certs::run(&command),
        Command::Store(args) => store::run(&args).await,
    }
}
