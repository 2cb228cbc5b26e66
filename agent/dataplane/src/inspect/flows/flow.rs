//! An event as people and programs read it. PURE.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use xebec_abi::event::{Event, Hook, Reason, Verdict};
use xebec_abi::flow::NO_SERVICE;
use xebec_abi::{Be16, Ip6, PROTO_ICMP, PROTO_ICMP6, PROTO_TCP, PROTO_UDP};

use super::Names;
use crate::maps::from_wide;

/// Every verdict with its name, in the order of [`Verdict`].
pub const VERDICTS: [(Verdict, &str); 7] = [
    (Verdict::Translated, "translated"),
    (Verdict::Refused, "refused"),
    (Verdict::Dropped, "dropped"),
    (Verdict::Allowed, "allowed"),
    (Verdict::Answered, "answered"),
    (Verdict::Reversed, "reversed"),
    (Verdict::Direct, "sent-on"),
];

const HOOKS: [(Hook, &str); 7] = [
    (Hook::Connect, "connect"),
    (Hook::Send, "send"),
    (Hook::Receive, "receive"),
    (Hook::Ingress, "from outside"),
    (Hook::Egress, "to outside"),
    (Hook::ToPod, "policy"),
    (Hook::FromPod, "policy"),
];

const REASONS: [(Reason, &str); 13] = [
    (Reason::None, ""),
    (Reason::NoEndpoints, "the Service has no endpoints"),
    (Reason::NoLocalEndpoints, "the Service has no endpoint on this node, and its traffic policy is Local"),
    (Reason::NoSuchPort, "the address has no such port"),
    (Reason::SourceRanges, "the client is not in loadBalancerSourceRanges"),
    (Reason::Exhausted, "no port is free, or a map is full"),
    (Reason::NoAddress, "the device has no address to refuse by"),
    (Reason::Policy, "no rule allows it"),
    (Reason::FromNode, "the node itself began it"),
    (Reason::Older, "a connection older than the pod's policies"),
    (Reason::Unallocated, "no Service has the address"),
    (
        Reason::UnknownSource,
        "loadBalancerSourceRanges, and the address of the network namespace is not known",
    ),
    (Reason::Unreadable, "the packet's header is cut off"),
];

/// One end of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct End {
    /// Address; absent for a socket whose network namespace is not known.
    pub address: Option<IpAddr>,
    /// Port; absent for a socket that has none yet, and for protocols without.
    pub port: Option<u16>,
    /// `namespace/name` of a pod, or `node NAME`.
    pub name: Option<String>,
}

impl End {
    fn new(address: Ip6, port: Be16, names: &Names) -> Option<Self> {
        let address = Some(from_wide(&address)).filter(|address| !address.is_unspecified())?;
        let port = Some(port.host()).filter(|port| *port != 0);
        Some(Self { address: Some(address), port, name: names.of(address) })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.address, self.port) {
            (Some(name), _, Some(port)) => write!(f, "{name}:{port}"),
            (Some(name), _, None) => f.write_str(name),
            (None, Some(address), Some(port)) => SocketAddr::new(address, port).fmt(f),
            (None, Some(address), None) => address.fmt(f),
            (None, None, _) => f.write_str("?"),
        }
    }
}

/// Who called, where the kernel says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its id, in the node's process namespace.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// What happened to a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// When, RFC 3339.
    pub time: String,
    /// One of [`VERDICTS`].
    pub verdict: &'static str,
    /// `tcp`, `udp`, `sctp`, `icmp`, or a number.
    pub protocol: String,
    /// Who began it.
    pub source: End,
    /// What it was sent to.
    pub destination: End,
    /// The endpoint in the destination's place.
    pub endpoint: Option<End>,
    /// The service port, as `namespace/name:port`, or by its index in the maps.
    pub service: Option<String>,
    /// Where it was seen.
    pub hook: &'static str,
    /// Why, if there is more to say.
    pub reason: Option<String>,
    /// The pod whose policies decided, and the direction seen from it.
    pub policy: Option<(String, &'static str)>,
    /// Who called.
    pub process: Option<Process>,
}

