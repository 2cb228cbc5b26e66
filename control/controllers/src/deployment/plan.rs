//! From a Deployment and its ReplicaSets to the writes that bring the rollout one step on. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::conditions;
use super::sets::{self, DESIRED, MAXIMUM, Member, REVISION};

/// One step.
#[derive(Debug)]
pub struct Plan {
    /// ReplicaSets to create or update.
    pub members: Vec<Member>,
    /// Old ReplicaSets beyond the history limit.
    pub delete: Vec<Arc<ReplicaSet>>,
    /// The revision annotation, if it must change.
    pub revision: Option<String>,
    /// The status.
    pub status: DeploymentStatus,
    /// When time alone may change something.
    pub again: Option<Duration>,
}

struct Round<'a> {
    deployment: &'a Deployment,
    old: Vec<Member>,
    new: Option<Member>,
    conditions: Vec<DeploymentCondition>,
    now: Timestamp,
}

/// Decides a step; `pods` are those of the ReplicaSets, by index, and matter to Recreate only.
pub fn plan(
    deployment: &Deployment,
    sets_now: &[Arc<ReplicaSet>],
    pods: &[Vec<Arc<Pod>>],
    now: Timestamp,
) -> Plan {
    let mut ordered: Vec<(Member, &[Arc<Pod>])> = sets_now
        .iter()
        .enumerate()
        .map(|(i, s)| (Member::of(s), pods.get(i).map_or(&[][..], |p| p)))
        .collect();
    ordered.sort_by_key(|(m, _)| m.age_key());
    let at = ordered.iter().position(|(m, _)| sets::same_template(deployment, &m.set));
    let new = at.map(|at| ordered.remove(at).0);
    let old_running = ordered.iter().any(|(_, pods)| pods.iter().any(|p| sets::still_running(p)));
    let known = deployment.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let mut round =
        Round { deployment, old: ordered.into_iter().map(|(m, _)| m).collect(), new, conditions: known, now };

    let mut rolled = false;
    if deployment.metadata.deletion_timestamp.is_none() {
        conditions::pausing(deployment, &mut round.conditions, now);
        if sets::paused(deployment) || round.is_scaling() {
            round.adopt_existing();
            round.scale();
        } else if sets::recreates(deployment) {
            rolled = true;
            round.recreate(old_running);
        } else {
            rolled = true;
            round.roll();
        }
    }
    round.finish(rolled)
}

