//! Building the workspace's programs. Enters: a profile. Leaves: their paths.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{packages, shell};

pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// How the programs are compiled.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Quick to build (the default; what the tests use).
    Dev,
    /// Optimised: for measurements and real use.
    Release,
}

/// Paths of what a cluster needs.
pub(crate) struct Programs {
    /// `xebec-control`.
    pub(crate) control: PathBuf,
    /// `xebec-agent`.
    pub(crate) agent: PathBuf,
    /// The CNI plugin, static and small: the runtime runs it twice for every pod.
    pub(crate) cni: PathBuf,
}

/// Builds the control plane, the agent and the CNI plugin.
///
/// With `beside_tests` the same compilation as that of `cargo test --workspace` is used: tests switch on features of
/// libraries, and everything would be compiled a second time without them.
pub(crate) fn programs(profile: Profile, beside_tests: bool) -> Result<Programs> {
    packages::ensure(&[packages::BUILD])?;
    let mut cargo = shell::command(if beside_tests {
        "cargo build --workspace --bins --tests"
    } else {
        "cargo build --package xebec-control --package xebec-agent"
    });
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    shell::stream(&mut cargo)?;
    static_programs(&["xebec-cni"])?;
    prebuilt(profile)
}

/// What an earlier build left.
///
/// # Errors
/// Names the first program that is not there; build with `cargo xtask up`.
pub(crate) fn prebuilt(profile: Profile) -> Result<Programs> {
    let folder = shell::target().join(if profile == Profile::Release { "release" } else { "debug" });
    let programs = Programs {
        control: folder.join("xebec-control"),
        agent: folder.join("xebec-agent"),
        cni: shell::target().join("static").join(TRIPLE).join("release/xebec-cni"),
    };
    for path in [&programs.control, &programs.agent, &programs.cni] {
        anyhow::ensure!(path.exists(), "{} is not built: run `cargo xtask up`", path.display());
    }
    Ok(programs)
}

/// Builds packages as static programs (in a container there is no C library) and returns their folder.
pub(crate) fn static_programs(names: &[&str]) -> Result<PathBuf> {
    // A target folder of its own: other flags in the same one would rebuild everything at every switch.
    // RUSTFLAGS replaces what .cargo/config.toml says, so the linker choice is repeated.
    let target = shell::target().join("static");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(shell::root())
        .args(["build", "--release", "--target", TRIPLE])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C opt-level=s -C link-arg=-fuse-ld=lld");
    for name in names {
        cargo.args(["--package", name]);
    }
    shell::stream(&mut cargo)?;
    Ok(target.join(TRIPLE).join("release"))
}
