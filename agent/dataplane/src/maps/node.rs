//! What the maps hold of the node: its addresses, the networks of the cluster's pods, those of ClusterIPs, which pods are served
//! packet by packet, and what sockets of each network namespace send from. Called by run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap as BpfHash, MapData};
use xebec_abi::flow::NO_SERVICE;
use xebec_abi::state::{HAS_PACKET_PODS, Ranges};
use xebec_abi::{Be32, Ip6};

use super::pinned::{PinnedMaps, absent_is_fine, element};
use super::tracked::firsts;
use super::{MapError, MapWriter, Write, from_source_key};
use crate::model::SourceRange;
use crate::{ranges, sys};

impl PinnedMaps {
    /// Makes the node's addresses, with their `NODE_IP_` flags, those of `wanted`.
    ///
    /// # Errors
    /// The kernel refused an element; call again.
    pub fn set_node_addresses(&mut self, wanted: &BTreeMap<IpAddr, u32>) -> Result<(), MapError> {
        let (mut v4, mut v6) = (HashMap::new(), HashMap::new());
        for (addr, flags) in wanted {
            match addr {
                IpAddr::V4(a) => v4.insert(Be32::new(a.to_bits()).0, *flags),
                IpAddr::V6(a) => v6.insert(Ip6::from_octets(a.octets()).0, *flags),
            };
        }
        sync(&mut self.node_ips4, "NODE_IPS4", &v4)?;
        sync(&mut self.node_ips6, "NODE_IPS6", &v6)
    }

    /// Makes the networks whose traffic is the cluster's own those of `wanted`.
    ///
    /// # Errors
    /// The kernel refused an element; call again.
    pub fn set_pod_ranges(&mut self, wanted: &BTreeSet<SourceRange>) -> Result<(), MapError> {
        let mut gone = Vec::new();
        for key in self.sources.keys() {
            let key = key.map_err(element("SRC_LPM", "read"))?;
            let (prefix, data) = (key.prefix_len(), key.data());
            let listed = from_source_key(prefix, &data);
            if listed.is_some_and(|(index, range)| index == NO_SERVICE && !wanted.contains(&range)) {
                gone.push((prefix, data));
            }
        }
        for range in wanted {
            self.write(&Write::AddSource { index: NO_SERVICE, range: *range })?;
        }
        gone.into_iter().try_for_each(|(prefix, data)| {
            absent_is_fine("SRC_LPM", self.sources.remove(&Key::new(prefix, data)))
        })
    }

    /// Makes the networks of ClusterIPs those of `wanted`; what finds no room is returned, and its addresses are taken for
    /// any others.
    ///
    /// # Errors
    /// The map's memory is not as expected.
    pub fn set_cluster_ranges(
        &mut self,
        wanted: &BTreeSet<SourceRange>,
    ) -> Result<Vec<SourceRange>, MapError> {
        let (ranges, count, left) = ranges::encode(wanted);
        let words = range_words(&ranges);
        let present = self.state.load(0, STATE_RANGES)?;
        let others = present & !RANGES;
        if present & RANGES == count && self.ranges.value(0)? == words {
            return Ok(Vec::new());
        }
        if present & RANGES != 0 {
            // A program may stand between two of them.
            self.state.publish(0, STATE_RANGES, others)?;
            if sys::grace_period().is_err() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        self.ranges.fill(0, &words)?;
        self.state.publish(0, STATE_RANGES, others | count)?;
        Ok(left)
    }

    /// Makes known what sockets send from unless they are bound, by the cookie of their network namespace: the first address of
    /// each family. Namespaces that are not `wanted` are forgotten.
    ///
    /// # Errors
    /// The map is full, or the kernel's; call again.
    pub fn set_namespaces(&mut self, wanted: &HashMap<u64, Vec<IpAddr>>) -> Result<(), MapError> {
        let wanted = wanted.iter().map(|(cookie, addresses)| (*cookie, firsts(addresses))).collect();
        sync(&mut self.namespaces, "NETNS_IPS", &wanted)
    }

    /// Pods that are served packet by packet: the index of the device, by the cookie of the network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn packet_pods(&self) -> Result<HashMap<u64, u32>, MapError> {
        if self.state.load(0, STATE_RANGES)? & HAS_PACKET_PODS == 0 {
            return Ok(HashMap::new());
        }
        self.packet_pods.iter().collect::<Result<_, _>>().map_err(element("PACKET_PODS", "read"))
    }

