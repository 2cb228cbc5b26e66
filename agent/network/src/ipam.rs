//! Address reservations. Enters: an owner (container and interface). Leaves: an address of each family that no other owner has.
//!
//! One file per address, made with O_EXCL: the file system decides races, and a kill at any moment leaves either a
//! whole reservation or none. An address that was just freed is used again last, since peers may still know it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::cidr::{IpNet, address, hosts, number};
use crate::{NetworkError, PortMapping};

/// Reservations of one node.
pub struct Ipam {
    folder: PathBuf,
    /// The primary family's first; with each the address given out last: the search starts behind it.
    cidrs: Mutex<Vec<(IpNet, u128)>>,
}

/// An owner's reservations as they stand on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The reserved addresses, one of a family, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Who holds them: `<container id> <interface>`.
    pub owner: String,
    /// `namespace/name` of the pod, empty if unknown.
    pub pod: String,
    /// When the first was reserved, in seconds since 1970.
    pub created: i64,
    /// The pod's host ports.
    pub ports: Vec<PortMapping>,
}

/// What stands in one of a reservation's files beside its owner, on the second line, if the pod has host ports.
#[derive(Default, Serialize, Deserialize)]
struct Note {
    pod: String,
    ports: Vec<PortMapping>,
}

/// Every owner's reservations in a folder; none if the folder is not there.
///
/// # Errors
/// The folder cannot be read.
pub fn reservations(folder: &Path) -> Result<Vec<Reservation>, NetworkError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(NetworkError::io("read", folder))?,
    };
    let mut by_owner: BTreeMap<String, Reservation> = BTreeMap::new();
    for one in entries.flatten().filter_map(|entry| read(&entry)) {
        match by_owner.get_mut(&one.owner) {
            None => drop(by_owner.insert(one.owner.clone(), one)),
            Some(held) => {
                held.addresses.extend(one.addresses);
                held.addresses.sort_unstable();
                held.created = held.created.min(one.created);
                if held.ports.is_empty() {
                    (held.pod, held.ports) = (one.pod, one.ports);
                }
            }
        }
    }
    Ok(by_owner.into_values().collect())
}

/// One file: an address and its owner.
fn read(entry: &fs::DirEntry) -> Option<Reservation> {
    let address = entry.file_name().to_str()?.parse().ok()?;
    let text = fs::read_to_string(entry.path()).ok()?;
    let (owner, note) = text.split_once('\n').unwrap_or((&text, ""));
    let Note { pod, ports } = serde_json::from_str(note).unwrap_or_default();
    let changed = entry.metadata().and_then(|meta| meta.modified()).ok();
    let since = changed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let created = since.map_or(0, |since| since.as_secs() as i64);
    Some(Reservation { addresses: vec![address], owner: owner.to_owned(), pod, created, ports })
}

