//! What a watch may show: a checker over the record of writers, watchers and lists. Pure.
//!
//! The store is one ordered log of revisions, each of which changes one object. From that follows everything checked
//! here: all watchers agree on every revision, each sees all of them from its start on, in order and once, and a write
//! that was acknowledged is in the log at the revision the client was told.

use std::collections::BTreeMap;

/// A revision of the store: the resourceVersion of an object.
pub type Revision = u64;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

/// One event as a watcher saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub revision: Revision,
    pub change: Change,
    pub name: String,
    pub value: String,
}

/// One continuous watch: where it started and what came, reconnects from its last revision included.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Everything after this revision is watched.
    pub after: Revision,
    /// The state at `after`: name to (revision, value).
    pub state: BTreeMap<String, (Revision, String)>,
    pub events: Vec<Seen>,
}

/// A write the server acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub revision: Revision,
    pub name: String,
    /// None for a delete.
    pub value: Option<String>,
}

/// A write nobody knows the outcome of: the connection broke.
#[derive(Clone, Debug)]
pub struct Unknown {
    pub name: String,
    pub value: Option<String>,
}

/// What the clients of a run wrote down.
#[derive(Default)]
pub struct Record {
    pub acknowledged: Vec<Acknowledged>,
    pub unknown: Vec<Unknown>,
    pub watches: Vec<Watched>,
    /// The list at the end: its revision and name to (revision, value).
    pub last: (Revision, BTreeMap<String, (Revision, String)>),
}

/// Every way in which the record contradicts one ordered log.
pub fn violations(record: &Record) -> Vec<String> {
    let mut found = Vec::new();
    let log = agree(record, &mut found);
    for (number, watch) in record.watches.iter().enumerate() {
        order(number, watch, &mut found);
        complete(number, watch, &log, &mut found);
        replay(number, watch, &mut found);
    }
    acknowledged(record, &log, &mut found);
    nothing_invented(record, &log, &mut found);
    ends(record, &log, &mut found);
    found
}

type Log<'a> = BTreeMap<Revision, &'a Seen>;

/// The union of what was seen; two watchers must not differ about a revision (but in whether it is an ADDED or MODIFIED,
/// which they cannot: no selector is used).
fn agree<'a>(record: &'a Record, found: &mut Vec<String>) -> Log<'a> {
    let mut log: Log<'a> = BTreeMap::new();
    for event in record.watches.iter().flat_map(|watch| &watch.events) {
        let known = log.entry(event.revision).or_insert(event);
        if *known != event {
            found.push(format!("watchers disagree: {known:?} and {event:?}"));
        }
    }
    log
}

fn order(number: usize, watch: &Watched, found: &mut Vec<String>) {
    let mut last = watch.after;
    for event in &watch.events {
        if event.revision <= last {
            found.push(format!("watcher {number}: {event:?} after revision {last}"));
        }
        last = event.revision;
    }
}

fn complete(number: usize, watch: &Watched, log: &Log<'_>, found: &mut Vec<String>) {
    let Some(last) = watch.events.last() else { return };
    let mut seen = watch.events.iter().map(|event| event.revision).collect::<Vec<_>>();
    seen.sort_unstable();
    for (revision, event) in log.range(watch.after + 1..=last.revision) {
        if seen.binary_search(revision).is_err() {
            found.push(format!("watcher {number}: gap, missed {event:?}"));
        }
    }
}

/// ADDED only what is not there, MODIFIED and DELETED only what is.
fn replay(number: usize, watch: &Watched, found: &mut Vec<String>) {
    let mut state = watch.state.clone();
    for event in &watch.events {
        let there = state.contains_key(&event.name);
        if there == (event.change == Change::Added) {
            found.push(format!(
                "watcher {number}: {event:?}, but it was {}there",
                if there { "" } else { "not " }
            ));
        }
        match event.change {
            Change::Deleted => drop(state.remove(&event.name)),
            _ => drop(state.insert(event.name.clone(), (event.revision, event.value.clone()))),
        }
    }
}

