//! Hints out of `spec.trafficDistribution`: ready endpoints are meant for where they are. Pure.
//!
//! Enters: slices, and whether nodes count. Leaves: the slices with hints, or without any.

use k8s_openapi::api::discovery::v1::Endpoint;

use super::{for_nodes, for_zones, hints, is_ready};
use crate::endpointslice::slices::Slices;

/// Where an endpoint is: its zone, and its node if that counts.
fn place(endpoint: &Endpoint, nodes: bool) -> (Option<&str>, Option<&str>) {
    (endpoint.zone.as_deref(), endpoint.node_name.as_deref().filter(|_| nodes))
}

/// Takes all hints away.
pub fn none(slices: &mut Slices) {
    slices.revise(|slice| slice.endpoints.iter().flatten().any(|e| e.hints.is_some()));
    for endpoint in slices.written() {
        endpoint.hints = None;
    }
}

/// Means every ready endpoint for its zone and, if `nodes`, its node. What is not ready is left as it is.
pub fn near(slices: &mut Slices, nodes: bool) {
    slices.revise(|slice| {
        let ready = slice.endpoints.iter().flatten().filter(|e| is_ready(e));
        ready.into_iter().any(|endpoint| {
            let (zone, node) = place(endpoint, nodes);
            !for_zones(endpoint).eq(zone) || !for_nodes(endpoint).eq(node)
        })
    });
    for endpoint in slices.written().filter(|e| is_ready(e)) {
        let (zone, node) = place(endpoint, nodes);
        endpoint.hints = hints(zone, node);
    }
}
