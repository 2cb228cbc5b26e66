//! Flows from outside the node: which packet becomes which.
//!
//! A flow passes the node's devices in up to four forms, and each is a key of the same [`Flow`]: as it arrives from
//! the client ([`Role::Forward`]), as it leaves for an endpoint elsewhere ([`Role::Out`]), as the answer of that
//! endpoint arrives ([`Role::Return`]), as the answer leaves for the client ([`Role::Reply`]). Destinations are
//! rewritten when a packet comes in and sources when it goes out, so that in between the node's own routing, TTL and
//! path MTU rules see the client and the endpoint. Since every entry holds the whole flow, each can rebuild the others.

use crate::net::{Be16, Ip6};

/// Looked up when a packet comes in from a device.
pub const HOOK_INGRESS: u8 = 0;
/// Looked up when a packet goes out to a device.
pub const HOOK_EGRESS: u8 = 1;

/// Where packets of services without endpoints are sent, on the node, so that the node's own kernel refuses them (host
/// order). It is never a translated source.
pub const REJECT_PORT: u16 = 61_000;
/// Ports that are kept from sockets which ask for any: those of translated sources, and [`REJECT_PORT`]. Above and below what
/// the kernel gives by default (`ip_local_port_range`, 32768 to 60999) and the usual node ports, as netfilter without those
/// that only root may bind. Servers of the node keep theirs: only what comes from an endpoint's very port is an answer. First
/// and last of each, host order, ascending.
pub const RESERVED_PORTS: [(u16, u16); 2] = [(1024, 29_999), (REJECT_PORT, u16::MAX)];
/// How many connections to one endpoint behind another node can have a source of this node's at a time. Ports are tried at
/// random: at 30,000 one in a thousand is refused at first.
pub const SNAT_PORTS: u32 =
    (RESERVED_PORTS[0].1 - RESERVED_PORTS[0].0) as u32 + 1 + (RESERVED_PORTS[1].1 - REJECT_PORT) as u32;

/// The n-th port for translated sources, host order; `n` below [`SNAT_PORTS`].
#[inline(always)]
pub const fn snat_port(n: u32) -> u16 {
    let low = (RESERVED_PORTS[0].1 - RESERVED_PORTS[0].0) as u32 + 1;
    if n < low { RESERVED_PORTS[0].0 + n as u16 } else { REJECT_PORT + 1 + (n - low) as u16 }
}

/// Backend id of a flow that the node refuses.
pub const BACKEND_REJECT: u32 = u32::MAX;
/// Service index of a flow to a port that its VIP does not have; in SRC_LPM, the index of the pods' networks, whose
/// traffic is the cluster's own and not external.
pub const NO_SERVICE: u32 = u32::MAX;

/// [`Flow::flags`]: the source is replaced by the node's address on the way out.
pub const FLOW_SNAT: u8 = 1;
/// [`Flow::flags`]: a FIN or RST was seen through this entry.
pub const FLOW_CLOSING: u8 = 2;
/// [`Flow::flags`]: sent on to [`Flow::node`] as it is; the flow has only its [`Role::Forward`] here.
pub const FLOW_DIRECT: u8 = 4;
/// [`Flow::flags`]: came from another node, which the client asked.
pub const FLOW_TUNNELLED: u8 = 8;

/// Source, destination and transport of a packet at one hook; IPv4 addresses in mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address.
    pub src: Ip6,
    /// Destination address.
    pub dst: Ip6,
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// IP protocol.
    pub proto: u8,
    /// [`HOOK_INGRESS`] or [`HOOK_EGRESS`].
    pub hook: u8,
    /// Zero.
    pub pad: u16,
}

impl FlowKey {
    /// The key a packet that answers this one has at the same hook, and the one an ICMP error about it is found by.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, ..*self }
    }
}

/// Which form of the flow an entry stands for.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// From the client, coming in.
    Forward = 0,
    /// To an endpoint elsewhere, going out.
    Out = 1,
    /// From an endpoint elsewhere, coming in.
    Return = 2,
    /// To the client, going out.
    Reply = 3,
}

/// Every role.
pub const ROLES: [Role; 4] = [Role::Forward, Role::Out, Role::Return, Role::Reply];

/// One flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Monotonic nanoseconds of the last packet seen through this entry.
    pub last: u64,
    /// The backend's state word when chosen.
    pub state: u64,
    /// The client.
    pub client: Ip6,
    /// What the client talks to.
    pub vip: Ip6,
    /// The endpoint.
    pub backend: Ip6,
    /// The source the endpoint sees with [`FLOW_SNAT`]; zero until the first packet went out. With [`FLOW_DIRECT`] the
    /// endpoint's node.
    pub node: Ip6,
    /// The client's port.
    pub cport: Be16,
    /// The VIP's port.
    pub vport: Be16,
    /// The endpoint's port.
    pub bport: Be16,
    /// The client's port inside the node: another one if two flows of a client would look the same there.
    pub port: Be16,
    /// The source port the endpoint sees with [`FLOW_SNAT`].
    pub nport: Be16,
    /// IP protocol.
    pub proto: u8,
    /// `FLOW_` bits.
    pub flags: u8,
    /// Index into BE_STATE, or [`BACKEND_REJECT`].
    pub id: u32,
    /// Service index.
    pub index: u32,
    /// This entry's [`Role`] in the low 8 bits. In the others, of [`Role::Reply`] of a connection that the client has not
    /// confirmed yet, what [`proof`] makes of the number its confirmation has; else zero.
    pub role: u32,
}

