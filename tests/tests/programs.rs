//! Acceptance 5, the programs: one clear line and exit code 1 for what cannot work, 2 for wrong usage.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use xebec_tests::{Call, cluster, program, setting};

/// Ends with exit code 1, and its last line says all of this.
fn fails_clearly(call: Call, words: &[&str]) -> Result<()> {
    let output = call.timeout(Duration::from_secs(40)).run()?;
    ensure!(output.code == Some(1), "{output}");
    ensure!(!output.stderr.contains("panicked") && !output.stderr.contains("RUST_BACKTRACE"), "{output}");
    let last = output.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    for word in words {
        ensure!(last.contains(word), "no {word:?} in the last line {last:?}: {output}");
    }
    Ok(())
}

/// Wrong usage: exit code 2, and the word is named.
fn usage(call: Call, word: &str) -> Result<()> {
    let output = call.timeout(Duration::from_secs(20)).run()?;
    ensure!(output.code == Some(2), "{output}");
    ensure!(output.stderr.contains(word), "{word:?} is not named: {output}");
    Ok(())
}

fn control(folder: &Path) -> Result<Call> {
    let call = program(setting("XEBEC_CONTROL")?).words("all --advertise-address 127.0.0.1");
    let at = |name: &str| folder.join(name);
    Ok(call
        .arg("--data-dir")
        .arg(at("data"))
        .arg("--cert-dir")
        .arg(at("pki"))
        .arg("--kubeconfig-dir")
        .arg(at("kube")))
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    cluster(|| {
        let folder = tempfile::tempdir()?;
        let busy = TcpListener::bind("0.0.0.0:0")?;
        let port = busy.local_addr()?.port().to_string();
        fails_clearly(control(folder.path())?.arg("--secure-port").arg(&port), &[&port, "in use"])
    })
}

#[test]
fn a_folder_that_cannot_be_written_is_named() -> Result<()> {
    cluster(|| {
        let folder = tempfile::tempdir()?;
        // A file where a folder must be: not even root can make one there.
        std::fs::write(folder.path().join("data"), "")?;
        let path = folder.path().join("data").display().to_string();
        fails_clearly(control(folder.path())?.words("--secure-port 0"), &[&path])
    })
}

#[test]
fn a_configuration_file_is_read_strictly() -> Result<()> {
    cluster(|| {
        let folder = tempfile::tempdir()?;
        let with = |path: &Path| Ok::<_, anyhow::Error>(control(folder.path())?.arg("--config").arg(path));
        fails_clearly(with(Path::new("/no/such/config.yaml"))?, &["/no/such/config.yaml"])?;
        let path = folder.path().join("control.yaml");
        for (text, word) in [("securePorts: 7443\n", "securePorts"), ("securePort: [\n", "control.yaml")] {
            std::fs::write(&path, text)?;
            fails_clearly(with(&path)?, &["control.yaml", word])?;
        }
        Ok(())
    })
}

#[test]
fn a_kubeconfig_that_is_missing_or_broken_is_named() -> Result<()> {
    cluster(|| {
        let agent = || -> Result<Call> {
            Ok(program(setting("XEBEC_AGENT")?).words("proxy --node-name nobody --kubeconfig"))
        };
        fails_clearly(agent()?.arg("/no/such/kubeconfig"), &["/no/such/kubeconfig"])?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("broken.conf");
        std::fs::write(&path, "clusters: [")?;
        fails_clearly(agent()?.arg(&path), &["broken.conf"])
    })
}

#[test]
fn a_missing_ebpf_object_is_named() -> Result<()> {
    cluster(|| {
        let call = program(setting("XEBEC_AGENT")?)
            .words("proxy --node-name nobody --bpf-object /no/such/object.o --bpf-pin-dir /sys/fs/bpf/xebec-e2e --kubeconfig")
            .arg(setting("KUBECONFIG")?);
        fails_clearly(call, &["/no/such/object.o"])
    })
}

#[test]
fn wrong_usage_is_2_and_names_the_word() -> Result<()> {
    cluster(|| {
        for name in ["XEBEC_CONTROL", "XEBEC_AGENT", "XEBEC_XTASK"] {
            usage(program(setting(name)?).words("--no-such-flag"), "--no-such-flag")?;
            usage(program(setting(name)?).words("no-such-command"), "no-such-command")?;
        }
        usage(program(setting("XEBEC_CONTROL")?).words("all --secure-port many"), "many")?;
        for name in ["XEBEC_CONTROL", "XEBEC_AGENT"] {
            let help = program(setting(name)?).words("--help").ok()?;
            ensure!(help.contains("Usage:"), "{help}");
        }
        Ok(())
    })
}
