//! The devices that traffic from outside passes, and the packet programs on them. Enters: the node's devices. Leaves:
//! pinned tcx links, one per device and direction. Called by run, whenever a device's addresses change.
//!
//! A link found pinned for a device gets the new program in one step; one whose device is gone or no longer the node's
//! is removed.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use tracing::warn;

use crate::addresses::POD_TUNNEL;
use crate::attach::{AttachError, attach, pin_link};
use crate::drain::{Drain, DrainError};
use crate::driver::{self, Drivers};
use crate::install::Hooks;
use crate::load::{LoadError, Part, load_program, versioned};
use crate::maps::tracked::DeviceAddresses;
use crate::upgrade::clear::clear;
use crate::upgrade::links::adopt;
use crate::{DataplaneError, Options, sys};

/// The packet programs; the one that translates back comes first.
pub const PACKET_PROGRAMS: [(&str, TcAttachType); 2] =
    [("tcx_egress", TcAttachType::Egress), ("tcx_ingress", TcAttachType::Ingress)];

/// The program on the tunnel's device.
pub const TUNNEL_PROGRAM: (&str, TcAttachType) = ("tunnel_ingress", TcAttachType::Ingress);

/// The programs on the devices of pods that are served packet by packet, seen from the node. The one that translates back comes
/// first. Policies see pods' and endpoints' own addresses: what comes from the pod they see after, what goes to it before.
pub(crate) const POD_SERVICE_PROGRAMS: [(&str, TcAttachType); 2] =
    [("pod_answers", TcAttachType::Egress), ("pod_services", TcAttachType::Ingress)];

/// The programs of NetworkPolicy, seen from the pod that a device leads to. The one that sees the pod's own calls comes
/// first: it must know them when the answers come.
pub const POLICY_PROGRAMS: [(&str, TcAttachType); 2] =
    [("policy_egress", TcAttachType::Ingress), ("policy_ingress", TcAttachType::Egress)];

/// The program on every pod's device of the built-in network. It comes after that of policies, which see their pods'
/// packets first wherever they were attached: the two never meet, as it leaves selected pods to the kernel.
pub const POD_PROGRAM: (&str, TcAttachType) = ("pod_path", TcAttachType::Ingress);

/// The loaded packet programs and where their links are pinned.
#[derive(Debug)]
pub struct Devices {
    ebpf: Ebpf,
    links: PathBuf,
    /// Only these; every one that qualifies if absent.
    only: Option<Vec<String>>,
    drivers: Drivers,
    /// The tunnel's program is loaded.
    receiving: bool,
    /// Those of pods that are served packet by packet are.
    serving_pods: bool,
    /// The hooks are ours, and none is another layout's.
    attached: bool,
    /// As long as another layout may have left something.
    hooks: Option<Hooks>,
}

impl Devices {
    /// Nothing is attached yet.
    pub(crate) fn new(mut ebpf: Ebpf, options: &Options, hooks: Hooks) -> Result<Self, DataplaneError> {
        let drivers = Drivers::new(&mut ebpf, &options.pin_dir, options.xdp)?;
        let links = versioned(&options.pin_dir).join("links");
        let only = options.devices.clone();
        Ok(Self {
            ebpf,
            links,
            only,
            drivers,
            receiving: false,
            serving_pods: false,
            attached: false,
            hooks: Some(hooks),
        })
    }

    /// Whether programs of another layout serve, and [`Devices::go_live`] is still to be called.
    pub const fn waits(&self) -> bool {
        self.hooks.is_some()
    }

    /// Puts the programs on their hooks, in place of those of other layouts, and takes away what these left. Nothing if that is
    /// done.
    ///
    /// # Errors
    /// [`DataplaneError`]; links in place keep serving, and a later call continues.
    pub fn go_live(&mut self) -> Result<(), DataplaneError> {
        if !self.attached {
            self.attach()?;
        }
        if let Some(hooks) = &self.hooks {
            hooks.prove()?;
            clear(Part::Services, &hooks.others)?;
        }
        self.hooks = None;
        Ok(())
    }

    /// Puts the programs on the cgroup's hooks, and wherever another layout's were.
    pub(crate) fn attach(&mut self) -> Result<(), DataplaneError> {
        if let Some(Hooks { cgroup, pin_dir, others, .. }) = &self.hooks {
            adopt(Part::Services, pin_dir, others)?;
            attach(&mut self.ebpf, cgroup, pin_dir)?;
            if !others.is_empty() {
                self.renew()?;
            }
        }
        self.attached = true;
        Ok(())
    }

