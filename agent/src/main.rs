//! `xebec-agent`: the node.
//!
//! Enters: a subcommand and options. Leaves: pods that run, virtual IPs that lead somewhere, names that are answered:
//! the kubelet, the service dataplane, the pod network and the cluster DNS in one process (`run`), or one of them beside
//! somebody else's (`proxy`, `dns`, `cni`). Exit code 1 with one clear line when it cannot start, 2 for wrong usage.

mod client;
mod dataplane;
mod dns;
mod failure;
mod kubelet;
mod network;
mod options;
mod proxy;
mod reset;
mod run;
mod serve;
mod stats;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// The node agent of Xebec.
#[derive(Parser)]
#[command(name = "xebec-agent", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything a node needs: kubelet, service virtual IPs, pod network, cluster DNS.
    Run(Box<options::RunOptions>),
    /// Only the service virtual IPs, in place of kube-proxy. Its flags without a meaning here are taken and said.
    Proxy(Box<proxy::ProxyArgs>),
    /// What the service virtual IPs are made of on this node: status, services, explain, doctor.
    Dataplane(dataplane::DataplaneArgs),
    /// Only the cluster DNS.
    Dns(dns::DnsArgs),
    /// Only the pod network, beside another kubelet.
    Cni(network::CniArgs),
    /// Remove from this node what the agent made: pods, devices, rules, cgroups, eBPF objects.
    Reset(reset::ResetArgs),
}

fn main() -> ExitCode {
    let (arguments, notes) = proxy::flags::split(std::env::args_os());
    let cli = Cli::parse_from(arguments);
    let (level, json) = match &cli.command {
        Command::Proxy(args) => (args.level().unwrap_or("info"), args.is_json()),
        _ => ("info", false),
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    if json {
        log.json().init()
    } else {
        log.init()
    }
    for note in notes {
        tracing::warn!("{note}");
    }
    // One TLS implementation for the whole process; a second call can only mean that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(start(cli.command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure.to_string()),
    }
}

#[expect(clippy::print_stderr, reason = "the one line that says why the program ends")]
fn fail(message: &str) -> ExitCode {
    eprintln!("xebec-agent: {message}");
    ExitCode::FAILURE
}

async fn start(command: Command) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::part("signals")(&error))?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping; pods, connections and virtual IPs stay");
        on_signal.cancel();
    });
    match command {
        Command::Run(options) => run::run(*options, stop).await,
        Command::Proxy(args) => proxy::run(*args, stop).await,
        Command::Dataplane(args) => dataplane::run(args).await,
        Command::Dns(args) => dns::alone(args, stop).await,
        Command::Cni(args) => network::alone(args, stop).await,
        Command::Reset(args) => reset::run(&args).await,
    }
}
