//! What the machine is and has. Enters: /proc, /sys, /etc. Leaves: capacity, allocatable, `status.nodeInfo`, the
//! node's address and resolver. Called by node registration.

mod address;
mod capacity;
mod info;
mod resolv;

pub use address::internal_ip;
pub use capacity::{Machine, Reserved, allocatable, capacity};
pub use info::{NodeIdentity, identity};
pub use resolv::{ResolvConf, parse_resolv_conf, read_resolv_conf};

/// Why the machine could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A file could not be read.
    #[error("read {path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// The kernel's answer.
        #[source]
        cause: std::io::Error,
    },
    /// A file does not say what it must.
    #[error("{path} has no {field}")]
    Format {
        /// The file.
        path: String,
        /// What is missing.
        field: &'static str,
    },
    /// No address that other machines could reach this one by.
    #[error("no usable address: {0}")]
    NoAddress(std::io::Error),
}

pub(crate) fn read(path: &str) -> Result<String, MachineError> {
    std::fs::read_to_string(path).map_err(|cause| MachineError::Read { path: path.to_owned(), cause })
}
