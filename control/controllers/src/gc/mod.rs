//! Garbage collection along ownerReferences: background, foreground and orphaning deletion.
//!
//! Enters: the metadata of every resource discovery knows (the shared reflectors where there is one, metadata watches
//! elsewhere; discovery is repeated, so that custom resources are picked up). Leaves: deletions under a UID
//! precondition, after the live object was read; dropped references; removed `orphan` and `foregroundDeletion` finalizers.

mod graph;
mod monitors;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::{PartialObjectMeta, Request};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::fetch::Discovered;
use crate::machinery::{Failed, Queue, World, work};
use graph::{FOREGROUND, Identity, ORPHAN, Owner, Policy, Verdict, Work};
use monitors::Shared;

type Live = PartialObjectMeta<DynamicObject>;

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Work>::default());
    let shared = Arc::new(Shared::new(queue.clone(), world.census.clone()));
    monitors::tap(world, &shared);
    tasks.spawn(monitors::discover(world.clone(), shared.clone(), cancel.clone()));
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = shared.wait_synced() => {}
            () = cancel.cancelled() => return,
        }
        world.census.complete();
        let workers = world.options.concurrency * 4;
        work("garbagecollector", queue, workers, cancel, move |item| {
            let collector = Collector { world: world.clone(), shared: shared.clone() };
            async move { collector.process(item).await }
        })
        .await;
    });
}

struct Collector {
    world: Arc<World>,
    shared: Arc<Shared>,
}

const UNKNOWN_KIND_AGAIN: Duration = Duration::from_secs(30);

impl Collector {
    async fn process(&self, item: Work) -> Result<Option<Duration>, Failed> {
        match item {
            Work::Consider(uid) => self.consider(&uid).await,
            Work::Orphan(uid) => self.orphan(&uid).await.map(|()| None),
        }
    }

    fn failed(operation: &'static str, identity: &Identity, source: kube::Error) -> Failed {
        let key = format!("{}/{}", identity.namespace, identity.name);
        Failed { operation, kind: identity.kind.clone(), key, source: Box::new(source) }
    }

    fn at(resource: &Discovered, identity: &Identity) -> Request {
        Request::new(resource.path(if resource.namespaced { &identity.namespace } else { "" }))
    }

