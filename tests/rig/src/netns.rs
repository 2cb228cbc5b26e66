//! Network namespaces and the wires between them.

use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use xebec_dataplane::addresses::ethernet_devices;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name that nothing else on this machine has.
pub fn unique() -> String {
    format!("xdp{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a command, whose words are separated by single spaces; one that fails is a panic.
pub fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A named network namespace, without any route but that of its loopback.
#[derive(Debug)]
pub struct NetNs {
    /// Its name, as `ip netns` shows it.
    pub name: String,
}

impl NetNs {
    /// Makes it.
    pub fn new(name: String) -> Self {
        run(&format!("ip netns add {name}"));
        let netns = Self { name };
        netns.ip("link set lo up");
        netns
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// `ip` within it.
    pub fn ip(&self, words: &str) {
        run(&format!("ip -n {} {words}", self.name));
    }

    /// A command within it, with this input.
    pub fn feed(&self, line: &str, input: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(line.split(' '));
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A command that is to be started within it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    /// Gives a device an address, `ADDRESS/LENGTH`, usable at once.
    pub fn address(&self, device: &str, address: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("addr add {address} dev {device}{nodad}"));
    }

    /// A kernel parameter below `/proc/sys`.
    pub fn sysctl(&self, name: &str, value: &str) {
        within(self, || std::fs::write(Path::new("/proc/sys").join(name), value).unwrap());
    }

    /// Lets packets pass from device to device.
    pub fn forward(&self) {
        self.sysctl("net/ipv4/ip_forward", "1");
        self.sysctl("net/ipv6/conf/all/forwarding", "1");
    }

    /// A device's hardware address.
    pub fn mac(&self, device: &str) -> String {
        let out = Command::new("ip").args(["-n", &self.name, "-br", "link", "show", device]).output();
        let text = String::from_utf8(out.unwrap().stdout).unwrap();
        text.split_whitespace().nth(2).unwrap().to_owned()
    }

    /// Index and hardware address of a device.
    pub fn device(&self, name: &str) -> (u32, [u8; 6]) {
        let devices = within(self, || ethernet_devices().unwrap());
        devices.iter().find(|device| device.name == name).map(|device| (device.index, device.mac)).unwrap()
    }

    /// Makes a neighbour known, which is the `peer` device of another namespace: its discovery waits for duplicate
    /// address detection, and tests do not.
    pub fn neighbour(&self, device: &str, to: &str, other: &Self, peer: &str) {
        self.ip(&format!("neigh add {to} lladdr {} dev {device}", other.mac(peer)));
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // One that does not go is named by `ip netns`; nothing else can be done about it here.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A wire between devices of two namespaces, both up; `mtu` in bytes.
pub fn wire((a, device_a): (&NetNs, &str), (b, device_b): (&NetNs, &str), mtu: u32) {
    let b_name = &b.name;
    a.ip(&format!("link add {device_a} mtu {mtu} type veth peer name {device_b} mtu {mtu} netns {b_name}"));
    a.ip(&format!("link set {device_a} up"));
    b.ip(&format!("link set {device_b} up"));
}

/// Moves the calling thread into a namespace.
pub fn enter(netns: &Path) {
    let file = std::fs::File::open(netns).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Runs in a namespace, on a thread of its own.
pub fn within<T: Send>(netns: &NetNs, work: impl FnOnce() -> T + Send) -> T {
    let path = netns.path();
    std::thread::scope(|scope| {
        let run = move || {
            enter(&path);
            work()
        };
        match scope.spawn(run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Keeps the calling thread on one processor, where there are several.
pub fn pin(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor % std::thread::available_parallelism().map_or(1, usize::from));
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}

/// Packets that a namespace's kernel refused for their checksums.
pub fn checksum_errors(netns: &NetNs) -> u64 {
    within(netns, || {
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(' ').collect()).collect();
        let v4 = lines.chunks(2).flat_map(|pair| pair[0].iter().copied().zip(pair[1].iter().copied()));
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
        let v6 = text.lines().filter_map(|l| l.split_once(char::is_whitespace));
        let errors = v4.chain(v6).filter(|(name, _)| name.ends_with("CsumErrors"));
        errors.map(|(_, n)| n.trim().parse::<u64>().unwrap()).sum()
    })
}

/// An address as a URL or a socket address writes it.
pub fn bracketed(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{address}]"),
        _ => address.to_owned(),
    }
}
