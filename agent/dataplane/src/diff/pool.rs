//! Numbers to give out: single ids, and contiguous ranges of slots. PURE.

use std::collections::{BTreeMap, BTreeSet};

/// Ids below a bound; the most recently freed is given out first.
#[derive(Clone, Debug)]
pub struct Ids {
    next: u32,
    bound: u32,
    free: Vec<u32>,
}

impl Ids {
    /// Ids `0..bound`.
    pub fn new(bound: u32) -> Self {
        Self { next: 0, bound, free: Vec::new() }
    }

    /// Ids `0..bound` of which `used` are taken.
    pub fn adopt(bound: u32, used: &BTreeSet<u32>) -> Self {
        let next = used.last().map_or(0, |last| last + 1);
        Self { next, bound, free: (0..next).rev().filter(|id| !used.contains(id)).collect() }
    }

    /// How many can still be given out.
    pub fn left(&self) -> u32 {
        self.bound - self.next + self.free.len() as u32
    }

    /// One id, or `None` if all are taken.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        (self.next < self.bound).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Gives an id back.
    pub fn give(&mut self, id: u32) {
        debug_assert!(id < self.next);
        self.free.push(id);
    }
}

/// A contiguous range of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// First slot.
    pub base: u32,
    /// Number of slots, at least 1.
    pub len: u32,
}

/// Ranges below a bound: the smallest that fits, neighbours merged when freed.
#[derive(Clone, Debug)]
pub struct Ranges {
    by_base: BTreeMap<u32, u32>,
    by_len: BTreeSet<(u32, u32)>,
}

impl Ranges {
    /// All of `0..bound`.
    pub fn new(bound: u32) -> Self {
        let mut ranges = Self { by_base: BTreeMap::new(), by_len: BTreeSet::new() };
        if bound > 0 {
            ranges.insert(0, bound);
        }
        ranges
    }

    /// All of `0..bound` but `used`, which must not overlap.
    pub fn adopt(bound: u32, used: &BTreeSet<Range>) -> Self {
        let mut ranges = Self { by_base: BTreeMap::new(), by_len: BTreeSet::new() };
        let mut at = 0;
        for range in used {
            if range.base > at {
                ranges.insert(at, range.base - at);
            }
            at = at.max(range.base + range.len);
        }
        if bound > at {
            ranges.insert(at, bound - at);
        }
        ranges
    }

    fn insert(&mut self, base: u32, len: u32) {
        self.by_base.insert(base, len);
        self.by_len.insert((len, base));
    }

    fn remove(&mut self, base: u32, len: u32) {
        self.by_base.remove(&base);
        self.by_len.remove(&(len, base));
    }

    /// A range of `len` slots (at least 1), or `None` if no gap is that long.
    pub fn take(&mut self, len: u32) -> Option<Range> {
        let (gap, base) = *self.by_len.range((len, 0)..).next()?;
        self.remove(base, gap);
        if gap > len {
            self.insert(base + len, gap - len);
        }
        Some(Range { base, len })
    }

    /// Gives a range back.
    pub fn give(&mut self, range: Range) {
        let Range { mut base, mut len } = range;
        if let Some((before, before_len)) = self.by_base.range(..base).next_back().map(|(b, l)| (*b, *l))
            && before + before_len == base
        {
            self.remove(before, before_len);
            base = before;
            len += before_len;
        }
        if let Some(after_len) = self.by_base.get(&(range.base + range.len)).copied() {
            self.remove(range.base + range.len, after_len);
            len += after_len;
        }
        self.insert(base, len);
    }

    /// Slots not given out.
    pub fn left(&self) -> u32 {
        self.by_base.values().sum()
    }
}
