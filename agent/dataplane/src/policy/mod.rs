//! NetworkPolicy in the kernel. Enters: what the compiler of policies made of the API's objects ([`Tables`]), and which
//! device each of this node's pods has. Leaves: programs on the devices of selected pods (no other pod pays for a policy),
//! and tables that are never half old and half new to a packet (`plan`, PURE; `kernel` carries it out). Called by the
//! agent.
//!
//! Maps and links are pinned: without this process policies are enforced as they were last.

#[cfg(test)]
mod cost;
mod held;
mod kernel;
pub mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::SchedClassifier;
use tracing::{debug, warn};
use xebec_policy::{Changed, Tables};

use self::held::{Held, Store};
use self::kernel::Kernel;
use self::plan::{Installed, Plan, PodName, Write};
use crate::attach::AttachError;
use crate::devices::{POLICY_PROGRAMS, attach_device, detach_device, device_name, pinned, pinned_index};
use crate::load::{Part, find_object, load, versioned};
use crate::maps::MapError;
use crate::metrics::{Fill, Text};
use crate::upgrade::clear::clear;
use crate::upgrade::links::{adopt, adopt_those};
use crate::upgrade::{Layout, others};
use crate::{DataplaneError, Options};

/// Policies in the kernel.
pub struct Policies {
    parts: Parts,
    held: Held,
}

/// Where they are.
struct Parts {
    ebpf: Ebpf,
    links: PathBuf,
    kernel: Kernel,
    pin_dir: PathBuf,
    /// Layouts that cannot be read, whose programs isolate pods until ours are told to.
    elsewhere: Vec<Layout>,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").field("held", &self.held).finish_non_exhaustive()
    }
}

impl Policies {
    /// Loads the programs, takes over what is pinned and gives the pods that were selected the new programs. Nothing is
    /// removed: who was isolated stays so until [`Policies::apply`] says otherwise, if it is by the programs of another layout of
    /// the maps.
    ///
    /// # Errors
    /// A missing kernel feature, maps of another layout.
    pub fn install(options: &Options) -> Result<Self, DataplaneError> {
        let object = find_object(options.bpf_object.as_deref())?;
        let ebpf = load(&object, options, Part::Policy)?;
        let (known, elsewhere): (Vec<_>, Vec<_>) =
            others(&options.pin_dir)?.into_iter().partition(Layout::is_known);
        let (pin_dir, dir) = (options.pin_dir.clone(), versioned(&options.pin_dir));
        let kernel = Kernel::open(&dir.join("maps"))?;
        let held = Held::new(kernel.read()?);
        let links = dir.join("links");
        let mut policies = Self { parts: Parts { ebpf, links, kernel, pin_dir, elsewhere }, held };
        adopt(Part::Policy, &policies.parts.pin_dir, &known)?;
        for device in policies.devices() {
            policies.parts.attach(device)?;
        }
        clear(Part::Policy, &known)?;
        Ok(policies)
    }

    /// Makes the kernel's tables what is wanted, for the pods whose device's index is known. Returns how many writes that
    /// took.
    ///
    /// # Errors
    /// The kernel refused one (a full map): the writes before it stand, each of which is safe; call again.
    pub fn apply(
        &mut self,
        tables: &Tables,
        devices: &BTreeMap<PodName, u32>,
    ) -> Result<usize, DataplaneError> {
        self.carry_out(tables, devices, |installed| installed.plan(tables, devices))
    }

    /// As [`Policies::apply`], for tables that are those of the last call but for what `changed`, with the same numbers of
    /// classes. What changed before a call that failed need not be told again.
    ///
    /// # Errors
    /// As those.
    pub fn step(
        &mut self,
        tables: &Tables,
        devices: &BTreeMap<PodName, u32>,
        changed: &Changed,
    ) -> Result<usize, DataplaneError> {
        self.carry_out(tables, devices, |installed| installed.step(tables, devices, changed))
    }

    fn carry_out(
        &mut self,
        tables: &Tables,
        devices: &BTreeMap<PodName, u32>,
        plan: impl FnOnce(&mut Installed) -> Plan,
    ) -> Result<usize, DataplaneError> {
        let writes = self.held.carry_out(&mut self.parts, plan)?;
        if let Some(installed) = self.held.installed()
            && let Err(error) = self.parts.remove_stale_links(installed)
        {
            warn!(%error, "cannot remove the pins of devices that are gone");
        }
        // A pod without a device may be behind any of those that another layout's programs are on.
        let elsewhere = &mut self.parts.elsewhere;
        if !elsewhere.is_empty() && tables.selected.keys().all(|pod| devices.contains_key(pod)) {
            clear(Part::Policy, elsewhere)?;
            elsewhere.clear();
        }
        Ok(writes)
    }

