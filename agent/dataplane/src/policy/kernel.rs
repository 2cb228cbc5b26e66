//! The kernel's tables of policies: written, and read back after a restart. Enters: [`Write`]s. Leaves: map memory.
#![expect(unsafe_code, reason = "plain-old-data structs as map values")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap as BpfHash, Map, MapData, PerCpuArray};
use xebec_abi::Ip6;
use xebec_abi::policy::{
    CLASS_BITS_FAMILY, ClassKey, EGRESS, INGRESS, POLICY_STATS, PodPolicy, RULE_BITS_ALL, RULE_BITS_PORT,
};
use xebec_policy::Direction;
use xebec_policy::model::{Network, Protocol};
use xebec_policy::ports::PortPrefix;

use super::plan::{Installed, Item, Write};
use crate::maps::pinned::{absent_is_fine, element, open};
use crate::maps::{MapError, from_wide, wide};
use crate::metrics::Fill;

/// [`PodPolicy`] as a map value of aya.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodEntry(PodPolicy);

// SAFETY: repr(C) of two integers without padding; every bit pattern is a value.
unsafe impl aya::Pod for PodEntry {}

/// The open maps.
pub(super) struct Kernel {
    pods: BpfHash<MapData, u32, PodEntry>,
    classes: LpmTrie<MapData, [u8; 20], u32>,
    rules: LpmTrie<MapData, [u8; 12], u32>,
    generation: Array<MapData, u64>,
    counts: PerCpuArray<MapData, u64>,
    most: [u32; 3],
}

impl Kernel {
    /// Opens the pins in `dir` (the versioned one).
    pub(super) fn open(dir: &Path) -> Result<Self, MapError> {
        let (pods, most_pods) = open(dir, "POLICY_PODS")?;
        let (classes, most_classes) = open(dir, "POLICY_CLASSES")?;
        let (rules, most_rules) = open(dir, "POLICY_RULES")?;
        let (state, counts) = (open(dir, "POLICY_STATE")?.0, open(dir, "POLICY_COUNTS")?.0);
        Ok(Self {
            pods: Map::HashMap(pods).try_into().map_err(element("POLICY_PODS", "open"))?,
            classes: Map::LpmTrie(classes).try_into().map_err(element("POLICY_CLASSES", "open"))?,
            rules: Map::LpmTrie(rules).try_into().map_err(element("POLICY_RULES", "open"))?,
            generation: Map::Array(state).try_into().map_err(element("POLICY_STATE", "open"))?,
            counts: Map::PerCpuArray(counts).try_into().map_err(element("POLICY_COUNTS", "open"))?,
            most: [most_pods, most_classes, most_rules],
        })
    }

    /// Everything that is in the maps; the second is what nothing can find.
    pub(super) fn read(&self) -> Result<(Installed, Vec<Write>), MapError> {
        let pods = self.pods.iter().map(|entry| entry.map(|(device, PodEntry(pod))| (device, pod)));
        let pods = pods.collect::<Result<_, _>>().map_err(element("POLICY_PODS", "read"))?;
        let mut classes = BTreeMap::new();
        for entry in self.classes.iter() {
            let (key, class) = entry.map_err(element("POLICY_CLASSES", "read"))?;
            classes.extend(from_class_key(key.prefix_len(), &key.data()).map(|network| (network, class)));
        }
        let mut rules = Vec::new();
        for entry in self.rules.iter() {
            let (key, _) = entry.map_err(element("POLICY_RULES", "read"))?;
            rules.extend(from_rule_key(key.prefix_len(), &key.data()));
        }
        Ok(Installed::adopt(pods, classes, &rules))
    }

    /// Carries out a write; those about programs are not the maps'.
    pub(super) fn write(&mut self, write: &Write) -> Result<(), MapError> {
        match write {
            Write::Rule(class, item) => {
                let (bits, data) = rule_key(*class, item);
                self.rules.insert(&Key::new(bits, data), 1, 0).map_err(element("POLICY_RULES", "insert"))
            }
            Write::RemoveRule(class, item) => {
                let (bits, data) = rule_key(*class, item);
                absent_is_fine("POLICY_RULES", self.rules.remove(&Key::new(bits, data)))
            }
            Write::Class(network, class) => {
                let (bits, data) = class_key(*network);
                self.classes
                    .insert(&Key::new(bits, data), class, 0)
                    .map_err(element("POLICY_CLASSES", "insert"))
            }
            Write::RemoveClass(network) => {
                let (bits, data) = class_key(*network);
                absent_is_fine("POLICY_CLASSES", self.classes.remove(&Key::new(bits, data)))
            }
            Write::Pod(device, pod) => {
                self.pods.insert(device, PodEntry(*pod), 0).map_err(element("POLICY_PODS", "insert"))
            }
            Write::RemovePod(device) => absent_is_fine("POLICY_PODS", self.pods.remove(device)),
            Write::Generation => {
                let next = self.generation()?.wrapping_add(1);
                self.generation.set(0, next, 0).map_err(element("POLICY_STATE", "insert"))
            }
            Write::Attach(_) | Write::Detach(_) => Ok(()),
        }
    }

