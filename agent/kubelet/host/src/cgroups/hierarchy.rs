//! Where cgroups are mounted. Enters: the mount table. Leaves: one directory per v1 controller and the unified one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::volumes::MountEntry;

/// Which cgroup layout the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies with controllers, and a unified one beside them.
    Hybrid,
    /// The unified hierarchy only.
    V2,
}

/// The mounted hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// Mount point by v1 controller, or `name=systemd`; controllers mounted together share one.
    pub v1: BTreeMap<String, PathBuf>,
    /// The unified hierarchy.
    pub v2: Option<PathBuf>,
}

/// Options of a v1 mount that are no controllers.
const FLAGS: [&str; 6] = ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"];

impl Hierarchies {
    /// Picks the cgroup mounts of a mount table; the first mount of a controller counts.
    pub fn from_mounts(table: &[MountEntry]) -> Self {
        let mut found = Self { v1: BTreeMap::new(), v2: None };
        for entry in table {
            match entry.fs_type.as_str() {
                "cgroup2" => {
                    found.v2.get_or_insert_with(|| entry.point.clone());
                }
                "cgroup" => {
                    let options = entry.super_options.split(',');
                    let controllers =
                        options.filter(|o| !FLAGS.contains(o) && !o.starts_with("release_agent="));
                    for controller in controllers {
                        found.v1.entry(controller.to_owned()).or_insert_with(|| entry.point.clone());
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The layout; `None` where nothing is mounted.
    pub fn version(&self) -> Option<Version> {
        let controllers = self.v1.keys().any(|name| !name.starts_with("name="));
        match (controllers, &self.v2) {
            (true, Some(_)) => Some(Version::Hybrid),
            (true, None) => Some(Version::V1),
            (false, Some(_)) => Some(Version::V2),
            (false, None) => None,
        }
    }

    /// The directory of a cgroup in the hierarchy that has this controller.
    pub fn dir(&self, controller: &str, cgroup: &str) -> Option<PathBuf> {
        let base = self.v1.get(controller).or(self.v2.as_ref())?;
        Some(join(base, cgroup))
    }

    /// Every distinct mount point, the unified one last.
    pub fn mounts(&self) -> Vec<&Path> {
        let v1: BTreeSet<&Path> = self.v1.values().map(PathBuf::as_path).collect();
        v1.into_iter().chain(self.v2.as_deref()).collect()
    }
}

/// A cgroup path (`/a/b`) below a mount point.
pub(super) fn join(base: &Path, cgroup: &str) -> PathBuf {
    base.join(cgroup.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::parse_mount_table;

    const HYBRID: &str = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn layouts_are_told_apart() {
        let of = |text: &str| Hierarchies::from_mounts(&parse_mount_table(text));
        let hybrid = of(HYBRID);
        assert_eq!(hybrid.version(), Some(Version::Hybrid));
        assert_eq!(
            hybrid.dir("cpuacct", "/kubepods/x").unwrap(),
            Path::new("/sys/fs/cgroup/cpu,cpuacct/kubepods/x")
        );
        assert_eq!(hybrid.dir("hugetlb", "/kubepods").unwrap(), Path::new("/sys/fs/cgroup/unified/kubepods"));
        assert_eq!(hybrid.mounts().len(), 4);
        let unified = of("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(unified.version(), Some(Version::V2));
        assert_eq!(unified.dir("cpu", "/a").unwrap(), Path::new("/sys/fs/cgroup/a"));
        assert_eq!(of("").version(), None);
        assert_eq!(of(HYBRID.split("41 31").next().unwrap()).version(), Some(Version::V1));
    }
}
