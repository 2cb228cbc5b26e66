//! Maglev rows of service ports in LUT: where they lie, and when a selection has one. PURE.
//!
//! A row is written before the slots it leads to, and named by META only after the selection that it was made for; a
//! reader between the two finds generations that differ and chooses without. What a service port cannot have it works
//! without: its clients then change endpoints where they change nodes.

use xebec_abi::service::{ROW_ENTRIES, Sel};

use super::layout::Layout;
use super::{Freed, Installed, Live, Range, maglev};
use crate::maps::Write;
use crate::model::{FrontKey, ServicePort};

/// A service port that asks for a row and has none: nodes give its clients' flows different endpoints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{service}: no Maglev row for {endpoints} endpoints ({why}); each node chooses at random")]
pub struct NoRow {
    /// The service port.
    pub service: String,
    /// How many endpoints it has.
    pub endpoints: u32,
    /// What is in the way.
    pub why: Why,
}

/// Why there is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// More endpoints than any table is for.
    Endpoints,
    /// LUT has no room of so many elements in one piece.
    Room(u32),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoints => f.write_str("no table is for so many"),
            Self::Room(wanted) => {
                write!(f, "{wanted} elements of LUT are not free in one piece; raise --bpf-max-endpoints")
            }
        }
    }
}

/// A row that is written and not named yet.
pub(super) struct Row {
    range: Range,
    size: u32,
}

impl Row {
    /// What names it beside a selection of a generation.
    pub(super) const fn lut(&self, generation: u16) -> Sel {
        Sel::new(self.range.base, self.size, generation)
    }

    /// Where it lies.
    pub(super) const fn range(&self) -> Range {
        self.range
    }
}

/// The elements of LUT that a row named by META has.
pub(super) fn range(lut: Sel) -> Option<Range> {
    (lut.count() > 0).then(|| Range { base: lut.base(), len: lut.count().div_ceil(ROW_ENTRIES) })
}

/// The size of the row that a service port is to have.
fn wanted(port: &ServicePort) -> Option<u32> {
    maglev::size(port.sets.cluster.len()).filter(|_| port.consistent)
}

impl Installed {
    /// Writes a row for the layout's `sel_cluster`, if the service port is to have one and it fits.
    pub(super) fn write_row(
        &mut self,
        port: &ServicePort,
        layout: &Layout,
        writes: &mut Vec<Write>,
    ) -> Option<Row> {
        let (first, count) = (layout.cluster.0 as usize, layout.cluster.1);
        if !port.consistent || count < 2 {
            self.rowless.remove(&port.primary);
            return None;
        }
        let elements = |size: u32| size.div_ceil(ROW_ENTRIES);
        let room = wanted(port).ok_or(Why::Endpoints).and_then(|size| {
            let range = self.rows.take(elements(size)).ok_or(Why::Room(elements(size)))?;
            Ok(Row { range, size })
        });
        match room {
            Ok(row) => {
                self.rowless.remove(&port.primary);
                // The size was found for this very number.
                let entries = maglev::row(&layout.order[first..first + count as usize])?;
                writes.push(Write::Row { at: row.range.base, elements: maglev::elements(&entries) });
                Some(row)
            }
            Err(why) => {
                let missing = NoRow { service: port.name.clone(), endpoints: count, why };
                // Said once for a service port, until it has a row again.
                if self.rowless.insert(port.primary, why).is_none() {
                    self.unsaid.push(missing);
                }
                None
            }
        }
    }

    /// Names a written row beside the selection, which is published.
    pub(super) fn name_row(&mut self, live: &mut Live, row: &Row, writes: &mut Vec<Write>) {
        live.lut = row.lut(live.cluster.generation());
        writes.push(Write::Lut { index: live.index, lut: live.lut });
        self.free_row(live.row.replace(row.range));
    }

    /// Takes a row's name away, if there is one, and then the row.
    pub(super) fn drop_row(&mut self, live: &mut Live, writes: &mut Vec<Write>) {
        if live.lut != Sel::default() {
            live.lut = Sel::default();
            writes.push(Write::Lut { index: live.index, lut: live.lut });
        }
        self.free_row(live.row.take());
    }

    pub(super) fn free_row(&mut self, row: Option<Range>) {
        self.freed.extend(row.map(Freed::Row));
    }

    /// Gives a service port whose endpoints stay the row it is to have: it may ask for one only now, or no longer, or an
    /// agent was killed before it named the row of the last selection.
    pub(super) fn settle_row(
        &mut self,
        port: &ServicePort,
        live: &mut Live,
        layout: &Layout,
        writes: &mut Vec<Write>,
    ) {
        let current = live.row.is_some() && live.lut.generation() == live.cluster.generation();
        if current && wanted(port) == Some(live.lut.count()) {
            return;
        }
        match self.write_row(port, layout, writes) {
            Some(row) => self.name_row(live, &row, writes),
            None => self.drop_row(live, writes),
        }
    }

    /// The service ports without a row that were not told of before.
    pub fn take_rowless(&mut self) -> Vec<NoRow> {
        std::mem::take(&mut self.unsaid)
    }

    /// The service ports whose row did not fit, if rows were freed since the last call: they are to be reconciled again with
    /// whatever changes next. Nothing hurries, as they are served.
    pub fn take_crowded(&mut self) -> Vec<FrontKey> {
        if !std::mem::take(&mut self.roomier) {
            return Vec::new();
        }
        let crowded = |(key, why): (&FrontKey, &Why)| matches!(why, Why::Room(_)).then_some(*key);
        self.rowless.iter().filter_map(crowded).collect()
    }
}
