//! Maglev rows: from a service port's endpoints to a table that gives every client's hash an endpoint. PURE.
//!
//! As in "Maglev: A Fast and Reliable Software Network Load Balancer" (Eisenbud et al., NSDI 2016, section 3.4): every
//! endpoint has a permutation of the table's entries by two hashes of its own, and in turns each takes the first entry of
//! its permutation that nobody has. Nodes that know the same endpoints make the same table, and another set of endpoints
//! moves few entries beside those of the endpoints that came or left.

use std::net::SocketAddr;

/// Table sizes, primes as a permutation by steps needs. Tables of two sizes have nothing in common, so that an endpoint
/// more, where it asks for the next size, moves nearly all flows. So there are few sizes, and the next begins where no
/// rolling update of a usual number of pods ends: a quarter (the default `maxSurge`) above 20, 100 and 500 is within
/// one. Small Services pay for it with 5 kB.
const SIZES: [u32; 4] = [2503, 12_503, 62_501, 131_071];

/// Least entries for each endpoint, at which the paper finds shares even and moves few.
const ENTRIES: usize = 100;
/// The largest table still has ten for each; with fewer, shares would differ by more than a tenth.
const FEWEST: usize = 10;

/// Entries of a table for so many endpoints; `None` for one, which needs no choice, and for more than any table is for.
pub fn size(endpoints: usize) -> Option<u32> {
    let [.., largest] = SIZES;
    match SIZES.into_iter().find(|size| *size as usize >= endpoints * ENTRIES) {
        _ if endpoints < 2 => None,
        Some(size) => Some(size),
        None => (endpoints * FEWEST <= largest as usize).then_some(largest),
    }
}

/// The table of endpoints without repetition: for each entry, which of `endpoints` it is. Their order does not matter for
/// the endpoint behind an entry. `None` as for [`size`].
pub fn row(endpoints: &[SocketAddr]) -> Option<Vec<u16>> {
    const FREE: u16 = u16::MAX;
    let size = size(endpoints.len())?;
    // Turns are taken in the order of addresses, which is the same on every node.
    let mut turns: Vec<(SocketAddr, u16)> = endpoints.iter().copied().zip(0..).collect();
    turns.sort_unstable();
    let mut walks: Vec<Walk> = turns.iter().map(|(endpoint, _)| Walk::of(endpoint, size)).collect();
    let mut table = vec![FREE; size as usize];
    let mut left = size;
    loop {
        for ((_, endpoint), walk) in turns.iter().zip(&mut walks) {
            if left == 0 {
                return Some(table);
            }
            let entry = loop {
                let entry = &mut table[walk.next(size) as usize];
                if *entry == FREE {
                    break entry;
                }
            };
            *entry = *endpoint;
            left -= 1;
        }
    }
}

/// An endpoint's permutation of the entries: from one of them in steps.
struct Walk {
    at: u32,
    step: u32,
}

impl Walk {
    fn of(endpoint: &SocketAddr, size: u32) -> Self {
        let below = |hash: u64, bound: u32| (hash % u64::from(bound)) as u32;
        Self { at: below(hash(endpoint, 1), size), step: below(hash(endpoint, 2), size - 1) + 1 }
    }

    /// The next entry; all of them come once in `size` calls.
    fn next(&mut self, size: u32) -> u32 {
        let at = self.at;
        // Both are below 2^17, so that nothing overflows.
        self.at = if at + self.step >= size { at + self.step - size } else { at + self.step };
        at
    }
}

/// A fixed hash of address and port: SplitMix64's steps over the address (IPv4 in mapped form) as two numbers and the
/// port, from a seed. Never to be changed: nodes of two versions serve one address together.
fn hash(endpoint: &SocketAddr, seed: u64) -> u64 {
    let address = match endpoint.ip() {
        std::net::IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        std::net::IpAddr::V6(addr) => addr,
    };
    let bits = address.to_bits();
    let words = [(bits >> 64) as u64, bits as u64, u64::from(endpoint.port())];
    words.into_iter().fold(seed, |hash, word| mix(hash ^ word))
}

