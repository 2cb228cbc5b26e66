//! The words of the pure part: frontends, service ports, families. No kernel types beyond the ABI's constants.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use xebec_abi::{PROTO_SCTP, PROTO_TCP, PROTO_UDP, service};

/// A transport of Services. The maps hold those of TCP and UDP; SCTP, which the socket hooks do not cover, has tables of nft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, and MPTCP with it.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => PROTO_TCP,
            Self::Udp => PROTO_UDP,
            Self::Sctp => PROTO_SCTP,
        }
    }

    /// From the IP protocol number, of those that the maps hold.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            PROTO_TCP => Some(Self::Tcp),
            PROTO_UDP => Some(Self::Udp),
            _ => None,
        }
    }

    /// From the API's name; absent means TCP.
    pub fn from_api(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(addr: &IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A network whose clients a load balancer's address answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRange {
    /// Network address.
    pub addr: IpAddr,
    /// Prefix length, at most the address's width.
    pub bits: u8,
}

impl SourceRange {
    /// From `address/length`, with white space around it as the API allows; bits below the length are cleared.
    pub fn parse(text: &str) -> Option<Self> {
        let (addr, bits) = text.trim().split_once('/')?;
        let (addr, bits): (IpAddr, u8) = (addr.parse().ok()?, bits.parse().ok()?);
        let addr = match addr {
            IpAddr::V4(a) if bits <= 32 => {
                IpAddr::V4((a.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into())
            }
            IpAddr::V6(a) if bits <= 128 => {
                IpAddr::V6((a.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into())
            }
            _ => return None,
        };
        Some(Self { addr, bits })
    }

    /// Whether an address is in it.
    pub fn contains(&self, addr: &IpAddr) -> bool {
        let (own, addr) = match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(addr)) => (own.to_ipv6_mapped(), addr.to_ipv6_mapped()),
            (IpAddr::V6(own), IpAddr::V6(addr)) => (own, *addr),
            _ => return false,
        };
        let before = if self.addr.is_ipv4() { 96 } else { 0 };
        let low = 128 - before - u32::from(self.bits);
        ((own.to_bits() ^ addr.to_bits()) & u128::MAX.checked_shl(low).unwrap_or(0)) == 0
    }
}

/// Where a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vip {
    /// One address.
    Address(IpAddr),
    /// Every address of the node in this family.
    Node(Family),
    /// As [`Vip::Node`], for a pod's hostPort.
    Host(Family),
    /// One address of the node, for a pod's hostPort.
    HostAddress(IpAddr),
}

/// The key of one frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontKey {
    /// Address.
    pub vip: Vip,
    /// Port, host order.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
}

impl FrontKey {
    /// A frontend at an address.
    pub const fn at(addr: IpAddr, port: u16, protocol: Protocol) -> Self {
        Self { vip: Vip::Address(addr), port, protocol }
    }

    /// Whether it is a pod's hostPort.
    pub const fn is_host_port(&self) -> bool {
        matches!(self.vip, Vip::Host(_) | Vip::HostAddress(_))
    }

    /// The family of its address.
    pub const fn family(&self) -> Family {
        match &self.vip {
            Vip::Address(addr) | Vip::HostAddress(addr) => Family::of(addr),
            Vip::Node(family) | Vip::Host(family) => *family,
        }
    }
}

impl fmt::Display for FrontKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vip {
            Vip::Address(addr) => write!(f, "{}/{}", SocketAddr::new(addr, self.port), self.protocol),
            Vip::Node(Family::V4) => write!(f, "<node>:{}/{}", self.port, self.protocol),
            Vip::Node(Family::V6) => write!(f, "[<node>]:{}/{}", self.port, self.protocol),
            Vip::Host(Family::V4) => write!(f, "<host>:{}/{}", self.port, self.protocol),
            Vip::Host(Family::V6) => write!(f, "[<host>]:{}/{}", self.port, self.protocol),
            Vip::HostAddress(addr) => write!(f, "<host {addr}>:{}/{}", self.port, self.protocol),
        }
    }
}

/// Why a frontend exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// ClusterIP.
    ClusterIp,
    /// NodePort.
    NodePort,
    /// `spec.externalIPs`.
    ExternalIp,
    /// A load balancer's address.
    LoadBalancer,
    /// The agent's own probe.
    Probe,
    /// A pod's hostPort.
    HostPort,
}

impl Kind {
    /// The ABI's number.
    pub const fn number(self) -> u8 {
        match self {
            Self::ClusterIp => service::KIND_CLUSTER_IP,
            Self::NodePort => service::KIND_NODE_PORT,
            Self::ExternalIp => service::KIND_EXTERNAL_IP,
            Self::LoadBalancer => service::KIND_LOAD_BALANCER,
            Self::Probe => service::KIND_PROBE,
            Self::HostPort => service::KIND_HOST_PORT,
        }
    }