    /// Changes of policies so far.
    pub(super) fn generation(&self) -> Result<u64, MapError> {
        self.generation.get(&0, 0).map_err(element("POLICY_STATE", "read"))
    }

    /// The programs' counters, summed over CPUs, in the order of [`xebec_abi::policy::PolicyStat`].
    pub(super) fn counters(&self) -> Result<Vec<u64>, MapError> {
        let read =
            |i| self.counts.get(&i, 0).map(|v| v.iter().sum()).map_err(element("POLICY_COUNTS", "read"));
        (0..POLICY_STATS).map(read).collect()
    }

    /// How full the maps are.
    pub(super) fn fill(&self) -> Vec<Fill> {
        let counts = [self.pods.keys().count(), self.classes.keys().count(), self.rules.keys().count()];
        let names = ["POLICY_PODS", "POLICY_CLASSES", "POLICY_RULES"];
        let of =
            |((map, entries), max): ((_, usize), u32)| Fill { map, entries: entries as u64, max: max.into() };
        names.into_iter().zip(counts).zip(self.most).map(of).collect()
    }
}

/// Prefix length and data of a network's key (the bytes of [`ClassKey`]).
fn class_key(network: Network) -> (u32, [u8; 20]) {
    let ClassKey { family, address } = ClassKey::new(&wide(&network.address()));
    let mut data = [0; 20];
    data[..4].copy_from_slice(&family);
    data[4..].copy_from_slice(&address);
    let mapped = if network.address().is_ipv4() { 96 } else { 0 };
    (CLASS_BITS_FAMILY + mapped + u32::from(network.bits()), data)
}

/// The inverse of [`class_key`]; `None` for a key no version of ours writes.
fn from_class_key(bits: u32, data: &[u8; 20]) -> Option<Network> {
    let octets: [u8; 16] = data[4..].try_into().ok()?;
    let address = match data[0] {
        4 => from_wide(&Ip6::from_octets(octets)),
        _ => IpAddr::V6(octets.into()),
    };
    let before = CLASS_BITS_FAMILY + if address.is_ipv4() { 96 } else { 0 };
    Network::new(address, u8::try_from(bits.checked_sub(before)?).ok()?)
}

/// Prefix length and data of a rule's key (the bytes of [`xebec_abi::policy::RuleKey`]).
fn rule_key(class: u32, item: &Item) -> (u32, [u8; 12]) {
    let mut data = [0; 12];
    data[..4].copy_from_slice(&item.set.to_be_bytes());
    data[4..8].copy_from_slice(&class.to_be_bytes());
    data[8] = match item.direction {
        Direction::Ingress => INGRESS,
        Direction::Egress => EGRESS,
    };
    let Some(protocol) = item.protocol else { return (RULE_BITS_ALL, data) };
    data[9] = protocol.number();
    data[10..].copy_from_slice(&item.port.first.to_be_bytes());
    (RULE_BITS_PORT + u32::from(item.port.bits), data)
}

/// The inverse of [`rule_key`].
fn from_rule_key(bits: u32, data: &[u8; 12]) -> Option<(u32, Item)> {
    let number = |at: usize| Some(u32::from_be_bytes(data[at..at + 4].try_into().ok()?));
    let direction = if data[8] == INGRESS { Direction::Ingress } else { Direction::Egress };
    let mut item = Item { set: number(0)?, direction, protocol: None, port: PortPrefix::ANY };
    if bits != RULE_BITS_ALL {
        let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        item.protocol = Some(known.into_iter().find(|protocol| protocol.number() == data[9])?);
        let bits = u8::try_from(bits.checked_sub(RULE_BITS_PORT)?).ok()?;
        item.port = PortPrefix { first: u16::from_be_bytes([data[10], data[11]]), bits };
    }
    Some((number(4)?, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_as_they_were_written() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/32", "::/0", "2001:db8::/32", "2001:db8::1/128"] {
            let network = Network::parse(text).unwrap();
            let (bits, data) = class_key(network);
            assert_eq!(from_class_key(bits, &data), Some(network), "{text}");
        }
        // What is all of IPv6 is nothing of IPv4.
        let (all6, all4) =
            (class_key(Network::parse("::/0").unwrap()), class_key(Network::parse("0.0.0.0/0").unwrap()));
        assert_ne!(all6.1[..4], all4.1[..4]);
        for protocol in [None, Some(Protocol::Tcp), Some(Protocol::Sctp)] {
            for port in
                [PortPrefix::ANY, PortPrefix { first: 8000, bits: 14 }, PortPrefix { first: 80, bits: 16 }]
            {
                let port = if protocol.is_none() { PortPrefix::ANY } else { port };
                let item = Item { set: 7, direction: Direction::Egress, protocol, port };
                let (bits, data) = rule_key(9, &item);
                assert_eq!(from_rule_key(bits, &data), Some((9, item)));
            }
        }
    }
}