impl Ipam {
    /// Opens (and makes) the folder of reservations, for addresses of these networks.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: &Path, cidrs: &[IpNet]) -> Result<Self, NetworkError> {
        fs::create_dir_all(folder).map_err(NetworkError::io("create", folder))?;
        let held: Vec<IpAddr> = reservations(folder)?.into_iter().flat_map(|held| held.addresses).collect();
        let last = |cidr: &IpNet| {
            let within = held.iter().filter(|address| cidr.contains(*address)).map(|held| number(*held));
            let known = within.filter(|address| hosts(cidr).contains(address)).max();
            known.unwrap_or(*hosts(cidr).start())
        };
        let cidrs = Mutex::new(cidrs.iter().map(|cidr| (*cidr, last(cidr))).collect());
        Ok(Self { folder: folder.to_owned(), cidrs })
    }

    /// The owner's addresses, one of each network, in their order; a second call for the same owner gives the same ones.
    ///
    /// # Errors
    /// [`NetworkError::Exhausted`] when all of a network are taken; try again after a pod is gone. The owner may hold one of
    /// another network then.
    pub fn reserve(&self, owner: &str) -> Result<Vec<IpAddr>, NetworkError> {
        let mut cidrs = self.cidrs.lock();
        let held = self.held_by(owner)?;
        let of_network =
            |(cidr, last): &mut (IpNet, u128)| match held.iter().find(|held| cidr.contains(*held)) {
                Some(held) => Ok(*held),
                None => self.take(owner, cidr, last),
            };
        cidrs.iter_mut().map(of_network).collect()
    }

    /// A free address of a network.
    fn take(&self, owner: &str, cidr: &IpNet, last: &mut u128) -> Result<IpAddr, NetworkError> {
        let hosts = hosts(cidr);
        let after = last.saturating_add(1).clamp(*hosts.start(), *hosts.end());
        for candidate in (after..=*hosts.end()).chain(*hosts.start()..after) {
            let address = address(cidr, candidate);
            let path = self.file(address);
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
        Err(NetworkError::Exhausted(*cidr))
    }

    fn held_by(&self, owner: &str) -> Result<Vec<IpAddr>, NetworkError> {
        let held = self.reservations()?.into_iter().find(|held| held.owner == owner);
        Ok(held.map(|held| held.addresses).unwrap_or_default())
    }

    /// Notes a pod's host ports with the reservation of one of its addresses, whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn note(
        &self,
        address: IpAddr,
        owner: &str,
        pod: String,
        ports: Vec<PortMapping>,
    ) -> Result<(), NetworkError> {
        let _guard = self.cidrs.lock();
        let (path, fresh) = (self.file(address), self.folder.join(".note"));
        let note = serde_json::to_string(&Note { pod, ports }).map_err(io::Error::from);
        let text = note.map_err(NetworkError::io("write", &fresh))?;
        fs::write(&fresh, format!("{owner}\n{text}")).map_err(NetworkError::io("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(NetworkError::io("write", &path))
    }

    /// Frees the owner's addresses and returns them; none held is no error (CNI DEL runs twice, and without an ADD).
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn release(&self, owner: &str) -> Result<Vec<IpAddr>, NetworkError> {
        let _guard = self.cidrs.lock();
        let held = self.held_by(owner)?;
        self.free(&held).map(|()| held)
    }

    /// Frees what no device stands behind: a kill between reservation and device, or a namespace that is gone.
    /// Returns how many owners' were freed.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn release_stale(&self, device_exists: impl Fn(&str) -> bool) -> Result<usize, NetworkError> {
        let _guard = self.cidrs.lock();
        let mut stale = self.reservations()?;
        stale.retain(|held| !device_exists(&crate::host_device(&held.owner)));
        stale.iter().try_for_each(|held| self.free(&held.addresses))?;
        Ok(stale.len())
    }

    /// Every owner's reservations.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn reservations(&self) -> Result<Vec<Reservation>, NetworkError> {
        reservations(&self.folder)
    }

    fn file(&self, address: IpAddr) -> PathBuf {
        self.folder.join(address.to_string())
    }

    fn free(&self, addresses: &[IpAddr]) -> Result<(), NetworkError> {
        addresses.iter().try_for_each(|address| {
            let path = self.file(*address);
            fs::remove_file(&path).map_err(NetworkError::io("remove", &path))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipam(folder: &Path, cidr: &str) -> Ipam {
        let cidrs = crate::cidr::networks(&cidr.split(',').collect::<Vec<_>>()).unwrap();
        Ipam::open(folder, &cidrs).unwrap()
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
        assert_eq!(pool.release("a eth0").unwrap(), freed);
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
        assert_eq!(
            (&held[0].addresses, held[0].owner.as_str(), held[0].ports.len()),
            (&kept, "kept eth0", 0)
        );
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
        pool.note(address[0], "a eth0", "ns/a".to_owned(), ports.clone()).unwrap();
        assert_eq!(pool.reserve("a eth0").unwrap(), address, "the owner is still found");
        let held = reservations(folder.path()).unwrap();
        assert_eq!((held.len(), held[0].pod.as_str(), &held[0].ports), (1, "ns/a", &ports));
        assert!(held[0].created > 1_700_000_000);
        assert_eq!(pool.release("a eth0").unwrap(), address);
        assert_eq!(pool.reservations().unwrap(), []);
    }

    #[test]
    fn an_owner_has_an_address_of_each_family() {
        let folder = tempfile::tempdir().unwrap();
        let four = ipam(folder.path(), "10.1.0.0/29").reserve("old eth0").unwrap();
        let pool = ipam(folder.path(), "fd00:0:0:7::/64,10.1.0.0/29");
        let both = pool.reserve("a eth0").unwrap();
        assert_eq!(both, ["fd00:0:0:7::2", "10.1.0.3"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(ipam(folder.path(), "fd00:0:0:7::/64,10.1.0.0/29").reserve("a eth0").unwrap(), both);
        let ports = vec![PortMapping {
            host_port: 80,
            container_port: 80,
            protocol: crate::Transport::Tcp,
            host_ip: None,
        }];
        pool.note(both[0], "a eth0", "ns/a".to_owned(), ports.clone()).unwrap();
        let held = pool.reservations().unwrap();
        assert_eq!(held.iter().map(|held| &held.owner[..]).collect::<Vec<_>>(), ["a eth0", "old eth0"]);
        assert_eq!((held[0].addresses.clone(), &held[0].ports), (vec![both[1], both[0]], &ports));
        assert_eq!(held[1].addresses, four);
        // All of one family are taken: the other's is given back with the rest.
        let more: Vec<_> = (0..4).map(|n| pool.reserve(&format!("n{n} eth0")).unwrap()).collect();
        assert_eq!(more.len(), 4);
        let error = pool.reserve("late eth0").unwrap_err().to_string();
        assert_eq!(error, "no free address left in 10.1.0.0/29");
        assert_eq!(pool.release("late eth0").unwrap().len(), 1);
        assert_eq!(pool.release("a eth0").unwrap().len(), 2);
        assert_eq!(pool.reservations().unwrap().len(), 5);
    }

    #[test]
    fn releasing_twice_or_never_reserved_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let pool = ipam(folder.path(), "10.1.0.0/24");
        assert_eq!(pool.release("x eth0").unwrap(), [] as [IpAddr; 0]);
        pool.reserve("x eth0").unwrap();
        assert_eq!(pool.release("x eth0").unwrap().len(), 1);
        assert_eq!(pool.release("x eth0").unwrap(), [] as [IpAddr; 0]);
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
