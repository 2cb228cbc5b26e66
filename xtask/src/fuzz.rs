//! `cargo xtask test --only fuzz`: every decoder under libFuzzer for a bounded time.
//!
//! Enters: tests/fuzz, built with coverage counters. Leaves: success, or the input that broke a law and how to run it
//! again. What was learned stays in target/fuzz/corpus, so the next run goes on from there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::TRIPLE;
use crate::shell;

/// How long each decoder is fed.
const SECONDS: u64 = 10;

/// What libFuzzer needs of the compiler: a counter on every edge, comparisons traced.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
                        --cfg fuzzing -Clink-arg=-fuse-ld=lld -Ccodegen-units=1";

/// Builds the fuzzer and runs every target.
pub(crate) fn run() -> Result<()> {
    let folder = shell::root().join("tests/fuzz");
    let work = shell::target().join("fuzz");
    let mut build = shell::command("cargo build --release --target");
    // With a target named, the flags are not those of build scripts too.
    build.arg(TRIPLE).current_dir(&folder).env("CARGO_TARGET_DIR", &work).env("RUSTFLAGS", COVERAGE);
    shell::stream(&mut build).context("the fuzzer does not build")?;
    let program = work.join(TRIPLE).join("release/decoders");
    for target in targets(&folder)? {
        println!("fuzzing {target} for {SECONDS} s");
        let corpus = work.join("corpus").join(&target);
        let broken = work.join("broken").join(&target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&broken)?;
        let mut fuzz = Command::new(&program);
        fuzz.env("XEBEC_FUZZ", &target)
            .arg(&corpus)
            .arg(folder.join("seeds").join(&target))
            .args([
                &format!("-max_total_time={SECONDS}"),
                "-max_len=4096",
                "-timeout=20",
                "-rss_limit_mb=2048",
            ])
            // The same beginning in every run: what CI finds is found again.
            .args(["-seed=1", "-verbosity=0", "-print_funcs=0", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/", broken.display()));
        if let Err(error) = shell::stream(&mut fuzz) {
            let again = format!("XEBEC_FUZZ={target} {} {}/FILE", program.display(), broken.display());
            bail!("{target}: an input breaks it ({error:#}); run it again with `{again}`");
        }
    }
    Ok(())
}

/// A folder of seeds for each target.
fn targets(folder: &std::path::Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(folder.join("seeds"))?
        .flatten()
        .map(|entry: fs::DirEntry| -> PathBuf { entry.path() })
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}
