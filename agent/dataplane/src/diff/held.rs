//! ClusterIPs of Services that are another's business: known to the programs, so that they are taken neither for
//! unallocated nor for ours. An address that we serve, too, is ours. PURE.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Installed;
use crate::maps::Write;

impl Installed {
    /// What is to be held from now on, beside what is; before other changes of the same world.
    pub fn hold(&mut self, wanted: &BTreeSet<IpAddr>) -> Vec<Write> {
        let new: Vec<IpAddr> = wanted.difference(&self.held).copied().collect();
        self.held.extend(&new);
        let ours = |addr: &IpAddr| self.vips.contains_key(addr);
        new.into_iter().filter(|addr| !ours(addr)).map(|addr| Write::HoldVip { addr }).collect()
    }

    /// Only this is held; after other changes of the same world.
    pub fn hold_only(&mut self, wanted: &BTreeSet<IpAddr>) -> Vec<Write> {
        let gone: Vec<IpAddr> = self.held.difference(wanted).copied().collect();
        self.held.retain(|addr| wanted.contains(addr));
        let ours = |addr: &IpAddr| self.vips.contains_key(addr);
        gone.into_iter().filter(|addr| !ours(addr)).map(|addr| Write::RemoveVip { addr }).collect()
    }

    /// The write for an address that has lost its last frontend.
    pub(super) fn vacate(&self, addr: IpAddr) -> Write {
        if self.held.contains(&addr) { Write::HoldVip { addr } } else { Write::RemoveVip { addr } }
    }
}
