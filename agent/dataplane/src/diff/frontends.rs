//! Frontends to their service port, and what follows from them: which addresses are VIPs, and where node ports and host
//! ports lie. PURE.

use std::net::IpAddr;

use xebec_abi::service::FeValue;

use super::Installed;
use crate::maps::Write;
use crate::model::{FrontKey, Kind, PROBE_ADDRESS, Vip};

/// Where host ports' range is in the word of node ports.
const HOST_PORTS: u32 = 32;

/// The address a frontend makes a VIP, if it does: not a node's, and not the probe's, which is nobody's.
pub(super) fn vip(key: &FrontKey) -> Option<IpAddr> {
    match key.vip {
        Vip::Address(addr) if addr != PROBE_ADDRESS => Some(addr),
        _ => None,
    }
}

fn value(key: &FrontKey, index: u32, kind: Kind) -> FeValue {
    FeValue::new(index, kind.number(), crate::maps::tag(key))
}

impl Installed {
    pub(super) fn point(&mut self, key: FrontKey, index: u32, kind: Kind, writes: &mut Vec<Write>) {
        if let Vip::Node(_) = key.vip {
            self.widen(key.port, 0, writes);
        }
        let new = self.frontends.insert(key, index).is_none();
        if key.is_host_port() {
            self.host_ports += usize::from(new);
            self.widen(key.port, HOST_PORTS, writes);
        }
        writes.push(Write::Frontend { key, value: value(&key, index, kind) });
        if let Some(addr) = vip(&key).filter(|_| new)
            && self.count(addr)
        {
            writes.push(Write::AddVip { addr });
        }
    }

    /// Counts one more frontend of an address; true if it is the first.
    pub(super) fn count(&mut self, addr: IpAddr) -> bool {
        let frontends = self.vips.entry(addr).or_insert(0);
        *frontends += 1;
        *frontends == 1
    }

    /// Counts one less; true if it was the last.
    pub(super) fn uncount(&mut self, addr: IpAddr) -> bool {
        let Some(frontends) = self.vips.get_mut(&addr) else { return false };
        *frontends -= 1;
        let last = *frontends == 0;
        if last {
            self.vips.remove(&addr);
        }
        last
    }

    /// The range of node ports only grows while an agent lives: too wide costs one look-up, too narrow a service.
    /// That of host ports, at their bits of the same word, ends with the last of them.
    fn widen(&mut self, port: u16, shift: u32, writes: &mut Vec<Write>) {
        let present = (self.node_ports >> shift) as u32;
        let (low, high) = (present as u16, (present >> 16) as u16);
        let (low, high) = if present == 0 { (port, port) } else { (low.min(port), high.max(port)) };
        let wanted = u64::from(low) | u64::from(high) << 16;
        self.set_ports(self.node_ports & !(u64::from(u32::MAX) << shift) | wanted << shift, writes);
    }

    fn set_ports(&mut self, range: u64, writes: &mut Vec<Write>) {
        if range != self.node_ports {
            self.node_ports = range;
            writes.push(Write::NodePorts { range });
        }
    }

    /// Removes a frontend unless another service port has taken it over meanwhile.
    pub(super) fn unpoint(&mut self, key: FrontKey, index: u32, writes: &mut Vec<Write>) {
        if self.frontends.get(&key) == Some(&index) {
            self.frontends.remove(&key);
            if let Some(addr) = vip(&key)
                && self.uncount(addr)
            {
                writes.push(self.vacate(addr));
            }
            writes.push(Write::RemoveFrontend { key });
            if key.is_host_port() {
                self.host_ports -= 1;
                if self.host_ports == 0 {
                    self.set_ports(self.node_ports & u64::from(u32::MAX), writes);
                }
            }
        }
    }
}
