//! What the packet programs keep: devices, flows, counters. Enters: the node's devices, the time. Leaves: map elements.
//! Flows are collected here, since the kernel has no clock for them: what ended or went quiet is removed, and half a
//! flow is made whole again from its other half.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use aya::maps::{HashMap as BpfHash, Map, MapData, PerCpuArray};
use xebec_abi::flow::{BACKEND_REJECT, FLOW_CLOSING, Flow, FlowKey, PACKET_STATS, ROLES, Role};
use xebec_abi::{Ip6, PROTO_TCP, PROTO_UDP};

use super::encode::{from_wide, wide};
use super::node::sync;
use super::pinned::{absent_is_fine, element};
use super::{FlowEntry, FlowId, MapError};
use crate::metrics::Fill;

const SECOND: u64 = 1_000_000_000;
/// An open connection may be quiet this long: kube-proxy's `conntrack.tcpEstablishedTimeout`.
const TCP_OPEN: u64 = 86_400 * SECOND;
/// After FIN or RST: the kernel's default for the time-wait and close states together.
const TCP_CLOSING: u64 = 130 * SECOND;
/// Answered datagrams: the kernel's default (`nf_conntrack_udp_timeout_stream`).
const UDP: u64 = 120 * SECOND;
/// Unanswered packets: the kernel's default (`nf_conntrack_tcp_timeout_syn_sent`), the longer of both transports.
const PROBATION: u64 = 120 * SECOND;

/// One device's addresses, in the order the kernel lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceAddresses {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The first address of each family, as an element has them.
pub(super) fn firsts(addresses: &[IpAddr]) -> [u32; 8] {
    let first = |v4: bool| addresses.iter().find(|a| a.is_ipv4() == v4).map_or(Ip6([0; 4]), wide);
    let (Ip6(a), Ip6(b)) = (first(true), first(false));
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}

/// The maps of the packet programs.
pub struct Tracked {
    established: BpfHash<MapData, FlowId, FlowEntry>,
    probation: BpfHash<MapData, FlowId, FlowEntry>,
    devices: BpfHash<MapData, u32, [u32; 8]>,
    counters: PerCpuArray<MapData, u64>,
    /// As last counted: entries of answered flows, of those on probation.
    counted: (usize, usize),
    /// The most entries of each.
    most: (u32, u32),
}

/// What one collection decided. PURE data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// Entries of flows that are over.
    pub remove: Vec<FlowKey>,
    /// Entries that a living flow lacks.
    pub restore: Vec<(FlowKey, Flow)>,
}

/// The entry under which all entries of a flow are one: the way back, which is unique inside the node.
fn identity(flow: &Flow) -> FlowKey {
    flow.key(Role::Reply)
}

/// Decides about answered flows at a time (monotonic nanoseconds). PURE.
///
/// A flow lives as long as its most recent entry, datagrams no longer than the endpoint answers for the VIP, as `left` says
/// of a flow; an entry of a role the flow does not have yet is not missing.
pub fn collect(entries: &HashMap<FlowKey, Flow>, now: u64, left: impl Fn(&Flow) -> bool) -> Collection {
    let mut flows: HashMap<FlowKey, (u64, bool, Flow)> = HashMap::new();
    for flow in entries.values() {
        let closing = flow.flags & FLOW_CLOSING != 0;
        let known = flows.entry(identity(flow)).or_insert((flow.last, closing, *flow));
        known.0 = known.0.max(flow.last);
        known.1 |= closing;
        if flow.nport.0 != 0 {
            known.2 = *flow;
        }
    }
    flows.retain(|_, (last, closing, flow)| {
        !is_over(flow.proto, *closing, *last, now) && !is_left(flow, &left)
    });
    let mut out = Collection::default();
    out.remove
        .extend(entries.iter().filter(|(_, flow)| !flows.contains_key(&identity(flow))).map(|(key, _)| *key));
    for (last, _, flow) in flows.into_values() {
        for role in ROLES {
            let has = match role {
                Role::Forward | Role::Reply => true,
                Role::Out => flow.is_snat(),
                Role::Return => flow.is_snat() && flow.nport.0 != 0,
            };
            let key = flow.key(role);
            if has && !entries.contains_key(&key) {
                out.restore.push((key, Flow { last, role: role as u32, ..flow }));
            }
        }
    }
    out
}

/// Whether it is of datagrams whose endpoint answers for the VIP no more, though it may for others: the address has gone,
/// or to another Service. The packet programs see only that an endpoint left altogether. Connections stay.
fn is_left(flow: &Flow, left: impl Fn(&Flow) -> bool) -> bool {
    flow.proto == PROTO_UDP && flow.id != BACKEND_REJECT && left(flow)
}

