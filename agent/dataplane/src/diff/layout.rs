//! Where a service port's endpoints lie in its range of slots. PURE.

use std::net::SocketAddr;

use crate::model::Sets;

/// The slots of a service port in order, and which part of them each selection covers.
pub(super) struct Layout {
    pub(super) order: Vec<SocketAddr>,
    /// First slot and number for `sel_cluster`.
    pub(super) cluster: (u32, u32),
    /// For `sel_local`.
    pub(super) local: (u32, u32),
}

/// Local endpoints first: those only local, then those in both sets, then the rest of the cluster's, so that one
/// range serves both selections.
pub(super) fn layout(sets: &Sets) -> Layout {
    let in_cluster = |a: &SocketAddr| sets.cluster.binary_search(a).is_ok();
    let in_local = |a: &SocketAddr| sets.local.binary_search(a).is_ok();
    let only_local = sets.local.iter().filter(|a| !in_cluster(a));
    let both = sets.local.iter().filter(|a| in_cluster(a));
    let rest = sets.cluster.iter().filter(|a| !in_local(a));
    let first = only_local.clone().count() as u32;
    let order: Vec<SocketAddr> = only_local.chain(both).chain(rest).copied().collect();
    Layout { cluster: (first, sets.cluster.len() as u32), local: (0, sets.local.len() as u32), order }
}
