//! One node of a target: namespaces, wires, addresses. Everything goes when dropped.
//!
//! ```text
//!   outside 10.99.0.1 --- wire 10.99.0.2  node  gateway 169.254.1.1 --- client pod 10.244.0.5
//!                                            `--------------------- server pod 10.244.1.1 .. n
//! ```
//! Pods have no route but those to the node; their addresses are routed by device, as Xebec's own CNI plugin does it.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The node's address, which answers on node ports.
pub(crate) const NODE: &str = "10.99.0.2";
/// Where every Service's virtual IP is.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/12";
/// The pods.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
const CLIENT: &str = "10.244.0.5";
pub(crate) const OUTSIDE: &str = "10.99.0.1";
const GATEWAY: &str = "169.254.1.1";
/// The node's ends of its pods' wires.
const NODE_MAC: &str = "02:00:00:00:00:01";

/// A command that must succeed.
pub(crate) fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.with_context(|| line.to_owned())?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// A named network namespace.
pub(crate) struct NetNs {
    pub(crate) name: String,
}

impl NetNs {
    fn new(name: String) -> Result<Self> {
        run(&format!("ip netns add {name}"))?;
        let netns = Self { name };
        run(&format!("ip -n {} link set lo up", netns.name))?;
        Ok(netns)
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Index and hardware address of a device within.
    pub(crate) fn device(&self, name: &str) -> Result<(u32, [u8; 6])> {
        let output =
            Command::new("ip").args(["-n", &self.name, "-o", "link", "show", "dev", name]).output()?;
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let index = line.split(':').next().and_then(|index| index.parse().ok());
        let text =
            line.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let octets =
            text.split(':').filter_map(|octet| u8::from_str_radix(octet, 16).ok()).collect::<Vec<_>>();
        let mac = octets.try_into().ok();
        index.zip(mac).with_context(|| format!("no such device: {line:?}"))
    }

    /// A command within, with this input.
    pub(crate) fn feed(&self, line: &str, input: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(line.split(' '));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| line.to_owned())?;
        child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // One that does not go is named by `ip netns`; nothing else can be done about it here.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Moves the calling thread into a namespace.
pub(crate) fn enter(netns: &Path) -> Result<()> {
    let file = std::fs::File::open(netns).with_context(|| netns.display().to_string())?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).context("setns")
}

/// Keeps the calling thread on one processor, where there are several.
pub(crate) fn pin(processor: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    set.set(processor % processors);
    rustix::thread::sched_setaffinity(None, &set).context("sched_setaffinity")
}

/// A node with its pods and an outside client.
pub(crate) struct Rig {
    pub(crate) node: NetNs,
    pub(crate) client: NetNs,
    pub(crate) server: NetNs,
    pub(crate) outside: NetNs,
}

impl Rig {
    /// A rig named `label`, with this many addresses at the server.
    pub(crate) fn new(label: &str, servers: u8) -> Result<Self> {
        let id = format!("xnb{}{label}", std::process::id());
        let make = |role: &str| NetNs::new(format!("{id}-{role}"));
        let rig = Self { node: make("n")?, client: make("c")?, server: make("s")?, outside: make("o")? };
        let node = &rig.node.name;
        for (netns, pod, addresses) in rig.pods(servers) {
            let name = &netns.name;
            run(&format!(
                "ip -n {node} link add {pod} address {NODE_MAC} type veth peer name eth0 netns {name}"
            ))?;
            for address in &addresses {
                run(&format!("ip -n {name} addr add {address}/32 dev eth0"))?;
            }
            run(&format!("ip -n {name} link set eth0 up"))?;
            run(&format!("ip -n {node} link set {pod} up"))?;
            run(&format!("ip -n {name} neigh add {GATEWAY} lladdr {NODE_MAC} dev eth0"))?;
            run(&format!("ip -n {name} route add {GATEWAY} dev eth0 scope link"))?;
            for range in [SERVICE_RANGE, POD_RANGE, "10.99.0.0/24"] {
                run(&format!("ip -n {name} route add {range} via {GATEWAY} src {}", addresses[0]))?;
            }
            for address in &addresses {
                run(&format!("ip -n {node} route add {address} dev {pod}"))?;
            }
        }
        let outside = &rig.outside.name;
        run(&format!("ip -n {node} link add wire type veth peer name eth0 netns {outside}"))?;
        for (name, device, address) in [(node, "wire", NODE), (outside, "eth0", OUTSIDE)] {
            run(&format!("ip -n {name} addr add {address}/24 dev {device}"))?;
            run(&format!("ip -n {name} link set {device} up"))?;
        }
        run(&format!("ip -n {outside} route add {POD_RANGE} via {NODE}"))?;
        rig.node.feed("sysctl -q -p -", "net.ipv4.ip_forward = 1\n")?;
        // A server that closes first keeps the connection's end for a minute: more of them than it may keep.
        rig.server.feed("sysctl -q -p -", "net.ipv4.tcp_max_tw_buckets = 1024\n")?;
        Ok(rig)
    }
}

impl Rig {
    /// The pods: their namespace, the node's end of their wire, their addresses.
    pub(crate) fn pods(&self, servers: u8) -> [(&NetNs, &'static str, Vec<String>); 2] {
        [
            (&self.client, "client", vec![CLIENT.to_owned()]),
            (&self.server, "server", (1..=servers).map(server_address).collect()),
        ]
    }
}

/// The n-th address of the server pod, from 1.
pub(crate) fn server_address(n: u8) -> String {
    format!("10.244.1.{n}")
}
