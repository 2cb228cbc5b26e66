//! A watcher: a cursor into a cache's log that becomes a stream of encoded frames.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, unfold};
use futures::{FutureExt, Stream, StreamExt};
use tokio::time::Instant;
use tracing::debug;
use xebec_api::status::ApiError;
use xebec_store::{EventKind, Store};

use super::{Cache, Caches, Change, Cut, Event, Object, ReadFrom, Selection};

/// How often a watcher that asked for bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Longest time a watcher may take to catch up from the store's history.
const REPLAY_PATIENCE: Duration = Duration::from_secs(10);

/// Turns events into the bytes of one response; the representation (JSON, Table, protobuf) is the sink's business.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// An event of the log, `object` being what this watcher is shown.
    fn event(&self, kind: &'static str, object: &Arc<Object>, event: &Event) -> Bytes;
    /// An object of the initial state.
    fn initial(&self, object: &Arc<Object>) -> Bytes;
    /// A bookmark at `revision`; `end_of_initial` marks the end of the initial events (WatchList).
    fn bookmark(&self, revision: u64, end_of_initial: bool) -> Bytes;
    /// The objects as this watcher is shown them, in their order; an error ends the watch with that error.
    async fn convert(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, ApiError>;
    /// Whether [`EventSink::convert`] can have anything to do.
    fn converts(&self) -> bool;
    /// Whether selectors look at converted objects.
    fn selects_converted(&self) -> bool;
    /// The last frame of a watch that cannot go on.
    fn failed(&self, error: &ApiError) -> Bytes;
    /// The last frame: the requested revision is gone (410 Expired).
    fn expired(&self, requested: u64, oldest: u64) -> Bytes;
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchStart {
    /// The present objects as ADDED first, then everything after them.
    Initial {
        /// Ends the initial events with a marked bookmark.
        marked: bool,
    },
    /// Every event after this revision.
    After(u64),
}

/// One watch.
pub struct WatchRequest {
    /// What it selects.
    pub selection: Selection,
    /// Where it begins.
    pub start: WatchStart,
    /// Whether it wants bookmarks.
    pub bookmarks: bool,
    /// The stream ends after this long.
    pub timeout: Duration,
    /// And when this happens.
    pub until: BoxFuture<'static, ()>,
}

/// What a watcher waits for besides changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alarm {
    /// The watch is over.
    End,
    /// It is time for a bookmark.
    Bookmark,
}

/// The alarms of one watcher. They are set once and looked at only when they ring: a change, which comes far more often,
/// must not set them anew.
type Alarms = FuturesUnordered<BoxFuture<'static, Alarm>>;

struct Watcher {
    cache: Arc<Cache>,
    caches: Arc<Caches>,
    store: Arc<dyn Store>,
    sink: Arc<dyn EventSink>,
    selection: Selection,
    start: WatchStart,
    head: tokio::sync::watch::Receiver<u64>,
    cursor: u64,
    /// Whether there may be events after the cursor that need no waiting for.
    behind: bool,
    alarms: Alarms,
    initial: bool,
    ended: bool,
}

/// The frames of a watch; the stream ends at the request's timeout or after an `expired` frame.
pub fn stream(
    cache: Arc<Cache>,
    caches: Arc<Caches>,
    store: Arc<dyn Store>,
    sink: Arc<dyn EventSink>,
    request: WatchRequest,
) -> impl Stream<Item = Bytes> + Send {
    let (cursor, initial) = match request.start {
        WatchStart::Initial { .. } => (0, true),
        WatchStart::After(revision) => (revision, false),
    };
    let head = cache.subscribe();
    let deadline = Instant::now() + request.timeout;
    let WatchRequest { selection, start, bookmarks, until, .. } = request;
    let closed = cache.closed().clone().cancelled_owned();
    let alarms: Alarms = [
        until.map(|()| Alarm::End).boxed(),
        closed.map(|()| Alarm::End).boxed(),
        tokio::time::sleep_until(deadline).map(|()| Alarm::End).boxed(),
    ]
    .into_iter()
    .collect();
    if bookmarks {
        alarms.push(bookmark_alarm());
    }
    let (behind, ended) = (true, false);
    let watcher = Watcher {
        cache,
        caches,
        store,
        sink,
        selection,
        start,
        head,
        cursor,
        behind,
        alarms,
        initial,
        ended,
    };
    unfold(watcher, |mut watcher| async move {
        let frames = watcher.next().await?;
        Some((frames, watcher))
    })
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if std::mem::take(&mut self.initial) {
            let frames = self.initial_state().await;
            if !frames.is_empty() {
                return Some(frames);
            }
        }
        loop {
            if std::mem::take(&mut self.behind) {
                // In this order: a change after it is noticed below.
                self.head.mark_unchanged();
                let frames = match self.cache.read(self.cursor) {
                    ReadFrom::Log(events) => self.encode(&events).await,
                    ReadFrom::Behind { log_start } => {
                        self.behind = true;
                        self.replay(log_start).await
                    }
                };
                if !frames.is_empty() {
                    return Some(frames);
                }
                if self.ended {
                    return None;
                }
                continue;
            }
            let alarm = tokio::select! {
                biased;
                changed = self.head.changed() => {
                    changed.ok()?;
                    self.behind = true;
                    continue;
                }
                alarm = self.alarms.next() => alarm,
            };
            if alarm != Some(Alarm::Bookmark) {
                return None;
            }
            self.alarms.push(bookmark_alarm());
            if let Some(frame) = self.bookmark() {
                return Some(frame);
            }
        }
    }

    /// The newest applied revision first, then the log: nothing below that revision can be missing from the log.
    fn bookmark(&mut self) -> Option<Bytes> {
        let applied = self.caches.applied();
        let ReadFrom::Log(events) = self.cache.read(self.cursor) else { return None };
        if !events.is_empty() || applied <= self.cursor {
            return None;
        }
        self.cursor = applied;
        Some(self.sink.bookmark(applied, false))
    }

    async fn initial_state(&mut self) -> Bytes {
        let applied = self.caches.applied();
        let selection = &self.selection;
        let late = self.sink.selects_converted() && !selection.is_whole();
        let namespace = Selection::everything(selection.namespace.clone());
        let listed = self.cache.list(if late { &namespace } else { selection }, Cut::default());
        self.cursor = applied.max(listed.revision);
        let mut objects = match self.sink.convert(listed.objects).await {
            Ok(objects) => objects,
            Err(error) => return self.fail(&error),
        };
        objects.retain(|object| !late || self.selection.matches(object));
        let mut frames = BytesMut::new();
        for object in &objects {
            frames.extend_from_slice(&self.sink.initial(object));
        }
        if self.start == (WatchStart::Initial { marked: true }) {
            frames.extend_from_slice(&self.sink.bookmark(self.cursor, true));
        }
        frames.freeze()
    }

    fn fail(&mut self, error: &ApiError) -> Bytes {
        self.ended = true;
        self.sink.failed(error)
    }

    async fn encode(&mut self, events: &[Arc<Event>]) -> Bytes {
        if let Some(last) = events.last() {
            self.cursor = last.revision;
        }
        if self.sink.converts() {
            return self.encode_converted(events).await.unwrap_or_else(|error| self.fail(&error));
        }
        joined(events.iter().filter_map(|event| {
            let (kind, object) = event.seen_by(|object| self.selection.matches(object))?;
            Some(self.sink.event(kind, &object, event))
        }))
    }

    async fn encode_converted(&mut self, events: &[Arc<Event>]) -> Result<Bytes, ApiError> {
        let late = self.sink.selects_converted() && !self.selection.is_whole();
        let converted = if late { Some(self.converted(events).await?) } else { None };
        let seen = |event: &Arc<Event>| {
            let (kind, object) = event.seen_by(|object| self.selection.matches(object))?;
            Some((kind, object, Arc::clone(event)))
        };
        let mut shown: Vec<_> = converted.as_deref().unwrap_or(events).iter().filter_map(seen).collect();
        if !late {
            let objects = shown.iter().map(|(_, object, _)| Arc::clone(object)).collect();
            let objects = self.sink.convert(objects).await?;
            shown.iter_mut().zip(objects).for_each(|(shown, object)| shown.1 = object);
        }
        Ok(joined(shown.iter().map(|(kind, object, event)| self.sink.event(kind, object, event))))
    }

    /// The events with both states converted, for a selection that looks at those.
    async fn converted(&mut self, events: &[Arc<Event>]) -> Result<Vec<Arc<Event>>, ApiError> {
        let states = |event: &Arc<Event>| {
            std::iter::once(Arc::clone(&event.object)).chain(event.previous.clone()).collect::<Vec<_>>()
        };
        let mut objects = self.sink.convert(events.iter().flat_map(states).collect()).await?.into_iter();
        let events = events.iter().filter_map(|event| {
            let object = objects.next()?;
            let previous = event.previous.as_ref().and_then(|_| objects.next());
            Some(Arc::new(Event::new(event.revision, event.change, object, previous)))
        });
        Ok(events.collect())
    }

    /// Catches up from the store's own history to where the log begins.
    async fn replay(&mut self, log_start: u64) -> Bytes {
        match tokio::time::timeout(REPLAY_PATIENCE, self.history(log_start)).await {
            Ok(Some(events)) => {
                let frames = self.encode(&events).await;
                self.cursor = self.cursor.max(log_start);
                frames
            }
            Ok(None) | Err(_) => {
                debug!(resource = self.cache.plural, revision = self.cursor, log_start, "watch expired");
                self.ended = true;
                self.sink.expired(self.cursor, log_start)
            }
        }
    }

    async fn history(&mut self, until: u64) -> Option<Vec<Arc<Event>>> {
        let mut watch = self.store.watch("/registry/", self.cursor).await.ok()?;
        let mut events = Vec::new();
        while let Some(event) = watch.next().await {
            let event = event.ok()?;
            if event.revision > until {
                break;
            }
            if event.entry.key.starts_with(self.cache.prefix()) {
                let change = match event.kind {
                    EventKind::Put => Change::Put,
                    EventKind::Delete => Change::Delete,
                };
                let parse = |bytes: &[u8], revision| {
                    Object::stored(bytes, revision, self.cache.strategy.as_ref()).map(Arc::new).ok()
                };
                let object = parse(&event.entry.value, event.revision)?;
                let previous = match change {
                    Change::Put => event.previous.as_ref().and_then(|bytes| parse(bytes, event.revision)),
                    Change::Delete => Some(Arc::clone(&object)),
                };
                events.push(Arc::new(Event::new(event.revision, change, object, previous)));
            }
            if event.revision >= until {
                break;
            }
        }
        Some(events)
    }
}

fn bookmark_alarm() -> BoxFuture<'static, Alarm> {
    tokio::time::sleep(BOOKMARK_EVERY).map(|()| Alarm::Bookmark).boxed()
}

/// The frames as one; a single one, which is the rule, as it is.
fn joined(mut frames: impl Iterator<Item = Bytes>) -> Bytes {
    let Some(first) = frames.next() else { return Bytes::new() };
    let Some(second) = frames.next() else { return first };
    let mut all = BytesMut::with_capacity(4 * (first.len() + second.len()));
    for frame in [first, second].into_iter().chain(frames) {
        all.extend_from_slice(&frame);
    }
    all.freeze()
}
