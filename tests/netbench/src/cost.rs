//! What the dataplane itself costs: time of its programs in the kernel, memory of its maps and of this process.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::MapData;
use aya::programs::links::{FdLink, PinnedLink};

/// A program's mean time.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) nanoseconds: f64,
    pub(crate) runs: u64,
}

/// Counts time and runs of all programs while it lives: it costs them some tens of nanoseconds, so nothing else is
/// measured meanwhile.
pub(crate) fn count() -> Result<std::os::fd::OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).context("kernel.bpf_stats")
}

/// The mean time of each program pinned under `pins` since [`count`] was first called.
pub(crate) fn runs(pins: &Path) -> Result<Vec<Run>> {
    let mut ids = Vec::new();
    for pin in fs::read_dir(pins.join("links"))? {
        let link = FdLink::from(PinnedLink::from_pin(pin?.path())?);
        ids.push(link.info()?.program_id());
    }
    let mut runs: Vec<Run> = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| ids.contains(&program.id()) && program.run_count() > 0)
        .map(|program| Run {
            name: program.name_as_str().unwrap_or("?").to_owned(),
            nanoseconds: program.run_time().as_nanos() as f64 / program.run_count() as f64,
            runs: program.run_count(),
        })
        .collect();
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(runs)
}

/// The kernel's memory for all maps pinned under `pins`, in MB.
pub(crate) fn map_megabytes(pins: &Path) -> Result<f64> {
    let mut bytes = 0;
    for pin in fs::read_dir(pins.join("maps"))? {
        let pin = pin?;
        let map = MapData::from_pin(pin.path()).with_context(|| pin.path().display().to_string())?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))?;
        let memory = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        bytes += memory.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(bytes as f64 / 1e6)
}