fn is_over(proto: u8, closing: bool, last: u64, now: u64) -> bool {
    let patience = match (proto == PROTO_TCP, closing) {
        (true, true) => TCP_CLOSING,
        (true, false) => TCP_OPEN,
        (false, _) => UDP,
    };
    now.saturating_sub(last) > patience
}

impl Tracked {
    pub(super) fn open(data: &dyn Fn(&'static str) -> Result<MapData, MapError>) -> Result<Self, MapError> {
        let (flows, fresh) = (data("FLOWS")?, data("FLOWS_NEW")?);
        let size = |data: &MapData, name| {
            data.info().map(|info| info.max_entries()).map_err(element(name, "inspect"))
        };
        Ok(Self {
            counted: (0, 0),
            most: (size(&flows, "FLOWS")?, size(&fresh, "FLOWS_NEW")?),
            established: Map::HashMap(flows).try_into().map_err(element("FLOWS", "open"))?,
            probation: Map::LruHashMap(fresh).try_into().map_err(element("FLOWS_NEW", "open"))?,
            devices: Map::HashMap(data("DEVICES")?).try_into().map_err(element("DEVICES", "open"))?,
            counters: Map::PerCpuArray(data("PACKETS")?).try_into().map_err(element("PACKETS", "open"))?,
        })
    }

    /// The packet programs' counters, summed over CPUs, in the order of [`xebec_abi::flow::PacketStat`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Vec<u64>, MapError> {
        let read = |i| self.counters.get(&i, 0).map(|v| v.iter().sum()).map_err(element("PACKETS", "read"));
        (0..PACKET_STATS).map(read).collect()
    }

    /// How full the flows' maps were when they were last collected.
    pub fn fill(&self) -> Vec<Fill> {
        let of = |map, entries: usize, max: u32| Fill { map, entries: entries as u64, max: max.into() };
        vec![of("FLOWS", self.counted.0, self.most.0), of("FLOWS_NEW", self.counted.1, self.most.1)]
    }

    /// Entries of answered flows.
    ///
    /// # Errors
    /// The kernel's.
    pub fn established(&self) -> Result<HashMap<FlowKey, Flow>, MapError> {
        read(&self.established, "FLOWS")
    }

    /// Whether there is an entry of a flow, answered or not.
    ///
    /// # Errors
    /// The kernel's.
    pub fn flow(&self, key: &FlowKey) -> Result<Option<Flow>, MapError> {
        for (map, name) in [(&self.established, "FLOWS"), (&self.probation, "FLOWS_NEW")] {
            match map.get(&FlowId(*key), 0) {
                Ok(FlowEntry(flow)) => return Ok(Some(flow)),
                Err(aya::maps::MapError::KeyNotFound) => {}
                Err(source) => return Err(element(name, "read")(source)),
            }
        }
        Ok(None)
    }

    /// Removes every entry of a flow that nobody has answered.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget(&mut self, flow: &Flow) -> Result<(), MapError> {
        // Of a flow that was sent on the other ways are another's.
        let ways = if flow.is_direct() { &[Role::Forward][..] } else { &ROLES };
        ways.iter()
            .try_for_each(|role| absent_is_fine("FLOWS_NEW", self.probation.remove(&FlowId(flow.key(*role)))))
    }

    /// Makes the devices known, by interface index.
    ///
    /// # Errors
    /// The kernel refused an element; call again.
    pub fn set_devices(&mut self, devices: &HashMap<u32, DeviceAddresses>) -> Result<(), MapError> {
        let wanted = devices.iter().map(|(index, d)| (*index, firsts(&d.addresses))).collect();
        sync(&mut self.devices, "DEVICES", &wanted)
    }

    /// Makes one more known.
    ///
    /// # Errors
    /// The kernel refused it (a full map).
    pub fn add_device(&mut self, index: u32, addresses: &DeviceAddresses) -> Result<(), MapError> {
        self.devices.insert(index, firsts(&addresses.addresses), 0).map_err(element("DEVICES", "insert"))
    }

    /// Removes what is over and restores what is missing, at a time (monotonic nanoseconds); `left` says of a VIP and an
    /// endpoint, where datagrams of a client go on, that they should not. Returns how many entries were removed and
    /// restored.
    ///
    /// # Errors
    /// The kernel's; call again.
    pub fn collect(
        &mut self,
        now: u64,
        left: impl Fn(&SocketAddr, &SocketAddr) -> bool,
    ) -> Result<(usize, usize), MapError> {
        let left = |flow: &Flow| {
            let vip = SocketAddr::new(from_wide(&flow.vip), flow.vport.host());
            left(&vip, &SocketAddr::new(from_wide(&flow.backend), flow.bport.host()))
        };
        let established = self.established()?;
        let Collection { remove, restore } = collect(&established, now, left);
        for key in &remove {
            absent_is_fine("FLOWS", self.established.remove(&FlowId(*key)))?;
        }
        for (key, flow) in &restore {
            self.established.insert(FlowId(*key), FlowEntry(*flow), 0).map_err(element("FLOWS", "insert"))?;
        }
        let mut stale = 0;
        let probation = read(&self.probation, "FLOWS_NEW")?;
        let fresh = probation.len();
        for (key, flow) in probation {
            if now.saturating_sub(flow.last) > PROBATION || is_left(&flow, left) {
                absent_is_fine("FLOWS_NEW", self.probation.remove(&FlowId(key)))?;
                stale += 1;
            }
        }
        self.counted = (established.len() + restore.len() - remove.len(), fresh - stale);
        Ok((remove.len() + stale, restore.len()))
    }
}

