//! What a store command has to say, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use xebec_store::embedded::Usage;

/// The state of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusReport {
    /// `embedded` or `etcd` with its version.
    pub(crate) engine: String,
    /// The file or the endpoints.
    pub(crate) location: String,
    /// Whether a server is using it.
    pub(crate) in_use: bool,
    /// The newest revision.
    pub(crate) revision: u64,
    /// Changes up to this one are forgotten.
    pub(crate) compacted_revision: u64,
    /// Bytes of objects.
    pub(crate) live_bytes: u64,
    /// Bytes of changes kept for watches; not known for etcd, where they count as used.
    pub(crate) log_bytes: Option<u64>,
    /// Bytes of the file.
    pub(crate) file_bytes: u64,
    /// Bytes a defragmentation would give back, at most.
    pub(crate) reclaimable_bytes: u64,
    /// Keys and bytes of each resource.
    pub(crate) resources: BTreeMap<String, Usage>,
}

/// What a command did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "result")]
pub(super) enum Outcome {
    Status(StatusReport),
    Compacted { revision: u64 },
    Defragmented { path: PathBuf, file_bytes_before: u64, file_bytes: u64 },
    BackedUp { to: PathBuf, bytes: u64, revision: Option<u64>, restore: String },
    Restored { path: PathBuf, revision: u64 },
}

/// `812 B`, `3.4 MiB`.
fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 || unit == "GiB" {
            return if unit == "B" { format!("{bytes} B") } else { format!("{number:.1} {unit}") };
        }
        number /= 1024.0;
    }
    format!("{bytes} B")
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(report) => report.fmt(out),
            Self::Compacted { revision } => {
                writeln!(out, "compacted: changes up to revision {revision} are forgotten; no object is")?;
                writeln!(out, "next: `xebec-control store defrag` gives their space back to the disk")
            }
            Self::Defragmented { path, file_bytes_before, file_bytes } => {
                let (before, now) = (size(*file_bytes_before), size(*file_bytes));
                writeln!(out, "defragmented {}: {before} -> {now}", path.display())
            }
            Self::BackedUp { to, bytes, revision, restore } => {
                write!(out, "wrote {} ({}", to.display(), size(*bytes))?;
                if let Some(revision) = revision {
                    write!(out, ", revision {revision}")?;
                }
                writeln!(out, "); its checksum was verified")?;
                writeln!(
                    out,
                    "next: keep it on another machine, with the certificates; `{restore}` makes a store of it"
                )
            }
            Self::Restored { path, revision } => {
                writeln!(out, "restored {} at revision {revision}", path.display())?;
                writeln!(
                    out,
                    "next: start the server on it; clients list again, since what they saw is compacted"
                )
            }
        }
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = if self.in_use { "a server is using it" } else { "no server is using it" };
        writeln!(out, "engine       {} ({used})", self.engine)?;
        writeln!(out, "location     {}", self.location)?;
        writeln!(out, "revision     {} (compacted up to {})", self.revision, self.compacted_revision)?;
        write!(out, "live         {}", size(self.live_bytes))?;
        match self.log_bytes {
            Some(bytes) => writeln!(out, ", and {} of changes for watches", size(bytes))?,
            None => writeln!(out)?,
        }
        writeln!(
            out,
            "file         {} ({} reclaimable)",
            size(self.file_bytes),
            size(self.reclaimable_bytes)
        )?;
        writeln!(out, "\n{:<48} {:>9} {:>11}", "resource", "keys", "bytes")?;
        for (resource, usage) in &self.resources {
            writeln!(out, "{resource:<48} {:>9} {:>11}", usage.keys, size(usage.bytes))?;
        }
        if self.reclaimable_bytes > self.file_bytes / 2 && self.file_bytes > 64 << 20 {
            writeln!(
                out,
                "\nnext: `xebec-control store defrag` would give most of the file back to the disk"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(812), "812 B");
        assert_eq!(size(3_565_158), "3.4 MiB");
        assert_eq!(size(5 << 40), "5120.0 GiB");
    }
}
