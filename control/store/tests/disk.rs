//! A disk that refuses to grow the file: writes fail by name, reads go on, nothing acknowledged is lost, and once there
//! is room the store goes on by itself.
//!
//! The test runs itself again under a file size limit (`ulimit -f`, its signal ignored) and lifts it with `prlimit`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use xebec_store::embedded::{Embedded, Options};
use xebec_store::{Expect, Revision, Store, StoreError};

const WRITER: &str = "XEBEC_STORE_DISK_WRITER";
const SMALL: &str = "XEBEC_STORE_SMALL_DISK";
const VALUE: usize = 100_000;

async fn put(store: &Embedded, index: usize) -> Result<Revision, StoreError> {
    store.put(&format!("/disk/{index:05}"), Bytes::from(vec![index as u8; VALUE]), Expect::Absent).await
}

/// Not a test of its own: the limited process, when the variable names a file.
#[tokio::test(flavor = "multi_thread")]
async fn writer() {
    let Ok(path) = std::env::var(WRITER) else { return };
    let store = Embedded::open(path, Options::default()).unwrap();
    let mut written = 0;
    let error = loop {
        match put(&store, written).await {
            Ok(revision) => assert_eq!(revision, written as u64 + 2),
            Err(error) => break error,
        }
        written += 1;
        assert!(written < 10_000, "the limit does not bite");
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(written > 10, "only {written} writes before {error}");
    // Refused for as long as there is no room, and reads see what was acknowledged.
    for _ in 0..3 {
        let refused = put(&store, written).await;
        // Refused, or found to be there: the refused commit may have reached the disk.
        assert!(
            matches!(refused, Err(StoreError::Unavailable(_) | StoreError::Conflict { .. })),
            "{refused:?}"
        );
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    std::io::stderr().write_all(format!("full {written} {error}\n").as_bytes()).unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();

    let mut attempts = 0;
    let revision = loop {
        match put(&store, written).await {
            Ok(revision) => break revision,
            // The refused commit may turn out to have reached the disk.
            Err(StoreError::Conflict { current: Some(entry), .. }) => break entry.mod_revision,
            Err(error) => assert!(attempts < 100, "the store does not come back: {error}"),
        }
        attempts += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(revision, written as u64 + 2);
    let (entries, _) = store.list("/disk").await.unwrap();
    assert_eq!(entries.len(), written + 1);
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!((entry.mod_revision, &entry.value[..]), (index as u64 + 2, &vec![index as u8; VALUE][..]));
    }
    std::io::stderr().write_all(b"recovered\n").unwrap();
}

fn limited(path: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -S -f 20000; exec \"$0\" --exact writer --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(WRITER, path);
    command
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut child =
        limited(&path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut output = Vec::new();
    for line in lines {
        if line.starts_with("full ") {
            let lifted = Command::new("prlimit")
                .args(["--pid", &child.id().to_string(), "--fsize=unlimited:unlimited"])
                .status()
                .unwrap();
            assert!(lifted.success(), "the limit could not be lifted");
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
        }
        output.push(line);
    }
    assert!(child.wait().unwrap().success(), "{}", output.join("\n"));
    assert!(output.iter().any(|line| line == "recovered"), "{}", output.join("\n"));
    println!("{}", output.join("\n"));
}

/// Not a test of its own: the process on the small file system, when the variable names a directory there.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_small_disk() {
    let Ok(directory) = std::env::var(SMALL) else { return };
    let directory = Path::new(&directory);
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![1; 24 << 20]).unwrap();
    let store = Embedded::open(directory.join("store.redb"), Options::default()).unwrap();
    let mut written = 0;
    let error = loop {
        match put(&store, written).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "the disk does not fill");
    };
    assert!(error.to_string().contains("no space left on the disk of"), "{error}");
    for _ in 0..3 {
        assert!(store.list("/disk").await.unwrap().0.len() >= written, "reads go on");
        assert!(matches!(put(&store, written).await, Err(StoreError::Unavailable(_))), "writes stay refused");
    }
    store.delete("/disk/00000", Expect::Any).await.unwrap();
    std::fs::remove_file(&ballast).unwrap();
    put(&store, written).await.unwrap();
    assert_eq!(store.list("/disk").await.unwrap().0.len(), written);
    std::io::stderr().write_all(b"recovered\n").unwrap();
}

/// A real ENOSPC, on a tmpfs of its own in a mount namespace of its own.
#[test]
fn a_full_file_system_refuses_writes_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let allowed = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("skipped: a mount namespace needs root (and unshare of util-linux)");
        return;
    }
    let script = "mount -t tmpfs -o size=64m tmpfs \"$1\" && exec \"$0\" --exact on_a_small_disk --nocapture";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(directory.path())
        .env(SMALL, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("recovered"), "{text}");
}