impl Round<'_> {
    fn all(&self) -> impl Iterator<Item = &Member> {
        self.old.iter().chain(&self.new)
    }

    fn total(&self) -> i32 {
        self.all().map(Member::replicas).sum()
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(Member::revision).max().unwrap_or_default() + 1
    }

    /// Brings the ReplicaSet of the present template up to date with its Deployment, if there is one.
    fn adopt_existing(&mut self) {
        let revision = self.next_revision();
        let Some(new) = &mut self.new else { return };
        sets::copy_annotations(self.deployment, new);
        sets::set_revision(new, revision);
        let wanted = self.deployment.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or_default();
        let spec = new.set.spec.get_or_insert_default();
        if spec.min_ready_seconds.unwrap_or_default() != wanted {
            spec.min_ready_seconds = Some(wanted);
        }
        if conditions::deadline(self.deployment).is_some()
            && conditions::get(&self.conditions, "Progressing").is_none()
        {
            let message = format!("Found new replica set \"{}\"", new.name());
            let found = conditions::condition("Progressing", "True", "FoundNewReplicaSet", message, self.now);
            conditions::set(&mut self.conditions, found);
        }
    }

    /// As [`Self::adopt_existing`], creating the ReplicaSet if it is missing.
    fn ensure_new(&mut self) {
        if self.new.is_some() {
            return self.adopt_existing();
        }
        let mut member = Member { before: None, set: sets::make(self.deployment) };
        sets::copy_annotations(self.deployment, &mut member);
        sets::set_revision(&mut member, self.next_revision());
        let size = if sets::recreates(self.deployment) {
            sets::replicas(self.deployment)
        } else {
            self.size_of_new(&member)
        };
        member.scale(self.deployment, size);
        if conditions::deadline(self.deployment).is_some() {
            let message = format!("Created new replica set \"{}\"", member.name());
            let created =
                conditions::condition("Progressing", "True", "NewReplicaSetCreated", message, self.now);
            conditions::set(&mut self.conditions, created);
        }
        self.new = Some(member);
    }

    /// How large the new set may be now, surge considered.
    fn size_of_new(&self, new: &Member) -> i32 {
        let wanted = sets::replicas(self.deployment);
        let there = self.old.iter().map(Member::replicas).sum::<i32>() + new.replicas();
        let room = wanted + sets::max_surge(self.deployment) - there;
        if room <= 0 { new.replicas() } else { new.replicas() + room.min(wanted - new.replicas()) }
    }

    fn is_scaling(&self) -> bool {
        let wanted = i64::from(sets::replicas(self.deployment));
        self.all().filter(|m| m.replicas() > 0).any(|m| m.number(DESIRED).is_some_and(|was| was != wanted))
    }

    /// Grows or shrinks without rolling anything out, proportionally if several sets have pods.
    fn scale(&mut self) {
        let wanted = sets::replicas(self.deployment);
        let deployment = self.deployment;
        let active = self.all().filter(|m| m.replicas() > 0).count();
        if active <= 1 {
            let latest = self.old.iter().map(Member::age_key).max();
            let only = match active {
                1 => self.old.iter_mut().chain(&mut self.new).find(|m| m.replicas() > 0),
                _ if self.new.is_some() => self.new.as_mut(),
                _ => self.old.iter_mut().find(|m| Some(m.age_key()) == latest),
            };
            if let Some(only) = only
                && only.replicas() != wanted
            {
                only.scale(deployment, wanted);
            } else if let Some(only) = self.old.iter_mut().chain(&mut self.new).find(|m| m.replicas() > 0) {
                only.note_size(deployment);
            }
            return;
        }
        let saturated = self.new.as_ref().is_some_and(|n| {
            n.replicas() == wanted && n.number(DESIRED) == Some(i64::from(wanted)) && n.available() == wanted
        });
        if saturated {
            self.old.iter_mut().filter(|m| m.replicas() > 0).for_each(|m| m.scale(deployment, 0));
        } else if sets::recreates(deployment) {
            self.old.iter_mut().chain(&mut self.new).for_each(|m| m.note_size(deployment));
        } else {
            self.scale_proportionally();
        }
    }

    fn scale_proportionally(&mut self) {
        let deployment = self.deployment;
        let wanted = sets::replicas(deployment);
        let allowed = if wanted > 0 { wanted + sets::max_surge(deployment) } else { 0 };
        let to_add = allowed - self.total();
        let mut active: Vec<&mut Member> =
            self.old.iter_mut().chain(&mut self.new).filter(|m| m.replicas() > 0).collect();
        active.sort_by_key(|m| m.age_key());
        if to_add > 0 {
            active.reverse();
        }
        active.sort_by_key(|m| std::cmp::Reverse(m.replicas()));
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
        for member in &active {
            let share = if to_add == 0 { 0 } else { proportion(deployment, member, to_add, added) };
            sizes.push(member.replicas() + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut()
            && to_add != 0
        {
            *first = (*first + to_add - added).max(0);
        }
        for (member, size) in active.into_iter().zip(sizes) {
            member.scale(deployment, size);
        }
    }

    fn roll(&mut self) {
        self.ensure_new();
        let wanted = sets::replicas(self.deployment);
        let Some(mut new) = self.new.take() else { return };
        if new.before.is_some() && new.replicas() != wanted {
            let size = if new.replicas() > wanted { wanted } else { self.size_of_new(&new) };
            if size != new.replicas() {
                new.scale(self.deployment, size);
            }
        } else if new.before.is_some() && new.number(DESIRED) != Some(i64::from(wanted)) {
            new.note_size(self.deployment);
        }
        let scaled = new.replicas() != new.replicas_before();
        self.new = Some(new);
        if !scaled || self.new.as_ref().is_some_and(|n| n.before.is_none()) {
            self.shrink_old();
        }
    }

    fn shrink_old(&mut self) {
        if self.old.iter().map(Member::replicas).sum::<i32>() == 0 {
            return;
        }
        let deployment = self.deployment;
        let floor = sets::replicas(deployment) - sets::max_unavailable(deployment);
        let missing = self.new.as_ref().map_or(0, |n| n.replicas() - n.available());
        let most = self.total() - floor - missing;
        if most <= 0 {
            return;
        }
        // Pods that are not available anyway go first: they cost nothing.
        let mut unhealthy = 0;
        for member in self.old.iter_mut().filter(|m| m.replicas() > 0) {
            let sick = (member.replicas() - member.available()).max(0);
            let gone = sick.min(most - unhealthy);
            if gone > 0 {
                member.scale(deployment, member.replicas() - gone);
                unhealthy += gone;
            }
        }
        let available: i32 = self.all().map(Member::available).sum();
        let mut spare = available - floor;
        for member in self.old.iter_mut().filter(|m| m.replicas() > 0) {
            if spare <= 0 {
                break;
            }
            let gone = member.replicas().min(spare);
            member.scale(deployment, member.replicas() - gone);
            spare -= gone;
        }
    }

    fn recreate(&mut self, old_running: bool) {
        let deployment = self.deployment;
        self.adopt_existing();
        let mut waiting = old_running;
        for member in self.old.iter_mut().filter(|m| m.replicas() > 0) {
            member.scale(deployment, 0);
            waiting = true;
        }
        if waiting {
            return;
        }
        self.ensure_new();
        let wanted = sets::replicas(deployment);
        if let Some(new) = &mut self.new
            && new.replicas() != wanted
        {
            new.scale(deployment, wanted);
        }
    }

    /// The old sets beyond the history limit, oldest revision first; only those at rest.
    fn history(&self) -> Vec<Arc<ReplicaSet>> {
        let Some(limit) = self.deployment.spec.as_ref().and_then(|s| s.revision_history_limit) else {
            return Vec::new();
        };
        let mut kept: Vec<&Member> =
            self.old.iter().filter(|m| m.set.metadata.deletion_timestamp.is_none()).collect();
        kept.sort_by_key(|m| (m.revision(), m.age_key()));
        let surplus = kept.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        let at_rest = |m: &&&Member| {
            let observed = m.set.status.as_ref().and_then(|s| s.observed_generation).unwrap_or_default();
            m.replicas() == 0 && m.actual() == 0 && m.set.metadata.generation.unwrap_or_default() <= observed
        };
        kept.iter().take(surplus).filter(at_rest).filter_map(|m| m.before.clone()).collect()
    }

    fn finish(self, rolled: bool) -> Plan {
        let deployment = self.deployment;
        let all: Vec<Member> = self.all().cloned().collect();
        let new = self.new.as_ref();
        let mut status = conditions::counts(deployment, &all, new, self.conditions.clone(), self.now);
        let again =
            if rolled { conditions::rollout(deployment, &mut status, &all, new, self.now) } else { None };
        let finished = conditions::complete(deployment, &status);
        let delete = if rolled && finished || sets::paused(deployment) { self.history() } else { Vec::new() };
        let current = deployment.metadata.annotations.as_ref().and_then(|a| a.get(REVISION));
        let revision =
            new.and_then(|n| n.annotation(REVISION)).filter(|r| current.map(String::as_str) != Some(*r));
        Plan { revision: revision.map(str::to_owned), members: all, delete, status, again }
    }
}

/// A set's share of growth or shrinkage, by its part of the size the Deployment had when it was last scaled.
fn proportion(deployment: &Deployment, member: &Member, to_add: i32, added: i32) -> i32 {
    let wanted = sets::replicas(deployment);
    let fraction = if wanted == 0 {
        -member.replicas()
    } else {
        let greatest = f64::from(wanted + sets::max_surge(deployment));
        let status = deployment.status.as_ref().and_then(|s| s.replicas).unwrap_or_default();
        let before = member.number(MAXIMUM).filter(|n| *n > 0).unwrap_or_else(|| i64::from(status.max(1)));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "pod counts are small"
        )]
        let size = (f64::from(member.replicas()) * greatest / before as f64).round() as i32;
        size - member.replicas()
    };
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}
