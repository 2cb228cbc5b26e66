//! NetworkPolicy v1, from the API's objects to what a packet is judged by. PURE.
//!
//! Enters: NetworkPolicies, Namespaces and Pods ([`facts`] reads them into [`model`]). Leaves: [`Tables`], which the
//! dataplane keeps in the kernel. [`compile`] is the way between; `tests/` holds it against an evaluator that reads the
//! policies rule by rule. [`Index`] is told what changed and keeps what [`compile`] would make; `tests/` holds it against that.
//!
//! Authority: `k8s.io/api/networking/v1` (field documentation), the concept page "Network Policies", and upstream's e2e
//! suite `test/e2e/network/netpol`.
//!
//! # How a packet is judged
//!
//! Every address belongs to one *class*: the set of all peers, of all rules, that it is among. A pod's address is among
//! those that select the pod and among the blocks it lies in; any other address among its blocks. So overlapping blocks
//! and their exceptions cost nothing at run time, and a rule is a pair of class and port. For a pod that policies select
//! in a direction, a packet is allowed where [`Allow`] has the class of the other address, or [`ANYONE`], with the port
//! of the destination.

pub mod class;
pub mod compile;
pub mod facts;
mod index;
pub mod model;
pub mod ports;

pub use compile::{Allow, Direction, Selected, Tables, compile};
pub use index::{Changed, Index, Name};

/// The class that stands for every address, also those in no class.
pub const ANYONE: u32 = 0;