    /// Gives the links on devices, which are another layout's, the programs of ours. What fails is told: [`Devices::refresh`]
    /// tries again.
    fn renew(&mut self) -> Result<(), DataplaneError> {
        for program in PACKET_PROGRAMS.into_iter().chain([TUNNEL_PROGRAM]) {
            let fail = |source| AttachError::Link { action: "list", program: program.0, source };
            for (index, pin) in pinned(&self.links, &[program.0]).map_err(fail)? {
                let renewed = match device_name(index) {
                    Some(name) => self.renew_one(program, index, &name),
                    None => detach_device(&pin).map_err(|source| {
                        AttachError::Link { action: "remove", program: program.0, source }.into()
                    }),
                };
                if let Err(error) = renewed {
                    warn!(pin = %pin.display(), error = %xebec_program::chain(&error), "another layout's program stays on a device");
                }
            }
        }
        self.drivers.renew(&mut self.ebpf)
    }

    fn renew_one(
        &mut self,
        program: (&'static str, TcAttachType),
        index: u32,
        name: &str,
    ) -> Result<(), DataplaneError> {
        if program == TUNNEL_PROGRAM {
            self.load_tunnel()?;
        }
        Ok(attach_device(&mut self.ebpf, &self.links, program, index, name)?)
    }

    fn load_tunnel(&mut self) -> Result<(), LoadError> {
        if !self.receiving {
            load_program(&mut self.ebpf, TUNNEL_PROGRAM.0)?;
            self.receiving = true;
        }
        Ok(())
    }

    /// Those of `found` that traffic from outside is to pass. Whoever names devices means those that it enters by: its way to
    /// pods of other nodes is one in any case, since who comes back from there must be known.
    pub(crate) fn among(&self, mut found: HashMap<u32, DeviceAddresses>) -> HashMap<u32, DeviceAddresses> {
        if let Some(only) = &self.only {
            found.retain(|_, device| device.name == POD_TUNNEL || only.contains(&device.name));
        }
        found
    }

    /// Puts the programs on `found` (by interface index) and on nothing else; returns the devices they are on, or are to be once
    /// another layout's serve no more.
    ///
    /// # Errors
    /// [`AttachError`] and the like; links in place keep serving, and a later call continues.
    pub fn refresh(
        &mut self,
        found: HashMap<u32, DeviceAddresses>,
    ) -> Result<HashMap<u32, DeviceAddresses>, DataplaneError> {
        let found = self.among(found);
        if !self.attached {
            return Ok(found);
        }
        for (index, device) in &found {
            for program in PACKET_PROGRAMS {
                attach_device(&mut self.ebpf, &self.links, program, *index, &device.name)?;
            }
        }
        let fail = |source| AttachError::Link { action: "remove", program: "tcx", source };
        for (index, pin) in pinned(&self.links, &PACKET_PROGRAMS.map(|(name, _)| name)).map_err(fail)? {
            if !found.contains_key(&index) {
                detach_device(&pin).map_err(fail)?;
                tracing::info!(pin = %pin.display(), "the packet program left a device");
            }
        }
        self.drivers
            .refresh(&mut self.ebpf, found.iter().map(|(index, device)| (*index, device.name.as_str())))?;
        Ok(found)
    }

    /// Puts the program of the tunnel on its device, and on no other that was it before.
    ///
    /// # Errors
    /// The kernel's refusal of the program or the device; a link in place keeps serving.
    pub fn receive(&mut self, index: u32, name: &str) -> Result<(), DataplaneError> {
        let (program, _) = TUNNEL_PROGRAM;
        self.load_tunnel()?;
        attach_device(&mut self.ebpf, &self.links, TUNNEL_PROGRAM, index, name)?;
        let fail = |source| AttachError::Link { action: "remove", program, source };
        for (other, pin) in pinned(&self.links, &[program]).map_err(fail)? {
            if other != index {
                detach_device(&pin).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Puts the programs of pods that are served packet by packet on the devices of these, and on no others.
    ///
    /// # Errors
    /// The kernel's refusal of a program or a device; links in place keep serving.
    pub fn serve_pods(&mut self, pods: &HashMap<u32, DeviceAddresses>) -> Result<(), DataplaneError> {
        for (index, device) in pods {
            self.serve_pod(*index, &device.name)?;
        }
        let fail = |source| AttachError::Link { action: "remove", program: "pod_services", source };
        for (index, pin) in pinned(&self.links, &POD_SERVICE_PROGRAMS.map(|(name, _)| name)).map_err(fail)? {
            if !pods.contains_key(&index) {
                detach_device(&pin).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Puts them on the device of one.
    ///
    /// # Errors
    /// As [`Self::serve_pods`].
    pub(crate) fn serve_pod(&mut self, index: u32, name: &str) -> Result<(), DataplaneError> {
        if !self.serving_pods {
            for (program, _) in POD_SERVICE_PROGRAMS {
                load_program(&mut self.ebpf, program)?;
            }
            self.serving_pods = true;
        }
        for program in POD_SERVICE_PROGRAMS {
            attach_device(&mut self.ebpf, &self.links, program, index, name)?;
        }
        Ok(())
    }

    /// What lists and releases sockets of endpoints that left.
    ///
    /// # Errors
    /// A missing kernel feature.
    pub fn drain(&mut self) -> Result<Drain, DrainError> {
        let maps = self.links.with_file_name("maps");
        Drain::new(&mut self.ebpf, &maps)
    }

    /// A loaded packet program, such as to run it on a single packet; `None` for another name.
    pub fn program(&mut self, name: &str) -> Option<&mut SchedClassifier> {
        self.ebpf.program_mut(name)?.try_into().ok()
    }

    /// As [`Self::program`], the devices' drivers'; `None` if it is not wanted there.
    pub fn driver_program(&mut self) -> Option<&mut Xdp> {
        driver::program(&mut self.ebpf).ok().filter(|program| program.fd().is_ok())
    }
}

/// Puts a loaded program on a device, by a link pinned in `links`.
pub(crate) fn attach_device(
    ebpf: &mut Ebpf,
    links: &Path,
    (name, hook): (&'static str, TcAttachType),
    index: u32,
    device: &str,
) -> Result<(), AttachError> {
    let refused =
        |source| AttachError::Device { program: name, device: device.to_owned(), source: Box::new(source) };
    let absent =
        || AttachError::Link { action: "find", program: name, source: io::ErrorKind::NotFound.into() };
    let program = ebpf.program_mut(name).ok_or_else(absent)?;
    let program: &mut SchedClassifier = program.try_into().map_err(refused)?;
    let pin = links.join(format!("{name}-{index}"));
    if adopt_link(&pin, index, program.fd().map_err(refused)?.as_fd(), name)? {
        return Ok(());
    }
    let options = TcAttachOptions::TcxOrder(order(name));
    let id = program.attach_with_options(device, hook, options).map_err(refused)?;
    pin_link(program.take_link(id).map_err(refused)?, &pin, name)?;
    tracing::info!(program = name, device, "the packet program is on a device");
    Ok(())
}

/// Where a program comes among those of its hook: Services' translation of what a pod sends is before its policies, and policies
/// of what goes to a pod before translation back. PURE.
fn order(program: &str) -> LinkOrder {
    match program {
        "pod_services" | "policy_ingress" => LinkOrder::first(),
        _ => LinkOrder::last(),
    }
}

/// Gives a link that is pinned for this device the new program, in one step; false if there is none. One of another device
/// that had this index is removed.
pub(crate) fn adopt_link(
    pin: &Path,
    index: u32,
    fd: BorrowedFd<'_>,
    program: &'static str,
) -> Result<bool, AttachError> {
    let fail = |action, source| AttachError::Link { action, program, source };
    if !pin.exists() {
        return Ok(false);
    }
    let link = sys::open_pin(pin).map_err(|e| fail("open", e))?;
    if sys::link_info(link.as_fd()).map_err(|e| fail("inspect", e))?.device() == Some(index) {
        sys::link_update(link.as_fd(), fd).map_err(|e| fail("update", e))?;
        return Ok(true);
    }
    std::fs::remove_file(pin).map_err(|e| fail("replace", e))?;
    Ok(false)
}

/// Takes a program off the device of a pin in `links`; none is no error.
pub(crate) fn detach_device(pin: &Path) -> io::Result<()> {
    if let Ok(link) = sys::open_pin(pin) {
        // One whose device is gone has nothing left to detach.
        let _ = sys::link_detach(link.as_fd());
    }
    match std::fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The name of a device of this network namespace; a list of all devices for each pod would be too much.
pub(crate) fn device_name(index: u32) -> Option<String> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::index_to_name(&any, index).ok()
}

/// The pins of `programs` in a folder, each with the index of its device.
pub(crate) fn pinned(links: &Path, programs: &[&str]) -> io::Result<Vec<(u32, PathBuf)>> {
    let pins = std::fs::read_dir(links)?.map(|pin| Ok(pin?.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(pins.into_iter().filter_map(|pin| Some((pinned_index(programs, &pin)?, pin))).collect())
}

/// The index at the end of the pin of one of `programs`, if it is one. PURE.
pub(crate) fn pinned_index(programs: &[&str], pin: &Path) -> Option<u32> {
    let name = pin.file_name()?.to_str()?;
    programs.iter().find_map(|program| name.strip_prefix(program)?.strip_prefix('-')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_pins_have_an_index() {
        let pinned_index = |pin| pinned_index(&PACKET_PROGRAMS.map(|(name, _)| name), pin);
        assert_eq!(pinned_index(Path::new("/x/tcx_ingress-12")), Some(12));
        for other in
            ["/x/connect4", "/x/tcx_ingress", "/x/tcx_ingress-", "/x/tcx_other-3", "/x/policy_egress-3"]
        {
            assert_eq!(pinned_index(Path::new(other)), None, "{other}");
        }
    }
}
