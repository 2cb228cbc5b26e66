//! Who has which address, and which index is which Service.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::addresses::local_addresses;
use crate::sys;

/// What is known. Names of pods that are gone stay until another has the address: events about them come late.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Pods by address, as `namespace/name`.
    pub pods: HashMap<IpAddr, String>,
    /// Nodes by address.
    pub nodes: HashMap<IpAddr, String>,
    /// Service ports by index, as `namespace/name:port`.
    pub services: HashMap<u32, String>,
    /// Addresses of network namespaces, by cookie.
    pub namespaces: HashMap<u64, BTreeSet<IpAddr>>,
    /// The cookie of the node's own.
    pub host: u64,
}

impl Names {
    /// The name of whoever has an address.
    pub fn of(&self, address: IpAddr) -> Option<String> {
        let pod = self.pods.get(&address).cloned();
        pod.or_else(|| self.nodes.get(&address).map(|name| format!("node {name}")))
    }

    /// Looks for the addresses of network namespaces again, and whether one of that cookie is known now.
    pub fn look(&mut self, cookie: u64) -> bool {
        self.host = sys::netns_cookie().unwrap_or(0);
        self.namespaces.extend(namespaces());
        self.namespaces.contains_key(&cookie)
    }
}

/// The addresses of every network namespace that a process is in or that has a name, by cookie. Needs root.
fn namespaces() -> HashMap<u64, BTreeSet<IpAddr>> {
    let entries =
        |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let processes = entries("/proc").map(|process| process.join("ns/net"));
    let mut files: HashMap<u64, PathBuf> = HashMap::new();
    for file in entries("/run/netns").chain(processes) {
        if let Ok(metadata) = std::fs::metadata(&file) {
            files.entry(metadata.ino()).or_insert(file);
        }
    }
    // A thread of its own: it does not come back from the last of them.
    let visit = move || files.into_values().filter_map(|file| visit(&file)).collect();
    std::thread::spawn(visit).join().unwrap_or_default()
}

/// Moves the calling thread into a network namespace and asks there.
fn visit(file: &Path) -> Option<(u64, BTreeSet<IpAddr>)> {
    let file = std::fs::File::open(file).ok()?;
    let network = rustix::thread::LinkNameSpaceType::Network;
    rustix::thread::move_into_link_name_space(file.as_fd(), Some(network)).ok()?;
    Some((sys::netns_cookie().ok()?, local_addresses().ok()?))
}
