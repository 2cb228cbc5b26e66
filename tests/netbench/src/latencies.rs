//! How long calls took, in bounded memory. Enters: durations. Leaves: percentiles in microseconds.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// Durations from 100 ns to a minute, to 0.1 %.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(100, 60_000_000_000, 3).context("histogram")?))
    }

    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// What `percent` of them do not exceed, in microseconds.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let mut latencies = Latencies::new().unwrap();
        (1..=100).for_each(|micros| latencies.record(Duration::from_micros(micros)));
        assert_eq!(latencies.count(), 100);
        for (percent, micros) in [(50.0, 50.0), (99.0, 99.0), (100.0, 100.0)] {
            let found = latencies.percentile(percent);
            assert!((found - micros).abs() <= micros / 1e3, "{percent} %: {found}");
        }
    }
}
