//! A short run of everything: each kind of measurement on each target, with the server's own count of who reached it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The eBPF object, or why this cannot run here.
fn object() -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    for program in ["iptables-restore", "nft", "ip", "sysctl"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
            .any(|folder| folder.join(program).exists());
        if !found {
            return Err(format!("no {program}"));
        }
    }
    let built =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/bpfel-unknown-none/release/xebec");
    let path = std::env::var_os("XEBEC_BPF_OBJECT").map_or(built, PathBuf::from);
    if path.is_file() { Ok(path) } else { Err(format!("no eBPF object at {}", path.display())) }
}

#[test]
fn every_target_takes_every_kind_of_call() {
    let object = match object() {
        Ok(object) => object,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let output = Command::new(env!("CARGO_BIN_EXE_xebec-netbench"))
        .args([
            "run",
            "--services",
            "1,5",
            "--endpoints",
            "3",
            "--rounds",
            "1",
            "--seconds",
            "0.05",
            "--object",
        ])
        .arg(object)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let done = |target: &str| -> BTreeSet<&str> {
        let of_it = lines.iter().filter(|line| line["target"] == target);
        of_it.filter_map(|line| line["kind"].as_str()).collect()
    };
    let calls = ["crr", "rr", "stream", "udp", "udpc"];
    let calls: Vec<&str> = calls.into_iter().chain(["frames"]).collect();
    let with = |more: &[&'static str]| calls.iter().chain(more).copied().collect::<BTreeSet<_>>();
    assert_eq!(done("direct"), with(&[]));
    for peer in ["iptables", "nftables"] {
        assert_eq!(done(peer), with(&["fill"]));
    }
    assert_eq!(done("xebec"), with(&["fill", "program"]));
    for line in &lines {
        assert_ne!(line["answer"]["operations"], 0, "{line}");
    }
    let memory = lines.iter().find_map(|line| line["answer"]["maps_mb"].as_f64());
    assert!(memory.is_some_and(|megabytes| megabytes > 1.0), "{memory:?}");
}
