//! Tables of hints: what upstream's `trafficdist` and `topologycache` do. [`laws`] has what holds of all slices,
//! [`shares`] the nodes and what is remembered.

mod laws;
mod shares;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde_json::json;

use super::allocation::{Allocation, allocations, is_overloaded, moves};
use super::nodes::Shares;
use super::{Outcome, Policy, Zones, give};
use crate::endpointslice::slices::Slices;

/// An endpoint as `zone`, `zone>hint`, and `!` before it if it is not ready; `-` is no zone. On a node `n-ZONE`.
fn endpoint(text: &str) -> Endpoint {
    let ready = !text.starts_with('!');
    let (zone, hint) =
        text.trim_start_matches('!').split_once('>').unwrap_or((text.trim_start_matches('!'), ""));
    let zone = (zone != "-").then_some(zone);
    let hints = (!hint.is_empty()).then(|| json!({"forZones": [{"name": hint}]}));
    let value = json!({"addresses": ["10.0.0.1"], "zone": zone, "nodeName": zone.map(|z| format!("n-{z}")),
                       "hints": hints, "conditions": {"ready": ready}});
    serde_json::from_value(value).unwrap()
}

fn slice(name: &str, endpoints: &str) -> EndpointSlice {
    let mut slice = EndpointSlice { address_type: "IPv4".to_owned(), ..EndpointSlice::default() };
    slice.metadata.name = Some(name.to_owned());
    slice.endpoints = Some(endpoints.split_whitespace().map(endpoint).collect());
    slice
}

/// What [`endpoint`] reads; a node hint is shown behind an `@`.
fn shown(slice: &EndpointSlice) -> String {
    let one = |endpoint: &Endpoint| {
        let ready = if super::is_ready(endpoint) { "" } else { "!" };
        let zone = endpoint.zone.as_deref().unwrap_or("-");
        let zones: Vec<_> = super::for_zones(endpoint).map(|zone| format!(">{zone}")).collect();
        let nodes: Vec<_> = super::for_nodes(endpoint).map(|node| format!("@{node}")).collect();
        format!("{ready}{zone}{}{}", zones.concat(), nodes.concat())
    };
    slice.endpoints.iter().flatten().map(one).collect::<Vec<_>>().join(" ")
}

/// Slices that are there, and one to create if it is not empty.
fn slices(unchanged: &[&str], create: &str) -> Slices {
    let named = unchanged.iter().enumerate().map(|(n, text)| Arc::new(slice(&format!("web-{n}"), text)));
    let create = (!create.is_empty()).then(|| slice("", create));
    Slices { create: create.into_iter().collect(), unchanged: named.collect(), ..Slices::default() }
}

/// The slices after hints were given: created, updated, unchanged.
fn given(policy: Policy, shares: Option<&Shares>, mut slices: Slices) -> (Outcome, [Vec<String>; 3]) {
    let outcome = give(policy, shares, &mut slices);
    let created = slices.create.iter().map(shown).collect();
    let updated = slices.update.iter().map(|(_, after)| shown(after)).collect();
    let unchanged = slices.unchanged.iter().map(|s| shown(s)).collect();
    (outcome, [created, updated, unchanged])
}

fn shares_of(shares: &[(&str, f64)]) -> Shares {
    shares.iter().map(|(zone, share)| ((*zone).to_owned(), *share)).collect()
}

