//! Ranges of ports as prefixes, which one look into a longest-prefix table finds. PURE.

/// Ports that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortPrefix {
    /// The first of them.
    pub first: u16,
    /// How many bits they share, 0 to 16.
    pub bits: u8,
}

impl PortPrefix {
    /// Every port.
    pub const ANY: Self = Self { first: 0, bits: 0 };

    /// Whether a port is among them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        let mask = u16::MAX.checked_shl(16 - u32::from(self.bits)).unwrap_or(0);
        port & mask == self.first
    }
}

/// The fewest prefixes that are together the ports from `first` to `last`: at most 30. None when `last` is smaller.
#[must_use]
pub fn prefixes(first: u16, last: u16) -> Vec<PortPrefix> {
    let mut found = Vec::new();
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    while at < end {
        // As large as its start allows and the rest needs.
        let aligned = at.trailing_zeros().min(16);
        let fits = (end - at).ilog2();
        let size = aligned.min(fits);
        // Both are below 2^16 as long as `at` is below `end`.
        found.push(PortPrefix { first: at as u16, bits: 16 - size as u8 });
        at += 1 << size;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn some_ranges() {
        let of = |first, last| prefixes(first, last).iter().map(|p| (p.first, p.bits)).collect::<Vec<_>>();
        assert_eq!(of(80, 80), [(80, 16)]);
        assert_eq!(of(0, u16::MAX), [(0, 0)]);
        assert_eq!(of(8000, 8003), [(8000, 14)]);
        assert_eq!(of(1, 4), [(1, 16), (2, 15), (4, 16)]);
        assert!(of(5, 4).is_empty());
    }

    proptest! {
        #[test]
        fn they_are_the_range_and_few(first: u16, last: u16, port: u16) {
            let found = prefixes(first, last);
            prop_assert!(found.len() <= 30);
            let times = found.iter().filter(|prefix| prefix.contains(port)).count();
            prop_assert_eq!(times, usize::from((first..=last).contains(&port)));
        }
    }
}
