//! `xebec-load`: a bounded load on a Kubernetes API server, any of them.
//!
//! Enters: a kubeconfig and one workload with its bounds (clients, seconds, counts). Leaves: one line of JSON with what
//! was measured; exit code 1 if a request failed, since a number made of errors is none. Called by `cargo xtask bench
//! api`, which starts the servers, and by hand. The client is hyper on rustls without retries or caches: it shares the
//! machine with the server, so it must cost little.

mod apply;
mod client;
mod copy;
mod kubeconfig;
mod list;
mod objects;
mod ready;
mod stats;
mod watch;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use client::Target;

/// Puts a bounded load on a Kubernetes API server and prints what was measured as one line of JSON.
#[derive(Parser)]
#[command(name = "xebec-load", version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    workload: Workload,
}

/// What every workload needs.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// How to reach the server; its current context must be allowed everything in the namespace.
    #[arg(long, global = true, default_value = "/etc/xebec/admin.conf")]
    kubeconfig: PathBuf,
    /// Another address of the same server, such as https://127.0.0.1:6443.
    #[arg(long, global = true)]
    server: Option<String>,
    /// The namespace the load happens in; made by `prepare`, removed by `clean`.
    #[arg(long, global = true, default_value = "xebec-load")]
    namespace: String,
    /// HTTP version: with 1 every client has a connection, with 2 clients share `--connections`.
    #[arg(long, global = true, value_enum, default_value = "2")]
    http: Http,
    /// HTTP/2 connections [default: one for each 100 clients].
    #[arg(long, global = true)]
    connections: Option<usize>,
}

/// The protocol on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Http {
    /// HTTP/1.1.
    #[value(name = "1")]
    One,
    /// HTTP/2, as client-go and kubectl speak.
    #[value(name = "2")]
    Two,
}

#[derive(Subcommand)]
enum Workload {
    /// Waits until the server answers /readyz, and prints when that was (nanoseconds since 1970).
    Ready(ready::Options),
    /// Makes the namespace and what pods need in it.
    Prepare,
    /// Creates ConfigMaps as fast as the clients can.
    Writes(writes::Options),
    /// Reads one ConfigMap again and again.
    Get(writes::GetOptions),
    /// Creates pods up to a number, of about 3.9 KB each.
    Fill(writes::FillOptions),
    /// Lists pods and compares with copying as many bytes, in memory and over TLS on loopback.
    List(list::Options),
    /// One writer, many watchers: events a second and how late they come.
    Watch(watch::Options),
    /// Server-side apply of Deployments that change every time.
    Apply(apply::Options),
    /// Deletes what the workloads made.
    Clean,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's result, or why there is none")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    // One TLS implementation for the whole process; a second call can only mean that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(cli))) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xebec-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<serde_json::Value> {
    let common = cli.common;
    if let Workload::Ready(options) = &cli.workload {
        return ready::run(&common, options).await;
    }
    let target = Target::load(&common)?;
    match cli.workload {
        Workload::Ready(_) => unreachable!("answered above, before the kubeconfig need exist"),
        Workload::Prepare => objects::prepare(&target).await,
        Workload::Writes(options) => writes::create(&target, &options).await,
        Workload::Get(options) => writes::get(&target, &options).await,
        Workload::Fill(options) => writes::fill(&target, &options).await,
        Workload::List(options) => list::run(&target, &options).await,
        Workload::Watch(options) => watch::run(&target, &options).await,
        Workload::Apply(options) => apply::run(&target, &options).await,
        Workload::Clean => objects::clean(&target).await,
    }
}
