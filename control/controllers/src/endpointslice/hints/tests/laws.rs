//! What holds of proportional hints whatever the slices and the shares.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Outcome, Policy, Zones, for_zones, give, is_ready};
use super::{Shares, Slices, slice};

const ZONES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One endpoint: its zone, its hint (none if beyond the zones), whether it is ready.
fn endpoint() -> impl Strategy<Value = String> {
    (0..5usize, 0..8usize, 0..6u8).prop_map(|(zone, hint, ready)| {
        let hint = ZONES.get(hint).map(|zone| format!(">{zone}")).unwrap_or_default();
        format!("{}{}{hint}", if ready == 0 { "!" } else { "" }, ZONES[zone])
    })
}

fn shares() -> impl Strategy<Value = Shares> {
    prop::collection::vec(1..40u32, 2..5).prop_map(|cpus| {
        let total = f64::from(cpus.iter().sum::<u32>());
        ZONES.iter().zip(cpus).map(|(zone, cpu)| ((*zone).to_owned(), f64::from(cpu) / total)).collect()
    })
}

fn world() -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec(endpoint(), 0..9), 1..10)
}

fn start(world: &[Vec<String>], create: usize) -> Slices {
    let mut slices = Slices::default();
    for (n, endpoints) in world.iter().enumerate() {
        let made = slice(&format!("web-{n}"), &endpoints.join(" "));
        if n < create { slices.create.push(made) } else { slices.unchanged.push(Arc::new(made)) }
    }
    slices
}

/// The slices as they are once written, in the order of their names, and how many had to be.
fn written(slices: Slices) -> (Slices, usize) {
    let changed = slices.update.iter().filter(|(before, after)| **before != *after).count();
    let writes = changed + slices.create.len();
    let made = slices.create.into_iter().chain(slices.update.into_iter().map(|(_, after)| after));
    let mut unchanged: Vec<_> = made.map(Arc::new).chain(slices.unchanged).collect();
    unchanged.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    (Slices { unchanged, ..Slices::default() }, writes)
}

proptest! {
    #[test]
    fn all_ready_endpoints_have_one_zone_or_none_has(world in world(), create in 0..10usize, shares in shares()) {
        let mut slices = start(&world, create);
        let outcome = give(Policy::Proportional, Some(&shares), &mut slices);
        let mut sums = Zones::new();
        for endpoint in slices.endpoints() {
            let hints: Vec<&str> = for_zones(endpoint).collect();
            match outcome {
                Outcome::Allocated(_) if is_ready(endpoint) => prop_assert_eq!(hints.len(), 1),
                Outcome::Allocated(_) => {}
                _ => prop_assert!(endpoint.hints.is_none()),
            }
            if is_ready(endpoint) {
                hints.iter().for_each(|zone| *sums.entry((*zone).to_owned()).or_default() += 1);
            }
        }
        if let Outcome::Allocated(zones) = outcome {
            prop_assert_eq!(zones, sums);
        }
    }

    #[test]
    fn hints_settle(world in world(), shares in shares()) {
        let mut slices = start(&world, 0);
        let mut writes = 1;
        let mut rounds = 0;
        while writes > 0 {
            prop_assert!(rounds < 3, "still {} writes after {} rounds", writes, rounds);
            give(Policy::Proportional, Some(&shares), &mut slices);
            (slices, writes) = written(slices);
            rounds += 1;
        }
    }
}