    /// The object as it is on the server; none if there is none of that name.
    async fn live(&self, resource: &Discovered, identity: &Identity) -> Result<Option<Live>, Failed> {
        let failed = |source| Self::failed("get", identity, source);
        let request = Self::at(resource, identity)
            .get_metadata(&identity.name, &Default::default())
            .map_err(|e| failed(kube::Error::BuildRequest(e)))?;
        match self.world.writer.client().request::<Live>(request).await.map_err(failed) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes metadata if nobody else did since it was read.
    async fn patch(
        &self,
        resource: &Discovered,
        identity: &Identity,
        live: &Live,
        mut metadata: Value,
    ) -> Result<(), Failed> {
        let failed = |source| Self::failed("patch", identity, source);
        metadata["uid"] = json!(live.metadata.uid);
        metadata["resourceVersion"] = json!(live.metadata.resource_version);
        let request = Self::at(resource, identity)
            .patch_metadata(
                &identity.name,
                &PatchParams::default(),
                &Patch::Merge(json!({ "metadata": metadata })),
            )
            .map_err(|e| failed(kube::Error::BuildRequest(e)))?;
        match self.world.writer.client().request::<Value>(request).await.map_err(failed) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    async fn delete(
        &self,
        resource: &Discovered,
        identity: &Identity,
        uid: &str,
        policy: Policy,
    ) -> Result<(), Failed> {
        let failed = |source| Self::failed("delete", identity, source);
        let params = DeleteParams {
            propagation_policy: Some(match policy {
                Policy::Background => PropagationPolicy::Background,
                Policy::Foreground => PropagationPolicy::Foreground,
                Policy::Orphan => PropagationPolicy::Orphan,
            }),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        let request = Self::at(resource, identity)
            .delete(&identity.name, &params)
            .map_err(|e| failed(kube::Error::BuildRequest(e)))?;
        match self.world.writer.client().request::<Value>(request).await.map_err(failed) {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                tracing::debug!(kind = %identity.kind, name = %identity.name, ?policy, "collected");
                Ok(())
            }
        }
    }

    async fn consider(&self, uid: &str) -> Result<Option<Duration>, Failed> {
        let Some(node) = self.shared.node(uid) else { return Ok(None) };
        if node.deleting && !node.waits_for_dependents {
            return Ok(None);
        }
        let Some(resource) = self.shared.resource(&node.identity) else {
            // Of a kind discovery does not know (yet): nothing may be concluded from that.
            return Ok(Some(UNKNOWN_KIND_AGAIN));
        };
        let live = self.live(&resource, &node.identity).await?;
        let Some(live) = live.filter(|l| l.uid().as_deref() == Some(uid)) else {
            self.shared.forget(uid);
            return Ok(None);
        };
        if node.assumed {
            self.shared.observe(node.identity.clone(), &live.metadata);
        }
        if node.waits_for_dependents {
            return self.finish_foreground(uid, &resource, &node.identity, &live).await.map(|()| None);
        }
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let mut owners = Vec::new();
        for reference in live.owner_references() {
            owners.push((reference.uid.clone(), self.owner_state(reference, &node.identity).await?));
        }
        let has_dependents = !self.shared.dependents(uid).is_empty();
        match graph::judge(&live.metadata, &owners, has_dependents) {
            Verdict::Keep => {}
            Verdict::Unlink(drop) => {
                let kept: Vec<_> =
                    live.owner_references().iter().filter(|o| !drop.contains(&o.uid)).collect();
                self.patch(&resource, &node.identity, &live, json!({ "ownerReferences": kept })).await?;
            }
            Verdict::Delete(policy) => self.delete(&resource, &node.identity, uid, policy).await?,
        }
        Ok(None)
    }

    /// Whether an owner is there; only the server's own answer makes it absent.
    async fn owner_state(
        &self,
        reference: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference,
        dependent: &Identity,
    ) -> Result<Owner, Failed> {
        if let Some(owner) = self.shared.node(&reference.uid)
            && !owner.assumed
        {
            return Ok(if owner.waits_for_dependents { Owner::Waiting } else { Owner::Solid });
        }
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        let identity = Identity {
            group: group.to_owned(),
            kind: reference.kind.clone(),
            namespace: dependent.namespace.clone(),
            name: reference.name.clone(),
        };
        let Some(resource) = self.shared.resource(&identity) else { return Ok(Owner::Solid) };
        if resource.namespaced && identity.namespace.is_empty() {
            // A cluster-scoped object cannot be owned by a namespaced one: invalid, hence left alone.
            return Ok(Owner::Solid);
        }
        let live = self
            .live(&resource, &identity)
            .await?
            .filter(|l| l.metadata.uid.as_ref() == Some(&reference.uid));
        Ok(match live {
            None => Owner::Absent,
            Some(live) => {
                let waits = live.metadata.deletion_timestamp.is_some()
                    && live.finalizers().iter().any(|f| f == FOREGROUND);
                if waits { Owner::Waiting } else { Owner::Solid }
            }
        })
    }

    async fn finish_foreground(
        &self,
        uid: &str,
        resource: &Discovered,
        identity: &Identity,
        live: &Live,
    ) -> Result<(), Failed> {
        let blocking = self.shared.blocking(uid);
        if blocking.is_empty() {
            return self.drop_finalizer(resource, identity, live, FOREGROUND).await;
        }
        for dependent in blocking {
            if self.shared.node(&dependent).is_some_and(|n| !n.waits_for_dependents) {
                self.shared.consider(&dependent);
            }
        }
        Ok(())
    }

    async fn drop_finalizer(
        &self,
        resource: &Discovered,
        identity: &Identity,
        live: &Live,
        finalizer: &str,
    ) -> Result<(), Failed> {
        if !live.finalizers().iter().any(|f| f == finalizer) {
            return Ok(());
        }
        let kept: Vec<_> = live.finalizers().iter().filter(|f| *f != finalizer).collect();
        self.patch(resource, identity, live, json!({ "finalizers": kept })).await
    }

    async fn orphan(&self, uid: &str) -> Result<(), Failed> {
        let Some(node) = self.shared.node(uid) else { return Ok(()) };
        for (dependent, identity) in self.shared.dependents(uid) {
            let Some(resource) = self.shared.resource(&identity) else { continue };
            let live =
                self.live(&resource, &identity).await?.filter(|l| l.uid().as_ref() == Some(&dependent));
            let Some(live) = live else { continue };
            let kept: Vec<_> = live.owner_references().iter().filter(|o| o.uid != uid).collect();
            if kept.len() != live.owner_references().len() {
                self.patch(&resource, &identity, &live, json!({ "ownerReferences": kept })).await?;
            }
        }
        let Some(resource) = self.shared.resource(&node.identity) else { return Ok(()) };
        match self.live(&resource, &node.identity).await?.filter(|l| l.uid().as_deref() == Some(uid)) {
            Some(live) => self.drop_finalizer(&resource, &node.identity, &live, ORPHAN).await,
            None => Ok(()),
        }
    }
}
