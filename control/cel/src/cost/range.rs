//! Ranges of sizes and of costs, and reckoning with them: whatever is too large stays as large as can be.

/// A range of sizes: characters, octets, items or entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeEstimate {
    /// The least.
    pub min: u64,
    /// The most; `u64::MAX` is without bound.
    pub max: u64,
}

/// A range of costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostEstimate {
    /// The least.
    pub min: u64,
    /// The most; `u64::MAX` is without bound.
    pub max: u64,
}

impl SizeEstimate {
    pub(super) const UNKNOWN: SizeEstimate = SizeEstimate { min: 0, max: u64::MAX };

    pub(super) const fn fixed(size: u64) -> Self {
        SizeEstimate { min: size, max: size }
    }

    pub(super) fn add(self, other: Self) -> Self {
        SizeEstimate { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn times(self, other: Self) -> Self {
        SizeEstimate { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(super) fn union(self, other: Self) -> Self {
        SizeEstimate { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// What reading it costs at `factor` a unit.
    pub(super) fn cost(self, factor: f64) -> CostEstimate {
        CostEstimate { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    /// `cost` for each unit.
    pub(super) fn each(self, cost: CostEstimate) -> CostEstimate {
        CostEstimate { min: self.min.saturating_mul(cost.min), max: self.max.saturating_mul(cost.max) }
    }
}

impl CostEstimate {
    pub(super) const fn fixed(cost: u64) -> Self {
        CostEstimate { min: cost, max: cost }
    }

    pub(super) fn add(self, other: Self) -> Self {
        CostEstimate { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn times(self, other: Self) -> Self {
        CostEstimate { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(super) fn scale(self, factor: f64) -> Self {
        CostEstimate { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    pub(super) fn union(self, other: Self) -> Self {
        CostEstimate { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

fn scaled(n: u64, factor: f64) -> u64 {
    // A double beyond the range saturates, which is what is wanted here.
    (n as f64 * factor).ceil() as u64
}