/// One step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64 bits.
const fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A table as elements of LUT; entries beyond it are zero.
pub(super) fn elements(row: &[u16]) -> Vec<u64> {
    let element = |entries: &[u16]| {
        entries.iter().zip([0, 16, 32, 48]).fold(0, |word, (entry, shift)| word | u64::from(*entry) << shift)
    };
    row.chunks(xebec_abi::service::ROW_ENTRIES as usize).map(element).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn endpoint(i: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0af4_0000 + i), 8080))
    }

    /// The endpoint of every entry.
    fn table(endpoints: &[SocketAddr]) -> Vec<SocketAddr> {
        row(endpoints).unwrap().into_iter().map(|at| endpoints[usize::from(at)]).collect()
    }

    fn shares(table: &[SocketAddr]) -> BTreeMap<SocketAddr, usize> {
        let mut shares = BTreeMap::new();
        table.iter().for_each(|endpoint| *shares.entry(*endpoint).or_insert(0) += 1);
        shares
    }

    /// What part of the entries that both tables' endpoints could keep went to another.
    fn moved(before: &[SocketAddr], after: &[SocketAddr], gone: &SocketAddr) -> f64 {
        let kept: Vec<_> = before.iter().zip(after).filter(|(old, _)| *old != gone).collect();
        kept.iter().filter(|(old, new)| old != new).count() as f64 / kept.len() as f64
    }

    #[test]
    fn sizes_grow_with_endpoints_up_to_a_bound() {
        let sizes = [0, 1, 2, 25, 26, 125, 126, 625, 626, 13_107, 13_108].map(size);
        let [small, middle, large, largest] = SIZES.map(Some);
        assert_eq!(sizes[..5], [None, None, small, small, middle]);
        assert_eq!(sizes[5..], [middle, large, large, largest, largest, None]);
        for pods in [2, 3, 5, 10, 20, 50, 100, 200, 500, 1000] {
            assert_eq!(size(pods), size(pods + pods.div_ceil(4)), "a rolling update of {pods}");
        }
        for size in SIZES {
            assert!((2..size).take_while(|d| d * d <= size).all(|d| size % d != 0), "{size} is no prime");
        }
    }

    #[test]
    fn no_version_makes_another_row() {
        // The first entries of a table of IPv4 and of one of IPv6, as they are for ever.
        let small = row(&[endpoint(1), endpoint(2), endpoint(3)]).unwrap();
        assert_eq!(small[..16], [2, 0, 2, 0, 0, 1, 2, 0, 0, 2, 2, 2, 1, 2, 1, 1]);
        let six: Vec<SocketAddr> =
            (0..4).map(|i| format!("[fd44::{i}]:{}", 80 + i).parse().unwrap()).collect();
        assert_eq!(row(&six).unwrap()[..16], [1, 0, 2, 0, 0, 1, 3, 2, 3, 0, 3, 0, 2, 1, 0, 2]);
    }

    #[test]
    fn an_endpoint_that_leaves_moves_few_of_the_others() {
        for count in [3, 5, 10, 25, 27, 60, 125, 300] {
            let all: Vec<SocketAddr> = (0..count).map(endpoint).collect();
            let before = table(&all);
            for at in (0..count as usize).step_by((count as usize / 5).max(1)) {
                let mut rest = all.clone();
                let gone = rest.remove(at);
                // 2.6 % at worst, of 25 endpoints in the smallest table; with a table of another size nearly all would.
                let moved = moved(&before, &table(&rest), &gone);
                assert!(moved < 0.04, "of {count} endpoints without the {at}th: {moved}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_row_is_whole_fair_and_the_same_in_any_order(
            known in proptest::collection::btree_set((0_u32..5000, any::<bool>()), 2..120),
            order in any::<u64>(),
        ) {
            let address = |(i, v6): &(u32, bool)| {
                if *v6 { format!("[fd44::{i:x}]:8080").parse().unwrap() } else { endpoint(*i) }
            };
            let sorted: Vec<SocketAddr> = known.iter().map(address).collect();
            let mut other = sorted.clone();
            let mut seed = order;
            for i in (1..other.len()).rev() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                other.swap(i, (seed >> 33) as usize % (i + 1));
            }
            let table = table(&sorted);
            prop_assert_eq!(&table, &self::table(&other));
            // Turns make shares as even as whole entries can be: within one entry, so within 1 % of fair.
            let (entries, fair) = (table.len(), table.len() / sorted.len());
            let shares = shares(&table);
            prop_assert_eq!(shares.len(), sorted.len());
            prop_assert!(shares.values().all(|share| (fair..=fair + 1).contains(share)));
            prop_assert!(entries >= 100 * sorted.len());
            // What the programs read is what was made.
            let row = row(&sorted).unwrap();
            let elements = elements(&row);
            let read = |entry: u32| {
                let (element, shift) = xebec_abi::service::row_place(entry);
                (elements[element as usize] >> shift) as u16
            };
            prop_assert!((0..).zip(&row).all(|(entry, at)| read(entry) == *at));
        }
    }
}
