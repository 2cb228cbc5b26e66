//! `xebec-agent`: the node.
//!
//! Enters: a subcommand and options. Leaves: pods that run, virtual IPs that lead somewhere, names that are answered:
//! the kubelet, the service dataplane, the pod network and the cluster DNS in one process (`run`), or one of them beside
//! somebody else's (`proxy`, `dns`, `cni`). Exit code 1 with one clear line when it cannot start, 2 for wrong usage.

mod client;
mod dataplane;
mod dns;
mod flows;
mod hostports;
mod kubelet;
mod network;
mod options;
mod packet_pods;
mod peers;
mod pod_paths;
mod policy;
mod proxy;
mod reset;
mod run;
mod serve;
mod stats;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use xebec_program::{Failure, Program};

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
    /// What the service virtual IPs are made of on this node: status, services, explain, flows, doctor.
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
    let stopping = "stopping; pods, connections and virtual IPs stay";
    let program = Program { name: "xebec-agent", level, json, stopping };
    program.start_log();
    for note in notes {
        tracing::warn!("{note}");
    }
    program.run(|stop| start(cli.command, stop))
}

async fn start(command: Command, stop: CancellationToken) -> Result<(), Failure> {
    match command {
        Command::Run(options) => run::run(*options, stop).await,
        Command::Proxy(args) => proxy::run(*args, stop).await,
        Command::Dataplane(args) => dataplane::run(args, stop).await,
        Command::Dns(args) => dns::alone(args, stop).await,
        Command::Cni(args) => network::alone(args, stop).await,
        Command::Reset(args) => reset::run(&args).await,
    }
}