fn acknowledged(record: &Record, log: &Log<'_>, found: &mut Vec<String>) {
    let (Some(first), Some(last)) = (log.keys().next(), log.keys().next_back()) else { return };
    for write in record.acknowledged.iter().filter(|w| (*first..=*last).contains(&w.revision)) {
        let seen = log.get(&write.revision);
        let right = seen.is_some_and(|seen| {
            seen.name == write.name
                && match &write.value {
                    Some(value) => seen.change != Change::Deleted && seen.value == *value,
                    None => seen.change == Change::Deleted,
                }
        });
        if !right {
            found.push(format!("acknowledged write lost: {write:?}, the log has {seen:?}"));
        }
    }
}

/// An event is somebody's write: acknowledged, or of unknown outcome, which then happens at most once.
fn nothing_invented(record: &Record, log: &Log<'_>, found: &mut Vec<String>) {
    let mut unknown = record.unknown.clone();
    for (revision, event) in log {
        let told = record.acknowledged.iter().any(|write| write.revision == *revision);
        if told {
            continue;
        }
        let value = (event.change != Change::Deleted).then(|| event.value.clone());
        let at = unknown.iter().position(|write| write.name == event.name && write.value == value);
        match at {
            Some(at) => drop(unknown.remove(at)),
            None => found.push(format!("nobody wrote {event:?}")),
        }
    }
}

/// The last list is the log's end.
fn ends(record: &Record, log: &Log<'_>, found: &mut Vec<String>) {
    let (revision, listed) = &record.last;
    let mut last: BTreeMap<&str, &Seen> = BTreeMap::new();
    for event in log.range(..=*revision).map(|(_, event)| event) {
        last.insert(&event.name, event);
    }
    for (name, event) in last {
        let now = listed.get(name);
        let right = match event.change {
            Change::Deleted => now.is_none(),
            _ => now.is_some_and(|(at, value)| *at == event.revision && *value == event.value),
        };
        if !right {
            found.push(format!("the last list has {now:?} for {name}, the log ends with {event:?}"));
        }
    }
    let newest = record.acknowledged.iter().map(|write| write.revision).max().unwrap_or(0);
    if newest > *revision {
        found.push(format!("the last list is at {revision}, a write was acknowledged at {newest}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(revision: Revision, change: Change, value: &str) -> Seen {
        Seen { revision, change, name: "a".to_owned(), value: value.to_owned() }
    }

    fn good() -> Record {
        let events = vec![
            seen(11, Change::Added, "1"),
            seen(12, Change::Modified, "2"),
            seen(14, Change::Deleted, "2"),
            seen(15, Change::Added, "3"),
        ];
        let write = |revision, value: Option<&str>| Acknowledged {
            revision,
            name: "a".to_owned(),
            value: value.map(str::to_owned),
        };
        Record {
            acknowledged: vec![write(11, Some("1")), write(14, None), write(15, Some("3"))],
            unknown: vec![Unknown { name: "a".to_owned(), value: Some("2".to_owned()) }],
            watches: vec![
                Watched { after: 10, state: BTreeMap::new(), events: events.clone() },
                Watched {
                    after: 12,
                    state: [("a".to_owned(), (12, "2".to_owned()))].into(),
                    events: events[2..].to_vec(),
                },
            ],
            last: (16, [("a".to_owned(), (15, "3".to_owned()))].into()),
        }
    }

    #[test]
    fn a_faithful_record_has_no_violation() {
        assert_eq!(violations(&good()), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_lie_is_found() {
        type Spoil = fn(&mut Record);
        let cases: [(&str, Spoil); 8] = [
            ("gap", |r| drop(r.watches[0].events.remove(2))),
            ("after revision", |r| {
                let again = r.watches[0].events[1].clone();
                r.watches[0].events.insert(2, again);
            }),
            ("after revision", |r| r.watches[0].events.swap(0, 1)),
            ("disagree", |r| r.watches[1].events[1].value = "x".to_owned()),
            ("lost", |r| {
                r.watches.iter_mut().for_each(|w| w.events.retain(|e| e.revision != 14));
            }),
            ("nobody wrote", |r| r.unknown.clear()),
            ("last list", |r| r.last.1.clear()),
            ("a write was acknowledged", |r| r.last.0 = 12),
        ];
        for (number, (word, spoil)) in cases.into_iter().enumerate() {
            let mut record = good();
            spoil(&mut record);
            let found = violations(&record);
            assert!(found.iter().any(|text| text.contains(word)), "case {number}: no {word:?} in {found:?}");
        }
    }
}
