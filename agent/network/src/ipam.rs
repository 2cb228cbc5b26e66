//! Address reservations. Enters: an owner (container and interface). Leaves: an address no other owner has.
//!
//! One file per address, made with O_EXCL: the file system decides races, and a kill at any moment leaves either a
//! whole reservation or none. An address that was just freed is used again last, since peers may still know it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Cidr, NetworkError, PortMapping};

/// Reservations of one node.
pub struct Ipam {
    folder: PathBuf,
    cidr: Cidr,
    /// The address given out last; the search starts behind it.
    last: Mutex<u32>,
}

/// A reservation as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The reserved address.
    pub address: Ipv4Addr,
    /// Who holds it: `<container id> <interface>`.
    pub owner: String,
    /// `namespace/name` of the pod, empty if unknown.
    pub pod: String,
    /// When it was reserved, in seconds since 1970.
    pub created: i64,
    /// The pod's host ports.
    pub ports: Vec<PortMapping>,
}

/// What stands in a reservation's file beside its owner, on the second line, if the pod has host ports.
#[derive(Default, Serialize, Deserialize)]
struct Note {
    pod: String,
    ports: Vec<PortMapping>,
}

/// Every reservation in a folder, in no order; none if the folder is not there.
///
/// # Errors
/// The folder cannot be read.
pub fn reservations(folder: &Path) -> Result<Vec<Reservation>, NetworkError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(NetworkError::io("read", folder))?,
    };
    let read = |entry: fs::DirEntry| {
        let address = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(entry.path()).ok()?;
        let (owner, note) = text.split_once('\n').unwrap_or((&text, ""));
        let Note { pod, ports } = serde_json::from_str(note).unwrap_or_default();
        let changed = entry.metadata().and_then(|meta| meta.modified()).ok();
        let since = changed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let created = since.map_or(0, |since| since.as_secs() as i64);
        Some(Reservation { address, owner: owner.to_owned(), pod, created, ports })
    };
    Ok(entries.flatten().filter_map(read).collect())
}

