//! `cargo xtask bench`: measures hot paths, everything compared in one run since machines are noisy.

use anyhow::Result;

use crate::shell;

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[arg(value_enum, default_value = "store")]
    what: What,
}

/// The benches there are.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Durable writes a second of the store engines with 1, 16 and 256 writers.
    Store,
}

/// Runs one bench in an optimised build.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let example = match args.what {
        What::Store => ["--package", "xebec-store", "--example", "bench"],
    };
    shell::stream(shell::command("cargo run --quiet --release").args(example))
}
