//! `cargo xtask bench`: measures hot paths, everything compared in one run since machines are noisy.

mod api;
mod chart;
mod dataplane;
mod plan;
mod report;
mod servers;

use std::path::PathBuf;

use anyhow::Result;

use crate::build::Profile;
use crate::shell;

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[arg(value_enum, default_value = "api")]
    what: What,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    dataplane: dataplane::DataplaneArgs,
}

/// The benches there are.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The API server on the embedded store, on etcd, and any peer: side by side, with ratios.
    Api,
    /// Services' virtual IPs beside pods' own addresses and kube-proxy's rules: connects, round trips, bytes.
    Dataplane,
    /// Durable writes a second of the embedded engine alone with 1, 16 and 256 writers.
    Store,
}

/// Options of `bench api`.
#[derive(clap::Args)]
pub(crate) struct ApiArgs {
    /// Kubeconfig of another cluster to measure in the same run (several may be given); the load happens in a namespace
    /// of its own, which is removed at the end.
    #[arg(long)]
    peer: Vec<PathBuf>,
    /// Every measurement is taken in the order A B B A, this often.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Only these groups of measurements.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<plan::Group>,
    /// Numbers of pods to list.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
    pods: Vec<usize>,
    /// Seconds of each timed measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// HTTP version of the load: with 1 a connection for each client, with 2 one for every hundred.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    http: u8,
    /// Without the same server on etcd.
    #[arg(long)]
    no_etcd: bool,
    /// Keep the servers' data and logs.
    #[arg(long)]
    keep: bool,
    /// A folder with `xebec-control` and `xebec-load` to use instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// How the programs are compiled.
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
}

/// Runs one bench in an optimised build.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    match args.what {
        What::Api => api::run(&args.api),
        What::Dataplane => dataplane::run(&args.dataplane, args.api.profile),
        What::Store => shell::stream(shell::command("cargo run --quiet --release").args([
            "--package",
            "xebec-store",
            "--example",
            "bench",
        ])),
    }
}
