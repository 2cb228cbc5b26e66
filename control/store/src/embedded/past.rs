//! The state of a key range as of an earlier revision: the live entries, corrected by what changed since.
//!
//! Enters: a snapshot and a page request. Leaves: the page. Two ordered walks are merged, over the live keys and over the
//! keys in `history`; the first change after the wanted revision tells what was there before it. Memory is the page's.

use super::fault::Fault;
use super::format::{self, Counters, HISTORY, LOG, OBJECTS};
use crate::keys::scope_end;
use crate::{Entry, ListAt, Page, Revision, StoreError};
use redb::{AccessGuard, Range, ReadOnlyTable, ReadTransaction};
use std::cmp::Ordering;
use std::ops::Bound;

/// A change and its record.
type Since = (Revision, AccessGuard<'static, &'static [u8]>);
type Rows<'t> = Range<'t, &'static str, &'static [u8]>;

/// Reads one page of `scope`.
pub(super) fn page(
    snapshot: &ReadTransaction,
    counters: Counters,
    scope: &str,
    request: &ListAt,
) -> Result<Page, Fault> {
    let revision = request.revision.unwrap_or(counters.head);
    if revision > counters.head {
        return Err(StoreError::FutureRevision { requested: revision, head: counters.head }.into());
    }
    if revision < counters.compacted {
        return Err(StoreError::Compacted { oldest: counters.compacted }.into());
    }
    let end = scope_end(scope);
    // A page starts after its predecessor, but never outside of the prefix.
    let after = request.after.as_deref().filter(|after| *after >= scope);
    let start = after.map_or(Bound::Included(scope), Bound::Excluded);
    let objects = snapshot.open_table(OBJECTS)?;
    let live = objects.range::<&str>((start, end.as_deref().map_or(Bound::Unbounded, Bound::Excluded)))?;
    let changed = if revision == counters.head {
        None
    } else {
        Some(Changed::new(snapshot, revision, scope, after, end.as_deref())?)
    };
    let mut builder = Builder { entries: Vec::new(), limit: request.limit, left: request.left, remaining: 0 };
    merge(live, changed, &mut builder)?;
    Ok(Page { entries: builder.entries, revision, remaining: builder.remaining })
}

struct Builder {
    entries: Vec<Entry>,
    limit: usize,
    left: Option<u64>,
    remaining: u64,
}

impl Builder {
    fn is_full(&self) -> bool {
        self.limit > 0 && self.entries.len() >= self.limit
    }

    /// Whether nothing more has to be read: the page is full, something follows, and how much is known.
    fn is_done(&mut self) -> bool {
        let (true, Some(left)) = (self.remaining > 0, self.left) else { return false };
        self.remaining = left.saturating_sub(self.entries.len() as u64).max(1);
        true
    }

    fn live(&mut self, key: &str, record: &[u8]) -> Result<(), Fault> {
        if self.is_full() {
            self.remaining += 1;
        } else {
            self.entries.push(format::decode_entry(key, record)?);
        }
        Ok(())
    }

    fn past(&mut self, revision: Revision, record: &[u8]) -> Result<(), Fault> {
        if self.is_full() {
            self.remaining += u64::from(format::existed_before(revision, record)?);
        } else {
            self.entries.extend(format::entry_before(revision, record)?);
        }
        Ok(())
    }
}

fn merge(mut live: Rows<'_>, mut changed: Option<Changed>, page: &mut Builder) -> Result<(), Fault> {
    let mut row = live.next().transpose()?;
    loop {
        let order = match (&row, changed.as_ref().and_then(|changed| changed.key.as_deref())) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some(changed)) => key.value().cmp(changed),
        };
        // The change that follows the wanted revision, if the key has one: it knows the state before.
        let since = match (&mut changed, order) {
            (Some(changed), Ordering::Equal | Ordering::Greater) => changed.take()?,
            _ => None,
        };
        match (&since, &row) {
            (Some((revision, record)), _) => page.past(*revision, record.value())?,
            (None, Some((key, record))) if order != Ordering::Greater => {
                page.live(key.value(), record.value())?
            }
            _ => {}
        }
        if page.is_done() {
            return Ok(());
        }
        if order != Ordering::Greater {
            row = live.next().transpose()?;
        }
    }
}

/// The keys in `history` of a range, in order, each once.
struct Changed {
    history: ReadOnlyTable<(&'static str, u64), ()>,
    log: ReadOnlyTable<u64, &'static [u8]>,
    revision: Revision,
    end: Option<String>,
    /// The key the walk is at.
    key: Option<String>,
}

impl Changed {
    fn new(
        snapshot: &ReadTransaction,
        revision: Revision,
        scope: &str,
        after: Option<&str>,
        end: Option<&str>,
    ) -> Result<Self, Fault> {
        let (history, log) = (snapshot.open_table(HISTORY)?, snapshot.open_table(LOG)?);
        let mut changed = Self { history, log, revision, end: end.map(str::to_owned), key: None };
        let start = after.map_or(Bound::Included((scope, 0)), |after| Bound::Excluded((after, u64::MAX)));
        changed.key = changed.first(start)?;
        Ok(changed)
    }

    fn first(&self, start: Bound<(&str, u64)>) -> Result<Option<String>, Fault> {
        let end = self.end.as_deref().map_or(Bound::Unbounded, |end| Bound::Excluded((end, 0)));
        let row = self.history.range::<(&str, u64)>((start, end))?.next().transpose()?;
        Ok(row.map(|(row, _)| row.value().0.to_owned()))
    }

    /// The first change of the present key after the wanted revision, if there is one; the walk goes on.
    fn take(&mut self) -> Result<Option<Since>, Fault> {
        let Some(key) = self.key.take() else { return Ok(None) };
        let rows =
            (Bound::Excluded((key.as_str(), self.revision)), Bound::Included((key.as_str(), u64::MAX)));
        let first = self.history.range::<(&str, u64)>(rows)?.next().transpose()?;
        let since = match first.map(|(row, _)| row.value().1) {
            None => None,
            Some(revision) => {
                let record = self.log.get(revision)?.ok_or_else(|| {
                    StoreError::Corrupt(format!("the change of revision {revision} is missing"))
                })?;
                Some((revision, record))
            }
        };
        self.key = self.first(Bound::Excluded((key.as_str(), u64::MAX)))?;
        Ok(since)
    }
}
