//! What a run of equal operations measured: how many, how fast, how late. Enters: durations. Leaves: JSON.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Latencies from a microsecond to a minute, in microseconds, to 1 %.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, 60_000_000, 2).context("histogram")?))
    }

    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds those of another client.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0).context("histogram")
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `percent` of the operations do not exceed, in milliseconds.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        rounded(self.0.value_at_percentile(percent) as f64 / 1e3)
    }

    /// Operations a second and percentiles.
    pub(crate) fn report(&self, elapsed: Duration) -> Value {
        json!({
            "operations": self.count(),
            "seconds": rounded(elapsed.as_secs_f64()),
            "per_second": (self.count() as f64 / elapsed.as_secs_f64()).round(),
            "p50_ms": self.percentile(50.0),
            "p99_ms": self.percentile(99.0),
            "max_ms": self.percentile(100.0),
        })
    }
}

/// Three digits after the point: more is noise.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// The middle of a list of measurements.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_rates() {
        let mut latencies = Latencies::new().unwrap();
        for milliseconds in 1..=100 {
            latencies.record(Duration::from_millis(milliseconds));
        }
        let report = latencies.report(Duration::from_secs(2));
        assert_eq!(report["per_second"], 50.0);
        let p50 = report["p50_ms"].as_f64().unwrap();
        assert!((49.0..52.0).contains(&p50), "{p50}");
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
