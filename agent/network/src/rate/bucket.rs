//! A limit as the kernel's token bucket has it. Enters: a limit, the device's MTU. Leaves: rate, burst and queue in bytes, and
//! the attributes that say so (linux/pkt_sched.h, `struct tc_tbf_qopt`).

use rtnetlink::packet_core::{DefaultNla, Emitable};

use super::Limit;

/// Parameters of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Bytes per second.
    pub(crate) rate: u64,
    /// Bytes that may go at once.
    pub(crate) burst: u32,
    /// Bytes that may wait; more are dropped.
    pub(crate) limit: u32,
}

/// There is no annotation for a burst, so runtimes pass as much as they can: dockershim this many bits, containerd twice and
/// CRI-O 16 times as many. Taken at its word, half a gigabyte would pass a pod at any speed before its limit is felt.
const NOT_CHOSEN: u64 = i32::MAX as u64;

/// How long a packet may wait, in milliseconds: the plugin's.
const LATENCY_MS: u64 = 25;

/// What Ethernet puts before a packet.
const ETHERNET: u64 = 14;

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_LINKLAYER_ETHERNET: u8 = 1;

impl Bucket {
    /// The bucket of a limit. A burst that nobody chose is what the rate carries in a tenth of a second. A whole packet always
    /// fits, as a larger one would never pass.
    pub(crate) fn new(limit: &Limit, mtu: u32) -> Self {
        let rate = limit.rate / 8;
        let burst = if limit.burst >= NOT_CHOSEN { (rate / 10).min(NOT_CHOSEN / 8) } else { limit.burst / 8 };
        let burst = burst.max(u64::from(mtu) + ETHERNET);
        let waiting = rate * LATENCY_MS / 1000 + burst;
        Self { rate, burst: narrow(burst), limit: narrow(waiting) }
    }

    /// The value of `TCA_OPTIONS`. The burst stands in bytes beside the old parameters, where it would be a time of at most
    /// 275 seconds (Linux 3.13).
    pub(crate) fn options(&self) -> Vec<u8> {
        let mut old = vec![0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
        old.extend(narrow(self.rate).to_ne_bytes());
        // No peak rate.
        old.extend([0; 12]);
        old.extend(self.limit.to_ne_bytes());
        old.extend([0; 8]);
        let attributes = [
            DefaultNla::new(TCA_TBF_PARMS, old),
            DefaultNla::new(TCA_TBF_RATE64, self.rate.to_ne_bytes().into()),
            DefaultNla::new(TCA_TBF_BURST, self.burst.to_ne_bytes().into()),
        ];
        let mut bytes = vec![0; attributes.as_slice().buffer_len()];
        attributes.as_slice().emit(&mut bytes);
        bytes
    }
}

/// As much of a number as fits.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_from_limits() {
        let most = 1_000_000_000_000_000;
        let rows = [
            // Rate and burst in bits; rate, burst and queue in bytes.
            ((8_000_000, 800_000), (1_000_000, 100_000, 125_000)),
            ((8_000_000, u32::MAX as u64), (1_000_000, 100_000, 125_000)),
            ((8_000_000, u32::MAX as u64 * 8 - 1), (1_000_000, 100_000, 125_000)),
            ((8_000_000, i32::MAX as u64), (1_000_000, 100_000, 125_000)),
            ((8_000_000, i32::MAX as u64 - 1), (1_000_000, 268_435_455, 268_460_455)),
            // A packet of 1500 bytes fits.
            ((1_000, 8), (125, 1_514, 1_517)),
            ((1_000, u32::MAX as u64), (125, 1_514, 1_517)),
            ((most, u32::MAX as u64), (most / 8, 268_435_455, u32::MAX)),
        ];
        for ((rate, burst), (bytes, at_once, waiting)) in rows {
            let expected = Bucket { rate: bytes, burst: at_once, limit: waiting };
            assert_eq!(Bucket::new(&Limit { rate, burst }, 1500), expected, "{rate} {burst}");
        }
    }

    #[test]
    fn attributes_are_as_the_kernel_reads_them() {
        let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let bytes = Bucket { rate: 1_000_000, burst: 100_000, limit: 125_000 }.options();
        assert_eq!(bytes.len(), 40 + 12 + 8);
        assert_eq!(bytes[..4], [40_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat());
        assert_eq!((bytes[5], word(&bytes, 12), word(&bytes, 28)), (1, 1_000_000, 125_000));
        assert_eq!((word(&bytes, 44), word(&bytes, 48), word(&bytes, 56)), (1_000_000, 0, 100_000));
        let fast = Bucket { rate: 1 << 33, burst: 1, limit: 1 }.options();
        assert_eq!((word(&fast, 12), word(&fast, 44), word(&fast, 48)), (u32::MAX, 0, 2), "little endian");
    }
}
