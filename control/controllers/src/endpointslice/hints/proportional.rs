//! Hints out of the annotation `service.kubernetes.io/topology-mode: Auto`. Pure.
//!
//! Enters: all slices of a Service and family, and the zones' shares of CPU. Leaves: hints, and how many endpoints are
//! meant for each zone; or why there can be none. Slices that need no write keep their hints as long as those leave
//! every zone its minimum, so that a small change moves little traffic.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::allocation::{Allocation, allocations, moves};
use super::nodes::Shares;
use super::{Zones, for_zones, hints, is_ready};
use crate::endpointslice::slices::Slices;

/// The zones a slice's hints are for, unless it must be written: an endpoint has none, a zone is to have none, or a
/// zone would have so many, beside those `held`, that others had too few.
fn standing(
    slice: &EndpointSlice,
    held: &Zones,
    allocations: &BTreeMap<String, Allocation>,
) -> Option<Zones> {
    let mut zones = Zones::new();
    for endpoint in slice.endpoints.iter().flatten().filter(|e| is_ready(e)) {
        for_zones(endpoint).next()?;
        for zone in for_zones(endpoint) {
            *zones.entry(zone.to_owned()).or_default() += 1;
        }
    }
    let fits = |(zone, number): (&String, &usize)| {
        let beside = held.get(zone).copied().unwrap_or_default();
        allocations.get(zone).is_some_and(|a| number + beside <= a.maximum)
    };
    zones.iter().all(fits).then_some(zones)
}

/// Takes one from a zone's number; a zone with none left goes.
fn take(zones: &mut Zones, zone: &str) {
    if let Some(number) = zones.get_mut(zone) {
        *number -= 1;
        if *number == 0 {
            zones.remove(zone);
        }
    }
}

/// Gives every ready endpoint one zone. Err: why none is to have any; the slices' hints are then in no order.
pub fn allocate(slices: &mut Slices, shares: Option<&Shares>) -> Result<Zones, String> {
    let allocations = allocations(shares, slices.endpoints().filter(|e| is_ready(e)).count())?;
    let mut held = Zones::new();
    slices.revise(|slice| match standing(slice, &held, &allocations) {
        None => true,
        Some(zones) => {
            zones.into_iter().for_each(|(zone, number)| *held.entry(zone).or_default() += number);
            false
        }
    });
    for endpoint in slices.written() {
        endpoint.hints = None;
        if is_ready(endpoint) {
            let Some(zone) = endpoint.zone.as_deref() else {
                return Err("One or more endpoints do not have a zone specified".to_owned());
            };
            *held.entry(zone.to_owned()).or_default() += 1;
            endpoint.hints = hints(Some(zone), None);
        }
    }
    let (mut giving, mut receiving) = moves(&allocations, &held);
    for endpoint in slices.written().filter(|e| is_ready(e)) {
        let Some(to) = receiving.keys().next().cloned() else { break };
        let Some(from) = endpoint.zone.as_deref().filter(|zone| giving.contains_key(*zone)) else { continue };
        take(&mut giving, from);
        take(&mut receiving, &to);
        take(&mut held, from);
        endpoint.hints = hints(Some(&to), None);
        *held.entry(to).or_default() += 1;
    }
    Ok(held)
}