/// A map's entries; one that vanishes or moves while the map is read may be missing.
fn read(
    map: &BpfHash<MapData, FlowId, FlowEntry>,
    name: &'static str,
) -> Result<HashMap<FlowKey, Flow>, MapError> {
    let mut out = HashMap::new();
    for entry in map.iter() {
        match entry {
            Ok((FlowId(key), FlowEntry(flow))) => {
                out.insert(key, flow);
            }
            Err(aya::maps::MapError::KeyNotFound) => {}
            Err(source) => return Err(element(name, "read")(source)),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_abi::Be16;
    use xebec_abi::flow::FLOW_SNAT;

    const STAYS: fn(&Flow) -> bool = |_| false;

    fn flow(proto: u8, last: u64) -> Flow {
        let ip = |n| Ip6([0, 0, 0, n]);
        let (client, vip, backend) = (ip(1), ip(2), ip(3));
        Flow { client, vip, backend, cport: Be16(1), port: Be16(1), proto, last, ..Flow::default() }
    }

    fn entries(flow: Flow, roles: &[Role]) -> HashMap<FlowKey, Flow> {
        roles.iter().map(|r| (flow.key(*r), Flow { role: *r as u32, ..flow })).collect()
    }

    #[test]
    fn a_flow_ends_when_its_last_entry_is_quiet() {
        let both = [Role::Forward, Role::Reply];
        for (proto, flags, patience) in
            [(PROTO_TCP, 0, TCP_OPEN), (PROTO_TCP, FLOW_CLOSING, TCP_CLOSING), (PROTO_UDP, 0, UDP)]
        {
            let mut map = entries(flow(proto, SECOND), &both);
            map.values_mut().for_each(|f| f.flags = flags);
            assert_eq!(collect(&map, SECOND + patience, STAYS), Collection::default());
            assert_eq!(collect(&map, SECOND + patience + 1, STAYS).remove.len(), 2);
            // One direction still speaks.
            map.values_mut().filter(|f| f.role == Role::Reply as u32).for_each(|f| f.last += 1);
            assert_eq!(collect(&map, SECOND + patience + 1, STAYS), Collection::default());
        }
    }

    #[test]
    fn datagrams_end_with_their_endpoint_and_connections_do_not() {
        let both = [Role::Forward, Role::Reply];
        let leaves = |flow: &Flow| flow.backend == Ip6([0, 0, 0, 3]);
        let udp = flow(PROTO_UDP, SECOND);
        assert_eq!(collect(&entries(udp, &both), SECOND, leaves).remove.len(), 2);
        assert_eq!(collect(&entries(udp, &both[..1]), SECOND, leaves).restore, []);
        let refused = Flow { id: BACKEND_REJECT, ..udp };
        let elsewhere = Flow { backend: Ip6([0, 0, 0, 4]), ..udp };
        for flow in [flow(PROTO_TCP, SECOND), refused, elsewhere] {
            assert_eq!(collect(&entries(flow, &both), SECOND, leaves), Collection::default());
        }
    }

    #[test]
    fn each_half_restores_the_other() {
        let plain = flow(PROTO_TCP, 5);
        let snat = Flow { flags: FLOW_SNAT, node: Ip6([0, 0, 0, 9]), nport: Be16(7), ..plain };
        for (flow, roles) in [(plain, &[Role::Forward, Role::Reply][..]), (snat, &ROLES[..])] {
            for role in roles {
                let mut restored = collect(&entries(flow, &[*role]), 6, STAYS).restore;
                restored.push((flow.key(*role), Flow { role: *role as u32, ..flow }));
                assert_eq!(restored.into_iter().collect::<HashMap<_, _>>(), entries(flow, roles));
            }
        }
        // A source port that no packet has taken yet is not missing.
        let fresh = Flow { nport: Be16(0), ..snat };
        let known = [Role::Forward, Role::Out, Role::Reply];
        assert_eq!(collect(&entries(fresh, &known), 6, STAYS), Collection::default());
    }
}