    /// Removes what was taken out of use long enough ago; true if something is left for later.
    ///
    /// # Errors
    /// The kernel's; call again.
    pub fn collect(&mut self) -> Result<bool, DataplaneError> {
        self.held.collect(&mut self.parts)
    }

    /// Devices of selected pods; none after a call that failed, until the next that does not.
    pub fn devices(&self) -> Vec<u32> {
        self.held.installed().map(|installed| installed.devices().collect()).unwrap_or_default()
    }

    /// The programs' counters, in the order of [`xebec_abi::policy::PolicyStat`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Vec<u64>, MapError> {
        self.parts.kernel.counters()
    }

    /// How full the tables are.
    pub fn fill(&self) -> Vec<Fill> {
        self.parts.kernel.fill()
    }

    /// A loaded program, such as to run it on a single packet; `None` for another name.
    pub fn program(&mut self, name: &str) -> Option<&mut SchedClassifier> {
        self.parts.ebpf.program_mut(name)?.try_into().ok()
    }

    /// Adds the metrics.
    pub fn write_metrics(&self, text: &mut Text) {
        let counters = match self.counters() {
            Ok(counters) => counters,
            Err(error) => return warn!(error = %xebec_program::chain(&error), "cannot read the counters"),
        };
        let events: Vec<_> = ["ingress", "egress"].into_iter().zip(counters.chunks(2)).collect();
        for (at, name, help) in [
            (0, "flows_allowed_total", "Flows of selected pods that were allowed."),
            (1, "packets_dropped_total", "Packets of selected pods that no policy allows."),
        ] {
            let name = format!("xebec_network_policy_{name}");
            text.family(&name, "counter", help);
            for (direction, counts) in &events {
                text.sample(&name, &[("direction", direction)], counts.get(at).copied().unwrap_or(0) as f64);
            }
        }
        for (name, help, of) in [
            ("entries", "Entries in use.", (|fill: &Fill| fill.entries) as fn(&Fill) -> u64),
            ("max_entries", "The most entries that fit.", |fill| fill.max),
        ] {
            let name = format!("xebec_network_policy_map_{name}");
            text.family(&name, "gauge", help);
            for fill in self.fill() {
                text.sample(&name, &[("map", fill.map)], of(&fill) as f64);
            }
        }
    }
}

impl Store for Parts {
    fn read(&mut self) -> Result<(Installed, Vec<Write>), MapError> {
        self.kernel.read()
    }

    fn write(&mut self, write: &Write) -> Result<(), DataplaneError> {
        match write {
            Write::Attach(device) => Ok(self.attach(*device)?),
            Write::Detach(device) => Ok(self.detach(*device)?),
            write => Ok(self.kernel.write(write)?),
        }
    }
}

impl Parts {
    fn attach(&mut self, index: u32) -> Result<(), AttachError> {
        let Some(name) = device_name(index) else {
            debug!(index, "a selected pod's device is gone");
            return Ok(());
        };
        // The pod's policy is in our tables by now.
        adopt_those(&self.pin_dir, &self.elsewhere, |pin| {
            pinned_index(&POLICY_PROGRAMS.map(|(name, _)| name), pin) == Some(index)
        })?;
        for program in POLICY_PROGRAMS {
            match attach_device(&mut self.ebpf, &self.links, program, index, &name) {
                Err(_) if device_name(index).is_none() => return Ok(()),
                result => result?,
            }
        }
        Ok(())
    }

    fn detach(&self, index: u32) -> Result<(), AttachError> {
        for (program, _) in POLICY_PROGRAMS {
            detach_device(&self.links.join(format!("{program}-{index}")))
                .map_err(|source| AttachError::Link { action: "remove", program, source })?;
        }
        Ok(())
    }

    /// Pins of devices whose pods nothing selects any more: an agent that died between two writes.
    fn remove_stale_links(&self, installed: &Installed) -> std::io::Result<()> {
        for (index, pin) in pinned(&self.links, &POLICY_PROGRAMS.map(|(name, _)| name))? {
            if !installed.has(index) {
                detach_device(&pin)?;
            }
        }
        Ok(())
    }
}
