//! A Deployment's ReplicaSets: which is new, which are old, what their annotations say. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetCondition, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use xebec_api::meta::content_hash;

use crate::machinery::{claim, pods};

/// The label that tells a Deployment's ReplicaSets apart.
pub const HASH: &str = "pod-template-hash";
/// Which rollout a ReplicaSet belongs to.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Which rollouts it belonged to before.
pub const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when it last scaled the set.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// Replicas plus surge when it last scaled the set.
pub const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

/// A ReplicaSet as it was and as it should become.
#[derive(Clone, Debug)]
pub struct Member {
    /// As the cache has it; none for one that is yet to be created.
    pub before: Option<Arc<ReplicaSet>>,
    /// As it should be.
    pub set: ReplicaSet,
}

impl Member {
    /// A member nothing has been decided about.
    pub fn of(set: &Arc<ReplicaSet>) -> Self {
        Self { before: Some(set.clone()), set: (**set).clone() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.set.metadata.name.as_deref().unwrap_or_default()
    }

    /// The wanted number of pods.
    pub fn replicas(&self) -> i32 {
        self.set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    /// The wanted number of pods before anything was decided; 0 for one that is yet to be created.
    pub fn replicas_before(&self) -> i32 {
        self.before.as_ref().map_or(0, |b| b.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1))
    }

    /// The number of pods there are.
    pub fn actual(&self) -> i32 {
        self.set.status.as_ref().map(|s| s.replicas).unwrap_or_default()
    }

    /// How many are ready.
    pub fn ready(&self) -> i32 {
        self.set.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or_default()
    }

    /// How many are available.
    pub fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or_default()
    }

    /// How many are going away.
    pub fn terminating(&self) -> i32 {
        self.set.status.as_ref().and_then(|s| s.terminating_replicas).unwrap_or_default()
    }

    /// Why pods could not be made, if so.
    pub fn failure(&self) -> Option<ReplicaSetCondition> {
        let conditions = self.set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True").cloned()
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// A number in an annotation.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.annotation(key)?.parse().ok()
    }

    /// The rollout it belongs to, 0 if unknown.
    pub fn revision(&self) -> i64 {
        self.number(REVISION).unwrap_or_default()
    }

    /// Sets an annotation.
    pub fn annotate(&mut self, key: &str, value: String) {
        self.set.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value);
    }

    /// Sets the number of pods and notes what the Deployment wanted at the time.
    pub fn scale(&mut self, deployment: &Deployment, to: i32) {
        self.set.spec.get_or_insert_default().replicas = Some(to);
        self.note_size(deployment);
    }

    /// Notes the Deployment's wanted and greatest size.
    pub fn note_size(&mut self, deployment: &Deployment) {
        let wanted = replicas(deployment);
        self.annotate(DESIRED, wanted.to_string());
        self.annotate(MAXIMUM, (wanted + max_surge(deployment)).to_string());
    }

    /// Whether anything was decided.
    pub fn changed(&self) -> bool {
        self.before.as_deref() != Some(&self.set)
    }

    /// By creation, then name.
    pub fn age_key(&self) -> (jiff::Timestamp, String) {
        let created = self.set.metadata.creation_timestamp.as_ref().map_or(jiff::Timestamp::MAX, |t| t.0);
        (created, self.name().to_owned())
    }
}

/// The wanted number of pods.
pub fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// Whether rollouts are paused.
pub fn paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|s| s.paused).unwrap_or_default()
}

/// Whether the strategy is Recreate.
pub fn recreates(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|s| s.strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate")
}

/// A number or a percentage of `total`; nothing for what is neither.
pub fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let Some(percent) = text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()) else { return 0 };
            let product = percent * i64::from(total);
            let share = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

/// Surge and unavailable pods allowed; if both come out as zero one pod may be unavailable, or nothing could move.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let total = replicas(deployment);
    let rolling =
        deployment.spec.as_ref().and_then(|s| s.strategy.as_ref()).and_then(|s| s.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let or_quarter = |value: Option<&IntOrString>| value.cloned().unwrap_or_else(|| quarter.clone());
    let surge = scaled(Some(&or_quarter(rolling.and_then(|r| r.max_surge.as_ref()))), total, true);
    let unavailable =
        scaled(Some(&or_quarter(rolling.and_then(|r| r.max_unavailable.as_ref()))), total, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// How many pods more than wanted there may be.
pub fn max_surge(deployment: &Deployment) -> i32 {
    if recreates(deployment) { 0 } else { fenceposts(deployment).0 }
}

/// How many pods less than wanted may be available.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    let wanted = replicas(deployment);
    if recreates(deployment) || wanted == 0 { 0 } else { fenceposts(deployment).1.min(wanted) }
}

/// A template without the hash label, so that a ReplicaSet's equals its Deployment's.
fn bare(template: Option<&PodTemplateSpec>) -> PodTemplateSpec {
    let mut template = template.cloned().unwrap_or_default();
    let metadata = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH);
        if labels.is_empty() {
            metadata.labels = None;
        }
    }
    if metadata.annotations.as_ref().is_some_and(BTreeMap::is_empty) {
        metadata.annotations = None;
    }
    metadata.creation_timestamp = None;
    template
}

/// Whether a ReplicaSet was made from this Deployment's present template.
pub fn same_template(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = deployment.spec.as_ref().map(|s| &s.template);
    bare(wanted) == bare(set.spec.as_ref().and_then(|s| s.template.as_ref()))
}

/// The annotations a ReplicaSet takes over from its Deployment; answers whether any changed.
pub fn copy_annotations(deployment: &Deployment, member: &mut Member) {
    let wanted = deployment.metadata.annotations.iter().flatten();
    for (key, value) in wanted.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())) {
        if member.annotation(key) != Some(value) {
            member.annotate(key, value.clone());
        }
    }
}

/// Raises a set's revision, keeping the former one in its history.
pub fn set_revision(member: &mut Member, revision: i64) {
    let old = member.revision();
    if old >= revision {
        return;
    }
    if old > 0 {
        let history = match member.annotation(HISTORY) {
            Some(history) if !history.is_empty() => format!("{history},{old}"),
            _ => old.to_string(),
        };
        member.annotate(HISTORY, history);
    }
    member.annotate(REVISION, revision.to_string());
}

/// The ReplicaSet of the present template, with no pods yet.
pub fn make(deployment: &Deployment) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count).map(i64::from);
    let hash = content_hash(&serde_json::to_value(&spec.template).unwrap_or_default(), collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![claim::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// Whether a pod still occupies its place in a Recreate rollout.
pub fn still_running(pod: &Pod) -> bool {
    !pods::is_terminal(pod)
}