fn named<T: Copy>(table: &[(T, &'static str)], number: u8) -> &'static str {
    table.get(usize::from(number)).map_or("unknown", |(_, name)| name)
}

/// A protocol's name.
pub(super) fn protocol(number: u8) -> String {
    match number {
        PROTO_TCP => "tcp".to_owned(),
        PROTO_UDP => "udp".to_owned(),
        PROTO_ICMP | PROTO_ICMP6 => "icmp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

impl Flow {
    /// From the kernel's record. `zero` is what the clock on the wall showed, in nanoseconds of the Unix epoch, when the
    /// monotonic one was zero.
    pub fn new(event: &Event, names: &Names, zero: i128) -> Self {
        let time = Timestamp::from_nanosecond(zero + i128::from(event.time)).unwrap_or_default();
        let destination = End::new(event.dst, event.dport, names).unwrap_or_default();
        let source = End::new(event.src, event.sport, names);
        let source = source.unwrap_or_else(|| socket(event, names, destination.address));
        let (to_pod, from_pod) = (event.hook == Hook::ToPod as u8, event.hook == Hook::FromPod as u8);
        let policy = match (to_pod, from_pod) {
            (true, _) => Some((&destination, "ingress")),
            (_, true) => Some((&source, "egress")),
            _ => None,
        };
        let policy = policy.map(|(pod, direction)| {
            let address = pod.address.map_or_else(|| "?".to_owned(), |address| address.to_string());
            (pod.name.clone().unwrap_or(address), direction)
        });
        let reason = match (named(&REASONS, event.reason), &policy) {
            ("", _) => None,
            (reason, Some((pod, direction))) if event.reason == Reason::Policy as u8 => {
                Some(format!("policies isolate {direction} of {pod}: {reason}"))
            }
            (reason, _) => Some(reason.to_owned()),
        };
        let service = (event.index != NO_SERVICE)
            .then(|| names.services.get(&event.index).cloned())
            .map(|name| name.unwrap_or_else(|| format!("index {}", event.index)));
        let name: Vec<u8> = event.comm.iter().copied().take_while(|byte| *byte != 0).collect();
        Self {
            time: time.to_string(),
            verdict: named(&VERDICTS, event.verdict),
            protocol: protocol(event.proto),
            endpoint: End::new(event.to, event.tport, names),
            service,
            hook: named(&HOOKS, event.hook),
            reason,
            policy,
            process: (event.pid != 0)
                .then(|| Process { id: event.pid, name: String::from_utf8_lossy(&name).into_owned() }),
            source,
            destination,
        }
    }
}

/// The caller of a socket, whose address is that of its network namespace: of the family it asks for, if there is one.
fn socket(event: &Event, names: &Names, asked: Option<IpAddr>) -> End {
    if event.netns != 0 && event.netns == names.host {
        return End { name: Some("this node".to_owned()), ..End::default() };
    }
    let own = names.namespaces.get(&event.netns).into_iter().flatten();
    let own: Vec<&IpAddr> = own.filter(|address| !address.is_loopback()).collect();
    let same = own.iter().find(|address| asked.is_some_and(|asked| asked.is_ipv4() == address.is_ipv4()));
    let address = same.or(own.first()).map(|address| **address);
    End { address, port: None, name: address.and_then(|address| names.of(address)) }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:<10}  {:<4}  {}", self.time, self.verdict, self.protocol, self.source)?;
        if let Some(Process { id, name }) = &self.process {
            write!(f, " ({name} {id})")?;
        }
        write!(f, " -> {}", self.destination)?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, " -> {endpoint}")?;
        }
        if let Some(service) = &self.service {
            write!(f, "  Service {service}")?;
        }
        write!(f, "  {}", self.hook)?;
        if let Some((pod, direction)) = &self.policy {
            write!(f, " ({direction} of {pod})")?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}