/// What a client's acknowledgement of its endpoint's first answer is known by, in 24 bits, never zero. Who asks under another's
/// name does not see the answer, and would have to guess it.
#[inline(always)]
pub const fn proof(acknowledged: u32) -> u32 {
    acknowledged.wrapping_mul(0x9e37_79b1) >> 8 | 1
}

impl Flow {
    /// The packet's ends as they are in a role.
    #[inline(always)]
    pub const fn key(&self, role: Role) -> FlowKey {
        let (hook, src, sport, dst, dport) = match role {
            Role::Forward => (HOOK_INGRESS, self.client, self.cport, self.vip, self.vport),
            Role::Out => (HOOK_EGRESS, self.client, self.port, self.backend, self.bport),
            Role::Return => (HOOK_INGRESS, self.backend, self.bport, self.node, self.nport),
            Role::Reply => (HOOK_EGRESS, self.backend, self.bport, self.client, self.port),
        };
        FlowKey { src, dst, sport, dport, proto: self.proto, hook, pad: 0 }
    }

    /// What a packet found by [`Flow::key`] of a role becomes; its hook is the role's.
    #[inline(always)]
    pub const fn target(&self, role: Role) -> FlowKey {
        let (hook, src, sport, dst, dport) = match role {
            Role::Forward => (HOOK_INGRESS, self.client, self.port, self.backend, self.bport),
            Role::Out => (HOOK_EGRESS, self.node, self.nport, self.backend, self.bport),
            Role::Return => (HOOK_INGRESS, self.backend, self.bport, self.client, self.port),
            Role::Reply => (HOOK_EGRESS, self.vip, self.vport, self.client, self.cport),
        };
        FlowKey { src, dst, sport, dport, proto: self.proto, hook, pad: 0 }
    }

    /// Whether its packets go to another node as they are.
    #[inline(always)]
    pub const fn is_direct(&self) -> bool {
        self.flags & FLOW_DIRECT != 0
    }

    /// Whether the source is replaced on the way out.
    #[inline(always)]
    pub const fn is_snat(&self) -> bool {
        self.flags & FLOW_SNAT != 0
    }
}

/// Names the fragments of one packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub src: Ip6,
    /// Destination address.
    pub dst: Ip6,
    /// Identification, as in the header.
    pub id: u32,
    /// IP protocol.
    pub proto: u8,
    /// Hook, as in [`FlowKey::hook`]: the same packet has other addresses at the other one.
    pub hook: u8,
    /// Zero.
    pub pad: u16,
}

/// Affinity of a client outside the node: per service port and source address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// The client's address.
    pub addr: Ip6,
    /// Service index.
    pub index: u32,
    /// Zero.
    pub pad: u32,
}

/// Key data of SRC_LPM: the first bits that count are the service's, then the address's (IPv4 in mapped form).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// Service index in network order.
    pub index: [u8; 4],
    /// Address.
    pub addr: [u8; 16],
}

/// What is known of a device that outside packets pass.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its first IPv4 address in mapped form, zero without one.
    pub v4: Ip6,
    /// Its first IPv6 address, zero without one.
    pub v6: Ip6,
}

/// Counters of the packet programs, per CPU; the discriminant is the index into PACKETS.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketStat {
    /// Packets whose destination or source was rewritten.
    Translated = 0,
    /// Flows that were given an endpoint.
    Flows = 1,
    /// Flows refused, as the service has no endpoint or the VIP no such port.
    Rejected = 2,
    /// Packets dropped: no endpoint on this node (externalTrafficPolicy Local).
    NoLocal = 3,
    /// Packets dropped by loadBalancerSourceRanges.
    Denied = 4,
    /// Packets dropped, as no port was free or a map was full.
    Exhausted = 5,
    /// ICMP errors rewritten.
    Errors = 6,
    /// Flows of datagrams given another endpoint, as theirs had left.
    Reselected = 7,
    /// Flows that became established.
    Established = 8,
    /// Echo requests to a VIP, answered.
    Echoes = 9,
    /// Packets dropped, as no Service has the address.
    Unallocated = 10,
    /// Packets translated and sent on in the device's driver.
    Driver = 11,
    /// Packets sent on to an endpoint's node (direct server return).
    Direct = 12,
    /// Packets from another node that were dropped: not from one of the cluster's, or for nothing that is to come so.
    Misdirected = 13,
    /// Packets too long between the nodes, whose senders were told so where they can be.
    Oversize = 14,
}

/// Number of [`PacketStat`]s.
pub const PACKET_STATS: u32 = 16;

const _: () = {
    assert!(size_of::<FlowKey>() == 40 && size_of::<Flow>() == 104 && size_of::<FragmentKey>() == 40);
    assert!(size_of::<ClientKey>() == 24 && size_of::<SourceKey>() == 20 && size_of::<Device>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_what_the_answer_is_found_by() {
        let ip = |n| Ip6([0, 0, 0, n]);
        let flow = Flow {
            client: ip(1),
            vip: ip(2),
            backend: ip(3),
            node: ip(4),
            cport: Be16(1),
            vport: Be16(2),
            bport: Be16(3),
            port: Be16(4),
            nport: Be16(5),
            proto: 6,
            ..Flow::default()
        };
        let other = |key: FlowKey| FlowKey { hook: HOOK_EGRESS - key.hook, ..key };
        assert_eq!(other(flow.target(Role::Forward)), flow.key(Role::Out));
        assert_eq!(other(flow.target(Role::Out)).reversed(), flow.key(Role::Return));
        assert_eq!(other(flow.target(Role::Return)), flow.key(Role::Reply));
        assert_eq!(other(flow.target(Role::Reply)).reversed(), flow.key(Role::Forward));
    }
}
