//! The servers that are compared: started on free loopback ports with data of their own, stopped when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, shell};

/// The programs of the bench.
pub(crate) struct Programs {
    /// `xebec-control`.
    pub(crate) control: PathBuf,
    /// `xebec-load`.
    pub(crate) load: PathBuf,
}

impl Programs {
    /// Those in a folder.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let programs = Self { control: folder.join("xebec-control"), load: folder.join("xebec-load") };
        for path in [&programs.control, &programs.load] {
            anyhow::ensure!(path.is_file(), "there is no {}", path.display());
        }
        Ok(programs)
    }
}

/// A process that ends with this value: SIGTERM, then SIGKILL.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        Ok(Self { child: child.context("cannot start a server")?, log })
    }

    /// An error with the end of its log if it has ended by itself.
    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(5)..].join("\n    ");
            bail!("a server ended with {status}:\n    {tail}");
        }
        Ok(())
    }

    /// Resident memory in MiB.
    fn rss_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no VmRSS")?.parse()?;
        Ok((kib / 102.4).round() / 10.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            process::terminate(pid);
        }
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is measured: a server that this run starts, or somebody else's.
pub(crate) struct Target {
    /// What the report calls it.
    pub(crate) name: String,
    /// How to reach it.
    pub(crate) kubeconfig: PathBuf,
    own: Option<Own>,
}

struct Own {
    folder: PathBuf,
    port: u16,
    etcd: Option<(Running, String)>,
    server: Option<Running>,
}

impl Own {
    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

impl Target {
    /// A cluster that runs already.
    pub(crate) fn peer(kubeconfig: &Path) -> Result<Self> {
        let path = kubeconfig.canonicalize().with_context(|| format!("--peer {}", kubeconfig.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name: format!("peer {name}"), kubeconfig: path, own: None })
    }

    /// Our server in `folder`, on an etcd of its own or on the embedded store; not started yet.
    pub(crate) fn own(folder: &Path, on_etcd: bool) -> Result<Self> {
        let name = if on_etcd { "etcd" } else { "embedded" };
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let etcd = if on_etcd { Some(start_etcd(&folder)?) } else { None };
        let own = Own { port: free_port()?, etcd, server: None, folder };
        Ok(Self { name: name.to_owned(), kubeconfig: own.folder.join("admin.conf"), own: Some(own) })
    }

    /// Starts the server and waits until it is ready; the time that took, or none for a peer.
    pub(crate) fn start(&mut self, programs: &Programs) -> Result<Option<Duration>> {
        let Some(own) = &mut self.own else { return Ok(None) };
        own.server = None;
        // The clock of readiness runs before the server: starting it costs the server nothing.
        let mut waiter = Command::new(&programs.load);
        waiter.arg("ready").arg("--kubeconfig").arg(&self.kubeconfig).args(["--wait", "120"]);
        waiter.args(["--server", &own.url()]);
        let waiter = waiter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        std::thread::sleep(Duration::from_millis(50));
        let mut command = Command::new(&programs.control);
        command.arg("apiserver").arg("--data-dir").arg(own.folder.join("data"));
        command.arg("--cert-dir").arg(own.folder.join("pki")).arg("--kubeconfig-dir").arg(&own.folder);
        // A loopback address may not be advertised (the Endpoints of `kubernetes` refuse it), so a documentation address
        // is, and the load goes to loopback by `--server`.
        command.args(["--bind-address", "127.0.0.1", "--advertise-address", "192.0.2.1"]);
        command.args(["--secure-port", &own.port.to_string()]);
        if let Some((_, url)) = &own.etcd {
            command.args(["--etcd-servers", url]);
        }
        let started = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut server = Running::start(&mut command, own.folder.join("server.log"))?;
        let answer = waiter.wait_with_output()?;
        server.check()?;
        let text = String::from_utf8_lossy(&answer.stderr).into_owned();
        anyhow::ensure!(answer.status.success(), "{} is not ready: {text}", self.name);
        let value: Value = serde_json::from_slice(&answer.stdout)?;
        let ready = Duration::from_nanos(value["unix_ns"].as_u64().context("no time")?);
        own.server = Some(server);
        Ok(Some(ready.saturating_sub(started)))
    }

    /// Runs `xebec-load` against it.
    pub(crate) fn load(&mut self, programs: &Programs, http: u8, arguments: &[String]) -> Result<Value> {
        let mut command = Command::new(&programs.load);
        command.args(arguments).arg("--kubeconfig").arg(&self.kubeconfig).args(["--http", &http.to_string()]);
        if let Some(own) = &self.own {
            command.args(["--server", &own.url()]);
        }
        let text = shell::output(&mut command).with_context(|| format!("on {}", self.name));
        if let Some(Own { server: Some(server), .. }) = &mut self.own {
            server.check()?;
        }
        Ok(serde_json::from_str(&text?)?)
    }

    /// Resident memory in MiB of the server, and of its etcd; none for a peer.
    pub(crate) fn memory(&self) -> Result<Option<(f64, Option<f64>)>> {
        let Some(Own { server: Some(server), etcd, .. }) = &self.own else { return Ok(None) };
        let etcd = etcd.as_ref().map(|(etcd, _)| etcd.rss_mib()).transpose()?;
        Ok(Some((server.rss_mib()?, etcd)))
    }

    /// Whether this run started it.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }
}

fn start_etcd(folder: &Path) -> Result<(Running, String)> {
    let (client, peer) = (free_port()?, free_port()?);
    let (url, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new("etcd");
    command
        .args(["--name", "bench", "--data-dir"])
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("bench={peer}"), "--log-level", "warn"])
        .args(["--quota-backend-bytes", "8589934592"]);
    let mut running = Running::start(&mut command, folder.join("etcd.log"))?;
    shell::wait_for("etcd listens", Duration::from_secs(30), || {
        running.check()?;
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, client)).ok())
    })?;
    Ok((running, url))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
