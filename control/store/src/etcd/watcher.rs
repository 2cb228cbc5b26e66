//! One watch on etcd, across broken connections: it resumes after the last revision it delivered.
//!
//! etcd sends all events of a revision in one response and a progress notification only for a watch that has
//! everything, so the cursor is the last response's revision and a resumed watch neither misses nor repeats.

use super::convert::{self, Refusal};
use crate::{Revision, StoreError, Watch, WatchEvent};
use etcd_client::{WatchClient, WatchOptions, WatchResponse, WatchStream};
use futures::stream;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long etcd may take to answer the creation of a watch.
const PATIENCE: Duration = Duration::from_secs(10);

struct Watcher {
    client: WatchClient,
    scope: String,
    cursor: Revision,
    connection: Option<WatchStream>,
    pause: Duration,
    ready: VecDeque<WatchEvent>,
    progress: watch::Sender<Revision>,
}

/// Starts a watch of the keys in `scope`, after `cursor`, which the caller has checked against compaction.
pub(super) fn start(client: WatchClient, scope: String, cursor: Revision) -> Watch {
    let progress = watch::Sender::new(cursor);
    let follow = progress.subscribe();
    let ready = VecDeque::new();
    let watcher = Watcher { client, scope, cursor, connection: None, pause: FIRST_PAUSE, ready, progress };
    let events = stream::unfold(Some(watcher), async |state| {
        let mut watcher = state?;
        match watcher.next().await {
            Ok(event) => Some((Ok(event), Some(watcher))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Watch::new(events, follow)
}

/// Asks etcd for its compacted revision: a watch from the first revision is refused with it.
pub(super) async fn compacted_revision(mut client: WatchClient) -> Result<Revision, StoreError> {
    let probe = async {
        let mut stream = create(&mut client, "", 1).await?;
        while let Some(response) = stream.message().await? {
            if response.compact_revision() > 0 {
                return Ok(convert::revision(response.compact_revision()));
            }
        }
        Err(etcd_client::Error::WatchError("etcd ended the watch".to_owned()))
    };
    match tokio::time::timeout(PATIENCE, probe).await {
        Ok(Ok(revision)) => Ok(revision),
        Ok(Err(error)) => Err(convert::refusal(&error).into_store()),
        Err(_) => Err(StoreError::Unavailable("etcd did not report its compacted revision".to_owned())),
    }
}

async fn create(
    client: &mut WatchClient,
    scope: &str,
    from: Revision,
) -> Result<WatchStream, etcd_client::Error> {
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(convert::number(from))
        .with_prev_key()
        .with_progress_notify();
    client.watch(scope, Some(options)).await
}

impl Watcher {
    async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.progress.send_if_modified(|reached| std::mem::replace(reached, self.cursor) != self.cursor);
            let message = match &mut self.connection {
                None => {
                    self.connect().await?;
                    continue;
                }
                Some(connection) => connection.message().await,
            };
            match message {
                Ok(Some(response)) => self.accept(&response)?,
                Ok(None) => self.disconnected("etcd ended the stream"),
                Err(error) => match convert::refusal(&error) {
                    Refusal::Compacted => return Err(StoreError::Compacted { oldest: self.oldest().await? }),
                    refusal => self.disconnected(&refusal.into_store().to_string()),
                },
            }
        }
    }

    async fn oldest(&self) -> Result<Revision, StoreError> {
        compacted_revision(self.client.clone()).await
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        let creating = create(&mut self.client, &self.scope, self.cursor + 1);
        match tokio::time::timeout(PATIENCE, creating).await {
            Ok(Ok(connection)) => self.connection = Some(connection),
            Ok(Err(error)) => match convert::refusal(&error) {
                Refusal::Configuration(text) => return Err(StoreError::Configuration(text)),
                refusal => self.disconnected(&refusal.into_store().to_string()),
            },
            Err(_) => self.disconnected("creating the watch timed out"),
        }
        if self.connection.is_none() {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    fn disconnected(&mut self, reason: &str) {
        tracing::warn!(scope = self.scope, after = self.cursor, reason, "etcd watch broken; it will resume");
        self.connection = None;
    }

    fn accept(&mut self, response: &WatchResponse) -> Result<(), StoreError> {
        if response.compact_revision() > 0 {
            return Err(StoreError::Compacted { oldest: convert::revision(response.compact_revision()) });
        }
        if response.canceled() {
            self.disconnected(response.cancel_reason());
            return Ok(());
        }
        self.pause = FIRST_PAUSE;
        for event in response.events() {
            let event = convert::event(event)?;
            if event.revision > self.cursor {
                self.ready.push_back(event);
            }
        }
        let reached = match self.ready.back() {
            Some(event) => event.revision,
            // Without events and not the answer to the creation: a progress notification.
            None if !response.created() => convert::head(response.header())?,
            None => self.cursor,
        };
        self.cursor = self.cursor.max(reached);
        Ok(())
    }
}