impl Ipam {
    /// Opens (and makes) the folder of reservations.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: &Path, cidr: Cidr) -> Result<Self, NetworkError> {
        fs::create_dir_all(folder).map_err(NetworkError::io("create", folder))?;
        let ipam = Self { folder: folder.to_owned(), cidr, last: Mutex::new(*cidr.hosts().start()) };
        let highest = ipam.reservations()?.iter().map(|held| u32::from(held.address)).max();
        if let Some(highest) = highest.filter(|address| cidr.hosts().contains(address)) {
            *ipam.last.lock() = highest;
        }
        Ok(ipam)
    }

    /// The owner's address; a second call for the same owner gives the same one.
    ///
    /// # Errors
    /// [`NetworkError::Exhausted`] when all are taken; try again after a pod is gone.
    pub fn reserve(&self, owner: &str) -> Result<Ipv4Addr, NetworkError> {
        let mut last = self.last.lock();
        if let Some(held) = self.reservations()?.into_iter().find(|held| held.owner == owner) {
            return Ok(held.address);
        }
        let hosts = self.cidr.hosts();
        let after = (*last + 1).clamp(*hosts.start(), *hosts.end());
        for candidate in (after..=*hosts.end()).chain(*hosts.start()..after) {
            let address = Ipv4Addr::from(candidate);
            let path = self.folder.join(address.to_string());
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    file.write_all(owner.as_bytes()).map_err(NetworkError::io("write", &path))?;
                    *last = candidate;
                    return Ok(address);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(NetworkError::io("create", &path)(error)),
            }
        }
        Err(NetworkError::Exhausted(self.cidr))
    }

    /// Notes a pod's host ports with its reservation, whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn note(
        &self,
        address: Ipv4Addr,
        owner: &str,
        pod: String,
        ports: Vec<PortMapping>,
    ) -> Result<(), NetworkError> {
        let _guard = self.last.lock();
        let (path, fresh) = (self.folder.join(address.to_string()), self.folder.join(".note"));
        let note = serde_json::to_string(&Note { pod, ports }).map_err(io::Error::from);
        let text = note.map_err(NetworkError::io("write", &fresh))?;
        fs::write(&fresh, format!("{owner}\n{text}")).map_err(NetworkError::io("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(NetworkError::io("write", &path))
    }

    /// Frees the owner's address; none held is no error (CNI DEL runs twice, and without an ADD).
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn release(&self, owner: &str) -> Result<Option<Ipv4Addr>, NetworkError> {
        let _guard = self.last.lock();
        let held = self.reservations()?.into_iter().find(|held| held.owner == owner);
        held.map(|held| self.free(held.address).map(|()| held.address)).transpose()
    }

    /// Frees what no device stands behind: a kill between reservation and device, or a namespace that is gone.
    /// Returns how many were freed.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn release_stale(&self, device_exists: impl Fn(&str) -> bool) -> Result<usize, NetworkError> {
        let _guard = self.last.lock();
        let stale: Vec<_> = self
            .reservations()?
            .into_iter()
            .filter(|held| !device_exists(&crate::host_device(&held.owner)))
            .collect();
        stale.iter().try_for_each(|held| self.free(held.address))?;
        Ok(stale.len())
    }

    /// Every reservation, in no order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn reservations(&self) -> Result<Vec<Reservation>, NetworkError> {
        reservations(&self.folder)
    }

    fn free(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        let path = self.folder.join(address.to_string());
        fs::remove_file(&path).map_err(NetworkError::io("remove", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipam(folder: &Path, cidr: &str) -> Ipam {
        Ipam::open(folder, cidr.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_same_owner_keeps_its_address_and_others_differ() {
        let folder = tempfile::tempdir().unwrap();
        let pool = ipam(folder.path(), "10.1.0.0/29");
        let first = pool.reserve("a eth0").unwrap();
        assert_eq!(pool.reserve("a eth0").unwrap(), first);
        assert_ne!(pool.reserve("b eth0").unwrap(), first);
    }

    #[test]
    fn a_freed_address_comes_back_last() {
        let folder = tempfile::tempdir().unwrap();
        let pool = ipam(folder.path(), "10.1.0.0/29");
        let freed = pool.reserve("a eth0").unwrap();
        assert_eq!(pool.release("a eth0").unwrap(), Some(freed));
        let others: Vec<_> = (0..5).map(|n| pool.reserve(&format!("n{n} eth0")).unwrap()).collect();
        assert!(!others.contains(&freed));
        assert_eq!(pool.reserve("last eth0").unwrap(), freed);
        let error = pool.reserve("more eth0").unwrap_err();
        assert_eq!(error.to_string(), "no free address left in 10.1.0.0/29");
    }

    #[test]
    fn reservations_survive_a_restart_and_stale_ones_are_freed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = ipam(folder.path(), "10.1.0.0/24").reserve("kept eth0").unwrap();
        let pool = ipam(folder.path(), "10.1.0.0/24");
        pool.reserve("stale eth0").unwrap();
        assert_eq!(pool.reserve("kept eth0").unwrap(), kept);
        let alive = crate::host_device("kept eth0");
        assert_eq!(pool.release_stale(|device| device == alive).unwrap(), 1);
        let held = pool.reservations().unwrap();
        assert_eq!(held.len(), 1);
        assert_eq!((held[0].address, held[0].owner.as_str(), held[0].ports.len()), (kept, "kept eth0", 0));
    }

    #[test]
    fn host_ports_stand_with_their_reservation() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(reservations(&folder.path().join("none")).unwrap(), []);
        let pool = ipam(folder.path(), "10.1.0.0/24");
        let address = pool.reserve("a eth0").unwrap();
        let ports = vec![PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: crate::Transport::Udp,
            host_ip: "127.0.0.1".parse().ok(),
        }];
        pool.note(address, "a eth0", "ns/a".to_owned(), ports.clone()).unwrap();
        assert_eq!(pool.reserve("a eth0").unwrap(), address, "the owner is still found");
        let held = reservations(folder.path()).unwrap();
        assert_eq!((held.len(), held[0].pod.as_str(), &held[0].ports), (1, "ns/a", &ports));
        assert!(held[0].created > 1_700_000_000);
        assert_eq!(pool.release("a eth0").unwrap(), Some(address));
        assert_eq!(pool.reservations().unwrap(), []);
    }

    #[test]
    fn releasing_twice_or_never_reserved_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let pool = ipam(folder.path(), "10.1.0.0/24");
        assert_eq!(pool.release("x eth0").unwrap(), None);
        pool.reserve("x eth0").unwrap();
        assert!(pool.release("x eth0").unwrap().is_some());
        assert_eq!(pool.release("x eth0").unwrap(), None);
    }

    #[test]
    fn concurrent_owners_never_share() {
        let folder = tempfile::tempdir().unwrap();
        let pool = ipam(folder.path(), "10.1.0.0/24");
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..32)
                .map(|n| {
                    scope.spawn({
                        let pool = &pool;
                        move || pool.reserve(&format!("c{n} eth0")).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), 32);
    }
}
