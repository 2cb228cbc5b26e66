//! The program in devices' drivers (XDP), for those that ask for it. Enters: the node's devices. Leaves: pinned links, and
//! the devices in a map without which the program passes everything. Called by devices.
//!
//! A driver may set its device up anew when a program comes, and some cannot run any: that device goes without, as the tcx
//! programs do the same work.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{HashMap as BpfHash, Map, MapData};
use aya::programs::{Xdp, XdpMode};

use crate::DataplaneError;
use crate::addresses::ethernet_devices;
use crate::attach::{AttachError, pin_link};
use crate::devices::{adopt_link, detach_device, device_name, pinned};
use crate::load::{LoadError, versioned};
use crate::maps::node::sync;
use crate::maps::pinned::{element, open};

/// The program's name.
pub const DRIVER_PROGRAM: &str = "xdp_ingress";

/// The loaded program, where its links are pinned, and the map of its devices.
#[derive(Debug)]
pub(crate) struct Drivers {
    links: PathBuf,
    wires: BpfHash<MapData, u32, [u8; 8]>,
    wanted: bool,
    /// Devices whose driver refused the program.
    without: HashSet<u32>,
}

impl Drivers {
    /// Loads the program if it is `wanted`.
    ///
    /// # Errors
    /// The kernel's refusal of the program; its maps of another layout.
    pub(crate) fn new(ebpf: &mut Ebpf, pin_dir: &Path, wanted: bool) -> Result<Self, DataplaneError> {
        let dir = versioned(pin_dir);
        let (wires, _) = open(&dir.join("maps"), "WIRES")?;
        let wires = Map::HashMap(wires).try_into().map_err(element("WIRES", "open"))?;
        if wanted {
            let refused = |e| LoadError::Program { program: DRIVER_PROGRAM.to_owned(), source: Box::new(e) };
            program(ebpf)?.load().map_err(refused)?;
        }
        Ok(Self { links: dir.join("links"), wires, wanted, without: HashSet::new() })
    }

    /// Puts the program on these devices, where it is wanted and the driver can, and on nothing else.
    ///
    /// # Errors
    /// [`DataplaneError`]; a later call continues.
    pub(crate) fn refresh<'a>(
        &mut self,
        ebpf: &mut Ebpf,
        found: impl Iterator<Item = (u32, &'a str)>,
    ) -> Result<(), DataplaneError> {
        let mut with = HashSet::new();
        for (index, name) in found.filter(|_| self.wanted) {
            match self.attach(ebpf, index, name) {
                Ok(()) => {
                    with.insert(index);
                }
                Err(error) if self.without.insert(index) => {
                    let error = xebec_program::chain(&error);
                    tracing::warn!(device = name, %error, "no program in this device's driver: its packets take the stack's way");
                }
                Err(_) => {}
            }
        }
        let macs = ethernet_devices().map_err(DataplaneError::Addresses)?;
        let wires: HashMap<u32, [u8; 8]> = macs
            .into_iter()
            .filter(|device| with.contains(&device.index))
            .map(|device| {
                let [a, b, c, d, e, f] = device.mac;
                (device.index, [a, b, c, d, e, f, 0, 0])
            })
            .collect();
        sync(&mut self.wires, "WIRES", &wires)?;
        let fail = |source| AttachError::Link { action: "remove", program: DRIVER_PROGRAM, source };
        for (index, pin) in pinned(&self.links, &[DRIVER_PROGRAM]).map_err(fail)? {
            if !with.contains(&index) {
                detach_device(&pin).map_err(fail)?;
                tracing::info!(pin = %pin.display(), "the program left a device's driver");
            }
        }
        Ok(())
    }

    /// Gives the links of another layout's program ours, or takes it out of the drivers where none is wanted.
    ///
    /// # Errors
    /// A pin that cannot be listed or removed.
    pub(crate) fn renew(&self, ebpf: &mut Ebpf) -> Result<(), DataplaneError> {
        let fail = |source| AttachError::Link { action: "remove", program: DRIVER_PROGRAM, source };
        for (index, pin) in pinned(&self.links, &[DRIVER_PROGRAM]).map_err(fail)? {
            let name = device_name(index).filter(|_| self.wanted);
            // The tcx programs do the same work.
            if name.is_none_or(|name| self.attach(ebpf, index, &name).is_err()) {
                detach_device(&pin).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn attach(&self, ebpf: &mut Ebpf, index: u32, device: &str) -> Result<(), DataplaneError> {
        let refused = |source| AttachError::Driver { device: device.to_owned(), source: Box::new(source) };
        let pin = self.links.join(format!("{DRIVER_PROGRAM}-{index}"));
        let program = program(ebpf)?;
        if adopt_link(&pin, index, program.fd().map_err(refused)?.as_fd(), DRIVER_PROGRAM)? {
            return Ok(());
        }
        let id = program.attach_to_if_index(index, XdpMode::Driver).map_err(refused)?;
        pin_link(program.take_link(id).map_err(refused)?, &pin, DRIVER_PROGRAM)?;
        tracing::info!(device, "the program is in the device's driver");
        Ok(())
    }
}

pub(crate) fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, LoadError> {
    let program = ebpf.program_mut(DRIVER_PROGRAM).ok_or(LoadError::NoProgram(DRIVER_PROGRAM))?;
    program
        .try_into()
        .map_err(|e| LoadError::Program { program: DRIVER_PROGRAM.to_owned(), source: Box::new(e) })
}
