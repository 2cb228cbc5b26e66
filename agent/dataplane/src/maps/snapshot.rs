//! What the maps hold, read back: the start of an agent that finds pins, and the content of `explain`.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use xebec_abi::backend::BackendState;
use xebec_abi::service::{FeValue, Meta, Sel};

use crate::model::{FrontKey, SourceRange};

/// The slots of one service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Its META entry.
    pub meta: Meta,
    /// First slot of the range its selections cover.
    pub base: u32,
    /// The slots.
    pub slots: Vec<StoredSlot>,
    /// The range `sel_local` still selects from when its agent was killed between the two selections' stores.
    pub stale: Option<(u32, Vec<StoredSlot>)>,
}

/// A slot: endpoint, owner, backend id.
pub type StoredSlot = (SocketAddr, u32, u32);

impl Stored {
    /// Gathers the slots of both selections; `slot` reads one.
    ///
    /// # Errors
    /// Those of `slot`.
    pub(super) fn gather<E>(meta: Meta, slot: impl Fn(u32) -> Result<StoredSlot, E>) -> Result<Self, E> {
        let read = |(base, len): (u32, u32)| (base..base + len).map(&slot).collect::<Result<Vec<_>, E>>();
        let (cluster, local) = (meta.sel_cluster, meta.sel_local);
        let (base, len) = span(cluster, local).unwrap_or((0, 0));
        let torn = cluster.generation() != local.generation() && local.count() > 0;
        let stale = torn.then(|| Ok((local.base(), read((local.base(), local.count()))?))).transpose()?;
        Ok(Self { meta, base, slots: read((base, len))?, stale })
    }
}

/// Everything a new agent must know of the one before it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Frontends.
    pub frontends: Vec<(FrontKey, FeValue)>,
    /// By service index, for every index a frontend points to.
    pub services: HashMap<u32, Stored>,
    /// Networks let in, by service index.
    pub sources: HashMap<u32, BTreeSet<SourceRange>>,
    /// The addresses of frontends.
    pub vips: BTreeSet<IpAddr>,
    /// ClusterIPs of Services that are another's business.
    pub held: BTreeSet<IpAddr>,
    /// State words by backend id, up to the last that is not zero.
    pub backends: Vec<BackendState>,
    /// The packed range of node ports.
    pub node_ports: u64,
    /// Full synchronisations so far.
    pub epoch: u64,
}

/// The slots two selections cover together: base and length; `None` if both are empty.
///
/// Selections of two generations (an agent killed between its two stores) lie in two ranges: the cluster's counts.
fn span(cluster: Sel, local: Sel) -> Option<(u32, u32)> {
    let local = if cluster.generation() == local.generation() { local } else { cluster };
    let used = [cluster, local].into_iter().filter(|s| s.count() > 0);
    let low = used.clone().map(Sel::base).min()?;
    let high = used.map(|s| s.base() + s.count()).max()?;
    Some((low, high - low))
}
