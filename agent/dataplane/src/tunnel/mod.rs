//! Direct server return: packets from outside to endpoints on other nodes (see `xebec_abi::tunnel`). Enters: which Services
//! want it, the cluster's nodes. Leaves: a VXLAN device with a program on it, and the maps that say where endpoints are.
//! Called by run; all of it comes into being with the first such Service.
//!
//! Every node that has endpoints of such a Service must run this dataplane. An endpoint whose node is not known is reached
//! as without it, by a translated source.

pub mod device;
pub(crate) mod follow;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{Array, HashMap as BpfHash, Map, MapData};
use xebec_abi::tunnel::{OVERHEAD_V4, OVERHEAD_V6};
use xebec_abi::{Be32, Ip6};

use crate::DataplaneError;
use crate::devices::Devices;
use crate::load::versioned;
use crate::maps::node::{drop_others, put_all};
use crate::maps::pinned::{element, open};
use crate::maps::{MapError, from_wide, wide};
use crate::model::Family;

/// Headers of IP and TCP, without options.
const HEADERS: [(Family, u32); 2] = [(Family::V4, 40), (Family::V6, 60)];
/// As the kernel, no segments are ever shorter (RFC 879's default).
const LEAST_SEGMENT: u32 = 536;

/// What the maps are to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Every address of the other nodes: who may send through the tunnel.
    pub nodes: BTreeSet<IpAddr>,
    /// Endpoints on other nodes of Services with direct server return, and where to send what is theirs.
    pub endpoints: BTreeMap<IpAddr, IpAddr>,
}

/// The maps of direct server return.
pub struct Tunnel {
    state: Array<MapData, [u32; 7]>,
    nodes: BpfHash<MapData, [u32; 4], u32>,
    endpoints: BpfHash<MapData, [u32; 4], [u32; 4]>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

/// The largest segments of both families that fit between the nodes, whose networks take packets of `mtu`. PURE.
fn segments(mtu: u32, own: &[IpAddr]) -> [u16; 2] {
    let overhead = if own.iter().any(IpAddr::is_ipv4) { OVERHEAD_V4 } else { OVERHEAD_V6 };
    HEADERS.map(|(_, headers)| {
        let most = mtu.saturating_sub(u32::from(overhead) + headers);
        most.clamp(LEAST_SEGMENT, u16::MAX.into()) as u16
    })
}

/// The one address of a node that this node sends to: of the first family that it has itself. PURE.
pub fn reachable(node: &[IpAddr], own: &[IpAddr]) -> Option<IpAddr> {
    let known = |address: &&IpAddr| own.iter().any(|a| Family::of(a) == Family::of(address));
    node.iter().find(known).copied()
}

impl Tunnel {
    /// Opens the maps pinned under a base directory.
    ///
    /// # Errors
    /// One is missing or of another layout.
    pub fn open(pin_dir: &Path) -> Result<Self, MapError> {
        let dir = versioned(pin_dir).join("maps");
        let hash = |name: &'static str| open(&dir, name).map(|(data, _)| Map::HashMap(data));
        Ok(Self {
            state: Map::Array(open(&dir, "TUNNEL")?.0).try_into().map_err(element("TUNNEL", "open"))?,
            nodes: hash("NODES")?.try_into().map_err(element("NODES", "open"))?,
            endpoints: hash("ENDPOINT_NODES")?.try_into().map_err(element("ENDPOINT_NODES", "open"))?,
        })
    }

