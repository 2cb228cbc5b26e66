//! What the kernel is to know of the node's own addresses and devices. Enters: the kernel's lists of them, options, the own
//! Node. Leaves: maps, programs on devices, the addresses of SCTP's tables. Called by run, whenever one of them changes.

use parking_lot::Mutex;
use tracing::error;

use crate::Options;
use crate::addresses::{local_addresses, outside_devices};
use crate::apply::Applier;
use crate::devices::Devices;
use crate::health::Places;
use crate::maps::pinned::PinnedMaps;
use crate::node::{NodeFacts, listening_addresses, node_addresses};
use crate::packet_pods;
use crate::sctp::{Addresses, Worker};

/// Writes what is to be known of the node's addresses and devices; true if listeners have to be at other `places` now.
pub(crate) fn refresh_addresses(
    applier: &Mutex<Applier<PinnedMaps>>,
    devices: &mut Devices,
    options: &Options,
    node: &NodeFacts,
    (places, sctp): (&mut Places, &Worker),
) -> bool {
    let pods = options.pod_ranges.resolve(node);
    if let Err(error) = applier.lock().maps().set_pod_ranges(&pods) {
        error!(error = %xebec_program::chain(&error), "cannot write the pods' networks");
    }
    let primary = node.addresses_beside(&options.node_ips);
    let mut moved = false;
    match local_addresses() {
        Ok(own) => {
            let next = listening_addresses(&own, &options.node_ports, &primary);
            moved = std::mem::replace(places, next.clone()) != next;
            let addresses = node_addresses(&own, &options.node_ports, &primary);
            if let Err(error) = applier.lock().maps().set_node_addresses(&addresses) {
                error!(error = %xebec_program::chain(&error), "cannot write the node's addresses");
            }
            let addresses = Addresses::new(&addresses, pods);
            sctp.want(|wanted| wanted.addresses = addresses);
        }
        Err(error) => error!(%error, "cannot list the node's addresses"),
    }
    let found = match outside_devices() {
        Ok(found) => found,
        Err(error) => {
            error!(%error, "cannot list the node's devices");
            return moved;
        }
    };
    // The devices' addresses go in first: a program without them refuses nobody and hides nobody.
    let pods = match packet_pods::present(applier.lock().maps(), &packet_pods::own_addresses(options, node)) {
        Ok(pods) => pods,
        Err(error) => {
            error!(error = %xebec_program::chain(&error), "cannot read which pods are served packet by packet");
            return moved;
        }
    };
    let all = found.iter().chain(&pods).map(|(index, device)| (*index, device.clone())).collect();
    if let Err(error) = applier.lock().maps().tracked().set_devices(&all) {
        error!(error = %xebec_program::chain(&error), "cannot write the node's devices");
    }
    if let Err(error) = devices.serve_pods(&pods) {
        error!(error = %xebec_program::chain(&error), "pods are not served packet by packet");
    }
    if let Err(error) = devices.refresh(found) {
        error!(error = %xebec_program::chain(&error), "services are not reachable from outside by every device");
    }
    moved
}
