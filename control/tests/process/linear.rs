//! Watches are linearizable: concurrent writers, watchers that reconnect, relists, the server killed in between, history
//! compacted behind them. The run is a few seconds of real traffic on loopback; a checker then looks for gaps,
//! duplicates, reordering and lost writes.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::Mutex;

use super::history::{Acknowledged, Change, Record, Seen, Unknown, Watched, violations};
use super::server::Server;

const WRITERS: usize = 4;
const WATCHERS: usize = 6;
const OBJECTS: usize = 6;
const KILLS: usize = 3;

#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    stop: AtomicBool,
}

fn revision(map: &ConfigMap) -> u64 {
    map.resource_version().unwrap_or_default().parse().unwrap_or_default()
}

fn value(map: &ConfigMap) -> String {
    map.data.as_ref().and_then(|data| data.get("value")).cloned().unwrap_or_default()
}

fn object(name: &str, value: &str, revision: Option<String>) -> ConfigMap {
    let mut map =
        ConfigMap { data: Some([("value".to_owned(), value.to_owned())].into()), ..Default::default() };
    map.metadata.name = Some(name.to_owned());
    map.metadata.resource_version = revision;
    map
}

/// Whether the server answered; otherwise nobody knows what became of the write.
fn refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code != 503 && status.code != 504)
}

/// Creates, replaces by compare-and-swap and deletes objects that all writers fight over.
async fn write(client: Client, shared: Arc<Shared>, number: usize) {
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    for round in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("shared-{}", (number * 7 + round * 5) % OBJECTS);
        let wanted = format!("{number}-{round}");
        let (outcome, written) = match api.get(&name).await {
            Ok(map) if round % 9 == 8 => {
                let pinned = DeleteParams {
                    preconditions: Some(kube::api::Preconditions {
                        resource_version: map.resource_version(),
                        uid: map.uid(),
                    }),
                    ..DeleteParams::default()
                };
                (api.delete(&name, &pinned).await.map(|_| None), None)
            }
            Ok(map) => {
                let new = object(&name, &wanted, map.resource_version());
                (api.replace(&name, &PostParams::default(), &new).await.map(Some), Some(wanted))
            }
            Err(error) if refused(&error) => (
                api.create(&PostParams::default(), &object(&name, &wanted, None)).await.map(Some),
                Some(wanted),
            ),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let mut record = shared.record.lock().await;
        match outcome {
            Ok(Some(map)) => {
                record.acknowledged.push(Acknowledged { revision: revision(&map), name, value: written });
            }
            // The answer to a delete does not name its revision: its event must be there all the same, as one of unknown
            // outcome, and the next create of the same name proves that it happened.
            Ok(None) => record.unknown.push(Unknown { name, value: None }),
            Err(error) if refused(&error) => {}
            Err(_) => record.unknown.push(Unknown { name, value: written }),
        }
    }
}

async fn listed(api: &Api<ConfigMap>) -> Option<(u64, BTreeMap<String, (u64, String)>)> {
    let list = api.list(&ListParams::default()).await.ok()?;
    let state = list.items.iter().filter(|map| map.name_any().starts_with("shared-"));
    let state = state.map(|map| (map.name_any(), (revision(map), value(map)))).collect();
    Some((list.metadata.resource_version?.parse().ok()?, state))
}

/// Lists, then watches from there; reconnects from the last revision it saw, relists after 410.
async fn watch(client: Client, shared: Arc<Shared>, until: Arc<Mutex<u64>>) {
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    loop {
        let Some((after, state)) = listed(&api).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut watched = Watched { after, state, events: Vec::new() };
        let mut cursor = after;
        let expired = loop {
            let end = *until.lock().await;
            if end > 0 && cursor >= end {
                shared.record.lock().await.watches.push(watched);
                return;
            }
            match follow(&api, &mut cursor, &mut watched, &until).await {
                Ok(()) => {}
                Err(()) => break true,
            }
        };
        if expired {
            shared.record.lock().await.watches.push(watched);
        }
    }
}

/// One connection; an error when the revision is too old.
async fn follow(
    api: &Api<ConfigMap>,
    cursor: &mut u64,
    watched: &mut Watched,
    until: &Mutex<u64>,
) -> Result<(), ()> {
    let parameters = WatchParams::default().timeout(2);
    let stream = match api.watch(&parameters, &cursor.to_string()).await {
        Ok(stream) => stream,
        Err(kube::Error::Api(status)) if status.code == 410 => return Err(()),
        Err(_) => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Ok(());
        }
    };
    let mut stream = pin!(stream);
    while let Some(event) = stream.next().await {
        let (change, map) = match event {
            Ok(WatchEvent::Added(map)) => (Change::Added, map),
            Ok(WatchEvent::Modified(map)) => (Change::Modified, map),
            Ok(WatchEvent::Deleted(map)) => (Change::Deleted, map),
            Ok(WatchEvent::Bookmark(mark)) => {
                *cursor = mark.metadata.resource_version.parse().unwrap_or(*cursor);
                continue;
            }
            Ok(WatchEvent::Error(status)) if status.code == 410 => return Err(()),
            _ => return Ok(()),
        };
        *cursor = revision(&map);
        if map.name_any().starts_with("shared-") {
            let (name, value) = (map.name_any(), value(&map));
            watched.events.push(Seen { revision: *cursor, change, name, value });
        }
        let end = *until.lock().await;
        if end > 0 && *cursor >= end {
            return Ok(());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_linearizable_through_kill_and_compaction() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut server = Server::new();
    server.start();
    let client = server.client().await;
    let shared = Arc::new(Shared::default());
    let until = Arc::new(Mutex::new(0));
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        writers.push(tokio::spawn(write(client.clone(), Arc::clone(&shared), number)));
    }
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        watchers.push(tokio::spawn(watch(client.clone(), Arc::clone(&shared), Arc::clone(&until))));
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        server.kill();
        server.start();
        server.client().await;
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    shared.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    // The last write of all, which every watcher waits for: written after everything else was.
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let last = api.create(&PostParams::default(), &object("last", "x", None)).await.unwrap();
    *until.lock().await = revision(&last);
    for watcher in watchers {
        tokio::time::timeout(Duration::from_secs(60), watcher)
            .await
            .expect("a watcher never saw the end")
            .unwrap();
    }
    let mut record = std::mem::take(&mut *shared.record.lock().await);
    record.last = listed(&api).await.unwrap();
    let found = violations(&record);
    assert!(
        found.is_empty(),
        "{} violations: {:#?}\n{}",
        found.len(),
        &found[..found.len().min(10)],
        server.log()
    );
    let events: usize = record.watches.iter().map(|watch| watch.events.len()).sum();
    assert!(
        record.acknowledged.len() > 100 && events > 500,
        "too little happened to prove anything: {events}"
    );
}