    /// From the ABI's number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            service::KIND_CLUSTER_IP => Some(Self::ClusterIp),
            service::KIND_NODE_PORT => Some(Self::NodePort),
            service::KIND_EXTERNAL_IP => Some(Self::ExternalIp),
            service::KIND_LOAD_BALANCER => Some(Self::LoadBalancer),
            service::KIND_PROBE => Some(Self::Probe),
            service::KIND_HOST_PORT => Some(Self::HostPort),
            _ => None,
        }
    }

    /// Whether this kind gives a service port its identity; every service port has exactly one such frontend.
    pub const fn is_primary(self) -> bool {
        matches!(self, Self::ClusterIp | Self::Probe | Self::HostPort)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::ExternalIp => "external IP",
            Self::LoadBalancer => "load balancer IP",
            Self::Probe => "self-probe",
            Self::HostPort => "hostPort",
        })
    }
}

/// The endpoints of a service port, sorted, without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// For everybody.
    pub cluster: Vec<SocketAddr>,
    /// Those on this node.
    pub local: Vec<SocketAddr>,
    /// Of UDP, those in neither that still answer: terminating beside ready ones, or meant for other places.
    pub serving: Vec<SocketAddr>,
}

impl Sets {
    /// Every endpoint that answers; of TCP, those that are selected.
    pub fn answering(&self) -> impl Iterator<Item = &SocketAddr> {
        self.cluster.iter().chain(&self.local).chain(&self.serving)
    }
}

/// One port of one Service in one family: what the tables hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort<S = Sets> {
    /// `namespace/name:port`, for people.
    pub name: String,
    /// The frontend that gives it its identity.
    pub primary: FrontKey,
    /// The primary's kind.
    pub kind: Kind,
    /// Its other frontends.
    pub aliases: Vec<(FrontKey, Kind)>,
    /// internalTrafficPolicy Local.
    pub internal_local: bool,
    /// externalTrafficPolicy Local.
    pub external_local: bool,
    /// Packets from outside go to endpoints on other nodes by direct server return.
    pub direct: bool,
    /// loadBalancerSourceRanges of this family; empty lets everybody in.
    pub source_ranges: BTreeSet<SourceRange>,
    /// Session affinity timeout in seconds, 1 to 86400.
    pub affinity: Option<u32>,
    /// Every node is to give a client's flow from outside the same endpoint (a Maglev row).
    pub consistent: bool,
    /// Its endpoints.
    pub sets: S,
}

impl<S> ServicePort<S> {
    /// The same with its endpoints kept in another way.
    pub(crate) fn with<T>(self, sets: T) -> ServicePort<T> {
        let Self { name, primary, kind, aliases, internal_local, external_local, direct, .. } = self;
        let Self { source_ranges, affinity, consistent, .. } = self;
        ServicePort {
            name,
            primary,
            kind,
            aliases,
            internal_local,
            external_local,
            direct,
            source_ranges,
            affinity,
            consistent,
            sets,
        }
    }
}

/// The probe's address is of TEST-NET-1 (RFC 5737), which is nobody's.
pub const PROBE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The probe's port.
pub const PROBE_PORT: u16 = 1;

impl ServicePort {
    /// The self-probe's service: UDP, no endpoints, so that connecting to it fails in the hook or not at all.
    pub fn probe() -> Self {
        Self {
            name: "xebec/self-probe".to_owned(),
            primary: FrontKey::at(IpAddr::V4(PROBE_ADDRESS), PROBE_PORT, Protocol::Udp),
            kind: Kind::Probe,
            aliases: Vec::new(),
            internal_local: false,
            external_local: false,
            direct: false,
            source_ranges: BTreeSet::new(),
            affinity: None,
            consistent: false,
            sets: Sets::default(),
        }
    }
}

/// The unspecified address of a family.
pub const fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_ranges_are_networks() {
        let range = |text| SourceRange::parse(text).map(|r| format!("{}/{}", r.addr, r.bits));
        assert_eq!(range(" 10.1.2.3/8 ").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(range("1.2.3.4/0").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(range("1.2.3.4/32").as_deref(), Some("1.2.3.4/32"));
        assert_eq!(range("fd00:1::5/16").as_deref(), Some("fd00::/16"));
        let within = |range, addr: &str| SourceRange::parse(range).unwrap().contains(&addr.parse().unwrap());
        assert!(within("10.0.0.0/8", "10.255.0.1") && !within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("0.0.0.0/0", "1.2.3.4") && !within("0.0.0.0/0", "::1") && within("::/0", "::1"));
        assert!(within("fd00::/8", "fd12::1") && !within("fd00::1/128", "fd00::2"));
        for bad in ["1.2.3.4", "1.2.3.4/33", "fd00::/129", "x/8", "10.0.0.0/-1"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
