//! The pod that calls: a process of its own, in a namespace and a cgroup, driven by lines `KIND ADDRESS SECONDS`.
//!
//! Kinds: `crr` (connect, one byte to and fro, close), `rr` (one byte to and fro on one connection), `udp` (the same in
//! datagrams, each with its address), `udpc` (on a connected socket), `stream` (bytes on one connection), `who` (once: what the server says). Every
//! answer is one line of JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use xebec_rig::netns::pin;
use xebec_rig::{NetNs, enter};

use crate::latencies::Latencies;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client process.
pub(crate) struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    /// Starts it in a namespace.
    pub(crate) fn start(netns: &NetNs, cgroup: Option<&Path>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("client").arg("--netns").arg(netns.path());
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, stdin, stdout })
    }

    /// Takes one measurement.
    pub(crate) fn ask(&mut self, kind: &str, to: SocketAddr, seconds: f64) -> Result<Value> {
        writeln!(self.stdin, "{kind} {to} {seconds}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let answer: Value =
            serde_json::from_str(&line).with_context(|| format!("the client said {line:?}"))?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{kind} to {to}: {error}");
        }
        Ok(answer)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The client's own side: reads lines until the end.
pub(crate) fn serve(netns: &Path, cgroup: Option<&Path>) -> Result<()> {
    if let Some(cgroup) = cgroup {
        let file = cgroup.join("cgroup.procs");
        std::fs::write(&file, std::process::id().to_string()).with_context(|| file.display().to_string())?;
    }
    enter(netns);
    pin(0);
    let mut out = std::io::stdout();
    for line in std::io::stdin().lines() {
        let answer = obey(&line?).unwrap_or_else(|error| json!({"error": format!("{error:#}")}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn obey(line: &str) -> Result<Value> {
    let words: Vec<&str> = line.split(' ').collect();
    let [kind, to, seconds] = words[..] else { bail!("{line:?}: KIND ADDRESS SECONDS") };
    let (to, seconds) = (to.parse()?, Duration::try_from_secs_f64(seconds.parse()?)?);
    match kind {
        "crr" => calls(seconds, || connect_once(to)),
        "rr" => {
            let mut stream = connect(to)?;
            calls(seconds, || exchange(&mut stream, b"r"))
        }
        "udp" | "udpc" => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            if kind == "udpc" {
                socket.connect(to)?;
            }
            let mut buffer = [0; 16];
            calls(seconds, || {
                if kind == "udpc" {
                    socket.send(b"u")?
                } else {
                    socket.send_to(b"u", to)?
                };
                socket.recv(&mut buffer).map(drop)
            })
        }
        "stream" => stream(to, seconds),
        "who" => {
            let mut answer = String::new();
            connect(to)?.read_to_string(&mut answer)?;
            Ok(json!({"who": answer}))
        }
        _ => bail!("{kind:?} is no kind of measurement"),
    }
}

/// Calls until the time is over; an error ends it.
fn calls(seconds: Duration, mut call: impl FnMut() -> std::io::Result<()>) -> Result<Value> {
    let mut latencies = Latencies::new()?;
    let start = Instant::now();
    let mut before = start;
    loop {
        call().with_context(|| format!("call {}", latencies.count() + 1))?;
        let now = Instant::now();
        latencies.record(now - before);
        before = now;
        if now - start >= seconds {
            break;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    Ok(json!({
        "operations": latencies.count(), "per_second": latencies.count() as f64 / elapsed,
        "p50_us": latencies.percentile(50.0), "p99_us": latencies.percentile(99.0),
    }))
}

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream, byte: &[u8]) -> std::io::Result<()> {
    stream.write_all(byte)?;
    stream.read_exact(&mut [0])
}

fn connect_once(to: SocketAddr) -> std::io::Result<()> {
    // Not `connect`: the time limit costs system calls, which would hide what the connect itself costs.
    let mut stream = TcpStream::connect(to)?;
    exchange(&mut stream, b"c")
}

fn stream(to: SocketAddr, seconds: Duration) -> Result<Value> {
    let mut stream = connect(to)?;
    let bytes = vec![b's'; 1 << 16];
    let (start, mut sent) = (Instant::now(), 0_u64);
    while start.elapsed() < seconds {
        stream.write_all(&bytes)?;
        sent += bytes.len() as u64;
    }
    // What only waits in the kernel's queues has not been moved.
    stream.shutdown(Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(json!({"operations": sent, "mb_per_second": sent as f64 / 1e6 / start.elapsed().as_secs_f64()}))
}
