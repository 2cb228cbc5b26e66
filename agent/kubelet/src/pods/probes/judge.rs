//! Counting probe results against thresholds (pure). Enters: single results. Leaves: a verdict at each threshold.

/// Counts results in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judge {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
    verdict: Option<bool>,
}

impl Judge {
    /// Thresholds as in the specification: 1 success, 3 failures by default.
    pub fn new(success_threshold: Option<i32>, failure_threshold: Option<i32>) -> Self {
        let least = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Judge {
            success_threshold: least(success_threshold, 1),
            failure_threshold: least(failure_threshold, 3),
            last: None,
            run: 0,
            verdict: None,
        }
    }

    /// Counts one result; `Some` if the verdict is new.
    pub fn count(&mut self, healthy: bool) -> Option<bool> {
        self.run = if self.last == Some(healthy) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(healthy);
        let threshold = if healthy { self.success_threshold } else { self.failure_threshold };
        if self.run < threshold || self.verdict == Some(healthy) {
            return None;
        }
        self.verdict = Some(healthy);
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_results_in_a_row() {
        let mut judge = Judge::new(Some(2), Some(3));
        let results = [true, true, true, false, false, true, false, false, false, false, true, true];
        let verdicts: Vec<Option<bool>> = results.iter().map(|healthy| judge.count(*healthy)).collect();
        let (yes, no) = (Some(true), Some(false));
        let expected = [None, yes, None, None, None, None, None, None, no, None, None, yes];
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn defaults_are_one_success_and_three_failures() {
        let mut judge = Judge::new(None, Some(0));
        assert_eq!([judge.count(false), judge.count(false), judge.count(false)], [None, None, Some(false)]);
        assert_eq!(judge.count(true), Some(true));
    }
}
