//! Starting Xebec's own processes and waiting until they serve.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Plan, StoreKind};
use crate::layout::Layout;
use crate::process::{Process, log_tail};
use crate::{ebpf, shell};

const ETCD: &str = "http://127.0.0.1:12379";
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the control plane (and its etcd); returns the time from its start to `/readyz`.
pub(crate) fn control(plan: &Plan) -> Result<Duration> {
    if plan.store == StoreKind::Etcd {
        etcd()?;
    }
    plan.family.keep()?;
    let start = Instant::now();
    let process = match Process::of("xebec-control") {
        Some(process) => process,
        None => {
            let mut command = Command::new(&plan.programs.control);
            command
                .arg("all")
                .args([
                    "--data-dir",
                    Layout::STATE,
                    "--cert-dir",
                    "/etc/xebec/pki",
                    "--kubeconfig-dir",
                    Layout::ETC,
                ])
                .args(["--advertise-address", &plan.primary_ip().to_string()])
                .args(["--cluster-cidr", &plan.family.pods(), "--cluster-dns", &plan.family.dns()])
                .args(["--service-cluster-ip-range", &plan.family.services()]);
            if plan.store == StoreKind::Etcd {
                command.args(["--etcd-servers", ETCD]);
            }
            Process::spawn("xebec-control", &mut command)?
        }
    };
    shell::wait_for("the API server is ready", PATIENCE, || {
        ensure!(process.alive(), "xebec-control ended:\n    {}", log_tail("xebec-control"));
        if !Path::new(Layout::KUBECONFIG).exists() {
            return Ok(None);
        }
        Ok(shell::output(&mut plan.kubectl("get --raw /readyz")).ok())
    })
    .with_context(|| format!("see {}", Layout::log("xebec-control").display()))?;
    Ok(start.elapsed())
}

fn etcd() -> Result<()> {
    if Process::of("etcd").is_some() {
        return Ok(());
    }
    let data = Path::new(Layout::STATE).join("etcd");
    let process = Process::spawn(
        "etcd",
        Command::new("etcd")
            .arg("--data-dir")
            .arg(&data)
            .args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD])
            .args(["--listen-peer-urls", "http://127.0.0.1:12380", "--logger", "zap", "--log-level", "warn"]),
    )?;
    shell::wait_for("etcd listens", PATIENCE, || {
        ensure!(process.alive(), "etcd ended:\n    {}", log_tail("etcd"));
        Ok(std::net::TcpStream::connect("127.0.0.1:12379").ok())
    })?;
    Ok(())
}

/// Issues the node's credentials, starts the agent; returns the time from its start to the node being Ready.
pub(crate) fn agent(plan: &Plan) -> Result<Duration> {
    let start = Instant::now();
    let process = match Process::of("xebec-agent") {
        Some(process) => process,
        None => {
            shell::output(
                Command::new(&plan.programs.control)
                    .args(["certs", "node", "--cert-dir", "/etc/xebec/pki", "--kubeconfig-dir", Layout::ETC])
                    .args(["--node-name", &plan.node_name, "--node-ip", &plan.node_ip()])
                    .args(["--server", &plan.server()]),
            )?;
            let mut command = Command::new(&plan.programs.agent);
            command
                .arg("run")
                .args([
                    "--kubeconfig",
                    "/etc/xebec/kubelet.conf",
                    "--client-ca-file",
                    "/etc/xebec/pki/ca.crt",
                ])
                .args(["--tls-cert-file", "/etc/xebec/pki/kubelet.crt"])
                .args(["--tls-private-key-file", "/etc/xebec/pki/kubelet.key"])
                .args(["--node-name", &plan.node_name, "--node-ip", &plan.node_ip()])
                .args(["--cluster-cidr", &plan.family.pods(), "--cluster-dns", &plan.family.dns()])
                .arg("--container-runtime-endpoint")
                .arg(&plan.cri_socket)
                .args([
                    "--cni-conf-dir",
                    if plan.own_runtime { "/etc/xebec/cni/net.d" } else { "/etc/cni/net.d" },
                ])
                .arg("--bpf-object")
                .arg(ebpf::object())
                .args(["--bpf-pin-dir", Layout::BPF])
                .args(&plan.agent_args);
            Process::spawn("xebec-agent", &mut command)?
        }
    };
    let ready = format!(
        "get node {} -o jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}}{{.status.conditions[?(@.type==\"Ready\")].message}}",
        plan.node_name
    );
    shell::wait_for("the node is Ready", PATIENCE, || {
        ensure!(process.alive(), "xebec-agent ended:\n    {}", log_tail("xebec-agent"));
        let answer = shell::output(&mut plan.kubectl(&ready))?;
        // A node that a killed agent left behind still says True: its lease must be this agent's.
        ensure!(answer.starts_with("True"), "the node says {answer}");
        Ok(Some(()))
    })
    .with_context(|| format!("see {}", Layout::log("xebec-agent").display()))?;
    Ok(start.elapsed())
}
