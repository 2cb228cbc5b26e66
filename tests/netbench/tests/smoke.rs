//! A short run of everything: each kind of measurement on each target, with the server's own count of who reached it.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// The eBPF object, or why this cannot run here.
fn object() -> Result<PathBuf, String> {
    for program in ["iptables-restore", "nft", "ip", "sysctl"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
            .any(|folder| folder.join(program).exists());
        if !found {
            return Err(format!("no {program}"));
        }
    }
    xebec_rig::object()
}

#[test]
fn a_short_soak() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_xebec-netbench"));
    let agent = program.with_file_name("xebec-agent");
    let object = match xebec_rig::object() {
        Ok(object) => object,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    if !agent.is_file() {
        return eprintln!("SKIPPED: no {}; `cargo test --workspace` builds it", agent.display());
    }
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut soak = Command::new(program);
    soak.args(["soak", "--services", "200", "--minutes", "0.17", "--kill-every", "3", "--tolerance", "30"]);
    soak.arg("--object").arg(object).arg("--agent").arg(agent).arg("--log").arg(log.path());
    let output = soak.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let told = std::fs::read_to_string(log.path()).expect("a log");
    assert!(output.status.success(), "{text}\n{}\n{told}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" 0 failed, 0 stale, 0 misrouted;") && text.contains("; 3 kills, "), "{text}");
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

#[test]
fn sockets_that_pass_tcp_by_answer_as_others() {
    if let Err(reason) = object() {
        return eprintln!("SKIPPED: {reason}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/bpfel-unknown-none/release");
    let experiment = folder.join("bypass");
    if !experiment.is_file() {
        return eprintln!("SKIPPED: no eBPF object at {}", experiment.display());
    }
    let output = Command::new(env!("CARGO_BIN_EXE_xebec-netbench"))
        .args(["bypass", "--rounds", "1", "--seconds", "0.05", "--object"])
        .arg(experiment)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 12, "{text}");
    assert!(lines.iter().all(|line| line["answer"]["operations"] != 0), "{text}");
}
