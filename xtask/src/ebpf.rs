//! Building the eBPF object. Enters: the sources in `dataplane-ebpf`. Leaves: one object file.
//!
//! The programs need a compiler with the core library's source (`build-std`) and bpf-linker. Where the active rustup
//! toolchain has rust-src, that is used; else Debian's rustc-web with rust-web-src. bpf-linker is built once by cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{packages, shell};

const LINKER_VERSION: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

/// The object's path: built here, loaded by the agent.
pub(crate) fn object() -> PathBuf {
    shell::products().join("xebec.bpf.o")
}

/// `cargo xtask ebpf`.
pub(crate) fn run() -> Result<()> {
    let path = build()?;
    println!(
        "built {}\nnext: `cargo xtask up` loads it, or `xebec-agent run --bpf-object {}`",
        path.display(),
        path.display()
    );
    Ok(())
}

/// Builds the object, installing the toolchain when missing, and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    let own = rustup_has_source();
    packages::ensure(&[packages::BUILD, packages::EBPF])?;
    let linker = linker()?;
    let target = shell::target().join("ebpf");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(shell::root().join("dataplane-ebpf"))
        .args(["build", "--release", "-Z", "build-std=core", "--target", "bpfel-unknown-none"])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("-Clinker={}\x1f-Clink-arg=--btf\x1f-Cdebuginfo=2", linker.display()),
        )
        .env_remove("RUSTFLAGS");
    if !own {
        cargo.env("RUSTC", "/usr/bin/rustc");
    }
    shell::stream(&mut cargo)?;
    let built = target.join("bpfel-unknown-none/release/xebec");
    std::fs::create_dir_all(shell::products())?;
    // The agent reads all of it into its memory, and four fifths would be what only a debugger reads. BTF stays, with the lines
    // that the verifier names.
    let mut strip = Command::new(format!("{LLVM}/bin/llvm-objcopy"));
    shell::stream(strip.arg("--strip-debug").arg(&built).arg(object()))?;
    Ok(object())
}

fn rustup_has_source() -> bool {
    let sysroot = shell::output(&mut shell::command("rustc --print sysroot")).unwrap_or_default();
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}

/// bpf-linker, installed by cargo against Debian's LLVM 22 when missing.
fn linker() -> Result<PathBuf> {
    if let Some(found) = shell::find("bpf-linker") {
        return Ok(found);
    }
    let own = shell::products().join("tools/bin/bpf-linker");
    if !own.exists() {
        println!("      building bpf-linker {LINKER_VERSION} (once, some minutes)");
        shell::stream(
            Command::new("cargo")
                .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--no-default-features"])
                .args(["--features", "llvm-22", "--root"])
                .arg(shell::products().join("tools"))
                .env("LLVM_PREFIX", LLVM)
                .env_remove("CARGO_TARGET_DIR"),
        )?;
    }
    Ok(own)
}
