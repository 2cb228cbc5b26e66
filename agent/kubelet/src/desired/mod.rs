//! Which pods this node shall run. Enters: the API server's watch of pods bound to the node. Leaves: [`Change`]s for
//! the manager.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::spec;

/// A change of what is wanted.
#[derive(Clone, Debug)]
pub enum Change {
    /// A pod is wanted, in this version.
    Apply(Arc<Pod>),
    /// The pod of this UID is no longer in the API.
    Gone(String),
    /// These are all pods there are: the picture is complete.
    Synced(HashSet<String>),
}

/// Follows the pods of a node until `cancel`; a broken watch is opened again with a back-off.
pub async fn follow(client: Client, node: String, changes: mpsc::Sender<Change>, cancel: CancellationToken) {
    let api: Api<Pod> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let stream = watcher(api, config);
    let stream = kube::runtime::WatchStreamExt::default_backoff(stream);
    let mut stream = std::pin::pin!(stream);
    let mut listed: HashSet<String> = HashSet::new();
    // a watch names a deleted pod by its last version, which may carry another UID only if it was never seen here
    let mut uids: HashMap<(String, String), String> = HashMap::new();
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = cancel.cancelled() => return,
        };
        let change = match next {
            Some(Ok(Event::Init)) => {
                listed.clear();
                continue;
            }
            Some(Ok(Event::InitApply(pod))) => {
                listed.insert(spec::uid(&pod).to_owned());
                apply(&mut uids, pod, &changes).await
            }
            Some(Ok(Event::InitDone)) => changes.send(Change::Synced(listed.clone())).await,
            Some(Ok(Event::Apply(pod))) => apply(&mut uids, pod, &changes).await,
            Some(Ok(Event::Delete(pod))) => {
                uids.remove(&key(&pod));
                changes.send(Change::Gone(spec::uid(&pod).to_owned())).await
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the watch of this node's pods broke");
                continue;
            }
            None => return,
        };
        if change.is_err() {
            return;
        }
    }
}

fn key(pod: &Pod) -> (String, String) {
    (spec::namespace(pod).to_owned(), spec::name(pod).to_owned())
}

/// Passes a version on; a namesake with a new UID means that the old one is gone, whatever the watch has missed.
async fn apply(
    uids: &mut HashMap<(String, String), String>,
    pod: Pod,
    changes: &mpsc::Sender<Change>,
) -> Result<(), mpsc::error::SendError<Change>> {
    let uid = spec::uid(&pod).to_owned();
    if let Some(old) = uids.insert(key(&pod), uid.clone()).filter(|old| *old != uid) {
        changes.send(Change::Gone(old)).await?;
    }
    changes.send(Change::Apply(Arc::new(pod))).await
}
