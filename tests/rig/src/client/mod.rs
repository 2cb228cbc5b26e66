//! The client: this test's own binary, started again, moved into a node's cgroup and a namespace, driven by lines.
//!
//! `tcp A` / `udp A` / `udpc A` (connected) / `udpseq N A` / `same A B` (one unconnected socket to both) /
//! `fan A...` (one socket asks all, then reads) / `from ADDRESS A` (bound to that address and port first; `udpfrom` likewise) /
//! `mptcp A` / `fastopen A` (a question in the SYN) / `oneway A` (on one socket of the process, never read) /
//! `parallel N A` (all at once) / `crowd N A B` (two connections whose cookies are equal modulo N) /
//! the sockets of `held` / `hammer SECONDS THREADS PREFIX=A...`; every answer is one line that starts with `@`.
//!
//! The test has an ignored test named `child`, which calls [`child`].

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::ask::code;
use crate::{NetNs, Place, Rig, enter};

mod held;
mod special;

/// A process in a node's cgroup; it is killed when dropped.
#[derive(Debug)]
pub struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    /// A client of a rig.
    pub fn start(rig: &Rig) -> Self {
        Self::of(rig.place(), &rig.client_ns)
    }

    /// A client in a namespace, among the processes that a node's dataplane serves.
    pub fn of(place: &Place, netns: &NetNs) -> Self {
        Self::role(place, netns, "client", "")
    }

    /// An agent of a node that has followed an API with these objects, in the node's namespace; it is there to be killed.
    pub fn agent(place: &Place, netns: &NetNs, services: &[Service], slices: &[EndpointSlice]) -> Self {
        let node = &place.options.node_name;
        let objects = serde_json::json!({"node": node, "services": services, "slices": slices});
        let mut agent = Self::role(place, netns, "agent", &objects.to_string());
        assert_eq!(agent.line(), "ready");
        agent
    }

    /// A child with any role.
    pub fn role(place: &Place, netns: &NetNs, role: &str, argument: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"])
            .env("XEBEC_ROLE", role)
            .env("XEBEC_ARGUMENT", argument)
            .env("XEBEC_CGROUP", place.cgroup())
            .env("XEBEC_NETNS", netns.path())
            .env("XEBEC_PIN_DIR", place.pin_dir())
            .env("XEBEC_BPF_OBJECT", place.options.bpf_object.as_ref().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the child ended");
            // libtest writes "test child ... " in front of the first line.
            if let Some((_, answer)) = line.split_once('@') {
                return answer.trim_end().to_owned();
            }
        }
    }

    /// Gives an order.
    pub fn send(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    /// The answer to the next order that has none yet.
    pub fn answer(&mut self) -> String {
        self.line()
    }

    /// An order and its answer; `error NUMBER` if the kernel refused.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's side of a client.
fn serve() {
    std::fs::write(
        format!("{}/cgroup.procs", std::env::var("XEBEC_CGROUP").unwrap()),
        std::process::id().to_string(),
    )
    .unwrap();
    enter(std::env::var("XEBEC_NETNS").unwrap().as_ref());
    let mut one_way = special::OneWay::default();
    let mut held = held::Held::default();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let kept = held.serve(&words);
        let result = match words[..] {
            _ if kept.is_some() => kept.unwrap(),
            ["from", own, to] => special::from(own.parse().unwrap(), to.parse().unwrap()),
            ["udpfrom", own, to] => udp_from(own.parse().unwrap(), to.parse().unwrap()),
            ["mptcp", to] => special::mptcp(to.parse().unwrap()),
            ["fastopen", to] => special::fast_open(to.parse().unwrap()),
            ["oneway", to] => one_way.send(to.parse().unwrap()),
            ["parallel", n, to] => Ok(special::parallel(n.parse().unwrap(), to.parse().unwrap())),
            ["tcp", to] => tcp(to.parse().unwrap()),
            ["udp", to] => udp(to.parse().unwrap(), 1),
            ["udpseq", n, to] => udp(to.parse().unwrap(), n.parse().unwrap()),
            ["udpc", to] => udp_connected(to.parse().unwrap()),
            ["same", a, b] => same(a.parse().unwrap(), b.parse().unwrap()),
            ["fan", ref targets @ ..] => fan(targets),
            ["crowd", n, a, b] => special::crowd(n.parse().unwrap(), a.parse().unwrap(), b.parse().unwrap()),
            ["hammer", seconds, threads, ref targets @ ..] => {
                Ok(hammer(seconds.parse().unwrap(), threads.parse().unwrap(), targets))
            }
            _ => panic!("unknown command {line}"),
        };
        match result {
            Ok(text) => println!("@{text}"),
            Err(e) => println!("@{}", code(&e)),
        }
    }
}

