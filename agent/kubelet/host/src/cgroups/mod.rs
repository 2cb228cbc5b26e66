//! Pod cgroups, on v1, hybrid and v2. Enters: pods and the node's limits. Leaves: the directories
//! `<root>/kubepods[/burstable|/besteffort]/pod<uid>` with upstream's values, and their usage. Called by the pod
//! worker (the path goes to the runtime as `cgroup_parent`) and by `/stats/summary`.
//!
//! On a hybrid node the runtime puts a process at the same path in every v1 hierarchy and in the unified one, so all
//! of them are made and removed together.

mod files;
mod hierarchy;
mod manager;
mod own;
mod stats;

use std::path::PathBuf;

pub use hierarchy::{Hierarchies, Version};
pub use manager::{CgroupOptions, Cgroups, NodeLimits};
pub use own::OwnLimits;
pub use stats::Usage;

/// Why a cgroup could not be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup file system is mounted.
    #[error("no cgroup file system is mounted")]
    NotMounted,
    /// A file operation failed.
    #[error("{operation} {}: {cause}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: std::io::Error,
    },
    /// Processes are still in the cgroup although they were killed; retry later.
    #[error("{} still has processes", .0.display())]
    Busy(PathBuf),
    /// A pod UID that cannot name a directory.
    #[error("invalid pod UID {0:?}")]
    Uid(String),
}

impl CgroupError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> CgroupError {
        let path = path.into();
        move |cause| CgroupError::Io { operation, path, cause }
    }
}
