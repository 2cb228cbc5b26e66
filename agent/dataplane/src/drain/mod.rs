//! Connected UDP sockets are let go when their endpoint leaves: a resolver that keeps one socket for ever would go on
//! asking a dead one. Enters: that endpoints left (`worker`). Leaves: sockets the kernel disconnected, whose blocked
//! calls fail with ECONNABORTED, so that their program asks for the VIP again.
//!
//! The kernel's own list of sockets translated through a VIP (the iterators of `dataplane-ebpf/src/drain.rs`) says
//! which chose an endpoint that left; the tables say which of those still serve somewhere; `namespaces` finds where the
//! sockets are and `diag` ends them, by cookie, so that nothing else is hit. Unconnected sockets, those connected to a
//! pod's own address, and TCP are never touched.
//!
//! Nothing of this is pinned: an iterator without a process that reads it does nothing.

mod diag;
pub mod worker;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::programs::{Iter, ProgramError};
use aya::{Btf, Ebpf};
use xebec_abi::Be16;

use crate::maps::{MapError, pinned};
use crate::{namespaces, sys};

/// The lister of each family's map.
const LISTERS: [(&str, &str); 2] = [("drain4", "REV4"), ("drain6", "REV6")];

/// Why sockets of endpoints that left cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The kernel does not describe its own types.
    #[error("the kernel has no BTF (/sys/kernel/btf/vmlinux)")]
    Btf(#[source] aya::BtfError),
    /// The object lacks a lister.
    #[error("the eBPF object has no program {0}")]
    NoProgram(&'static str),
    /// The kernel refused a lister.
    #[error(
        "the kernel refused program {program}: it needs iterators over socket storage (CONFIG_BPF_EVENTS, 5.12)"
    )]
    Program {
        /// The program.
        program: &'static str,
        /// The loader's answer.
        #[source]
        source: Box<ProgramError>,
    },
    /// The kernel refused to put a lister on its map.
    #[error("cannot attach {program} to its map")]
    Attach {
        /// The program.
        program: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A pinned map.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// A connected UDP socket whose endpoint is not what it was when chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The socket's cookie.
    pub cookie: u64,
    /// What its program asked for.
    pub vip: SocketAddr,
    /// What it is connected to.
    pub endpoint: SocketAddr,
}

/// The listers, ready to be read.
#[derive(Debug)]
pub struct Drain {
    links: Vec<OwnedFd>,
}

impl Drain {
    /// Loads the listers and puts them on the maps pinned in `maps`.
    ///
    /// # Errors
    /// A missing kernel feature: services work without.
    pub(crate) fn new(ebpf: &mut Ebpf, maps: &Path) -> Result<Self, DrainError> {
        let btf = Btf::from_sys_fs().map_err(DrainError::Btf)?;
        let lister = |(name, map): &(&'static str, &'static str)| {
            let refused = |source| DrainError::Program { program: name, source: Box::new(source) };
            let program = ebpf.program_mut(name).ok_or(DrainError::NoProgram(name))?;
            let program: &mut Iter = program.try_into().map_err(refused)?;
            // One that is loaded already stays.
            match program.load("bpf_sk_storage_map", &btf) {
                Err(ProgramError::AlreadyLoaded) => {}
                other => other.map_err(refused)?,
            }
            let (map, _) = pinned::open(maps, map)?;
            sys::iterate_map(program.fd().map_err(refused)?.as_fd(), map.fd().as_fd())
                .map_err(|source| DrainError::Attach { program: name, source })
        };
        Ok(Self { links: LISTERS.iter().map(lister).collect::<Result<_, _>>()? })
    }

    /// The sockets whose endpoint is not what it was, in every network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn list(&self) -> io::Result<Vec<Stale>> {
        let mut out = Vec::new();
        for link in &self.links {
            out.extend(records(&read(link.as_fd())?));
        }
        Ok(out)
    }

    /// Releases the sockets of endpoints that no longer serve, as `serves` (VIP, endpoint) says. Returns how many.
    ///
    /// # Errors
    /// The kernel's, of the list; a namespace that cannot be entered is logged and passed over.
    pub fn pass(&self, serves: impl Fn(&SocketAddr, &SocketAddr) -> bool) -> io::Result<usize> {
        let mut dead: HashMap<u64, SocketAddr> = self
            .list()?
            .into_iter()
            .filter(|stale| !serves(&stale.vip, &stale.endpoint))
            .map(|stale| (stale.cookie, stale.endpoint))
            .collect();
        if dead.is_empty() {
            return Ok(0);
        }
        // A thread of its own: it goes from namespace to namespace and ends in another than it began in.
        let release = move || {
            let mut released = 0;
            namespaces::each(namespaces::ALL, || {
                released += diag::release(&mut dead)?;
                Ok(dead.is_empty())
            });
            released
        };
        let thread = std::thread::Builder::new().name("drain".to_owned()).spawn(release)?;
        thread.join().map_err(|_| io::Error::other("the thread that releases sockets panicked"))
    }
}

fn read(link: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(sys::iterate(link)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The records of a lister. PURE.
fn records(bytes: &[u8]) -> impl Iterator<Item = Stale> {
    let (records, _) = bytes.as_chunks::<{ size_of::<xebec_abi::drain::Stale>() }>();
    records.iter().map(|record| {
        let address = |at: usize, port: usize| {
            let ip = plain(std::array::from_fn(|i| record[at + i]));
            SocketAddr::new(ip, Be16(u16::from_ne_bytes([record[port], record[port + 1]])).host())
        };
        let cookie = [0, 1, 2, 3, 4, 5, 6, 7].map(|byte| record[byte]);
        Stale { cookie: u64::from_ne_bytes(cookie), vip: address(8, 40), endpoint: address(24, 42) }
    })
}

/// An address without the mapped form that an AF_INET6 socket shows of IPv4.
fn plain(address: [u8; 16]) -> IpAddr {
    IpAddr::from(address).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_in_either_family() {
        let mut bytes = Vec::new();
        for (cookie, vip, endpoint) in
            [(7_u64, "::ffff:10.96.0.1", "::ffff:10.0.0.2"), (8, "fd96::1", "fd00::2")]
        {
            bytes.extend(cookie.to_ne_bytes());
            for address in [vip, endpoint] {
                bytes.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
            }
            bytes.extend([0, 53, 0x14, 0xe9, 0, 0, 0, 0]);
        }
        bytes.extend([1, 2, 3]);
        let stale = |cookie, vip: &str, endpoint: &str| Stale {
            cookie,
            vip: vip.parse().unwrap(),
            endpoint: endpoint.parse().unwrap(),
        };
        assert_eq!(
            records(&bytes).collect::<Vec<_>>(),
            [stale(7, "10.96.0.1:53", "10.0.0.2:5353"), stale(8, "[fd96::1]:53", "[fd00::2]:5353"),]
        );
    }
}