/// No address and no port, of the family of another.
pub fn unspecified(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn say(to: SocketAddr) -> std::io::Result<(String, SocketAddr)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    let peer = stream.peer_addr()?;
    let mut name = String::new();
    stream.read_to_string(&mut name)?;
    Ok((name, peer))
}

fn tcp(to: SocketAddr) -> std::io::Result<String> {
    say(to).map(|(name, peer)| format!("{name} {peer}"))
}

fn socket(to: SocketAddr) -> std::io::Result<UdpSocket> {
    bound(unspecified(to))
}

fn bound(own: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(own)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket, to: SocketAddr) -> std::io::Result<String> {
    socket.send_to(b"?", to)?;
    receive(socket)
}

fn receive(socket: &UdpSocket) -> std::io::Result<String> {
    let mut buffer = [0; 64];
    let (len, from) = socket.recv_from(&mut buffer)?;
    Ok(format!("{} {from}", String::from_utf8_lossy(&buffer[..len])))
}

fn udp(to: SocketAddr, n: usize) -> std::io::Result<String> {
    let socket = socket(to)?;
    Ok((0..n).map(|_| exchange(&socket, to)).collect::<Result<Vec<_>, _>>()?.join(","))
}

fn udp_from(own: SocketAddr, to: SocketAddr) -> std::io::Result<String> {
    exchange(&bound(own)?, to)
}

fn same(a: SocketAddr, b: SocketAddr) -> std::io::Result<String> {
    let socket = socket(a)?;
    Ok(format!("{},{},{}", exchange(&socket, a)?, exchange(&socket, b)?, exchange(&socket, a)?))
}

/// One socket asks all, then reads all the answers.
fn fan(targets: &[&str]) -> std::io::Result<String> {
    let targets: Vec<SocketAddr> = targets.iter().map(|t| t.parse().unwrap()).collect();
    let socket = socket(targets[0])?;
    for to in &targets {
        socket.send_to(b"?", to)?;
    }
    let read = |_| receive(&socket);
    Ok((0..targets.len()).map(read).collect::<Result<Vec<_>, _>>()?.join(","))
}

fn udp_connected(to: SocketAddr) -> std::io::Result<String> {
    let socket = socket(to)?;
    socket.connect(to)?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer)?;
    Ok(format!("{} {}", String::from_utf8_lossy(&buffer[..len]), socket.peer_addr()?))
}

/// Connects as fast as it can; a name that does not start with the target's prefix is a misroute.
fn hammer(seconds: f64, threads: usize, targets: &[&str]) -> String {
    let parse = |t: &&str| {
        let (prefix, to) = t.split_once('=').unwrap();
        (prefix.to_owned(), to.parse::<SocketAddr>().unwrap())
    };
    let targets: Arc<Vec<_>> = Arc::new(targets.iter().map(parse).collect());
    let counts: Arc<[AtomicUsize; 3]> = Arc::default();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let work = |_| {
        let (targets, counts) = (Arc::clone(&targets), Arc::clone(&counts));
        std::thread::spawn(move || {
            for (prefix, to) in targets.iter().cycle() {
                if Instant::now() > end {
                    return;
                }
                let slot = match say(*to) {
                    Ok((name, _)) if name.starts_with(prefix.as_str()) => 0,
                    Ok(_) => 1,
                    Err(_) => 2,
                };
                counts[slot].fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for thread in (0..threads).map(work).collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    let [ok, misrouted, failed] = [0, 1, 2].map(|i| counts[i].load(Ordering::Relaxed));
    format!("ok={ok} misrouted={misrouted} failed={failed}")
}

/// What a child process of a test runs, by `XEBEC_ROLE`; false for a role that is the test's own.
pub fn child() -> bool {
    match std::env::var("XEBEC_ROLE").as_deref() {
        Ok("client") => serve(),
        Ok("agent") => serve_agent(),
        _ => return false,
    }
    true
}

/// An agent without an API server, in the namespace of its node, until it is killed.
fn serve_agent() {
    let variable = |name: &str| std::env::var(name).unwrap();
    enter(variable("XEBEC_NETNS").as_ref());
    let given: serde_json::Value = serde_json::from_str(&variable("XEBEC_ARGUMENT")).unwrap();
    let mut options = xebec_dataplane::Options::new(given["node"].as_str().unwrap());
    options.cgroup_path = Some(variable("XEBEC_CGROUP").into());
    options.pin_dir = variable("XEBEC_PIN_DIR").into();
    options.capacity = crate::place::SMALL;
    let mut agent = crate::objects::Agent::new(&options);
    agent.refresh();
    let read = |name: &str| given[name].clone();
    agent.sync(
        serde_json::from_value(read("services")).unwrap(),
        serde_json::from_value(read("slices")).unwrap(),
    );
    println!("@ready");
    // Until the test goes, if it does not kill this before.
    let _ = std::io::stdin().lines().count();
}
