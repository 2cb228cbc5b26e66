//! The coordination group: Leases.

pub mod lease;
