//! Pods that are served packet by packet, at their devices: those whose processes call no socket of this kernel (guests with a
//! kernel of their own, user-space stacks), and those that are to see VIPs as they are (sidecars that ask for the original
//! destination). Enters: such pods, before their links go up. Leaves: their sockets left alone, and programs on their devices.
//! Called by the agent and by run.
//!
//! What is pinned says which they are: an agent that starts goes on with them, and who is gone is forgotten.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::{Notify, oneshot};
use tracing::{error, warn};
use xebec_program::chain;

use crate::apply::Applier;
use crate::attach::AttachError;
use crate::devices::{Devices, device_name};
use crate::maps::MapError;
use crate::maps::pinned::PinnedMaps;
use crate::maps::tracked::DeviceAddresses;
use crate::node::NodeFacts;
use crate::{DataplaneError, Options, sys};

/// Such a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketPod {
    /// Index of its device on the node.
    pub device: u32,
    /// The cookie of its network namespace ([`netns_cookie`]).
    pub netns: u64,
}

/// The cookie of the network namespace at a path.
///
/// # Errors
/// The path is none's, or the kernel has no cookies (5.14).
pub fn netns_cookie(path: &Path) -> io::Result<u64> {
    let namespace = File::open(path)?;
    let ask = move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        sys::netns_cookie()
    };
    // A thread that entered another namespace never comes back.
    std::thread::spawn(ask)
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the namespace's thread panicked")))
}

type Asked = (PacketPod, oneshot::Sender<Result<(), String>>);

/// Between whoever connects pods and the loop that puts programs on devices.
#[derive(Clone, Debug, Default)]
pub struct PacketPods {
    asked: Arc<Mutex<Vec<Asked>>>,
    arrival: Arc<Notify>,
}

impl PacketPods {
    /// Asks for a pod, from this call on; what it returns waits until it is served, or says why it is not.
    pub fn serve(&self, pod: PacketPod) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.asked.lock().push((pod, answer));
        self.arrival.notify_one();
        async { answered.await.unwrap_or_else(|_| Err("the agent is stopping".to_owned())) }
    }

    pub(crate) async fn arrival(&self) {
        self.arrival.notified().await;
    }

    /// Serves those that were asked for.
    pub(crate) fn serve_all(
        &self,
        applier: &Mutex<Applier<PinnedMaps>>,
        devices: &mut Devices,
        own: &DeviceAddresses,
    ) {
        for (pod, answer) in std::mem::take(&mut *self.asked.lock()) {
            let served = serve(applier.lock().maps(), devices, pod, own);
            if let Err(error) = &served {
                error!(error = %chain(error), "a pod is not served packet by packet");
            }
            // Who gave up waiting has closed its end.
            let _ = answer.send(served.map_err(|error| chain(&error)));
        }
    }
}

/// Serves a pod. Its sockets are left alone last: until then it is served by them.
///
/// # Errors
/// The kernel's, or its device is gone.
pub fn serve(
    maps: &mut PinnedMaps,
    devices: &mut Devices,
    pod: PacketPod,
    own: &DeviceAddresses,
) -> Result<(), DataplaneError> {
    let name = device_name(pod.device).ok_or(AttachError::NoDevice(pod.device))?;
    maps.tracked().add_device(pod.device, own)?;
    devices.serve_pod(pod.device, &name)?;
    Ok(maps.add_packet_pod(pod.netns, pod.device)?)
}

/// What such devices are known by: the node's own addresses, under which it refuses.
pub(crate) fn own_addresses(options: &Options, node: &NodeFacts) -> DeviceAddresses {
    DeviceAddresses { name: String::new(), addresses: node.addresses_beside(&options.node_ips) }
}

/// The devices of those that are there; those that are gone are forgotten.
///
/// # Errors
/// The kernel does not say which they are: then they are to be left as they are.
pub fn present(
    maps: &mut PinnedMaps,
    own: &DeviceAddresses,
) -> Result<HashMap<u32, DeviceAddresses>, MapError> {
    let known = maps.packet_pods()?;
    let mut found = HashMap::new();
    for (netns, device) in known {
        match device_name(device) {
            Some(name) => drop(found.insert(device, DeviceAddresses { name, ..own.clone() })),
            None => {
                if let Err(error) = maps.remove_packet_pod(netns) {
                    warn!(error = %chain(&error), "a pod that is gone is not forgotten; will try again");
                }
            }
        }
    }
    Ok(found)
}

/// Whether one of those that are known has no device any more.
pub(crate) fn is_one_gone(maps: &PinnedMaps) -> bool {
    maps.packet_pods().is_ok_and(|known| known.values().any(|device| device_name(*device).is_none()))
}
