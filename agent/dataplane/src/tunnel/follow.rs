//! Direct server return, in step with the API. Enters: what the cache knows, at every change. Leaves: the device and the
//! maps. Called by run, before and after it applies Services.

use std::net::IpAddr;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tracing::{error, warn};

use super::{Tunnel, Wanted};
use crate::addresses::network_devices;
use crate::devices::Devices;
use crate::maps::MapError;
use crate::node::NodeFacts;
use crate::told::Told;
use crate::world::World;
use crate::{DataplaneError, Options};

/// What a watch of Nodes tells.
type NodeEvent = Result<Event<Node>, Error>;

/// Keeps direct server return in step. Costs nothing while no Service wants it: not even Nodes are watched.
pub(crate) struct Direct {
    client: Client,
    node: String,
    given: Vec<IpAddr>,
    port: u16,
    nodes: BoxStream<'static, NodeEvent>,
    following: bool,
    maps: Tunnel,
    /// The node's addresses or devices are others, or something failed: the device is to be looked at.
    pub(crate) stale: bool,
    /// What is in the maps, perhaps with more beside it.
    wanted: Option<Wanted>,
    narrow: bool,
    told: Told<Step>,
}

/// What may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Device,
    Widen,
    Narrow,
}

impl Direct {
    /// Nothing is made or watched yet.
    ///
    /// # Errors
    /// The maps.
    pub(crate) fn new(client: Client, options: &Options) -> Result<Self, MapError> {
        Ok(Self {
            client,
            node: options.node_name.clone(),
            given: options.node_ips.clone(),
            port: options.tunnel_port,
            nodes: futures::stream::pending().boxed(),
            following: false,
            maps: Tunnel::open(&options.pin_dir)?,
            stale: true,
            wanted: None,
            narrow: false,
            told: Told::default(),
        })
    }

    /// The next event of the cluster's Nodes; none ever comes before they are needed.
    pub(crate) async fn next(&mut self) -> Option<NodeEvent> {
        self.nodes.next().await
    }

    /// Before Services are applied: the device, and where their endpoints are. True if something is to be tried again.
    pub(crate) fn prepare(&mut self, world: &mut World, devices: &mut Devices, node: &NodeFacts) -> bool {
        if !world.has_direct() && !self.following {
            return false;
        }
        if !self.following {
            let nodes = Api::<Node>::all(self.client.clone());
            self.nodes = watcher(nodes, Config::default()).default_backoff().boxed();
            self.following = true;
        }
        while let Some(Some(event)) = self.nodes.next().now_or_never() {
            match event {
                Ok(event) => world.node(event),
                Err(error) => {
                    warn!(what = "nodes", error = %xebec_program::chain(&error), "watch failed; endpoints are where they were");
                }
            }
        }
        let own = node.addresses_beside(&self.given);
        if self.stale {
            let result = self.up(devices, &own);
            self.stale = self.tell(Step::Device, result);
        }
        if let Some(wanted) = world.take_direct(&self.node, &own) {
            self.wanted = Some(wanted);
            self.narrow = true;
        }
        match &self.wanted {
            Some(wanted) if self.narrow => {
                let result = self.maps.widen(wanted);
                self.tell(Step::Widen, result) | self.stale
            }
            _ => self.stale,
        }
    }

    /// After Services were applied: what is not wanted goes. True if it is to be tried again.
    pub(crate) fn finish(&mut self) -> bool {
        let Some(wanted) = self.wanted.as_ref().filter(|_| self.narrow) else { return false };
        let result = self.maps.narrow(wanted);
        self.narrow = self.tell(Step::Narrow, result);
        self.narrow
    }

    fn up(&mut self, devices: &mut Devices, own: &[IpAddr]) -> Result<(), DataplaneError> {
        let found = devices.among(network_devices().map_err(DataplaneError::Addresses)?);
        self.maps.up(devices, self.port, &found.into_keys().collect(), own)
    }

    /// Whether a step failed.
    fn tell<E: std::error::Error + 'static>(&mut self, step: Step, result: Result<(), E>) -> bool {
        let why = result.err().map(|error| xebec_program::chain(&error));
        if self.told.news(step, why.as_deref()) {
            error!(error = why, "direct server return is not as it should be; will try again");
        }
        why.is_some()
    }
}