    /// Makes the device and puts the program on it, or looks whether all is as it should be; `outside` are the devices
    /// that other nodes are reached by, `own` this node's addresses, the primary first.
    ///
    /// # Errors
    /// The kernel's, such as another tunnel's device at the port. What was there before goes on; call again.
    pub fn up(
        &mut self,
        devices: &mut Devices,
        port: u16,
        outside: &BTreeSet<u32>,
        own: &[IpAddr],
    ) -> Result<(), DataplaneError> {
        let failed = |source| DataplaneError::Tunnel { device: device::NAME, port, source };
        let index = device::ensure(port).map_err(failed)?;
        devices.receive(index, device::NAME)?;
        let mtu = device::narrowest(outside).map_err(failed)?;
        let [mss4, mss6] = segments(mtu, own);
        let own4 = own.iter().find_map(|a| if let IpAddr::V4(a) = a { Some(a.to_bits()) } else { None });
        let own6 = own.iter().find(|a| a.is_ipv6()).map_or([0; 4], |a| wide(a).0);
        let pair = u32::from_ne_bytes({
            let ([a, b], [c, d]) = (mss4.to_ne_bytes(), mss6.to_ne_bytes());
            [a, b, c, d]
        });
        let [a, b, c, d] = own6;
        let state = [index, pair, Be32::new(own4.unwrap_or(0)).0, a, b, c, d];
        if self.state.get(&0, 0).map_err(element("TUNNEL", "read"))? != state {
            self.state.set(0, state, 0).map_err(element("TUNNEL", "write"))?;
            tracing::info!(
                device = device::NAME,
                port,
                mtu,
                "packets go to other nodes' endpoints as they are"
            );
        }
        Ok(())
    }

    /// Writes what is wanted and takes nothing away: before endpoints are selected.
    ///
    /// # Errors
    /// The kernel refused an element; call again.
    pub fn widen(&mut self, wanted: &Wanted) -> Result<(), MapError> {
        put_all(&mut self.nodes, "NODES", &nodes(wanted))?;
        put_all(&mut self.endpoints, "ENDPOINT_NODES", &endpoints(wanted))
    }

    /// Takes away what is not wanted: after endpoints were selected. Flows that are known go on where they went.
    ///
    /// # Errors
    /// The kernel refused an element; call again.
    pub fn narrow(&mut self, wanted: &Wanted) -> Result<(), MapError> {
        drop_others(&mut self.nodes, "NODES", &nodes(wanted))?;
        drop_others(&mut self.endpoints, "ENDPOINT_NODES", &endpoints(wanted))
    }

    /// What the maps say.
    ///
    /// # Errors
    /// The kernel's.
    pub fn known(&self) -> Result<Wanted, MapError> {
        let address = |words: [u32; 4]| from_wide(&Ip6(words));
        let nodes = self.nodes.keys().map(|key| key.map(address).map_err(element("NODES", "read")));
        let endpoints = self.endpoints.iter().map(|entry| {
            entry.map(|(e, n)| (address(e), address(n))).map_err(element("ENDPOINT_NODES", "read"))
        });
        Ok(Wanted {
            nodes: nodes.collect::<Result<_, _>>()?,
            endpoints: endpoints.collect::<Result<_, _>>()?,
        })
    }
}

fn nodes(wanted: &Wanted) -> HashMap<[u32; 4], u32> {
    wanted.nodes.iter().map(|address| (wide(address).0, 1)).collect()
}

fn endpoints(wanted: &Wanted) -> HashMap<[u32; 4], [u32; 4]> {
    wanted.endpoints.iter().map(|(endpoint, node)| (wide(endpoint).0, wide(node).0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_leave_room_for_the_other_header() {
        let (v4, v6): ([IpAddr; 1], [IpAddr; 1]) =
            (["10.0.0.1".parse().unwrap()], ["fd00::1".parse().unwrap()]);
        assert_eq!(segments(1500, &v4), [1410, 1390]);
        assert_eq!(segments(1500, &v6), [1390, 1370]);
        assert_eq!(segments(9000, &v4), [8910, 8890]);
        assert_eq!(segments(500, &v4), [536, 536], "as the kernel, no less");
        assert_eq!(segments(200_000, &v4), [u16::MAX, u16::MAX]);
    }

    #[test]
    fn a_node_is_sent_to_in_a_family_that_both_have() {
        let ips = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
        let both = ips(&["10.0.0.2", "fd00::2"]);
        let at = |own: &[&str]| reachable(&both, &ips(own)).map(|a| a.to_string());
        assert_eq!(at(&["10.0.0.1", "fd00::1"]).as_deref(), Some("10.0.0.2"));
        assert_eq!(at(&["fd00::1"]).as_deref(), Some("fd00::2"));
        assert_eq!(at(&[]), None);
    }
}
