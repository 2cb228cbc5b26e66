//! A node with a pod that calls, a pod that has every endpoint's address, and a machine outside; and the agent on it.
//!
//! Its networks are none that a cluster on this machine uses: one with hooks at the root of the cgroups sees every
//! process, those of this rig, too.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use xebec_rig::netns::{unique, wire};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, Place, enter, within};

use super::NODE_NAME;

/// The node's address for the machine outside.
pub(super) const NODE: &str = "192.168.99.2";
const PORT: u16 = 8080;
const HEALTHZ: &str = "127.0.0.1:10256";

/// All of it; everything goes when dropped.
pub(super) struct Stage {
    // Dropped in this order.
    pub(super) place: Place,
    _server: Server,
    pub(super) node: NetNs,
    pub(super) client: NetNs,
    _endpoints: NetNs,
    pub(super) outside: NetNs,
    kubeconfig: tempfile::NamedTempFile,
    agent: PathBuf,
}

/// Where endpoints listen.
pub(super) fn port() -> u16 {
    PORT
}

impl Stage {
    /// Makes it; `api` is what its agents will talk to, listening on the node's loopback.
    pub(super) fn new(object: &Path, agent: &Path) -> Result<(Self, TcpListener)> {
        let id = unique();
        let make = |role: &str| NetNs::new(format!("{id}{role}"));
        let (node, client, endpoints, outside) = (make("n"), make("c"), make("s"), make("o"));
        for (pod, device, address) in
            [(&client, "client", "10.127.0.5"), (&endpoints, "server", "10.127.0.6")]
        {
            wire((&node, device), (pod, "eth0"), 1500);
            pod.address("eth0", &format!("{address}/32"));
            pod.neighbour("eth0", "169.254.1.1", &node, device);
            for range in ["10.127.0.0/16", "10.128.0.0/9", "192.168.99.0/24"] {
                if range != "10.128.0.0/9" || device == "client" {
                    pod.ip(&format!("route add {range} via 169.254.1.1 dev eth0 onlink"));
                }
            }
            node.ip(&format!("route add {address} dev {device}"));
        }
        // Every endpoint there may be is an address of the second pod.
        endpoints.ip("route add local 10.128.0.0/9 dev lo");
        node.ip(&format!("neigh add 10.127.0.6 lladdr {} dev server", endpoints.mac("eth0")));
        node.ip("route add 10.128.0.0/9 via 10.127.0.6 dev server onlink");
        endpoints.sysctl("net/ipv4/tcp_max_tw_buckets", "1024");
        wire((&node, "wire"), (&outside, "eth0"), 1500);
        node.address("wire", &format!("{NODE}/24"));
        outside.address("eth0", "192.168.99.1/24");
        node.forward();
        let server = answering(&endpoints);
        let listener = within(&node, || TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut kubeconfig = tempfile::NamedTempFile::new()?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "soak",
            "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "soak", "context": {"cluster": "c", "user": "u"}}],
        });
        write!(kubeconfig, "{config}")?;
        let place = Place::new(&id, NODE_NAME, object.to_owned());
        let agent = agent.to_owned();
        let stage =
            Self { place, _server: server, node, client, _endpoints: endpoints, outside, kubeconfig, agent };
        Ok((stage, listener))
    }

    /// Starts an agent; what it says is appended to `log`.
    pub(super) fn agent(&self, log: &Path) -> Result<Agent> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let object = self.place.options.bpf_object.as_deref().context("no object")?;
        let mut command = self.node.command(&self.agent);
        command
            .args(["proxy", &format!("--hostname-override={NODE_NAME}")])
            .args(["--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249"])
            .arg(flag("kubeconfig", self.kubeconfig.path()))
            .arg(flag("bpf-cgroup", self.place.cgroup()))
            .arg(flag("bpf-pin-dir", self.place.pin_dir()))
            .arg(flag("bpf-object", object));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()
            .context("xebec-agent")?;
        Ok(Agent { child, node: self.node.path() })
    }
}

/// Says the address that was called, then closes.
fn answering(netns: &NetNs) -> Server {
    let address = std::net::SocketAddr::from(([0, 0, 0, 0], PORT));
    Server::start(netns, address, move |served, stop, ready| {
        let Ok(listener) = TcpListener::bind(address) else { return };
        if listener.set_nonblocking(true).is_err() {
            return;
        }
        ready();
        xebec_rig::server::accept(&listener, &stop, |mut stream, _| {
            served.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if let Ok(own) = stream.local_addr() {
                // A client that is gone is the client's to tell.
                let _ = stream.write_all(own.ip().to_string().as_bytes());
            }
        });
    })
}

/// A running agent; it is killed when dropped.
pub(super) struct Agent {
    child: Child,
    node: PathBuf,
}

impl Agent {
    /// Whether it has followed the API once.
    pub(super) fn is_synchronised(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            enter(&self.node);
            let mut stream = TcpStream::connect(HEALTHZ)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = std::thread::scope(|scope| scope.spawn(ask).join());
        // The state of each family is told once there is one.
        answer.is_ok_and(|answer| answer.is_ok_and(|text| text.contains("\"status\"")))
    }

    /// Its resident memory in MB; `None` if it has ended.
    pub(super) fn megabytes(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kilobytes| kilobytes / 1024.0)
    }

    /// Whether it ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // SIGKILL: this is what the soak is about.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
