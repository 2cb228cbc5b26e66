//! Addresses that the programs know although no frontend of theirs has them. ClusterIPs of Services that are another's
//! business are held, so that they are taken neither for unallocated nor for ours; an address that we serve, too, is ours.
//! Those of Services of SCTP alone are claimed: ours, with no port that the programs would find. PURE.

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

    /// What is to be claimed from now on, beside what is; before other changes of the same world.
    pub fn claim(&mut self, wanted: &BTreeSet<IpAddr>) -> Vec<Write> {
        let new: Vec<IpAddr> = wanted.difference(&self.claimed).copied().collect();
        self.claimed.extend(&new);
        let first = new.into_iter().filter(|addr| self.count(*addr));
        first.map(|addr| Write::AddVip { addr }).collect()
    }

    /// Only this is claimed; after other changes of the same world, but before [`Installed::hold_only`].
    pub fn claim_only(&mut self, wanted: &BTreeSet<IpAddr>) -> Vec<Write> {
        let gone: Vec<IpAddr> = self.claimed.difference(wanted).copied().collect();
        self.claimed.retain(|addr| wanted.contains(addr));
        let gone: Vec<IpAddr> = gone.into_iter().filter(|addr| self.uncount(*addr)).collect();
        gone.into_iter().map(|addr| self.vacate(addr)).collect()
    }

    /// The write for an address that has lost its last frontend.
    pub(super) fn vacate(&self, addr: IpAddr) -> Write {
        if self.held.contains(&addr) { Write::HoldVip { addr } } else { Write::RemoveVip { addr } }
    }
}
