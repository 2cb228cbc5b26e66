//! Job: runs pods to completion, counts each exactly once, and removes itself when its time to live is over.
//!
//! Enters: Jobs and pods. Leaves: pods created and deleted, tracking finalizers removed, the Job's status and
//! conditions; finished Jobs past ttlSecondsAfterFinished deleted in the foreground.

mod indexes;
mod plan;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xebec_api::selector::LabelSelector;

use crate::machinery::time::{plus, until};
use crate::machinery::{
    Change, Expectations, Failed, Key, Queue, World, children, claim, expect, pods, work,
};
use plan::{Backoff, Create, TRACKING};

const COMPONENT: &str = "job-controller";

struct Controller {
    world: Arc<World>,
    expectations: Arc<Expectations>,
    backoffs: Mutex<HashMap<String, Backoff>>,
    /// The resource version of the status written last, by UID. Pods that were counted in it have lost their finalizer:
    /// a round on an older status would miss them and make one pod too many.
    written: Mutex<HashMap<String, u64>>,
}

/// The order of an object's versions (KEP-5504: they compare as numbers).
fn version(job: &Job) -> u64 {
    job.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn selector(job: &Job) -> LabelSelector {
    claim::selector(job.spec.as_ref().and_then(|s| s.selector.as_ref()))
}

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Key>::default());
    let strays = Arc::new(Queue::<Key>::default());
    let expectations = Arc::new(Expectations::default());
    let controller = Arc::new(Controller {
        world: world.clone(),
        expectations: expectations.clone(),
        backoffs: Mutex::default(),
        written: Mutex::default(),
    });
    children::follow_owner(&world.jobs, &queue, &expectations);
    children::follow(&world.pods, &world.jobs, selector, &queue, &expectations);
    follow_strays(&controller, &strays);
    let (world, stop, again) = (world.clone(), cancel.clone(), controller.clone());
    tasks.spawn(async move {
        world.jobs.wait_synced().await;
        world.pods.wait_synced().await;
        let workers = world.options.concurrency;
        let jobs = work("job", queue, workers, stop.clone(), move |key| {
            let controller = controller.clone();
            async move { controller.reconcile(&key).await }
        });
        let orphans = work("job-orphan-pods", strays, workers, stop, move |key| {
            let controller = again.clone();
            async move { controller.release_stray(&key).await }
        });
        tokio::join!(jobs, orphans);
    });
}

/// Pods that wait to be counted by a Job that is gone.
fn follow_strays(controller: &Arc<Controller>, strays: &Arc<Queue<Key>>) {
    let (jobs, queue) = (controller.world.jobs.clone(), strays.clone());
    controller.world.pods.on_change(move |change| {
        let pod = &**change.object();
        if matches!(change, Change::Deleted(_)) || !plan::is_tracked(pod) {
            return;
        }
        let owner = pod.owner_references().iter().find(|o| o.controller == Some(true));
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let job = owner.and_then(|o| jobs.get(&Key::new(namespace, &o.name)));
        if job.is_none_or(|j| j.metadata.uid.as_ref() != owner.map(|o| &o.uid)) {
            queue.add_after(Key::of(pod), Duration::from_millis(500));
        }
    });
    let (weak, queue) = (Arc::downgrade(controller), strays.clone());
    controller.world.jobs.on_change(move |change| {
        let (Change::Deleted(job), Some(controller)) = (change, weak.upgrade()) else { return };
        let uid = job.metadata.uid.clone().unwrap_or_default();
        controller.backoffs.lock().remove(&uid);
        controller.written.lock().remove(&uid);
        controller.world.pods.controlled_by(&uid).iter().for_each(|pod| queue.add(Key::of(&**pod)));
    });
}

