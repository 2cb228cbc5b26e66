//! Network namespaces of the machine. Enters: /proc. Leaves: a visit in each. Called by drain and sources, on threads of their
//! own.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What holds network namespaces, as paths to them.
pub(crate) type Holders = fn() -> Vec<PathBuf>;

/// Processes and mounts: those of pods.
pub(crate) const USUAL: &[Holders] = &[of_processes, of_mounts];
/// Single threads, too, which are many and mostly of no namespace of their own.
pub(crate) const ALL: &[Holders] = &[of_processes, of_mounts, of_threads];

/// Moves the calling thread, which never comes back, into one network namespace after the other and visits each once, until a
/// visit says that it was the last one needed.
pub(crate) fn each(holders: &[Holders], mut visit: impl FnMut() -> io::Result<bool>) {
    let mut seen = HashSet::new();
    for path in holders.iter().flat_map(|holders| holders()) {
        // A process that ended meanwhile is nothing to speak of.
        let Ok(file) = File::open(&path) else { continue };
        let Ok(meta) = file.metadata() else { continue };
        if !seen.insert((meta.dev(), meta.ino())) {
            continue;
        }
        let entered = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        match entered.map_err(io::Error::from).and_then(|()| visit()) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(namespace = %path.display(), %error, "cannot look into a network namespace");
            }
        }
    }
}

fn numbered(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let numbered = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
    };
    entries.filter(numbered).map(|entry| entry.path()).collect()
}

fn of_processes() -> Vec<PathBuf> {
    numbered(Path::new("/proc")).into_iter().map(|process| process.join("ns/net")).collect()
}

fn of_threads() -> Vec<PathBuf> {
    let threads = numbered(Path::new("/proc")).into_iter().flat_map(|p| numbered(&p.join("task")));
    threads.map(|thread| thread.join("ns/net")).collect()
}

fn of_mounts() -> Vec<PathBuf> {
    held(&std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default())
}

/// Where a mountinfo file says that a network namespace is held. PURE.
fn held(mountinfo: &str) -> Vec<PathBuf> {
    let held = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (right.starts_with("nsfs ") && root.starts_with("net:[")).then(|| PathBuf::from(point))
    };
    mountinfo.lines().filter_map(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_namespaces_are_taken_from_mounts() {
        let mounts = "24 1 0:20 / /run rw - tmpfs tmpfs rw\n\
                      25 24 0:4 net:[4026532300] /run/netns/cni-1 rw shared:9 - nsfs nsfs rw\n\
                      26 24 0:4 mnt:[4026532301] /run/docker/x rw - nsfs nsfs rw\n";
        assert_eq!(held(mounts), [PathBuf::from("/run/netns/cni-1")]);
    }

    #[test]
    fn each_namespace_is_visited_once_and_the_last_is_the_visitors_choice() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let visit = |most: usize| {
            move || {
                let mut seen = Vec::new();
                each(ALL, || {
                    seen.push(std::fs::read_link("/proc/thread-self/ns/net")?);
                    Ok(seen.len() == most)
                });
                seen
            }
        };
        let all = std::thread::spawn(visit(usize::MAX)).join().unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(all.iter().filter(|ns| **ns == own).count(), 1);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert_eq!(std::thread::spawn(visit(1)).join().unwrap().len(), 1);
    }
}
