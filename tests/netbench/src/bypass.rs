//! An experiment: bytes between pods of one node from socket to socket, past TCP and IP (`dataplane-ebpf/src/bypass.rs`),
//! beside the node's ordinary routing. Enters: how long. Leaves: a line of JSON for each measurement.
//!
//! Measured on 2 cores (kernel 6.18, medians of 18, the rest of the machine not quiet): a question and its answer on an open
//! connection take 39.0 us instead of 44.0, bytes on one connection pass 2.5 times as fast, and connect, ask, close takes
//! 61.6 us instead of 60.8, as every connection takes a place in a map and gives it back. It is not part of the dataplane:
//! nothing on the way sees the bytes, so a policy that changes could not end a connection, captures show nothing after the
//! handshake, and sockets that are spliced, or take over TLS from the kernel, would have to be told from others first.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::SockHash;
use aya::programs::{CgroupAttachMode, SkMsg, SockOps};
use aya::{Ebpf, EbpfLoader};
use serde_json::json;
use xebec_dataplane::attach::root_cgroup;
use xebec_rig::{NetNs, within};

use crate::load::Client;
use crate::rig::{Rig, server_address};
use crate::server::{self, Server};

/// Options of `bypass`.
#[derive(clap::Args)]
pub(crate) struct BypassArgs {
    /// The experiment's eBPF object.
    #[arg(long)]
    object: PathBuf,
    /// Every measurement is taken in the order A B B A, this often.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 0.4)]
    seconds: f64,
}

/// This process's place among the processes whose sockets the programs see; it leaves when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn join() -> Result<Self> {
        let cgroup = Self(root_cgroup()?.join(format!("xnb{}bypass", std::process::id())));
        std::fs::create_dir(&cgroup.0)?;
        enlist(&cgroup.0)?;
        Ok(cgroup)
    }
}

fn enlist(cgroup: &Path) -> Result<()> {
    let file = cgroup.join("cgroup.procs");
    std::fs::write(&file, std::process::id().to_string()).with_context(|| file.display().to_string())
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What cannot be removed is named by its path; nothing else can be done about it here.
        let left = root_cgroup().map_err(anyhow::Error::from).and_then(|root| enlist(&root));
        let _ = left.and_then(|()| Ok(std::fs::remove_dir(&self.0)?));
    }
}

#[expect(unsafe_code, reason = "getsockopt")]
fn cookie(netns: &NetNs) -> Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    within(netns, || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let (mut cookie, mut len) = (0_u64, size_of::<u64>() as libc::socklen_t);
        let value = std::ptr::from_mut(&mut cookie).cast();
        // SAFETY: an open socket and a buffer of the stated length.
        let answer = unsafe {
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut len)
        };
        if answer < 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(cookie) }
    })
}

/// The programs, for connections between a rig's pods, of processes in a cgroup.
fn programs(object: &Path, rig: &Rig, cgroup: &Path) -> Result<Ebpf> {
    let (client, server) = (cookie(&rig.client)?, cookie(&rig.server)?);
    let mut loader = EbpfLoader::new();
    loader.override_global("CLIENT", &client, true).override_global("SERVER", &server, true);
    let mut ebpf = loader.load_file(object)?;
    let sockets: SockHash<_, [u32; 4]> = ebpf.map("SOCKETS").context("no map SOCKETS")?.try_into()?;
    let sockets = sockets.fd().try_clone()?;
    let message: &mut SkMsg = ebpf.program_mut("message").context("no program message")?.try_into()?;
    message.load()?;
    message.attach(&sockets)?;
    let established: &mut SockOps =
        ebpf.program_mut("established").context("no program established")?.try_into()?;
    established.load()?;
    established.attach(std::fs::File::open(cgroup)?, CgroupAttachMode::Single)?;
    Ok(ebpf)
}

/// Runs it.
pub(crate) fn run(args: &BypassArgs) -> Result<()> {
    let cgroup = Cgroup::join()?;
    let mut places = Vec::new();
    for name in ["direct", "bypass"] {
        let rig = Rig::new(name, 1);
        let server = Server::start(&rig.server.path(), &[server_address(1)])?;
        let client = Client::start(&rig.client, Some(&cgroup.0))?;
        places.push((name, client, server, rig));
    }
    let bypassed = places.last().context("no place")?;
    let _programs = programs(&args.object, &bypassed.3, &cgroup.0)?;
    let to = format!("{}:{}", server_address(1), server::PORT).parse()?;
    for kind in ["crr", "rr", "stream"] {
        for _ in 0..args.rounds {
            for at in [0, 1, 1, 0] {
                let (name, client, _, _) = &mut places[at];
                let answer = client.ask(kind, to, args.seconds).with_context(|| format!("{name}: {kind}"))?;
                let line = json!({"title": kind, "target": name, "kind": kind, "answer": answer});
                writeln!(std::io::stdout(), "{line}")?;
            }
        }
    }
    Ok(())
}
