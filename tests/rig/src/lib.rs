//! Nodes, pods and machines outside, made of network namespaces on this kernel, for tests and benches of the service
//! dataplane. Enters: names and addresses. Leaves: namespaces with wires between them, a cgroup and a bpf file system for
//! each node's dataplane, servers that say who they are and whom they served. Called by the tests of `agent/dataplane` and
//! `agent`, by `tests/netbench` and by the soak.
//!
//! No namespace has a default route: a gateway that accepts anything must not be able to answer for a virtual IP.
//! Everything is removed when dropped, after a panic, too. What cannot be made is a panic that names the command and what
//! it said: a rig that does not stand is a failed test.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only tests, benches and their child processes use it"
)]

pub mod api;
pub mod ask;
pub mod bpf;
pub mod client;
pub mod cluster;
pub mod netns;
pub mod objects;
pub mod pair;
pub mod place;
pub mod sctp;
pub mod server;

pub use netns::{NetNs, enter, run, within};
pub use pair::Rig;
pub use place::{Place, object};
