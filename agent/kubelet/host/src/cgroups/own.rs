//! The limits this process itself lives under. Enters: /proc/self/cgroup. Leaves: the tightest quota and memory limit
//! from its cgroup up to the mount. Called by capacity discovery.

use std::fs;
use std::path::Path;

use super::hierarchy::{Hierarchies, join};
use crate::volumes::mount_table;

/// Limits above this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// v2: the tightest `cpu.max`.
    pub cpu_max: Option<String>,
    /// v1: quota and period in microseconds, of the process's own cgroup or the nearest above with a quota.
    pub cpu_quota_and_period: Option<(i64, i64)>,
    /// Bytes.
    pub memory: Option<u64>,
}

/// The path of a controller (or of v2, the empty name) in the text of /proc/self/cgroup.
fn own_path<'t>(text: &'t str, controller: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next()?;
        let path = fields.next()?;
        names.split(',').any(|name| name == controller).then_some(path)
    })
}

/// The values of a file from a cgroup up to its mount, nearest first.
fn upwards(mount: &Path, cgroup: &str, file: &str) -> Vec<String> {
    let dir = join(mount, cgroup);
    let levels = dir.ancestors().take_while(|level| level.starts_with(mount));
    levels
        .filter_map(|level| fs::read_to_string(level.join(file)).ok())
        .map(|t| t.trim().to_owned())
        .collect()
}

impl OwnLimits {
    /// Reads them; what cannot be read is no limit.
    pub fn read() -> Self {
        let Ok(table) = mount_table() else { return Self::default() };
        let hierarchies = Hierarchies::from_mounts(&table);
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let values = |controller: &str, v1: &str, v2: &str| match hierarchies.v1.get(controller) {
            Some(mount) => upwards(mount, own_path(&text, controller).unwrap_or("/"), v1),
            None => match &hierarchies.v2 {
                Some(mount) => upwards(mount, own_path(&text, "").unwrap_or("/"), v2),
                None => Vec::new(),
            },
        };
        let memory = values("memory", "memory.limit_in_bytes", "memory.max");
        let number = |value: &String| value.parse::<i64>().ok().filter(|n| *n > 0);
        let quotas = values("cpu", "cpu.cfs_quota_us", "cpu.max");
        let periods = values("cpu", "cpu.cfs_period_us", "cpu.max");
        let pairs = quotas.iter().zip(&periods).filter_map(|(q, p)| Some((number(q)?, number(p)?)));
        let tightest = |value: &&String| {
            let mut fields = value.split_whitespace().filter_map(|f| f.parse::<i64>().ok());
            match (fields.next(), fields.next()) {
                (Some(quota), Some(period)) if period > 0 => quota.saturating_mul(1_000_000) / period,
                _ => i64::MAX,
            }
        };
        Self {
            cpu_max: quotas.iter().filter(|v| v.contains(' ')).min_by_key(tightest).cloned(),
            cpu_quota_and_period: pairs.min_by_key(|(q, p)| q.saturating_mul(1_000_000) / p),
            memory: memory.iter().filter_map(|value| value.parse().ok()).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_controllers() {
        let text = "4:memory:/a/b\n3:cpu,cpuacct:/c\n0::/d\n";
        assert_eq!(own_path(text, "memory"), Some("/a/b"));
        assert_eq!(own_path(text, "cpuacct"), Some("/c"));
        assert_eq!(own_path(text, ""), Some("/d"));
        assert_eq!(own_path(text, "pids"), None);
    }

    #[test]
    fn levels_are_read_upwards() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/x"), "1\n").unwrap();
        fs::write(dir.path().join("x"), "2\n").unwrap();
        assert_eq!(upwards(dir.path(), "/a/b", "x"), ["1", "2"]);
    }
}
