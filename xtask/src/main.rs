//! `cargo xtask`: everything a person runs in this repository.
//!
//! Enters: a subcommand. Leaves: progress as it happens, and at the end what to do next. Exit code 1 for a failure
//! (one clear sentence), 2 for wrong usage.
#![expect(clippy::print_stdout, reason = "a command-line program whose progress is its output")]
#![expect(clippy::print_stderr, reason = "errors of a command-line program")]

mod bench;
mod build;
mod check;
mod ebpf;
mod fuzz;
mod image;
mod layout;
mod packages;
mod process;
mod progress;
mod shell;
mod soak;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, run and test Xebec.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a one-node cluster on this machine (root, Debian), prove it with a demo, and say how to use it.
    Up(up::UpArgs),
    /// Remove every process, mount, namespace, cgroup and pinned object that `up` made.
    Down(up::down::DownArgs),
    /// Run every tier of tests that this machine allows; name what was skipped and why.
    Test(test::TestArgs),
    /// Build the eBPF object, installing its toolchain when missing.
    Ebpf,
    /// Build the container images of the demo, the tests and the proxy as OCI archives.
    Image(image::ImageArgs),
    /// Measure the hot paths of a running cluster, side by side.
    Bench(bench::BenchArgs),
    /// Many Services that change, many connections, an agent killed every few seconds: nothing may fail or grow.
    Soak(soak::SoakArgs),
    /// Formatting, clippy with warnings denied, dependency direction, file sizes.
    Check,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Up(args) => up::run(&args),
        Command::Down(args) => up::down::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Ebpf => ebpf::run(),
        Command::Image(args) => image::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Check => check::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
