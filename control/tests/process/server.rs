//! `xebec-control apiserver` as a process of a test's own, which can be killed and started again over the same files.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

/// The server; killed when dropped.
pub struct Server {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// A server that does not run yet, with an empty store.
    pub fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: tempfile::tempdir().unwrap(), port, process: None }
    }

    /// Starts the API server alone; it serves a moment later.
    pub fn start(&mut self) {
        self.start_as("apiserver");
    }

    /// Starts it with controllers and scheduler.
    pub fn start_all(&mut self) {
        self.start_as("all");
    }

    fn start_as(&mut self, part: &str) {
        let at = |name: &str| self.folder.path().join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_xebec-control"))
            .args([part, "--bind-address", "127.0.0.1", "--advertise-address", "192.0.2.1"])
            .args(["--secure-port", &self.port.to_string(), "--etcd-compaction-interval", "2s"])
            .arg("--data-dir")
            .arg(at("data"))
            .arg("--cert-dir")
            .arg(at("pki"))
            .arg("--kubeconfig-dir")
            .arg(at("kube"))
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(std::fs::File::options().create(true).append(true).open(at("log")).unwrap())
            .spawn()
            .unwrap();
        self.process = Some(child);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Bytes of memory the process holds (VmRSS).
    pub fn memory(&self) -> u64 {
        let id = self.process.as_ref().map(Child::id).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// An administrator's client that gives up at once, so that the tests see every broken connection.
    pub async fn client(&self) -> Client {
        Client::try_from(self.config().await).unwrap()
    }

    /// The configuration of that client, once the server answers.
    pub async fn config(&self) -> kube::Config {
        let path = self.folder.path().join("kube/admin.conf");
        for _ in 0..600 {
            if let Ok(kubeconfig) = Kubeconfig::read_from(&path)
                && let Ok(mut config) =
                    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
            {
                config.default_retry = false;
                config.cluster_url = format!("https://127.0.0.1:{}", self.port).parse().unwrap();
                let client = Client::try_from(config.clone()).unwrap();
                if client.apiserver_version().await.is_ok() {
                    return config;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not come up: {}", self.log());
    }

    /// An administrator's kubeconfig that leads to [`Server::address`]; the server must have answered once.
    pub fn kubeconfig(&self) -> PathBuf {
        let text = std::fs::read_to_string(self.folder.path().join("kube/admin.conf")).unwrap();
        let advertised = format!("https://192.0.2.1:{}", self.port);
        let path = self.folder("home").join("kubeconfig");
        std::fs::write(&path, text.replace(&advertised, &format!("https://{}", self.address()))).unwrap();
        path
    }

    /// A folder that lives as long as the server.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// What the program wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
