//! Seats move between levels: a level that needs few lends, one that needs many borrows, within what their objects
//! allow. Pure. Authority: KEP-1040, "Dynamic concurrency borrowing", recomputed every ten seconds.

use std::time::Duration;

use crate::config::Level;

/// How much of the smoothed demand stays from one period to the next.
const SMOOTHING: f64 = 0.977;

/// How many seats a level asked for over a while: running and waiting ones.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    started: Duration,
    since: Duration,
    present: usize,
    high: usize,
    sum: f64,
    squares: f64,
}

impl Demand {
    /// Nothing asked for from `now` on.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { started: now, since: now, present: 0, high: 0, sum: 0.0, squares: 0.0 }
    }

    /// From `now` on so many seats are asked for.
    pub fn set(&mut self, seats: usize, now: Duration) {
        self.settle(now);
        self.present = seats;
        self.high = self.high.max(seats);
    }

    /// Ends the period and begins the next one.
    pub fn restart(&mut self, now: Duration) -> Self {
        self.settle(now);
        let ended = *self;
        *self = Self { present: self.present, high: self.present, ..Self::new(now) };
        ended
    }

    fn settle(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since).as_secs_f64();
        let present = float(self.present);
        self.sum += present * passed;
        self.squares += present * present * passed;
        self.since = self.since.max(now);
    }

    /// The most seats asked for at once.
    #[must_use]
    pub fn high(&self) -> usize {
        self.high
    }

    /// What the level should be expected to need: mean plus deviation, at most the highest demand.
    #[must_use]
    pub fn envelope(&self) -> f64 {
        let period = self.since.saturating_sub(self.started).as_secs_f64();
        if period == 0.0 {
            return float(self.high);
        }
        let mean = self.sum / period;
        let deviation = (self.squares / period - mean * mean).max(0.0).sqrt();
        (mean + deviation).min(float(self.high))
    }
}

/// The smoothed demand after a period.
#[must_use]
pub fn smooth(before: f64, envelope: f64) -> f64 {
    // A rise counts at once, a fall only slowly.
    envelope.max(SMOOTHING * before + (1.0 - SMOOTHING) * envelope)
}

/// One level in the division of seats.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The level.
    pub level: &'a Level,
    /// Its seats when nobody lends.
    pub nominal: usize,
    /// Its highest demand in the last period.
    pub high: usize,
    /// Its smoothed demand.
    pub smoothed: f64,
}

/// Each claim's seats; exempt levels need none. Together about `total` (each at least what it may not lend).
#[must_use]
pub fn divide(claims: &[Claim<'_>], total: usize) -> Vec<usize> {
    struct Bounds {
        low: f64,
        high: f64,
        target: f64,
    }
    let limited: Vec<Option<Bounds>> = claims
        .iter()
        .map(|claim| {
            if claim.level.exempt {
                return None;
            }
            let nominal = float(claim.nominal);
            let percent =
                |percent: u64| (nominal * float(usize::try_from(percent).unwrap_or(0)) / 100.0).round();
            let least = nominal - percent(claim.level.lendable_percent);
            let low = least.max(nominal.min(float(claim.high)));
            let most =
                claim.level.borrowing_limit_percent.map_or(float(total), |limit| nominal + percent(limit));
            Some(Bounds { low, high: most.max(low), target: low.max(claim.smoothed) })
        })
        .collect();
    let all = |fraction: f64| -> f64 {
        limited.iter().flatten().map(|b| (fraction * b.target).clamp(b.low, b.high)).sum()
    };
    // The one fraction of everybody's target, within everybody's bounds, that uses all seats.
    let (mut low, mut high) = (0.0, 1.0);
    while all(high) < float(total) && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if all(middle) < float(total) { low = middle } else { high = middle }
    }
    let seats = |bounds: &Option<Bounds>| match bounds {
        None => 0,
        Some(bounds) => whole((high * bounds.target).clamp(bounds.low, bounds.high)).max(1),
    };
    limited.iter().map(seats).collect()
}

#[expect(clippy::cast_precision_loss, reason = "seats are far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seats are small and not negative"
)]
fn whole(seats: f64) -> usize {
    seats.round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Response;

    fn level(lendable_percent: u64, borrowing_limit_percent: Option<u64>) -> Level {
        Level {
            name: String::new(),
            uid: String::new(),
            exempt: false,
            shares: 1,
            lendable_percent,
            borrowing_limit_percent,
            response: Response::Reject,
        }
    }

    #[test]
    fn demand_is_a_mean_with_its_deviation() {
        let at = Duration::from_secs;
        let mut demand = Demand::new(at(0));
        demand.set(10, at(0));
        demand.set(0, at(5));
        let ended = demand.restart(at(10));
        assert_eq!(ended.high(), 10);
        assert!((ended.envelope() - 10.0).abs() < 1e-9, "5 and a deviation of 5");
        assert_eq!(demand.high(), 0);
        assert!((smooth(100.0, 10.0) - 97.93).abs() < 0.01);
        assert!((smooth(1.0, 10.0) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn an_idle_level_lends_what_it_may() {
        let (generous, stingy) = (level(90, None), level(0, None));
        let idle = Claim { level: &generous, nominal: 100, high: 0, smoothed: 0.0 };
        let busy = Claim { level: &stingy, nominal: 100, high: 300, smoothed: 300.0 };
        assert_eq!(divide(&[idle, busy], 200), [10, 190]);
        let content = Claim { high: 20, smoothed: 20.0, ..busy };
        assert_eq!(divide(&[idle, content], 200).iter().sum::<usize>(), 200);
        let limited = level(0, Some(10));
        let bounded = Claim { level: &limited, ..busy };
        assert_eq!(divide(&[idle, bounded], 200)[1], 110);
    }

    #[test]
    fn a_level_in_need_keeps_its_own() {
        let generous = level(90, None);
        let busy = Claim { level: &generous, nominal: 100, high: 500, smoothed: 500.0 };
        assert_eq!(divide(&[busy, busy], 200), [100, 100]);
    }
}
