//! Namespace lifecycle: empties a namespace being deleted, then gives up the `kubernetes` finalizer.
//!
//! Enters: namespaces with a deletion timestamp. Leaves: deleted content of every namespaced resource that discovery
//! knows, the deletion conditions, and PUT /namespaces/X/finalize once nothing is left.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use kube::core::Request;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::fetch::{self, Discovered};
use crate::machinery::{Failed, Key, Queue, World, work};
use plan::Sweep;

const AGAIN_SOON: Duration = Duration::from_millis(300);
const AGAIN_LATER: Duration = Duration::from_secs(5);

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Key>::default());
    let adder = queue.clone();
    world.namespaces.on_change(move |change| {
        if change.object().metadata.deletion_timestamp.is_some() {
            adder.add(Key::of(&**change.object()));
        }
    });
    let world = world.clone();
    let workers = world.options.concurrency * 2;
    tasks.spawn(work("namespace", queue, workers, cancel.clone(), move |key| {
        let world = world.clone();
        async move { reconcile(&world, &key).await }
    }));
}

async fn reconcile(world: &World, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(cached) = world.namespaces.get(key) else { return Ok(None) };
    if cached.metadata.deletion_timestamp.is_none() || spec_finalizers(&cached).is_empty() {
        return Ok(None);
    }
    let live = match world.writer.get::<Namespace>(key).await {
        Ok(live) if live.uid() == cached.uid() => live,
        Ok(_) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    if !spec_finalizers(&live).iter().any(|f| f == "kubernetes") {
        return Ok(None);
    }
    let sweep = sweep(world, &key.name).await;
    let live = publish(world, live, &sweep).await?;
    if sweep.is_empty() {
        let mut finished = live;
        if let Some(finalizers) = finished.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
            finalizers.retain(|f| f != "kubernetes");
        }
        return match world.writer.replace_sub("finalize", &finished).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
    }
    let only_waiting =
        sweep.discovery_error.is_none() && sweep.delete_errors.is_empty() && sweep.finalizers.is_empty();
    Ok(Some(if only_waiting { AGAIN_SOON } else { AGAIN_LATER }))
}

fn spec_finalizers(namespace: &Namespace) -> &[String] {
    namespace.spec.as_ref().and_then(|s| s.finalizers.as_deref()).unwrap_or_default()
}

async fn publish(world: &World, mut namespace: Namespace, sweep: &Sweep) -> Result<Namespace, Failed> {
    let old = namespace.status.clone().unwrap_or_default();
    let known = old.conditions.clone().unwrap_or_default();
    if sweep.is_empty() && known.is_empty() {
        return Ok(namespace);
    }
    let conditions = plan::conditions(sweep, &known, world.clock.now());
    let status = NamespaceStatus { conditions: Some(conditions), phase: Some("Terminating".to_owned()) };
    if status == old {
        return Ok(namespace);
    }
    namespace.status = Some(status);
    world.writer.replace_status(&namespace).await
}

/// Deletes everything once and counts what is left; pods go last, so that nothing recreates them meanwhile.
async fn sweep(world: &World, namespace: &str) -> Sweep {
    let mut sweep = Sweep::default();
    let resources = match fetch::resources(&world.writer).await {
        Ok(resources) => resources,
        Err(error) => {
            sweep.discovery_error = Some(error.reason_text());
            return sweep;
        }
    };
    let mut finalizers = BTreeMap::new();
    let mut wanted: Vec<Discovered> =
        resources.into_iter().filter(|r| r.namespaced && r.can(&["list", "delete"])).collect();
    wanted.sort_by_key(|r| (r.plural == "pods" && r.group.is_empty(), r.group == "metrics.k8s.io"));
    for resource in &wanted {
        match empty(world, resource, namespace, &mut finalizers).await {
            Ok(0) => {}
            Ok(left) => sweep.remaining.push((plan::resource_name(&resource.plural, &resource.group), left)),
            Err(error) if error.is_not_found() => {}
            Err(error) => sweep.delete_errors.push(error.reason_text()),
        }
    }
    sweep.finalizers = finalizers.into_iter().collect();
    sweep
}

async fn list(world: &World, resource: &Discovered, namespace: &str) -> Result<Vec<Value>, Failed> {
    let failed = |source| Failed {
        operation: "list",
        kind: resource.plural.clone(),
        key: namespace.to_owned(),
        source: Box::new(source),
    };
    let request = Request::new(resource.path(namespace))
        .list_metadata(&ListParams::default())
        .map_err(|e| failed(kube::Error::BuildRequest(e)))?;
    let answer = world.writer.client().request::<Value>(request).await.map_err(failed)?;
    Ok(answer["items"].as_array().cloned().unwrap_or_default())
}

/// Deletes all of one resource and answers how many are left.
async fn empty(
    world: &World,
    resource: &Discovered,
    namespace: &str,
    finalizers: &mut BTreeMap<String, usize>,
) -> Result<usize, Failed> {
    let items = list(world, resource, namespace).await?;
    if items.is_empty() {
        return Ok(0);
    }
    let failed = |source| Failed {
        operation: "delete all",
        kind: resource.plural.clone(),
        key: namespace.to_owned(),
        source: Box::new(source),
    };
    let background = DeleteParams::background();
    if resource.can(&["deletecollection"]) {
        let request = Request::new(resource.path(namespace))
            .delete_collection(&background, &ListParams::default())
            .map_err(|e| failed(kube::Error::BuildRequest(e)))?;
        world.writer.client().request::<Value>(request).await.map_err(failed)?;
    } else {
        for item in items.iter().filter(|i| i["metadata"]["deletionTimestamp"].is_null()) {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            let request = Request::new(resource.path(namespace))
                .delete(name, &background)
                .map_err(|e| failed(kube::Error::BuildRequest(e)))?;
            match world.writer.client().request::<Value>(request).await.map_err(failed) {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    let left = list(world, resource, namespace).await?;
    for item in &left {
        for finalizer in item["metadata"]["finalizers"].as_array().into_iter().flatten() {
            *finalizers.entry(finalizer.as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    Ok(left.len())
}
