//! FE4: frontends of IPv4, a hash table in the memory of an array. Both sides work on it: user space by plain stores, the
//! programs without a helper.
//!
//! The kernel's own hash map costs a connect three cache lines (the table, the chain's head, the element), which the calls
//! between two connects push out; here it is one, and none of the work of a helper. A change costs no system call.
//!
//! A key belongs to the bucket of its hash, or, where that is full, to one of the [`REACH`] after it. How far away any of a
//! bucket's keys is stands in the bucket's first word of keys, so that who looks for a key that is not there hardly ever
//! looks further than one cache line. The hash is salted: whoever names Services cannot choose which of them collide.
//!
//! Order of stores: value, the home's reach, key; for a removal key, then reach. A reader that saw a key and then takes the
//! value of the next one in its place finds the tag in it to be wrong, as with the kernel's map.

use crate::net::{Be16, Be32};
use crate::service::FeKey4;

/// Keys in a bucket.
pub const PLACES: u32 = 4;
/// How many buckets after its home a key may be in. The array has as many more than there are homes.
pub const REACH: u32 = 63;
/// Where a bucket's reach is in its first word of keys: above what a key takes.
const REACH_SHIFT: u32 = 58;
/// What of a word is the key.
pub const KEY: u64 = (1 << REACH_SHIFT) - 1;

/// A bucket, one cache line: keys of [`word`], the first with the bucket's reach; zero is none. Values are as in the
/// kernel's maps of frontends; those without a key mean nothing.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Keys.
    pub keys: [u64; PLACES as usize],
    /// Their values.
    pub values: [u64; PLACES as usize],
}

/// A key as a word of KEY's bits, never zero as it names a protocol.
#[inline(always)]
pub const fn word(key: &FeKey4) -> u64 {
    (key.scope as u64 & 3) << 56 | (key.proto as u64) << 48 | (key.port.0 as u64) << 32 | key.addr.0 as u64
}

/// The inverse of [`word`].
pub const fn key(word: u64) -> FeKey4 {
    FeKey4 {
        addr: Be32(word as u32),
        port: Be16((word >> 32) as u16),
        proto: (word >> 48) as u8,
        scope: (word >> 56) as u8 & 3,
    }
}

/// How many buckets after this one may have its keys, by its first word of keys.
#[inline(always)]
pub const fn reach(first: u64) -> u32 {
    (first >> REACH_SHIFT) as u32
}

/// A first word of keys with another reach, at most [`REACH`].
pub const fn with_reach(first: u64, reach: u32) -> u64 {
    first & KEY | (reach as u64) << REACH_SHIFT
}

/// The bucket that a key of [`word`] belongs to, of so many.
#[inline(always)]
pub const fn home(word: u64, salt: u32, buckets: u32) -> u32 {
    // The salt decides how bits meet in the first product, so that no two keys collide under every salt.
    let h = word.wrapping_mul((salt as u64) << 32 | 0x7f4a_7c15);
    let h = (h ^ (h >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (((h >> 32) * buckets as u64) >> 32) as u32
}

const _: () = assert!(size_of::<Bucket>() == 64 && with_reach(KEY, REACH) == u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{SCOPE_ADDRESS, SCOPE_HOST};

    fn all(addresses: u32, ports: u16) -> impl Iterator<Item = u64> {
        let ports = move |n: u32| (1..=ports).map(move |port| (n, port));
        (0..addresses).flat_map(ports).map(|(n, port)| {
            word(&FeKey4 {
                addr: Be32::new(0x0a60_0000 + n),
                port: Be16::new(port),
                proto: 6,
                scope: SCOPE_ADDRESS,
            })
        })
    }

    #[test]
    fn a_key_is_its_word() {
        let given = FeKey4 { addr: Be32(u32::MAX), port: Be16(u16::MAX), proto: 132, scope: SCOPE_HOST };
        assert_eq!(key(word(&given)), given);
        assert_eq!(word(&given) & !KEY, 0);
        assert_eq!(reach(with_reach(word(&given), 17)), 17);
        assert_eq!(with_reach(with_reach(word(&given), 17), 0), word(&given));
    }

    #[test]
    fn neighbouring_keys_spread_evenly_under_every_salt() {
        for salt in [1, 2, 0x8000_0000, 0x5bd1_e995, u32::MAX] {
            for keys in [all(64_000, 1), all(1, 64_000), all(640, 100)] {
                let mut parts = [0_u32; 64];
                keys.for_each(|word| parts[home(word, salt, 64) as usize] += 1);
                // 1,000 in each on average, a standard deviation of 32; the bounds are six of them.
                let (least, most) = (*parts.iter().min().unwrap(), *parts.iter().max().unwrap());
                assert!(least > 800 && most < 1200, "{salt:x}: {least} {most}");
            }
        }
    }

    #[test]
    fn another_salt_lets_other_keys_collide() {
        let (mut first, mut both) = (0, 0);
        for word in all(20_000, 1).filter(|word| home(*word, 7, 1000) == 0) {
            first += 1;
            both += i32::from(home(word, 8, 1000) == 0);
        }
        assert!(first > 10 && both <= 2, "{first} {both}");
    }
}
