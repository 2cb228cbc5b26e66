//! What the kernel is to know of the node's own addresses and devices. Enters: the kernel's lists of them, options, the own
//! Node. Leaves: maps, programs on devices, the addresses of SCTP's tables. Called by run, whenever one of them changes, and
//! again after a failure.

use parking_lot::Mutex;
use tracing::error;
use xebec_program::chain;

use crate::Options;
use crate::addresses::{local_addresses, outside_devices};
use crate::apply::Applier;
use crate::devices::Devices;
use crate::health::Places;
use crate::maps::pinned::PinnedMaps;
use crate::node::{NodeFacts, listening_addresses, node_addresses};
use crate::packet_pods;
use crate::sctp::{Addresses, Worker};
use crate::told::Told;

/// Brings what the kernel knows up to date.
#[derive(Debug, Default)]
pub(crate) struct Refresh {
    told: Told<&'static str>,
    failed: bool,
}

impl Refresh {
    /// Whether something could not be read or written the last time: refresh again.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// What a step gave, unless it failed.
    fn ok<T, E: std::error::Error + 'static>(
        &mut self,
        result: Result<T, E>,
        failure: &'static str,
    ) -> Option<T> {
        let why = result.as_ref().err().map(|error| chain(error));
        self.failed |= why.is_some();
        if self.told.news(failure, why.as_deref()) {
            error!(error = why, "{failure}; will try again");
        }
        result.ok()
    }

    /// Writes what is to be known of the node's addresses and devices; true if listeners have to be at other `places` now.
    pub(crate) fn all(
        &mut self,
        applier: &Mutex<Applier<PinnedMaps>>,
        devices: &mut Devices,
        options: &Options,
        node: &NodeFacts,
        (places, sctp): (&mut Places, &Worker),
    ) -> bool {
        self.failed = false;
        let pods = options.pod_ranges.resolve(node);
        let written = applier.lock().maps().set_pod_ranges(&pods);
        self.ok(written, "cannot write the pods' networks");
        let primary = node.addresses_beside(&options.node_ips);
        let mut moved = false;
        if let Some(own) = self.ok(local_addresses(), "cannot list the node's addresses") {
            let next = listening_addresses(&own, &options.node_ports, &primary);
            moved = std::mem::replace(places, next.clone()) != next;
            let addresses = node_addresses(&own, &options.node_ports, &primary);
            let written = applier.lock().maps().set_node_addresses(&addresses);
            self.ok(written, "cannot write the node's addresses");
            let addresses = Addresses::new(&addresses, pods);
            sctp.want(|wanted| wanted.addresses = addresses);
        }
        let Some(found) = self.ok(outside_devices(), "cannot list the node's devices") else { return moved };
        // The devices' addresses go in first: a program without them refuses nobody and hides nobody.
        let own = packet_pods::own_addresses(options, node);
        let pods = packet_pods::present(applier.lock().maps(), &own);
        let failure = "cannot read which pods are served packet by packet";
        let Some(pods) = self.ok(pods, failure) else { return moved };
        let all = found.iter().chain(&pods).map(|(index, device)| (*index, device.clone())).collect();
        let written = applier.lock().maps().tracked().set_devices(&all);
        self.ok(written, "cannot write the node's devices");
        self.ok(devices.serve_pods(&pods), "pods are not served packet by packet");
        self.ok(devices.refresh(found), "services are not reachable from outside by every device");
        moved
    }
}
