//! What the compiler is given: policies, namespaces and pods, reduced to what matters. Labels and selectors as the API
//! has them; addresses parsed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use xebec_api::selector::LabelSelector;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A transport protocol that ports belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in the IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// A network: its address with the bits behind the prefix zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The network of `bits` that `address` lies in; none when there are no such networks.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(four) if bits <= 32 => {
                IpAddr::V4((u32::from(four) & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into())
            }
            IpAddr::V6(six) if bits <= 128 => IpAddr::V6(
                (u128::from(six) & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into(),
            ),
            _ => return None,
        };
        Some(Self { address, bits })
    }

    /// Of a text such as 10.0.0.0/8; bits behind the prefix are ignored, as upstream ignores them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        Self::new(address.parse().ok()?, bits.parse().ok()?)
    }

    /// The network of one address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Its first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of the prefix.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Whether the whole of `other` lies in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.bits <= other.bits && Self::new(other.address, self.bits) == Some(self)
    }
}

/// Who may be at the other end.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// Pods of namespaces.
    Pods {
        /// Which namespaces; none: the policy's own.
        namespaces: Option<LabelSelector>,
        /// Which of their pods.
        pods: LabelSelector,
    },
    /// Addresses.
    Block {
        /// All of these,
        network: Network,
        /// but none of those.
        except: Vec<Network>,
    },
}

/// What a rule allows of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortRange {
    /// Every port.
    Any,
    /// From the first to the second, both included.
    Numbers(u16, u16),
    /// The container port of this name, which each destination pod has its own number for.
    Named(String),
}

/// An entry of a rule's ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Of which protocol.
    pub protocol: Protocol,
    /// Which.
    pub range: PortRange,
}

/// Everything a rule's peers and ports allow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Any of these; none in the list: everybody.
    pub peers: Vec<Peer>,
    /// Any of these; none in the list: everything.
    pub ports: Vec<Port>,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Where it is, and whose pods it selects.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which pods it isolates.
    pub pods: LabelSelector,
    /// What may come in; none: it says nothing of that direction.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out.
    pub egress: Option<Vec<Rule>>,
}

/// A container port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub number: u16,
}

/// A pod that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, none before it has any.
    pub addresses: Vec<IpAddr>,
    /// Its container ports that have a name.
    pub ports: Vec<NamedPort>,
    /// Whether it uses the node's own addresses: policies neither select it nor know it as a peer.
    pub on_host: bool,
}

impl Pod {
    /// The number that a name stands for in this pod.
    #[must_use]
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.ports.iter().find(|port| port.name == name && port.protocol == protocol).map(|port| port.number)
    }
}

/// All that policies are about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// The policies.
    pub policies: Vec<Policy>,
    /// Labels of the namespaces, by name.
    pub namespaces: BTreeMap<String, Labels>,
    /// The pods.
    pub pods: Vec<Pod>,
}

impl World {
    /// Whether a policy's peer selects a pod.
    #[must_use]
    pub fn selects(
        &self,
        policy: &Policy,
        namespaces: Option<&LabelSelector>,
        pods: &LabelSelector,
        pod: &Pod,
    ) -> bool {
        selects(&self.namespaces, &policy.namespace, namespaces, pods, pod)
    }
}

/// Whether a peer of a policy in the namespace `home` selects a pod.
pub(crate) fn selects(
    known: &BTreeMap<String, Labels>,
    home: &str,
    namespaces: Option<&LabelSelector>,
    pods: &LabelSelector,
    pod: &Pod,
) -> bool {
    let there = match namespaces {
        None => pod.namespace == home,
        Some(selector) => known.get(&pod.namespace).is_some_and(|labels| selector.matches(labels)),
    };
    there && !pod.on_host && pods.matches(&pod.labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let network = |text: &str| Network::parse(text).unwrap();
        assert_eq!(network("10.1.2.3/8"), network("10.0.0.0/8"));
        assert_eq!(network("2001:db8::1/32"), network("2001:db8::/32"));
        assert!(network("0.0.0.0/0").contains(network("1.2.3.4/32")));
        assert!(network("10.0.0.0/8").contains(network("10.0.0.0/8")));
        assert!(!network("10.0.0.0/8").contains(network("0.0.0.0/0")));
        assert!(!network("10.0.0.0/8").contains(network("11.0.0.0/8")));
        assert!(!network("0.0.0.0/0").contains(network("::/0")));
        for wrong in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/x"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
