//! `xebec-control store` against a running server, against a server that was killed, and from a backup.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xebec-control");

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts a server in `folder` and waits until it has written its kubeconfigs, which it does when it is built.
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let kubeconfig = folder.join("admin.conf");
        let _ = fs::remove_file(&kubeconfig);
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(PROGRAM)
            .arg("apiserver")
            .args(["--bind-address", "127.0.0.1", "--advertise-address", "192.0.2.1"])
            .args(["--secure-port", &port.to_string()])
            .arg("--data-dir")
            .arg(folder)
            .arg("--cert-dir")
            .arg(folder.join("pki"))
            .arg("--kubeconfig-dir")
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self(child);
        let started = Instant::now();
        while !kubeconfig.exists() {
            assert!(
                server.0.try_wait().unwrap().is_none(),
                "{}",
                fs::read_to_string(folder.join("log")).unwrap()
            );
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

fn store(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("store").args(arguments).arg("--data-dir").arg(folder).output().unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = store(folder, &[arguments, &["--output", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let output = store(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?} is refused");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn on_a_running_server_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(refusal(folder, &["status"]).contains("--data-dir: there is no"));
    let server = Server::start(folder);

    let mode = fs::metadata(folder.join("store.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only the server's own user may ask");
    let status = json(folder, &["status"]);
    assert_eq!((status["result"].as_str(), status["inUse"].as_bool()), (Some("status"), Some(true)));
    assert!(status["resources"]["core/namespaces"]["keys"].as_u64().unwrap() >= 4, "{status}");
    let revision = status["revision"].as_u64().unwrap();
    assert!(status["liveBytes"].as_u64().unwrap() > 10_000 && status["fileBytes"].as_u64().unwrap() > 10_000);

    let human = String::from_utf8(store(folder, &["status"]).stdout).unwrap();
    assert!(human.contains("a server is using it") && human.contains("core/namespaces"), "{human}");
    assert_eq!(json(folder, &["compact", "--revision", "5"])["revision"], 5);
    assert!(refusal(folder, &["compact", "--revision", "999999999"]).contains("above the head"));
    assert_eq!(json(folder, &["status"])["compactedRevision"], 5);
    assert!(json(folder, &["defrag"])["fileBytes"].as_u64().unwrap() > 0);

    let backup = folder.join("backup");
    let to = backup.to_str().unwrap();
    let written = json(folder, &["backup", "--to", to]);
    assert!(written["revision"].as_u64().unwrap() >= revision, "{written}");
    assert_eq!(written["bytes"].as_u64().unwrap(), fs::metadata(&backup).unwrap().len());
    assert!(refusal(folder, &["backup", "--to", to]).contains("exists already"));
    assert!(refusal(folder, &["restore", "--from", to]).contains("never overwritten"));

    // Killed, so that the socket stays behind; the commands then open the file.
    drop(server);
    assert!(folder.join("store.sock").exists());
    let offline = json(folder, &["status"]);
    assert_eq!(offline["inUse"], false);
    assert_eq!(offline["resources"], json(folder, &["status"])["resources"]);
    assert_eq!(json(folder, &["compact"])["revision"], offline["revision"]);
    let second = folder.join("second");
    json(folder, &["backup", "--to", second.to_str().unwrap()]);
}

#[test]
fn a_backup_becomes_a_server_again() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    fs::create_dir_all(&old).unwrap();
    let server = Server::start(&old);
    let backup = folder.path().join("backup");
    let written = json(&old, &["backup", "--to", backup.to_str().unwrap()]);
    drop(server);

    let restored = json(&new, &["restore", "--from", backup.to_str().unwrap(), "--bump-revision", "5000"]);
    assert_eq!(restored["revision"].as_u64(), written["revision"].as_u64().map(|revision| revision + 5000));
    let status = json(&new, &["status"]);
    assert_eq!(status["revision"], restored["revision"]);
    assert_eq!(
        status["compactedRevision"], restored["revision"],
        "what clients saw before is no longer continued"
    );
    let server = Server::start(&new);
    assert!(json(&new, &["status"])["revision"].as_u64().unwrap() >= restored["revision"].as_u64().unwrap());
    drop(server);

    let mut bytes = fs::read(&backup).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&backup, bytes).unwrap();
    let nowhere = folder.path().join("nowhere");
    let refused = refusal(&nowhere, &["restore", "--from", backup.to_str().unwrap()]);
    assert!(refused.contains("not a whole snapshot"), "{refused}");
    assert!(!nowhere.join("store.redb").exists());
}

#[test]
fn a_foreign_process_that_holds_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let holder = xebec_store::Embedded::open(&path, xebec_store::embedded::Options::default()).unwrap();
    let refused = refusal(folder.path(), &["status"]);
    assert!(refused.contains("another process holds") && refused.contains("nobody answers at"), "{refused}");
    drop(holder);
    assert_eq!(json(folder.path(), &["status"])["revision"], 1);
}
