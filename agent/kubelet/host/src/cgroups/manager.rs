//! The manager. Enters: the node's limits and pods. Leaves: cgroups with values, and the parent path for the runtime.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use super::CgroupError;
use super::files::{delegate, inherit_cpuset, make, remove, set, set_if_there};
use super::hierarchy::{Hierarchies, Version, join};
use super::stats::{Usage, read_usage};
use crate::qos::{
    PodResources, QUOTA_PERIOD_US, QosClass, milli_to_shares, pod_requests, pod_resources, qos_class,
    shares_to_weight,
};
use crate::volumes::mount_table;

/// How cgroups are laid out.
#[derive(Clone, Debug)]
pub struct CgroupOptions {
    /// The node's base cgroup, `/` in production; each node of a test cluster on one machine has its own.
    pub root: String,
    /// The most processes a pod may have; `None` sets no limit.
    pub pod_pids_limit: Option<i64>,
    /// Convert shares to v2 weights on the line that runc before 1.3.2 uses, to agree with the runtime.
    pub linear_weights: bool,
}

/// What all pods together may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeLimits {
    /// Allocatable CPU in thousandths.
    pub cpu_milli: i64,
    /// Bytes; `None` sets no limit.
    pub memory: Option<i64>,
    /// Processes; `None` sets no limit.
    pub pids: Option<i64>,
}

/// The cgroups of one node's pods. Cheap to share; every call goes to the file system and is idempotent.
#[derive(Clone, Debug)]
pub struct Cgroups {
    hierarchies: Hierarchies,
    version: Version,
    options: CgroupOptions,
}

impl Cgroups {
    /// Finds the mounted hierarchies. Fails only where no cgroup file system is mounted.
    pub fn discover(options: CgroupOptions) -> Result<Self, CgroupError> {
        let table = mount_table().map_err(CgroupError::io("read", "/proc/self/mountinfo"))?;
        Self::with_hierarchies(Hierarchies::from_mounts(&table), options)
    }

    /// A manager over given hierarchies.
    pub fn with_hierarchies(hierarchies: Hierarchies, options: CgroupOptions) -> Result<Self, CgroupError> {
        let version = hierarchies.version().ok_or(CgroupError::NotMounted)?;
        Ok(Self { hierarchies, version, options })
    }

    /// The layout found.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The cgroup of all pods, `<root>/kubepods`.
    pub fn kubepods(&self) -> String {
        let root = self.options.root.trim_matches('/');
        if root.is_empty() { "/kubepods".to_owned() } else { format!("/{root}/kubepods") }
    }

    fn class_path(&self, class: QosClass) -> String {
        let base = self.kubepods();
        match class {
            QosClass::Guaranteed => base,
            QosClass::Burstable => format!("{base}/burstable"),
            QosClass::BestEffort => format!("{base}/besteffort"),
        }
    }

    /// A pod's cgroup: the `cgroup_parent` of its sandbox (cgroupfs driver).
    pub fn pod_path(&self, class: QosClass, uid: &str) -> String {
        format!("{}/pod{uid}", self.class_path(class))
    }

    fn make(&self, cgroup: &str) -> Result<(), CgroupError> {
        let cpuset = self.hierarchies.v1.get("cpuset").map(|mount| mount.as_path());
        for mount in self.hierarchies.mounts() {
            let unified = self.hierarchies.v2.as_deref() == Some(mount);
            make(mount, cgroup, |parent, dir| {
                if unified {
                    delegate(parent)
                } else if cpuset == Some(mount) {
                    inherit_cpuset(parent, dir)
                } else {
                    Ok(())
                }
            })?;
        }
        if self.version == Version::V2
            && let Some(mount) = &self.hierarchies.v2
        {
            delegate(&join(mount, cgroup))?;
        }
        Ok(())
    }

    fn set_shares(&self, cgroup: &str, shares: u64) -> Result<(), CgroupError> {
        let Some(dir) = self.hierarchies.dir("cpu", cgroup) else { return Ok(()) };
        if self.version == Version::V2 {
            let weight = shares_to_weight(shares, self.options.linear_weights);
            return set(&dir, "cpu.weight", &weight.to_string());
        }
        set(&dir, "cpu.shares", &shares.to_string())
    }

