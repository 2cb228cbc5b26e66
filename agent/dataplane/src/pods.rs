//! The way from one of this node's pods to another, past the node's IP stack. Enters: pods of the built-in network, as they
//! come and go. Leaves: their place in a map, and a program on their devices. Called by the agent, before a pod's link goes
//! up.
//!
//! Map and links are pinned: without this process pods that were known keep their way, and others use the kernel's.

use std::net::IpAddr;
use std::path::PathBuf;

use aya::Ebpf;
use aya::maps::{HashMap as BpfHash, Map};
use aya::programs::SchedClassifier;
pub use xebec_abi::pod::LocalPod;

use crate::attach::AttachError;
use crate::devices::{POD_PROGRAM, attach_device, detach_device, device_name, pinned};
use crate::load::{Part, find_object, load, versioned};
use crate::maps::pinned::{absent_is_fine, element, open};
use crate::maps::wide;
use crate::upgrade::clear::clear;
use crate::upgrade::links::adopt;
use crate::upgrade::others;
use crate::{DataplaneError, Options};

/// Pods with a way of their own.
pub struct PodPaths {
    ebpf: Ebpf,
    links: PathBuf,
    pods: BpfHash<aya::maps::MapData, [u32; 4], Entry>,
}

impl std::fmt::Debug for PodPaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodPaths").field("links", &self.links).finish_non_exhaustive()
    }
}

/// The bytes of a [`LocalPod`].
type Entry = [u8; 16];

fn encode(pod: &LocalPod) -> Entry {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&pod.device.to_ne_bytes());
    bytes[4..10].copy_from_slice(&pod.mac);
    bytes[10..].copy_from_slice(&pod.node_mac);
    bytes
}

fn device(entry: &Entry) -> u32 {
    u32::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]])
}

impl PodPaths {
    /// Loads the program and gives it to the pods that have one; what is pinned stays. After an agent with a layout of the maps that
    /// cannot be read, its pods have the kernel's way.
    ///
    /// # Errors
    /// A missing kernel feature, maps of another layout.
    pub fn install(options: &Options) -> Result<Self, DataplaneError> {
        let object = find_object(options.bpf_object.as_deref())?;
        let ebpf = load(&object, options, Part::Pods)?;
        let (others, dir) = (others(&options.pin_dir)?, versioned(&options.pin_dir));
        let (pods, _) = open(&dir.join("maps"), "LOCAL_PODS")?;
        let pods = BpfHash::try_from(Map::HashMap(pods)).map_err(element("LOCAL_PODS", "open"))?;
        let mut paths = Self { ebpf, links: dir.join("links"), pods };
        // Those of a layout that cannot be read, too: where no pod is known to have a way, the program leaves all to the kernel.
        adopt(Part::Pods, &options.pin_dir, &others)?;
        for index in paths.pinned()? {
            if let Some(name) = device_name(index) {
                attach_device(&mut paths.ebpf, &paths.links, POD_PROGRAM, index, &name)?;
            }
        }
        clear(Part::Pods, &others)?;
        Ok(paths)
    }

    /// Gives a pod its way, before its link goes up.
    ///
    /// # Errors
    /// The kernel's (a full map, a device that is gone): the pod then has the kernel's way, as without this.
    pub fn add(&mut self, address: IpAddr, pod: &LocalPod) -> Result<(), DataplaneError> {
        let name = device_name(pod.device).unwrap_or_default();
        attach_device(&mut self.ebpf, &self.links, POD_PROGRAM, pod.device, &name)?;
        self.pods.insert(wide(&address).0, encode(pod), 0).map_err(element("LOCAL_PODS", "insert"))?;
        Ok(())
    }

    /// Takes the ways of pods whose device is gone; returns how many.
    ///
    /// # Errors
    /// The kernel's; call again.
    pub fn clean(&mut self) -> Result<usize, DataplaneError> {
        self.remove(|index| device_name(index).is_none())
    }

    /// Takes every pod's way: the kernel's is left.
    ///
    /// # Errors
    /// The kernel's; call again.
    pub fn remove_all(&mut self) -> Result<usize, DataplaneError> {
        self.remove(|_| true)
    }

    fn remove(&mut self, gone: impl Fn(u32) -> bool) -> Result<usize, DataplaneError> {
        let known = self.pods.iter().collect::<Result<Vec<_>, _>>().map_err(element("LOCAL_PODS", "read"))?;
        let mut removed = 0;
        for (address, _) in known.iter().filter(|(_, entry)| gone(device(entry))) {
            absent_is_fine("LOCAL_PODS", self.pods.remove(address))?;
            removed += 1;
        }
        let fail = |source| AttachError::Link { action: "remove", program: POD_PROGRAM.0, source };
        for index in self.pinned()?.into_iter().filter(|index| gone(*index)) {
            detach_device(&self.links.join(format!("{}-{index}", POD_PROGRAM.0))).map_err(fail)?;
        }
        Ok(removed)
    }

    /// A loaded program, such as to run it on a single packet.
    pub fn program(&mut self) -> Option<&mut SchedClassifier> {
        self.ebpf.program_mut(POD_PROGRAM.0)?.try_into().ok()
    }

    /// The devices that have the program, or had when their pins were made.
    fn pinned(&self) -> Result<Vec<u32>, AttachError> {
        let fail = |source| AttachError::Link { action: "list", program: POD_PROGRAM.0, source };
        let pins = pinned(&self.links, &[POD_PROGRAM.0]).map_err(fail)?;
        Ok(pins.into_iter().map(|(index, _)| index).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_the_bytes_that_the_program_reads() {
        let pod = LocalPod { device: 7, mac: [1, 2, 3, 4, 5, 6], node_mac: [7, 8, 9, 10, 11, 12] };
        let entry = encode(&pod);
        assert_eq!((entry.len(), device(&entry)), (size_of::<LocalPod>(), 7));
        assert_eq!(entry[4..], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }
}
