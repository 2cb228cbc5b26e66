//! The client: this test's own binary, started again, moved into the rig's cgroup and namespace, driven by lines.
//!
//! `tcp A` / `udp A` / `udpc A` (connected) / `udpseq N A` / `same A B` (one unconnected socket to both) /
//! `fan A...` (one socket asks all, then reads) /
//! the sockets of `held` / `hammer SECONDS THREADS PREFIX=A...`; every answer is one line that starts with `@`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::held::Held;
use super::{NetNs, Rig, enter};

pub struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    pub fn start(rig: &Rig) -> Self {
        Self::role(rig, "client", "")
    }

    /// A child that installs the dataplane itself and then sleeps, to be killed.
    pub fn loader(rig: &Rig, backends: &str) -> Self {
        let mut loader = Self::role(rig, "loader", backends);
        assert_eq!(loader.line(), "ready");
        loader
    }

    /// A client in another namespace than the rig's.
    pub fn within(rig: &Rig, netns: &NetNs) -> Self {
        Self::spawn(rig, netns, "client", "")
    }

    /// A child with any role.
    pub fn role(rig: &Rig, role: &str, argument: &str) -> Self {
        Self::spawn(rig, &rig.client_ns, role, argument)
    }

    fn spawn(rig: &Rig, netns: &NetNs, role: &str, argument: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"])
            .env("XEBEC_ROLE", role)
            .env("XEBEC_ARGUMENT", argument)
            .env("XEBEC_CGROUP", rig.cgroup())
            .env("XEBEC_NETNS", netns.path())
            .env("XEBEC_PIN_DIR", rig.pin_dir())
            .env("XEBEC_BPF_OBJECT", rig.options.bpf_object.as_ref().unwrap())
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

    pub fn send(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    pub fn answer(&mut self) -> String {
        self.line()
    }

    pub fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

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
pub fn serve() {
    std::fs::write(
        format!("{}/cgroup.procs", std::env::var("XEBEC_CGROUP").unwrap()),
        std::process::id().to_string(),
    )
    .unwrap();
    enter(std::env::var("XEBEC_NETNS").unwrap().as_ref());
    let mut held = Held::default();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let kept = held.serve(&words);
        let result = match words[..] {
            _ if kept.is_some() => kept.unwrap(),
            ["tcp", to] => tcp(to.parse().unwrap()),
            ["udp", to] => udp(to.parse().unwrap(), 1),
            ["udpseq", n, to] => udp(to.parse().unwrap(), n.parse().unwrap()),
            ["udpc", to] => udp_connected(to.parse().unwrap()),
            ["same", a, b] => same(a.parse().unwrap(), b.parse().unwrap()),
            ["fan", ref targets @ ..] => fan(targets),
            ["hammer", seconds, threads, ref targets @ ..] => {
                Ok(hammer(seconds.parse().unwrap(), threads.parse().unwrap(), targets))
            }
            _ => panic!("unknown command {line}"),
        };
        match result {
            Ok(text) => println!("@{text}"),
            Err(e) => println!("@error {}", e.raw_os_error().unwrap_or(-1)),
        }
    }
}

fn unspecified(to: SocketAddr) -> SocketAddr {
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

pub fn socket(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(unspecified(to))?;
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