    fn set_quota(&self, cgroup: &str, quota: Option<i64>) -> Result<(), CgroupError> {
        let Some(dir) = self.hierarchies.dir("cpu", cgroup) else { return Ok(()) };
        if self.version == Version::V2 {
            let quota = quota.map_or_else(|| "max".to_owned(), |us| us.to_string());
            return set(&dir, "cpu.max", &format!("{quota} {QUOTA_PERIOD_US}"));
        }
        set_if_there(&dir, "cpu.cfs_period_us", &QUOTA_PERIOD_US.to_string())?;
        set_if_there(&dir, "cpu.cfs_quota_us", &quota.unwrap_or(-1).to_string())
    }

    fn set_memory(&self, cgroup: &str, limit: Option<i64>) -> Result<(), CgroupError> {
        let Some(dir) = self.hierarchies.dir("memory", cgroup) else { return Ok(()) };
        if self.version == Version::V2 {
            let limit = limit.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
            return set(&dir, "memory.max", &limit);
        }
        match limit {
            Some(bytes) => {
                // The kernel keeps whole pages, and says so when read back.
                let page = rustix::param::page_size() as i64;
                set(&dir, "memory.limit_in_bytes", &(bytes / page * page).max(page).to_string())
            }
            None => fs::write(dir.join("memory.limit_in_bytes"), "-1")
                .map_err(CgroupError::io("write", dir.join("memory.limit_in_bytes"))),
        }
    }

    fn set_pids(&self, cgroup: &str, limit: Option<i64>) -> Result<(), CgroupError> {
        let Some(dir) = self.hierarchies.dir("pids", cgroup) else { return Ok(()) };
        let limit = limit.filter(|l| *l > 0).map_or_else(|| "max".to_owned(), |l| l.to_string());
        set_if_there(&dir, "pids.max", &limit)
    }

    /// Makes `kubepods` and the two classes below it, with the node's limits. Call at start and on a change.
    pub fn ensure_node(&self, limits: &NodeLimits) -> Result<(), CgroupError> {
        let kubepods = self.kubepods();
        self.make(&kubepods)?;
        self.set_shares(&kubepods, milli_to_shares(limits.cpu_milli))?;
        self.set_memory(&kubepods, limits.memory)?;
        self.set_pids(&kubepods, limits.pids)?;
        for class in [QosClass::Burstable, QosClass::BestEffort] {
            self.make(&self.class_path(class))?;
        }
        self.set_shares(&self.class_path(QosClass::BestEffort), crate::qos::MIN_SHARES)
    }

    /// Sets the classes' shares for the pods the node runs: Burstable has the sum of its requests.
    pub fn update_classes<'p>(&self, pods: impl IntoIterator<Item = &'p Pod>) -> Result<(), CgroupError> {
        let burstable = pods.into_iter().filter(|pod| qos_class(pod) == QosClass::Burstable);
        let milli = burstable.filter_map(|pod| Some(pod_requests(pod).get("cpu")?.milli_value())).sum();
        self.set_shares(&self.class_path(QosClass::Burstable), milli_to_shares(milli))?;
        self.set_shares(&self.class_path(QosClass::BestEffort), crate::qos::MIN_SHARES)
    }

    /// Makes (or brings up to date) a pod's cgroup; returns its path, the sandbox's `cgroup_parent`.
    pub fn ensure_pod(&self, pod: &Pod) -> Result<String, CgroupError> {
        let uid = checked(pod.metadata.uid.as_deref().unwrap_or_default())?;
        let path = self.pod_path(qos_class(pod), uid);
        let PodResources { cpu_shares, cpu_quota, memory_limit } = pod_resources(pod);
        self.make(&path)?;
        self.set_shares(&path, cpu_shares)?;
        self.set_quota(&path, cpu_quota)?;
        self.set_memory(&path, memory_limit)?;
        self.set_pids(&path, self.options.pod_pids_limit)?;
        Ok(path)
    }

    /// Removes a pod's cgroup in every hierarchy and under every class, killing what is left in it. Gone is success;
    /// [`CgroupError::Busy`] means: retry later.
    pub async fn remove_pod(&self, uid: &str) -> Result<(), CgroupError> {
        let uid = checked(uid)?;
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            let path = self.pod_path(class, uid);
            for mount in self.hierarchies.mounts() {
                let dir = join(mount, &path);
                if dir.exists() {
                    remove(&dir).await?;
                }
            }
        }
        Ok(())
    }

    /// The UIDs that have a cgroup, in any hierarchy.
    pub fn pods(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            for mount in self.hierarchies.mounts() {
                let entries =
                    fs::read_dir(join(mount, &self.class_path(class))).into_iter().flatten().flatten();
                let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
                found.extend(names.filter_map(|name| name.strip_prefix("pod").map(str::to_owned)));
            }
        }
        found
    }

    /// What a cgroup uses: a pod's by [`Cgroups::pod_path`], a container's by `<pod path>/<container id>`, all pods'
    /// by [`Cgroups::kubepods`], the machine's by `/`. `None` when it is gone.
    pub fn usage(&self, cgroup: &str) -> Option<Usage> {
        read_usage(&self.hierarchies, self.version, cgroup)
    }

    /// Removes the node's whole base cgroup; for the end of a test cluster's node.
    pub async fn remove_node(&self) -> Result<(), CgroupError> {
        let root = self.options.root.trim_matches('/');
        let path = if root.is_empty() { self.kubepods() } else { root.to_owned() };
        for mount in self.hierarchies.mounts() {
            let dir = join(mount, &path);
            if dir != Path::new(mount) && dir.exists() {
                remove(&dir).await?;
            }
        }
        Ok(())
    }
}

