//! `cargo xtask check`: formatting, lints, the direction of dependencies, file sizes.

mod direction;
mod sizes;

use anyhow::Result;

use crate::progress::Steps;
use crate::{packages, shell};

/// Runs every check; the first that fails ends it.
pub(crate) fn run() -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    let mut steps = Steps::new(4);
    steps.step("formatting (cargo fmt --check)", || {
        shell::stream(&mut shell::command("cargo fmt --all --check"))
    })?;
    steps.step("dependency direction", direction::check)?;
    steps.step("file sizes", sizes::report)?;
    steps.step("clippy, warnings denied", || {
        shell::stream(&mut shell::command("cargo clippy --quiet --workspace --all-targets -- -D warnings"))
    })?;
    println!("every check passed\nnext: `cargo xtask test`");
    Ok(())
}
