//! A node's namespace with the server in it, as the runtime sees it.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use xebec_network::{Hooks, NetworkError, Options, cidr};

/// A network namespace that goes with the guard.
pub struct Netns(pub String);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Netns {
    pub fn new(name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        ip(&format!("netns add {name}"));
        Self(name)
    }
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
    pub fn exec(&self, line: &str) -> String {
        ip(&format!("netns exec {} {line}", self.0))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "del", &self.0]).status().ok();
    }
}

pub fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs work on a thread inside a namespace.
pub fn inside<T: Send + 'static>(netns: &Netns, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    use std::os::fd::AsFd;
    let file = std::fs::File::open(netns.path()).unwrap();
    std::thread::spawn(move || {
        rustix::thread::move_into_link_name_space(
            file.as_fd(),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .unwrap();
        work()
    })
}

/// The server, in a namespace of its own, as a node would be, so that nothing of the machine is touched.
pub struct Node {
    pub netns: Netns,
    pub options: Options,
    cancel: CancellationToken,
    server: Option<JoinHandle<Result<(), NetworkError>>>,
    _folder: tempfile::TempDir,
}

impl Node {
    /// Once the runtime was told; `None` without root.
    pub fn new(name: &str, hooks: Hooks) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        Some(Self::at(Netns::new(name), "10.244.7.0/24", hooks))
    }

    /// In a namespace, with these addresses for pods, separated by commas.
    pub fn at(netns: Netns, pods: &str, hooks: Hooks) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            socket: folder.path().join("cni.sock"),
            ipam_dir: folder.path().join("ipam"),
            conf_dir: folder.path().join("conf"),
            pod_cidrs: cidr::networks(&pods.split(',').collect::<Vec<_>>()).unwrap(),
            cluster_cidrs: cidr::networks(&["10.244.0.0/16", "fd00:10:244::/56"]).unwrap(),
        };
        let mut node =
            Self { netns, options, cancel: CancellationToken::new(), server: None, _folder: folder };
        node.start(hooks);
        node
    }

    /// Starts the server, once more after [`Self::stop`].
    pub fn start(&mut self, hooks: Hooks) {
        self.cancel = CancellationToken::new();
        let (options, cancel) = (self.options.clone(), self.cancel.clone());
        self.server = Some(inside(&self.netns, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(xebec_network::run(options, hooks, cancel))
        }));
        for _ in 0..200 {
            if self.conflist().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("the runtime was never told");
    }

    /// What the runtime was told.
    pub fn conflist(&self) -> Option<String> {
        std::fs::read_to_string(self.options.conf_dir.join("10-xebec.conflist")).ok()
    }

    /// Ends the server; pods keep their network.
    pub fn stop(&mut self) {
        self.cancel.cancel();
        self.server.take().unwrap().join().unwrap().unwrap();
        std::fs::remove_file(self.options.conf_dir.join("10-xebec.conflist")).unwrap();
    }

    /// Removes all that the network made.
    pub fn remove(&self) {
        let options = self.options.clone();
        let removed = inside(&self.netns, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(xebec_network::remove(&options.ipam_dir, &options.conf_dir))
        });
        removed.join().unwrap().unwrap();
    }

    /// The runtime has no pods at all.
    pub fn collect(&self) -> Value {
        let request =
            json!({"command": "GC", "config": {"cniVersion": "1.1.0", "cni.dev/valid-attachments": []}});
        ask(&self.options.socket, &request)
    }

    /// The answer to a call for a container. `runtime` is its `runtimeConfig`.
    pub fn call(&self, command: &str, container: &str, netns: &str, runtime: &Value) -> Value {
        let args = format!("K8S_POD_NAMESPACE=ns;K8S_POD_NAME={}", container.trim_start_matches("c-"));
        let config = json!({"cniVersion": "1.0.0", "runtimeConfig": runtime});
        let request = json!({"command": command, "container_id": container, "netns": netns, "ifname": "eth0",
            "args": args, "config": config});
        ask(&self.options.socket, &request)
    }

    /// How many reservations there are.
    pub fn reservations(&self) -> usize {
        std::fs::read_dir(&self.options.ipam_dir).unwrap().count()
    }
}

/// The socket's answer to a request.
fn ask(socket: &Path, request: &Value) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request.to_string().as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// The addresses that an ADD gave.
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ok"]["ips"].as_array().unwrap_or_else(|| panic!("{result}"));
    let read = |ip: &Value| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap();
    ips.iter().map(read).collect()
}

/// The first of them.
pub fn address(result: &Value) -> IpAddr {
    addresses(result)[0]
}
