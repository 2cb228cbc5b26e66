//! What a VIP maps to, read from the pinned maps: works with and without a running agent, and shows what the programs
//! see, not what the agent believes. Enters: pin directory and frontend. Leaves: [`Explanation`], which prints itself.
//! Called by `xebec-agent proxy explain`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Serialize;
use xebec_abi::service::{META_AFFINITY, META_INTERNAL_LOCAL, META_SOURCE_RANGES, Sel};

use crate::inspect::{endpoints, row};
use crate::maps::pinned::PinnedMaps;
use crate::maps::{MapError, Stored};
use crate::model::{Family, FrontKey, Kind, Protocol, Vip};
use crate::upgrade::own_maps;

/// An endpoint as the programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// Backend id.
    pub backend: u32,
    /// The slot belongs to this service and the backend is live: it will be chosen.
    pub usable: bool,
}

/// What one frontend maps to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The frontend asked for.
    pub frontend: String,
    /// Why it exists, or `None`: the programs leave this address alone.
    pub kind: Option<String>,
    /// Service index.
    pub index: u32,
    /// Which set this frontend selects from.
    pub selects: &'static str,
    /// Session affinity timeout in seconds.
    pub affinity_seconds: Option<u32>,
    /// Only clients in loadBalancerSourceRanges are answered here.
    pub only_source_ranges: bool,
    /// From outside, the endpoint is that of the client's entry in a Maglev row of so many, on every node the same.
    pub maglev_row: Option<u32>,
    /// The endpoints for everybody.
    pub cluster: Vec<Endpoint>,
    /// The endpoints on this node.
    pub local: Vec<Endpoint>,
}

/// Explains `address:port`; the base pin directory is that of [`crate::Options::pin_dir`]. A NodePort is asked for by
/// the unspecified address, or by any address that is no frontend itself.
///
/// # Errors
/// [`MapError::Pin`] if no dataplane is installed under the pin directory.
pub fn explain(
    pin_dir: &Path,
    address: IpAddr,
    port: u16,
    protocol: Protocol,
) -> Result<Explanation, MapError> {
    let maps = PinnedMaps::open(&own_maps(pin_dir)?)?;
    let own = FrontKey::at(address, port, protocol);
    let node = FrontKey { vip: Vip::Node(Family::of(&address)), port, protocol };
    let host = [Vip::HostAddress(address), Vip::Host(Family::of(&address))];
    let [one, all] = host.map(|vip| FrontKey { vip, port, protocol });
    for key in [own, node, one, all] {
        if let Some(value) = maps.frontend(&key)? {
            let stored = maps.stored(value.index())?;
            let kind =
                Kind::from_number(value.kind()).map_or_else(|| "unknown".to_owned(), |k| k.to_string());
            return describe(&maps, &key, kind, value.index(), &stored);
        }
    }
    Ok(Explanation {
        frontend: own.to_string(),
        kind: None,
        index: 0,
        selects: "nothing",
        affinity_seconds: None,
        only_source_ranges: false,
        maglev_row: None,
        cluster: Vec::new(),
        local: Vec::new(),
    })
}

fn describe(
    maps: &PinnedMaps,
    key: &FrontKey,
    kind: String,
    index: u32,
    stored: &Stored,
) -> Result<Explanation, MapError> {
    let endpoints = |sel: Sel| endpoints(maps, index, stored, sel);
    let flags = stored.meta.flags;
    let primary = kind == Kind::ClusterIp.to_string();
    let local = flags & META_INTERNAL_LOCAL != 0 && primary;
    let guarded = flags & META_SOURCE_RANGES != 0 && kind == Kind::LoadBalancer.to_string();
    Ok(Explanation {
        frontend: key.to_string(),
        kind: Some(kind),
        index,
        selects: if local { "local" } else { "cluster" },
        affinity_seconds: (flags & META_AFFINITY != 0).then_some(stored.meta.affinity_seconds),
        only_source_ranges: guarded,
        maglev_row: row(stored).filter(|_| !primary),
        cluster: endpoints(stored.meta.sel_cluster)?,
        local: endpoints(stored.meta.sel_local)?,
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(kind) = &self.kind else {
            return write!(f, "{}: no service here; connections go out untranslated", self.frontend);
        };
        write!(
            f,
            "{}: {kind}, service index {}, selects {} endpoints",
            self.frontend, self.index, self.selects
        )?;
        if let Some(seconds) = self.affinity_seconds {
            write!(f, ", ClientIP affinity {seconds} s")?;
        }
        if self.only_source_ranges {
            write!(
                f,
                ", for clients in loadBalancerSourceRanges only (others: EPERM, from outside dropped)"
            )?;
        }
        if let Some(entries) = self.maglev_row {
            write!(f, ", maglev row of {entries}")?;
        }
        let chosen = if self.selects == "local" { &self.local } else { &self.cluster };
        if chosen.is_empty() {
            write!(f, "\n  none: connections are refused (ECONNREFUSED)")?;
        }
        for endpoint in chosen {
            let state = if endpoint.usable { "" } else { " (stale)" };
            write!(f, "\n  {} backend {}{state}", endpoint.address, endpoint.backend)?;
        }
        Ok(())
    }
}