    /// Leaves the sockets of a network namespace alone, whose pod is behind a device.
    ///
    /// # Errors
    /// The map is full, or the kernel's; its sockets are translated then.
    pub fn add_packet_pod(&mut self, netns: u64, device: u32) -> Result<(), MapError> {
        self.packet_pods.insert(netns, device, 0).map_err(element("PACKET_PODS", "insert"))?;
        let present = self.state.load(0, STATE_RANGES)?;
        self.state.publish(0, STATE_RANGES, present | HAS_PACKET_PODS)
    }

    /// Forgets a network namespace.
    ///
    /// # Errors
    /// The kernel's; call again.
    pub fn remove_packet_pod(&mut self, netns: u64) -> Result<(), MapError> {
        absent_is_fine("PACKET_PODS", self.packet_pods.remove(&netns))?;
        if self.packet_pods.keys().next().is_none() {
            let present = self.state.load(0, STATE_RANGES)?;
            self.state.publish(0, STATE_RANGES, present & !HAS_PACKET_PODS)?;
        }
        Ok(())
    }
}

/// The word of [`xebec_abi::state::State::ranges`].
const STATE_RANGES: u32 = 3;
/// What of it counts networks.
const RANGES: u64 = 0xffff;

/// As the words of the map's memory.
fn range_words(ranges: &Ranges) -> [u64; 40] {
    let word = |low: u32, high: u32| {
        let ([a, b, c, d], [e, f, g, h]) = (low.to_ne_bytes(), high.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    };
    let v4 = ranges.v4.iter().map(|r| word(r.addr.0, r.mask.0));
    let v6 = ranges.v6.iter().flat_map(|r| {
        let (a, m) = (r.addr.0, r.mask.0);
        [word(a[0], a[1]), word(a[2], a[3]), word(m[0], m[1]), word(m[2], m[3])]
    });
    let mut words = v4.chain(v6);
    std::array::from_fn(|_| words.next().unwrap_or(0))
}

/// Makes a map's content that of `wanted`.
pub(crate) fn sync<K: aya::Pod + Eq + std::hash::Hash, V: aya::Pod>(
    map: &mut BpfHash<MapData, K, V>,
    name: &'static str,
    wanted: &HashMap<K, V>,
) -> Result<(), MapError> {
    put_all(map, name, wanted)?;
    drop_others(map, name, wanted)
}

/// Puts all that is `wanted` into a map.
pub(crate) fn put_all<K: aya::Pod + Eq + std::hash::Hash, V: aya::Pod>(
    map: &mut BpfHash<MapData, K, V>,
    name: &'static str,
    wanted: &HashMap<K, V>,
) -> Result<(), MapError> {
    wanted.iter().try_for_each(|(key, value)| map.insert(key, value, 0).map_err(element(name, "insert")))
}

/// Takes out of a map what is not `wanted`.
pub(crate) fn drop_others<K: aya::Pod + Eq + std::hash::Hash, V: aya::Pod>(
    map: &mut BpfHash<MapData, K, V>,
    name: &'static str,
    wanted: &HashMap<K, V>,
) -> Result<(), MapError> {
    let present: Vec<K> = map.keys().collect::<Result<_, _>>().map_err(element(name, "read"))?;
    let others = present.iter().filter(|key| !wanted.contains_key(key));
    others.into_iter().try_for_each(|key| map.remove(key).map_err(element(name, "remove")))
}