impl Controller {
    async fn release_stray(&self, key: &Key) -> Result<Option<Duration>, Failed> {
        let Some(pod) = self.world.pods.get(key) else { return Ok(None) };
        if !plan::is_tracked(&pod) {
            return Ok(None);
        }
        if let Some(owner) = pod.owner_references().iter().find(|o| o.controller == Some(true)) {
            match self.world.writer.get::<Job>(&Key::new(&key.namespace, &owner.name)).await {
                Ok(job) if job.metadata.uid.as_ref() == Some(&owner.uid) => return Ok(None),
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        self.release(&pod).await.map(|()| None)
    }

    async fn release(&self, pod: &Pod) -> Result<(), Failed> {
        let patch =
            json!({"metadata": {"uid": pod.uid(), "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
        match self.world.writer.patch::<Pod>(&Key::of(pod), patch).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    async fn release_all(&self, pods: &[Arc<Pod>]) -> Result<(), Failed> {
        let outcomes =
            join_all(pods.iter().filter(|p| plan::is_tracked(p)).map(|pod| self.release(pod))).await;
        outcomes.into_iter().collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Failed> {
        let world = &self.world;
        let Some(job) = world.jobs.get(key) else { return Ok(None) };
        let spec = job.spec.clone().unwrap_or_default();
        if spec.managed_by.as_deref().is_some_and(|m| m != "kubernetes.io/job-controller") {
            return Ok(None);
        }
        let uid = job.uid().unwrap_or_default();
        if self.written.lock().get(&uid).is_some_and(|written| version(&job) < *written) {
            // The watch brings the status we wrote: that is a change of its own and another round.
            return Ok(None);
        }
        let controlled = world.pods.controlled_by(&uid);
        if let Some(finished) = plan::finished_at(&job) {
            self.release_all(&controlled).await?;
            return self.expire(&job, spec.ttl_seconds_after_finished, finished).await;
        }
        let trusted = self.expectations.satisfied(&uid);
        let claims =
            claim::claim(&job.metadata, &selector(&job), controlled, world.pods.orphans(&key.namespace));
        let owned = claim::settle(&world.writer, &*job, claims, Some(TRACKING)).await?;
        let backoff = self.backoffs.lock().get(&uid).copied().unwrap_or_default();
        let mut plan = plan::plan(&job, &owned, backoff, world.clock.now());
        if !trusted {
            plan.create = Create::default();
            plan.delete = Vec::new();
            // A finished Job has no pods left, whatever was expected; otherwise no more are ready than active.
            if !plan::is(&plan.status, "Complete") && !plan::is(&plan.status, "Failed") {
                plan.status.active = job.status.as_ref().and_then(|s| s.active);
                plan.status.ready = plan.status.ready.min(Some(plan.status.active.unwrap_or(0)));
            }
        }
        let managed = self.manage(&job, &plan).await;
        if job.status.as_ref() != Some(&plan.status) {
            let mut updated = (*job).clone();
            updated.status = Some(plan.status.clone());
            let now = world.writer.replace_status(&updated).await?;
            self.written.lock().insert(uid.clone(), version(&now));
            for (normal, reason, message) in &plan.events {
                if *normal {
                    world.events.normal(COMPONENT, &*job, reason, message.clone());
                } else {
                    world.events.warning(COMPONENT, &*job, reason, message.clone());
                }
            }
        }
        // Only now that the failures are written down may they count towards the back-off of the next round.
        self.backoffs.lock().insert(uid, plan.backoff);
        self.release_all(&plan.release).await?;
        managed?;
        if !trusted {
            return Ok(Some(plan.again.map_or(expect::EXPIRY, |again| again.min(expect::EXPIRY))));
        }
        Ok(plan.again)
    }

    async fn manage(&self, job: &Job, plan: &plan::Plan) -> Result<(), Failed> {
        let uid = job.uid().unwrap_or_default();
        if !plan.delete.is_empty() {
            self.expectations.expect(&uid, 0, children::uids(&plan.delete));
            children::delete_pods(&self.world, COMPONENT, job, &plan.delete, &self.expectations).await?;
        }
        if plan.create.count > 0 {
            self.expectations.expect(&uid, plan.create.count, []);
            let pods = self.build(job, &plan.create);
            children::create_pods(&self.world, COMPONENT, job, pods, &self.expectations).await?;
        }
        Ok(())
    }

    fn build(&self, job: &Job, create: &Create) -> Vec<Pod> {
        let template = job.spec.clone().unwrap_or_default().template;
        let namespace = job.namespace().unwrap_or_default();
        let mut pod =
            pods::from_template(&template, &namespace, &job.name_any(), claim::controller_reference(job));
        pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
        if create.indexes.is_empty() {
            return vec![pod; create.count];
        }
        let numbered = create.indexes.iter().map(|index| {
            let mut pod = pod.clone();
            indexes::apply(&mut pod, &job.name_any(), *index, &self.world.random_suffix(5));
            pod
        });
        numbered.collect()
    }

    async fn expire(
        &self,
        job: &Job,
        ttl: Option<i32>,
        finished: jiff::Timestamp,
    ) -> Result<Option<Duration>, Failed> {
        let Some(ttl) = ttl else { return Ok(None) };
        if job.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let due = plus(finished, Duration::from_secs(u64::from(ttl.unsigned_abs())));
        let wait = until(due, self.world.clock.now());
        if !wait.is_zero() {
            return Ok(Some(wait));
        }
        let uid = job.uid().unwrap_or_default();
        match self.world.writer.delete::<Job>(&Key::of(job), &uid, PropagationPolicy::Foreground, None).await
        {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(None),
        }
    }
}
