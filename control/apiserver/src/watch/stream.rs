//! A watcher: a cursor into a cache's log that becomes a stream of encoded frames.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream::unfold};
use tokio::time::Instant;
use tracing::debug;
use xebec_api::status::ApiError;
use xebec_store::{EventKind, Store};

use super::{Cache, Caches, Change, Event, Object, ReadFrom, Selection};

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
}

struct Watcher {
    cache: Arc<Cache>,
    caches: Arc<Caches>,
    store: Arc<dyn Store>,
    sink: Arc<dyn EventSink>,
    request: WatchRequest,
    head: tokio::sync::watch::Receiver<u64>,
    cursor: u64,
    deadline: Instant,
    next_bookmark: Instant,
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
    let now = Instant::now();
    let (cursor, initial) = match request.start {
        WatchStart::Initial { .. } => (0, true),
        WatchStart::After(revision) => (revision, false),
    };
    let head = cache.subscribe();
    let watcher = Watcher {
        deadline: now + request.timeout,
        next_bookmark: now + BOOKMARK_EVERY,
        cache,
        caches,
        store,
        sink,
        request,
        head,
        cursor,
        initial,
        ended: false,
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
            self.head.mark_unchanged();
            let frames = match self.cache.read(self.cursor) {
                ReadFrom::Log(events) => self.encode(&events).await,
                ReadFrom::Behind { log_start } => self.replay(log_start).await,
            };
            if !frames.is_empty() {
                return Some(frames);
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                changed = self.head.changed() => changed.ok()?,
                () = self.cache.closed().cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.request.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    if let Some(frame) = self.bookmark() {
                        return Some(frame);
                    }
                }
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
        let selection = &self.request.selection;
        let late = self.sink.selects_converted() && !selection.is_whole();
        let namespace = Selection::everything(selection.namespace.clone());
        let listed = self.cache.list(if late { &namespace } else { selection }, None, 0);
        self.cursor = applied.max(listed.revision);
        let mut objects = match self.sink.convert(listed.objects).await {
            Ok(objects) => objects,
            Err(error) => return self.fail(&error),
        };
        objects.retain(|object| !late || self.request.selection.matches(object));
        let mut frames = BytesMut::new();
        for object in &objects {
            frames.extend_from_slice(&self.sink.initial(object));
        }
        if self.request.start == (WatchStart::Initial { marked: true }) {
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
        let late = self.sink.selects_converted() && !self.request.selection.is_whole();
        let converted = match late {
            true => self.converted(events).await.map(Some),
            false => Ok(None),
        };
        let events = match &converted {
            Ok(converted) => converted.as_deref().unwrap_or(events),
            Err(error) => return self.fail(error),
        };
        let selection = &self.request.selection;
        let seen = |event: &Arc<Event>| {
            let (kind, object) = event.seen_by(|object| selection.matches(object))?;
            Some((kind, object, Arc::clone(event)))
        };
        let mut shown: Vec<_> = events.iter().filter_map(seen).collect();
        if self.sink.converts() && !late {
            let objects = shown.iter().map(|(_, object, _)| Arc::clone(object)).collect();
            match self.sink.convert(objects).await {
                Ok(objects) => shown.iter_mut().zip(objects).for_each(|(shown, object)| shown.1 = object),
                Err(error) => return self.fail(&error),
            }
        }
        let mut single = None;
        let mut many = BytesMut::new();
        for (kind, object, event) in &shown {
            let frame = self.sink.event(kind, object, event);
            match single.take() {
                None if many.is_empty() => single = Some(frame),
                None => many.extend_from_slice(&frame),
                Some(first) => {
                    many.extend_from_slice(&first);
                    many.extend_from_slice(&frame);
                }
            }
        }
        single.unwrap_or_else(|| many.freeze())
    }

    /// The events with both states converted, for a selection that looks at those.
    async fn converted(&self, events: &[Arc<Event>]) -> Result<Vec<Arc<Event>>, ApiError> {
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

    async fn history(&self, until: u64) -> Option<Vec<Arc<Event>>> {
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
                    let value = serde_json::from_slice(bytes).ok()?;
                    Some(Arc::new(Object::new(value, revision, self.cache.strategy.as_deref())))
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
