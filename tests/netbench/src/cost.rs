//! What the dataplane's maps cost: the kernel's memory.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::MapData;

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