fn zones(zones: &[(&str, usize)]) -> Zones {
    zones.iter().map(|(zone, number)| ((*zone).to_owned(), *number)).collect()
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn the_annotation_goes_before_the_field() {
    let old = "service.kubernetes.io/topology-aware-hints";
    let new = "service.kubernetes.io/topology-mode";
    let cases = [
        (json!({}), json!(null), Policy::Anywhere),
        (json!({}), json!("PreferClose"), Policy::SameZone),
        (json!({}), json!("PreferSameZone"), Policy::SameZone),
        (json!({}), json!("PreferSameNode"), Policy::SameNode),
        (json!({}), json!("Far"), Policy::Anywhere),
        (json!({new: "Auto"}), json!("PreferSameNode"), Policy::Proportional),
        (json!({new: "auto"}), json!(null), Policy::Proportional),
        (json!({new: "AUTO"}), json!("PreferClose"), Policy::SameZone),
        (json!({new: "Disabled"}), json!(null), Policy::Anywhere),
        (json!({old: "Auto"}), json!("PreferClose"), Policy::Proportional),
        (json!({old: "Disabled", new: "Auto"}), json!(null), Policy::Anywhere),
        (json!({old: "auto", new: "Disabled"}), json!(null), Policy::Proportional),
    ];
    for (annotations, distribution, expected) in cases {
        let value =
            json!({"metadata": {"annotations": annotations}, "spec": {"trafficDistribution": distribution}});
        let service: Service = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(Policy::of(&service), expected, "{value}");
    }
}

#[test]
fn distribution() {
    let (zone, node) = (Policy::SameZone, Policy::SameNode);
    // Existing slice, what it becomes if that needs a write, and what is created out of the same endpoints.
    let cases: [(Policy, &str, Option<&str>); 13] = [
        (zone, "a b !c", Some("a>a b>b !c")),
        (zone, "a>a b>b !c", None),
        (zone, "a>b b>b", Some("a>a b>b")),
        (zone, "- a", Some("- a>a")),
        (zone, "- a>a", None),
        (zone, "->a a>a", Some("- a>a")),
        // What is not ready is no cause for a write.
        (zone, "a>a !b>b", None),
        (zone, "!a !b", None),
        (node, "a !b", Some("a>a@n-a !b")),
        (node, "a>a", Some("a>a@n-a")),
        (node, "- !a", None),
        (Policy::Anywhere, "a>a b", Some("a b")),
        (Policy::Anywhere, "a !b -", None),
    ];
    for (policy, before, after) in cases {
        let [created, updated, unchanged] = given(policy, None, slices(&[before], "a !b -")).1;
        let fresh = match policy {
            Policy::SameZone => "a>a !b -",
            Policy::SameNode => "a>a@n-a !b -",
            _ => "a !b -",
        };
        assert_eq!(created, [fresh], "{policy:?} {before}");
        let expected = after.map_or((vec![], texts(&[before])), |after| (texts(&[after]), vec![]));
        assert_eq!((updated, unchanged), expected, "{policy:?} {before}");
    }
}

#[test]
fn zone_hints_alone_take_node_hints_away() {
    let mut both = slices(&[], "a b");
    give(Policy::SameNode, None, &mut both);
    let stored = |made: Slices| Slices {
        unchanged: made.create.into_iter().map(Arc::new).collect(),
        ..Slices::default()
    };
    let both = stored(both);
    let again = Slices { unchanged: both.unchanged.clone(), ..Slices::default() };
    assert_eq!(given(Policy::SameNode, None, again).1[2], ["a>a@n-a b>b@n-b"]);
    assert_eq!(given(Policy::SameZone, None, both).1[1], ["a>a b>b"]);
}

#[test]
fn bounds_of_zones() {
    let view = |shares: &[(&str, f64)], endpoints| {
        let found = allocations(Some(&shares_of(shares)), endpoints)?;
        Ok(found.into_values().map(|a| (a.minimum, a.maximum)).collect::<Vec<_>>())
    };
    let bounds = |list: &[(usize, usize)]| Ok::<_, String>(list.to_vec());
    let thirds = [("a", 0.35), ("b", 0.35), ("c", 0.3)];
    assert_eq!(view(&thirds, 10), bounds(&[(3, 4), (3, 4), (3, 4)]));
    assert_eq!(view(&[("a", 0.5), ("b", 0.45), ("c", 0.05)], 20), bounds(&[(9, 11), (8, 10), (1, 3)]));
    assert_eq!(view(&[("a", 0.45), ("b", 0.55)], 2), bounds(&[(1, 1), (1, 1)]));
    assert_eq!(view(&thirds, 2), Err("Insufficient number of endpoints (2 endpoints, 3 zones)".to_owned()));
    // Two endpoints cannot carry four fifths of the traffic in one zone and a fifth in the other.
    let text =
        "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
    assert_eq!(view(&[("a", 0.8), ("b", 0.2)], 2), Err(format!("{text} (2 endpoints, 2 zones)")));
    let text = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
    assert_eq!(allocations(None, 9), Err(text.to_owned()));
}

#[test]
fn moves_between_zones() {
    // What is desired and allocated of a zone, and what it gives (above zero) or receives.
    type Case<'a> = &'a [(&'a str, f64, usize, i32)];
    let cases: [Case<'_>; 8] = [
        &[("a", 1.2, 1, 0), ("b", 1.1, 1, 0), ("c", 1.0, 1, 0)],
        // Its own zone is better for an endpoint, even if one more would be a little nearer to what is desired.
        &[("a", 5.1, 16, 10), ("b", 5.1, 0, -5), ("c", 5.8, 0, -5)],
        &[("a", 5.0, 16, 11), ("b", 5.6, 0, -6), ("c", 5.4, 0, -5)],
        &[("a", 5.0, 0, -5), ("b", 5.6, 8, 2), ("c", 5.4, 8, 3)],
        &[("a", 5.0, 6, 0), ("b", 5.0, 6, 0), ("c", 5.0, 6, 0)],
        // A zone whose nodes are gone is in no account: its endpoints are not given away here.
        &[("a", 2.0, 1, -1), ("b", 2.0, 3, 1)],
        &[("a", 1.5, 2, 1), ("b", 1.5, 0, -1)],
        // Less than half an endpoint is nothing to ask for.
        &[("a", 5.2, 8, 1), ("b", 5.4, 4, -1)],
    ];
    for case in cases {
        let allocation = |desired| Allocation { minimum: 0, maximum: 99, desired };
        let wanted = case.iter().map(|(zone, desired, ..)| ((*zone).to_owned(), allocation(*desired)));
        let allocated: Zones =
            case.iter().map(|(zone, _, number, _)| ((*zone).to_owned(), *number)).collect();
        let (giving, receiving) = moves(&wanted.collect(), &allocated);
        for (zone, _, _, expected) in case {
            let of = |zones: &Zones| zones.get(*zone).map_or(0, |n| i32::try_from(*n).unwrap());
            assert_eq!(of(&giving) - of(&receiving), *expected, "{zone} of {case:?}");
        }
    }
}

#[test]
fn overload() {
    let halves = shares_of(&[("a", 0.5), ("b", 0.5)]);
    let cases = [
        (zones(&[]), false),
        (zones(&[("a", 3), ("b", 3)]), false),
        (zones(&[("a", 6), ("b", 5)]), false),
        (zones(&[("a", 8), ("b", 5)]), true),
        (zones(&[("a", 6)]), true),
        // A zone more than there are now: the others are weighed against all endpoints.
        (zones(&[("a", 2), ("b", 2), ("c", 2)]), true),
        (zones(&[("a", 3), ("b", 3), ("c", 1)]), false),
    ];
    for (allocated, expected) in cases {
        assert_eq!(is_overloaded(&allocated, Some(&halves)), expected, "{allocated:?}");
        assert_eq!(is_overloaded(&allocated, None), !allocated.is_empty());
    }
}

#[test]
fn proportional() {
    let thirds: &[(&str, f64)] = &[("a", 0.35), ("b", 0.35), ("c", 0.3)];
    let halves: &[(&str, f64)] = &[("a", 0.5), ("b", 0.5)];
    struct Case<'a> {
        shares: &'a [(&'a str, f64)],
        there: &'a [&'a str],
        new: &'a str,
        outcome: Result<&'a [(&'a str, usize)], &'a str>,
        slices: [&'a [&'a str]; 3],
    }
    let cases = [
        Case {
            shares: &[("a", 0.45), ("b", 0.55)],
            there: &[],
            new: "a b !b",
            outcome: Ok(&[("a", 1), ("b", 1)]),
            slices: [&["a>a b>b !b"], &[], &[]],
        },
        // One zone has more endpoints than its share: the first is meant for another zone.
        Case {
            shares: thirds,
            there: &["a b c", "a c b"],
            new: "a a a c",
            outcome: Ok(&[("a", 4), ("b", 3), ("c", 3)]),
            slices: [&["a>b a>a a>a c>c"], &["a>a b>b c>c", "a>a c>c b>b"], &[]],
        },
        // What stands stays, though it is not what would be given anew.
        Case {
            shares: halves,
            there: &["a>b a>b b>a b>a"],
            new: "",
            outcome: Ok(&[("a", 2), ("b", 2)]),
            slices: [&[], &[], &["a>b a>b b>a b>a"]],
        },
        // Only the slice with the new endpoint is written, and what it may get depends on the others.
        Case {
            shares: halves,
            there: &["a>a a>a b>b b>b"],
            new: "a a",
            outcome: Ok(&[("a", 3), ("b", 3)]),
            slices: [&["a>b a>a"], &[], &["a>a a>a b>b b>b"]],
        },
        // A zone that vanished: hints for it are taken back, its endpoints keep it until they go.
        Case {
            shares: halves,
            there: &["a>c b>b c>c", "a>a a>a b>b"],
            new: "",
            outcome: Ok(&[("a", 3), ("b", 2), ("c", 1)]),
            slices: [&[], &["a>a b>b c>c"], &["a>a a>a b>b"]],
        },
        // The second slice would leave the other zone too few.
        Case {
            shares: halves,
            there: &["a>a a>a", "a>a b>b"],
            new: "",
            outcome: Ok(&[("a", 2), ("b", 2)]),
            slices: [&[], &["a>b b>b"], &["a>a a>a"]],
        },
        // An endpoint without a hint has its slice written; one that is not ready needs none.
        Case {
            shares: halves,
            there: &["a>a b>b !a", "a b>b"],
            new: "",
            outcome: Ok(&[("a", 2), ("b", 2)]),
            slices: [&[], &["a>a b>b"], &["a>a b>b !a"]],
        },
        Case {
            shares: thirds,
            there: &["a>a !c>c", "!a"],
            new: "b",
            outcome: Err("Insufficient number of endpoints (2 endpoints, 3 zones)"),
            slices: [&["b"], &["a !c"], &["!a"]],
        },
        // Five endpoints cannot be halved: each zone needs three.
        Case {
            shares: halves,
            there: &["a>a b>b !b>a", "!a"],
            new: "a a b",
            outcome: Err(
                "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (5 endpoints, 2 zones)",
            ),
            slices: [&["a a b"], &["a b !b"], &["!a"]],
        },
        Case {
            shares: halves,
            there: &["a>a b>b"],
            new: "a - b b",
            outcome: Err("One or more endpoints do not have a zone specified"),
            slices: [&["a - b b"], &["a b"], &[]],
        },
        Case {
            shares: halves,
            there: &[],
            new: "!a",
            outcome: Err("Insufficient number of endpoints (0 endpoints, 2 zones)"),
            slices: [&["!a"], &[], &[]],
        },
    ];
    for case in cases {
        let shares = shares_of(case.shares);
        let start = slices(case.there, case.new);
        let (outcome, found) = given(Policy::Proportional, Some(&shares), start);
        let expected = match case.outcome {
            Ok(of) => Outcome::Allocated(zones(of)),
            Err(reason) => Outcome::Refused(reason.to_owned()),
        };
        let text = format!("{:?} {:?}", case.there, case.new);
        assert_eq!(outcome, expected, "{text}");
        assert_eq!(found, case.slices.map(texts), "{text}");
    }
}