fn checked(uid: &str) -> Result<&str, CgroupError> {
    let plain = !uid.is_empty() && !uid.contains(['/', '\0']) && !uid.starts_with('.');
    if plain { Ok(uid) } else { Err(CgroupError::Uid(uid.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manager(root: &str) -> Cgroups {
        let options =
            CgroupOptions { root: root.to_owned(), pod_pids_limit: Some(100), linear_weights: false };
        Cgroups::discover(options).unwrap()
    }

    fn pod(uid: &str, resources: serde_json::Value) -> Pod {
        let pod = json!({"metadata": {"uid": uid}, "spec": {"containers": [{"name": "c", "resources": resources}]}});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn paths_follow_class_and_root() {
        let (plain, based) = (manager("/"), manager("/xebec-a/"));
        assert_eq!(plain.pod_path(QosClass::Guaranteed, "u"), "/kubepods/podu");
        assert_eq!(plain.pod_path(QosClass::Burstable, "u"), "/kubepods/burstable/podu");
        assert_eq!(based.pod_path(QosClass::BestEffort, "u"), "/xebec-a/kubepods/besteffort/podu");
        assert!(matches!(plain.ensure_pod(&pod("../x", json!({}))), Err(CgroupError::Uid(_))));
    }

    #[tokio::test]
    async fn real_cgroups_are_made_set_and_removed() {
        let cgroups = manager(&format!("/xebec-host-test-{}", std::process::id()));
        cgroups.ensure_node(&NodeLimits { cpu_milli: 2000, memory: Some(1 << 30), pids: None }).unwrap();
        let burstable =
            pod("u1", json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "64Mi"}}));
        let path = cgroups.ensure_pod(&burstable).unwrap();
        assert_eq!(cgroups.ensure_pod(&burstable).unwrap(), path);
        cgroups.update_classes([&burstable]).unwrap();
        let read = |controller: &str, cgroup: &str, file: &str| {
            let dir = cgroups.hierarchies.dir(controller, cgroup).unwrap();
            fs::read_to_string(dir.join(file)).unwrap().trim().to_owned()
        };
        if cgroups.version() == Version::V2 {
            assert_eq!(read("cpu", &path, "cpu.max"), "100000 100000");
            assert_eq!(read("memory", &path, "memory.max"), (64 << 20).to_string());
        } else {
            assert_eq!(read("cpu", &path, "cpu.shares"), "512");
            assert_eq!(read("cpu", &path, "cpu.cfs_quota_us"), "100000");
            assert_eq!(read("memory", &path, "memory.limit_in_bytes"), (64 << 20).to_string());
            assert_eq!(read("cpu", &cgroups.class_path(QosClass::Burstable), "cpu.shares"), "512");
            assert_eq!(read("cpu", &cgroups.kubepods(), "cpu.shares"), "2048");
        }
        assert_eq!(read("pids", &path, "pids.max"), "100");
        assert_eq!(cgroups.pods(), BTreeSet::from(["u1".to_owned()]));

        // A process left behind in the pod's cgroup does not keep it from going.
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        for mount in cgroups.hierarchies.mounts() {
            fs::write(join(mount, &path).join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        assert!(cgroups.usage(&path).unwrap().memory_usage.is_some());
        let reaper = tokio::task::spawn_blocking(move || child.wait().unwrap());
        cgroups.remove_pod("u1").await.unwrap();
        assert!(!reaper.await.unwrap().success());
        assert!(cgroups.pods().is_empty() && cgroups.usage(&path).is_none());
        cgroups.remove_pod("u1").await.unwrap();
        cgroups.remove_node().await.unwrap();
        assert!(!cgroups.hierarchies.dir("cpu", &cgroups.kubepods()).unwrap().exists());
    }
}
