//! The maps, one module per noun of `xebec-abi`; names and types are checked by the loader against the same crate.

pub mod affinity;
pub mod backend;
pub mod event;
pub mod flow;
pub mod pod;
pub mod policy;
pub mod reverse;
pub mod service;
pub mod state;
pub mod tunnel;

/// Lets user space map an array's memory (kernel 5.5).
const F_MMAPABLE: u32 = 1 << 10;
/// Elements are allocated when inserted.
const F_NO_PREALLOC: u32 = 1;
