//! Capacity and allocatable. Enters: CPUs this process may use, memory, file system, huge pages. Leaves: the node's
//! resource lists.

use std::path::Path;

use xebec_api::quantity::{Format, Quantity};

use super::{MachineError, read};
use crate::qos::Amounts;

/// The machine's real sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Whole CPUs this process may be scheduled on, at least 1.
    pub cpus: u32,
    /// Thousandths of a CPU a cgroup v1 or v2 quota above this process leaves, if there is one.
    pub cpu_quota_milli: Option<i64>,
    /// Bytes of memory: the machine's, or a cgroup limit of this process where that is less.
    pub memory: u64,
    /// Bytes of the file system that holds pods.
    pub ephemeral: u64,
    /// Pre-allocated huge pages as (page size in KiB, count).
    pub hugepages: Vec<(u64, u64)>,
}

/// What is kept from pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths of a CPU for system and kubelet.
    pub cpu_milli: i64,
    /// Bytes for system and kubelet.
    pub memory: i64,
    /// Bytes of memory at which eviction starts; upstream's default is 100 Mi.
    pub memory_eviction: i64,
    /// Percent of the file system at which eviction starts; upstream's default is 10.
    pub ephemeral_eviction_percent: u64,
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The quota of cgroup v2's cpu.max as thousandths of a CPU.
fn cpu_max_milli(text: &str) -> Option<i64> {
    let mut fields = text.split_whitespace().map(|field| field.parse::<i64>().ok());
    quota_milli(fields.next()??, fields.next()??)
}

fn quota_milli(quota: i64, period: i64) -> Option<i64> {
    (quota > 0 && period > 0).then(|| (quota.saturating_mul(1000) / period).max(1))
}

impl Machine {
    /// Looks at this machine; `pods` is the directory that holds pods (its file system is the ephemeral storage).
    pub fn discover(pods: &Path) -> Result<Self, MachineError> {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let total = meminfo_total(&read("/proc/meminfo")?)
            .ok_or(MachineError::Format { path: "/proc/meminfo".into(), field: "MemTotal" })?;
        let stat = rustix::fs::statvfs(pods)
            .map_err(|errno| MachineError::Read { path: pods.display().to_string(), cause: errno.into() })?;
        let own = crate::cgroups::OwnLimits::read();
        Ok(Self {
            cpus: u32::try_from(cpus).unwrap_or(1),
            cpu_quota_milli: own.cpu_max.as_deref().and_then(cpu_max_milli).or_else(|| {
                let (quota, period) = own.cpu_quota_and_period?;
                quota_milli(quota, period)
            }),
            memory: own.memory.map_or(total, |limit| limit.min(total)),
            ephemeral: stat.f_blocks.saturating_mul(stat.f_frsize),
            hugepages: hugepages(Path::new("/sys/kernel/mm/hugepages")),
        })
    }

    /// Thousandths of a CPU that can really be used.
    pub fn cpu_milli(&self) -> i64 {
        let whole = i64::from(self.cpus) * 1000;
        self.cpu_quota_milli.map_or(whole, |quota| quota.min(whole))
    }
}

fn hugepages(dir: &Path) -> Vec<(u64, u64)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let size = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = std::fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
        Some((size, count))
    };
    let mut all: Vec<_> = entries.filter_map(one).collect();
    all.sort_unstable();
    all
}

fn bytes(value: u64, format: Format) -> Quantity {
    Quantity::from_value(i64::try_from(value).unwrap_or(i64::MAX), format)
}

fn kib(value: u64) -> Quantity {
    bytes(value / 1024 * 1024, Format::BinarySi)
}

/// `hugepages-2Mi` for 2048 KiB.
fn hugepage_name(size_kib: u64) -> String {
    format!("hugepages-{}", bytes(size_kib * 1024, Format::BinarySi))
}

/// The node's `status.capacity`.
pub fn capacity(machine: &Machine, max_pods: u32) -> Amounts {
    let mut all = Amounts::new();
    all.insert("cpu".into(), Quantity::from_milli(machine.cpu_milli()));
    all.insert("memory".into(), kib(machine.memory));
    all.insert("ephemeral-storage".into(), kib(machine.ephemeral));
    all.insert("pods".into(), Quantity::from_value(i64::from(max_pods), Format::DecimalSi));
    for (size, count) in &machine.hugepages {
        all.insert(hugepage_name(*size), bytes(size * 1024 * count, Format::BinarySi));
    }
    all
}

/// The node's `status.allocatable`: capacity without what is reserved, what evictions keep and, of memory, huge pages.
pub fn allocatable(machine: &Machine, max_pods: u32, reserved: &Reserved) -> Amounts {
    let mut all = capacity(machine, max_pods);
    let cpu = (machine.cpu_milli() - reserved.cpu_milli).max(0);
    let huge: u64 = machine.hugepages.iter().map(|(size, count)| size * 1024 * count).sum();
    let kept = reserved.memory.max(0).saturating_add(reserved.memory_eviction.max(0)).unsigned_abs();
    let disk = u128::from(machine.ephemeral) * u128::from(reserved.ephemeral_eviction_percent.min(100)) / 100;
    let disk = machine.ephemeral - u64::try_from(disk).unwrap_or(machine.ephemeral);
    all.insert("cpu".into(), Quantity::from_milli(cpu));
    all.insert("memory".into(), kib(machine.memory.saturating_sub(kept).saturating_sub(huge)));
    all.insert("ephemeral-storage".into(), bytes(disk, Format::DecimalSi));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            cpus: 4,
            cpu_quota_milli: None,
            memory: 8 << 30,
            ephemeral: 100_000,
            hugepages: vec![(2048, 2), (1_048_576, 0)],
        }
    }

    #[test]
    fn capacity_and_allocatable_as_a_node_reports_them() {
        let all = capacity(&machine(), 110);
        let text = |name: &str, all: &Amounts| all[name].to_string();
        assert_eq!(text("cpu", &all), "4");
        assert_eq!(text("memory", &all), "8Gi");
        assert_eq!(text("pods", &all), "110");
        assert_eq!(text("hugepages-2Mi", &all), "4Mi");
        assert_eq!(text("hugepages-1Gi", &all), "0");
        let reserved = Reserved {
            cpu_milli: 500,
            memory: 0,
            memory_eviction: 100 << 20,
            ephemeral_eviction_percent: 10,
        };
        let all = allocatable(&machine(), 110, &reserved);
        assert_eq!(text("cpu", &all), "3500m");
        assert_eq!(all["memory"].value(), (8 << 30) - (104 << 20));
        assert_eq!(text("ephemeral-storage", &all), "90k");
    }

    #[test]
    fn quotas_cut_the_cpus() {
        assert_eq!(cpu_max_milli("max 100000"), None);
        assert_eq!(cpu_max_milli("150000 100000\n"), Some(1500));
        assert_eq!(quota_milli(-1, 100_000), None);
        let cut = Machine { cpu_quota_milli: Some(1500), ..machine() };
        assert_eq!(cut.cpu_milli(), 1500);
        assert_eq!(Machine { cpu_quota_milli: Some(9000), ..machine() }.cpu_milli(), 4000);
        assert_eq!(meminfo_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16384 * 1024));
    }

    #[test]
    fn this_machine_has_something() {
        let found = Machine::discover(Path::new("/")).unwrap();
        assert!(found.cpus >= 1 && found.memory > 1 << 20 && found.ephemeral > 1 << 20, "{found:?}");
    }
}
