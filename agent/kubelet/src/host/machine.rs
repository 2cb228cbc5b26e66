//! This machine as a node: [`crate::node::Machine`] over xebec-host. Read once at the start, pressures each time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use xebec_api::quantity::Quantity;
use xebec_host::machine::{Machine as Hardware, NodeIdentity, Reserved, allocatable, capacity, identity};
use xebec_host::qos::Amounts;

use crate::config::Config;
use crate::error::KubeletError;
use crate::node::Machine;

/// Upstream's eviction thresholds: bytes of memory, percent of the disk, percent of inodes, percent of process ids.
const MEMORY: u64 = 100 << 20;
const DISK_PERCENT: u64 = 10;
const INODE_PERCENT: u64 = 5;
const PID_PERCENT: u64 = 10;

/// This machine.
#[derive(Clone, Debug)]
pub struct NodeMachine {
    identity: NodeIdentity,
    capacity: Amounts,
    allocatable: Amounts,
    memory: u64,
    root: PathBuf,
}

impl NodeMachine {
    /// Looks at the machine; `config.root_dir` is made if it is missing.
    pub fn discover(config: &Config) -> Result<Self, KubeletError> {
        let machine = |error: &dyn std::fmt::Display| KubeletError::Machine(error.to_string());
        std::fs::create_dir_all(&config.root_dir)
            .map_err(|error| machine(&format!("create {}: {error}", config.root_dir.display())))?;
        let hardware = Hardware::discover(&config.root_dir).map_err(|error| machine(&error))?;
        let parse = |name: &str| {
            let text = config.reserved.get(name).map(String::as_str).unwrap_or("0");
            Quantity::parse(text).map_err(|error| machine(&format!("reserved {name} {text:?}: {error}")))
        };
        let reserved = Reserved {
            cpu_milli: parse("cpu")?.milli_value(),
            memory: parse("memory")?.value(),
            memory_eviction: i64::try_from(MEMORY).unwrap_or(i64::MAX),
            ephemeral_eviction_percent: DISK_PERCENT,
        };
        Ok(NodeMachine {
            identity: identity().map_err(|error| machine(&error))?,
            capacity: capacity(&hardware, config.max_pods),
            allocatable: allocatable(&hardware, config.max_pods, &reserved),
            memory: hardware.memory,
            root: config.root_dir.clone(),
        })
    }

    /// What pods may have.
    pub fn allocatable(&self) -> &Amounts {
        &self.allocatable
    }

    /// Bytes of memory.
    pub fn memory(&self) -> u64 {
        self.memory
    }
}

fn texts(amounts: &Amounts) -> BTreeMap<String, Text> {
    amounts.iter().map(|(name, amount)| (name.clone(), Text(amount.to_string()))).collect()
}

#[async_trait]
impl Machine for NodeMachine {
    fn resources(&self) -> (BTreeMap<String, Text>, BTreeMap<String, Text>) {
        (texts(&self.capacity), texts(&self.allocatable))
    }

    fn info(&self) -> NodeSystemInfo {
        let identity = self.identity.clone();
        NodeSystemInfo {
            architecture: identity.architecture,
            boot_id: identity.boot_id,
            kernel_version: identity.kernel_version,
            machine_id: identity.machine_id,
            operating_system: identity.operating_system,
            os_image: identity.os_image,
            system_uuid: identity.system_uuid,
            ..NodeSystemInfo::default()
        }
    }

    async fn pressures(&self) -> (bool, bool, bool) {
        let root = self.root.clone();
        let work = tokio::task::spawn_blocking(move || (memory_short(), disk_short(&root), pids_short()));
        work.await.unwrap_or_default()
    }
}

/// What cannot be read counts as enough.
fn memory_short() -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    available_memory(&text).is_some_and(|bytes| bytes < MEMORY)
}

fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn disk_short(root: &std::path::Path) -> bool {
    let Ok(usage) = rustix::fs::statvfs(root) else { return false };
    let below = |free: u64, all: u64, percent: u64| {
        all > 0 && u128::from(free) * 100 < u128::from(all) * u128::from(percent)
    };
    below(usage.f_bavail, usage.f_blocks, DISK_PERCENT) || below(usage.f_favail, usage.f_files, INODE_PERCENT)
}

fn pids_short() -> bool {
    let max = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let used = load.split_whitespace().nth(3).and_then(|field| field.split('/').nth(1)?.parse::<u64>().ok());
    match (max.trim().parse::<u64>(), used) {
        (Ok(max), Some(used)) => max.saturating_sub(used) * 100 < max * PID_PERCENT,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_to_give() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new("n", "127.0.0.1");
        config.root_dir = dir.path().join("kubelet");
        config.reserved.insert("cpu".into(), "100m".into());
        let machine = NodeMachine::discover(&config).unwrap();
        let (capacity, allocatable) = machine.resources();
        let milli = |list: &BTreeMap<String, Text>| Quantity::parse(&list["cpu"].0).unwrap().milli_value();
        assert_eq!(milli(&capacity) - milli(&allocatable), 100);
        assert!(capacity.contains_key("memory") && !machine.info().kernel_version.is_empty());
        config.reserved.insert("memory".into(), "much".into());
        assert!(NodeMachine::discover(&config).unwrap_err().to_string().contains("memory \"much\""));
    }

    #[test]
    fn available_memory_is_read() {
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available_memory(""), None);
    }
}
