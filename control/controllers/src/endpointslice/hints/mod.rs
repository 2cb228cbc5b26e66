//! Topology hints: whose traffic an endpoint is meant for.
//!
//! Enters: the slices of one Service and family as its endpoints want them, and the zones' shares of CPU. Leaves: the
//! same slices with hints, more of them to update where hints alone differ, and an [`Outcome`]. Called by `plan`;
//! pure but for [`ledger`]. Upstream's `trafficdist` and `topologycache` packages (KEP-2433, KEP-3015, KEP-4444).

mod allocation;
mod distribution;
pub mod ledger;
pub mod nodes;
mod proportional;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, ForNode, ForZone};

use super::slices::Slices;
use nodes::Shares;

const MODE: &str = "service.kubernetes.io/topology-mode";
const DEPRECATED_MODE: &str = "service.kubernetes.io/topology-aware-hints";

/// How many endpoints are meant for each zone.
pub type Zones = BTreeMap<String, usize>;

/// What a Service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// No hints.
    Anywhere,
    /// Endpoints for their own zone.
    SameZone,
    /// Endpoints for their own node, and for their own zone where that has none.
    SameNode,
    /// Endpoints for zones in proportion to the zones' CPU.
    Proportional,
}

impl Policy {
    /// What this Service asks for; the annotation, its deprecated name first, goes before the field.
    pub fn of(service: &Service) -> Self {
        let annotation = |key| service.metadata.annotations.as_ref()?.get(key);
        let mode = annotation(DEPRECATED_MODE).or_else(|| annotation(MODE));
        if mode.is_some_and(|mode| mode == "Auto" || mode == "auto") {
            return Self::Proportional;
        }
        match service.spec.as_ref().and_then(|s| s.traffic_distribution.as_deref()) {
            Some("PreferClose" | "PreferSameZone") => Self::SameZone,
            Some("PreferSameNode") => Self::SameNode,
            _ => Self::Anywhere,
        }
    }
}

/// What came of the annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Service does not have it.
    Off,
    /// So many endpoints are meant for each zone.
    Allocated(Zones),
    /// No endpoint has a hint, and why.
    Refused(String),
}

/// Gives the endpoints of all slices that are written the hints of the policy, and has those updated whose hints are
/// not as they should be.
pub fn give(policy: Policy, shares: Option<&Shares>, slices: &mut Slices) -> Outcome {
    match policy {
        Policy::Anywhere => distribution::none(slices),
        Policy::SameZone => distribution::near(slices, false),
        Policy::SameNode => distribution::near(slices, true),
        Policy::Proportional => match proportional::allocate(slices, shares) {
            Ok(zones) => return Outcome::Allocated(zones),
            Err(reason) => {
                distribution::none(slices);
                return Outcome::Refused(reason);
            }
        },
    }
    Outcome::Off
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(true)
}

/// Hints for a zone and a node.
fn hints(zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    (zone.is_some() || node.is_some()).then(|| EndpointHints {
        for_zones: zone.map(|name| vec![ForZone { name: name.to_owned() }]),
        for_nodes: node.map(|name| vec![ForNode { name: name.to_owned() }]),
    })
}

/// The zones an endpoint is meant for.
fn for_zones(endpoint: &Endpoint) -> impl Iterator<Item = &str> {
    let listed = endpoint.hints.iter().filter_map(|h| h.for_zones.as_deref());
    listed.flatten().map(|zone| zone.name.as_str())
}

/// The nodes an endpoint is meant for.
fn for_nodes(endpoint: &Endpoint) -> impl Iterator<Item = &str> {
    let listed = endpoint.hints.iter().filter_map(|h| h.for_nodes.as_deref());
    listed.flatten().map(|node| node.name.as_str())
}
