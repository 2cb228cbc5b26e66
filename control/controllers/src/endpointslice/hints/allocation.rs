//! How many endpoints each zone is to have, and how many must be moved for that. Pure.
//!
//! Enters: the zones' shares of CPU and counts of endpoints. Leaves: bounds for each zone, zones that give and zones
//! that receive, and whether a zone has too few. Called by `proportional` and the ledger.

use std::collections::BTreeMap;

use super::Zones;
use super::nodes::Shares;

/// How much more than its share an endpoint may have to carry.
const OVERLOAD: f64 = 0.2;

/// The endpoints of one zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allocation {
    /// As few as overload none of them.
    pub minimum: usize,
    /// As many as leave the other zones their minimum.
    pub maximum: usize,
    /// As many as the zone's share comes to, but no fewer than the minimum.
    pub desired: f64,
}

/// The fewest of `endpoints` that may carry a share of the traffic.
fn minimum(share: f64, endpoints: usize) -> usize {
    (share * endpoints as f64 * (1.0 / (1.0 + OVERLOAD))).ceil() as usize
}

/// The bounds of every zone for so many ready endpoints, or why there are none.
pub fn allocations(
    shares: Option<&Shares>,
    endpoints: usize,
) -> Result<BTreeMap<String, Allocation>, String> {
    let Some(shares) = shares else {
        let text =
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
        return Err(text.to_owned());
    };
    let counts = format!("({endpoints} endpoints, {} zones)", shares.len());
    if shares.len() > endpoints {
        return Err(format!("Insufficient number of endpoints {counts}"));
    }
    let least: usize = shares.values().map(|share| minimum(*share, endpoints)).sum();
    let Some(spare) = endpoints.checked_sub(least) else {
        let text =
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
        return Err(format!("{text} {counts}"));
    };
    let of = |share: f64| {
        let minimum = minimum(share, endpoints);
        let desired = (share * endpoints as f64).max(minimum as f64);
        Allocation { minimum, maximum: minimum + spare, desired }
    };
    Ok(shares.iter().map(|(zone, share)| (zone.clone(), of(*share))).collect())
}

/// The zone with the highest number above zero, the first of equal ones.
fn most<'a>(zones: &BTreeMap<&'a str, f64>) -> Option<(&'a str, f64)> {
    let positive = zones.iter().filter(|(_, number)| **number > 0.0);
    let highest = positive.reduce(|best, next| if next.1 > best.1 { next } else { best });
    highest.map(|(zone, number)| (*zone, *number))
}

/// How many endpoints each zone gives, and how many each receives, to come from what is allocated to what is desired.
///
/// Nothing is moved that would not be nearer to what is desired on both sides: an endpoint is best in its own zone.
pub fn moves(allocations: &BTreeMap<String, Allocation>, allocated: &Zones) -> (Zones, Zones) {
    let mut surplus = BTreeMap::new();
    let mut lack = BTreeMap::new();
    for (zone, allocation) in allocations {
        let number = allocated.get(zone).copied().unwrap_or_default() as f64;
        if number > allocation.desired {
            surplus.insert(zone.as_str(), number - allocation.desired);
        } else if number < allocation.desired {
            lack.insert(zone.as_str(), allocation.desired - number);
        }
    }
    let (mut giving, mut receiving) = (Zones::new(), Zones::new());
    while let (Some((from, more)), Some((to, less))) = (most(&surplus), most(&lack)) {
        if more < 0.5 || less < 0.5 || (more < 1.0 && less < 1.0) {
            break;
        }
        surplus.insert(from, more - 1.0);
        lack.insert(to, less - 1.0);
        *giving.entry(from.to_owned()).or_default() += 1;
        *receiving.entry(to.to_owned()).or_default() += 1;
    }
    (giving, receiving)
}

/// Whether some zone has fewer endpoints than its share asks for.
pub fn is_overloaded(allocated: &Zones, shares: Option<&Shares>) -> bool {
    let endpoints = allocated.values().sum();
    if allocated.is_empty() {
        return false;
    }
    shares.is_none_or(|shares| {
        shares.iter().any(|(zone, share)| allocated.get(zone).is_none_or(|n| *n < minimum(*share, endpoints)))
    })
}
