//! Writing Events: one task, equal events counted in one object, a budget per object as upstream (25 at once, one
//! more every 5 minutes).

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Kind, Recorder};
use crate::clock::until;

const QUEUE: usize = 1000;
const REMEMBERED: usize = 4096;
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

struct Item {
    about: ObjectReference,
    kind: Kind,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Records events through the API server.
#[derive(Clone, Debug)]
pub struct KubeRecorder {
    queue: mpsc::Sender<Item>,
}

impl KubeRecorder {
    /// A recorder whose events name `node` as their source; its task ends with `cancel`.
    pub fn spawn(client: Client, node: String, cancel: CancellationToken) -> Self {
        let (queue, mut items) = mpsc::channel::<Item>(QUEUE);
        tokio::spawn(async move {
            let mut sink = Sink { client, node, known: HashMap::new(), budget: HashMap::new() };
            loop {
                tokio::select! {
                    item = items.recv() => match item {
                        Some(item) => sink.write(item).await,
                        None => return,
                    },
                    () = cancel.cancelled() => return,
                }
            }
        });
        KubeRecorder { queue }
    }
}

impl Recorder for KubeRecorder {
    fn record(&self, about: ObjectReference, kind: Kind, reason: &str, message: String) {
        tracing::debug!(object = ?about.name, reason, message, "event");
        let item = Item { about, kind, reason: reason.to_owned(), message, at: Timestamp::now() };
        if self.queue.try_send(item).is_err() {
            tracing::warn!(reason, "event dropped: the queue is full");
        }
    }
}

struct Known {
    name: String,
    count: i32,
}

struct Sink {
    client: Client,
    node: String,
    known: HashMap<String, Known>,
    budget: HashMap<String, (f64, Timestamp)>,
}

impl Sink {
    async fn write(&mut self, item: Item) {
        let field = item.about.field_path.clone().unwrap_or_default();
        let uid = item.about.uid.clone().unwrap_or_default();
        if !self.afford(&uid, item.at) {
            return;
        }
        let key = format!("{uid}|{field}|{}|{}|{}", item.kind.as_str(), item.reason, item.message);
        let namespace = item.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Some(known) = self.known.get_mut(&key) {
            known.count += 1;
            let at = Timestamp::from_second(item.at.as_second()).unwrap_or(item.at);
            let patch = json!({"count": known.count, "lastTimestamp": at.to_string()});
            let patched = api.patch(&known.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            match patched {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    self.known.remove(&key);
                }
                Err(error) => {
                    tracing::debug!(%error, "event not updated");
                    return;
                }
            }
        }
        let event = self.event(&namespace, &item);
        let name = event.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                if self.known.len() >= REMEMBERED {
                    self.known.clear();
                }
                self.known.insert(key, Known { name, count: 1 });
            }
            Err(error) => tracing::debug!(%error, reason = item.reason, "event not written"),
        }
    }

    fn event(&self, namespace: &str, item: &Item) -> Event {
        let object = item.about.name.clone().unwrap_or_default();
        let nanos = item.at.as_nanosecond();
        let at = Time(Timestamp::from_second(item.at.as_second()).unwrap_or(item.at));
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{object}.{nanos:x}")),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: item.about.clone(),
            reason: Some(item.reason.clone()),
            message: Some(item.message.clone()),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node.clone()),
            }),
            first_timestamp: Some(at.clone()),
            last_timestamp: Some(at),
            count: Some(1),
            type_: Some(item.kind.as_str().to_owned()),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        }
    }

    fn afford(&mut self, uid: &str, now: Timestamp) -> bool {
        if self.budget.len() >= REMEMBERED {
            self.budget.clear();
        }
        let (tokens, since) = self.budget.entry(uid.to_owned()).or_insert((BURST, now));
        *tokens = refill(*tokens, until(*since, now));
        *since = now;
        let enough = *tokens >= 1.0;
        if enough {
            *tokens -= 1.0;
        }
        enough
    }
}

fn refill(tokens: f64, passed: Duration) -> f64 {
    (tokens + passed.as_secs_f64() / REFILL_SECONDS).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refills_slowly_and_never_overflows() {
        assert_eq!(refill(0.0, Duration::from_secs(300)), 1.0);
        assert_eq!(refill(24.5, Duration::from_secs(3000)), BURST);
    }
}
