//! Bringing a pod up and keeping it up: volumes and sandbox side by side, init containers in sequence, then the
//! main ones in order; restarts by policy and back-off.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;

use super::{Action, Input, Plan, Waiting};
use crate::clock::{after, go_seconds};
use crate::pods::memory::{Failure, Job, Termination};
use crate::pods::observe::{Exit, Instance, State};
use crate::spec::{self, RestartPolicy, Role};

/// How many instances of a container are kept, the running one included (`logs --previous` needs one more).
const KEPT: usize = 2;
/// How long a failed pull shows as ErrImagePull before it shows as ImagePullBackOff.
const PULL_ERROR_SHOWN: std::time::Duration = std::time::Duration::from_secs(2);

/// Plans for a pod that is to run.
pub fn plan(input: Input<'_>) -> Plan {
    let mut plan = Plan::default();
    if let Some(deadline) = deadline(input) {
        if input.now >= deadline {
            plan.terminate = Some(Termination {
                since: input.now,
                grace: spec::grace(input.pod),
                reason: Some("DeadlineExceeded".to_owned()),
                message: Some("Pod was active on the node longer than the specified deadline".to_owned()),
            });
            return plan;
        }
        plan.wake_at(deadline);
    }
    if spec::is_final(input.pod) || is_finished(input) {
        let grace = spec::grace(input.pod);
        plan.terminate = Some(Termination { since: input.now, grace, reason: None, message: None });
        return plan;
    }
    volumes(input, &mut plan);
    if sandbox(input, &mut plan) {
        Containers { input, plan: &mut plan, slot: !input.memory.starting() }.all();
    }
    old_instances(input, &mut plan);
    plan
}

fn deadline(input: Input<'_>) -> Option<Timestamp> {
    let seconds = input.pod.spec.as_ref()?.active_deadline_seconds?;
    let start = input.memory.start_time?;
    Some(after(start, std::time::Duration::from_secs(seconds.max(0).unsigned_abs())))
}

/// The policy in force for one container (KEP-5307 lets a container have its own).
fn policy(input: Input<'_>, container: &Container) -> RestartPolicy {
    match container.restart_policy.as_deref() {
        Some("Always") => RestartPolicy::Always,
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        _ => spec::restart_policy(input.pod),
    }
}

/// True if a container of this role that ended so is to be started again.
pub(crate) fn restarts(role: Role, policy: RestartPolicy, exit: &Exit) -> bool {
    match (role, policy) {
        (Role::Sidecar, _) => true,
        (Role::Ephemeral, _) | (_, RestartPolicy::Never) => false,
        (Role::Init, _) | (Role::Main, RestartPolicy::OnFailure) => exit.code != 0,
        (Role::Main, RestartPolicy::Always) => true,
    }
}

/// True once no main container will run again, or an init container has failed for good.
fn is_finished(input: Input<'_>) -> bool {
    let newest = input.observed.sandboxes.first().map(|sandbox| sandbox.id.as_str());
    let init_failed = spec::inits(input.pod).any(|(role, container)| {
        let instance = input.observed.latest(&container.name);
        let exit = instance.filter(|i| Some(i.sandbox.as_str()) == newest).and_then(Instance::exit);
        role == Role::Init
            && exit.is_some_and(|exit| exit.code != 0 && !restarts(role, policy(input, container), exit))
    });
    let done = |container: &Container| {
        let exit = input.observed.latest(&container.name).and_then(Instance::exit);
        exit.is_some_and(|exit| !restarts(Role::Main, policy(input, container), exit))
    };
    let mains = spec::mains(input.pod);
    init_failed || (!mains.is_empty() && mains.iter().all(done))
}

fn volumes(input: Input<'_>, plan: &mut Plan) {
    let volumes = &input.memory.volumes;
    let due = volumes.refresh_at.is_some_and(|at| at <= input.now);
    if !volumes.ready || due {
        plan.push(input, Action::Volumes);
    } else if let Some(at) = volumes.refresh_at {
        plan.wake_at(at);
    }
}

/// True if there is a sandbox to start containers in.
fn sandbox(input: Input<'_>, plan: &mut Plan) -> bool {
    let Input { observed, memory, .. } = input;
    let newest_ready = observed.sandbox().is_some();
    let mut clear = true;
    for sandbox in observed.sandboxes.iter().skip(usize::from(newest_ready)) {
        let empty = !observed.containers.iter().any(|instance| instance.sandbox == sandbox.id);
        let stopped = memory.stopped_sandboxes.contains(&sandbox.id) && !sandbox.ready;
        if !stopped {
            clear = false;
            plan.push(input, Action::StopSandbox { id: sandbox.id.clone() });
        } else if empty && newest_ready {
            plan.push(input, Action::RemoveSandbox { id: sandbox.id.clone() });
        }
    }
    if newest_ready {
        return true;
    }
    if clear {
        plan.push(input, Action::RunSandbox { attempt: observed.next_sandbox() });
    }
    false
}

fn old_instances(input: Input<'_>, plan: &mut Plan) {
    for (_, container) in spec::all(input.pod) {
        for instance in input.observed.instances(&container.name).skip(KEPT) {
            if !instance.running() {
                plan.push(input, Action::Remove { id: instance.id.clone() });
            }
        }
    }
}

/// Where a container is on its way.
enum Step {
    /// Ended well (init) or runs and has started.
    Done,
    /// Not yet.
    NotYet,
}

struct Containers<'a, 'p> {
    input: Input<'a>,
    plan: &'p mut Plan,
    /// True until a start is planned: containers start one after the other.
    slot: bool,
}

impl Containers<'_, '_> {
    fn all(&mut self) {
        let pod = self.input.pod;
        let begun = spec::mains(pod).iter().any(|main| self.input.observed.current(&main.name).is_some());
        for (role, container) in spec::inits(pod) {
            // once a main container was started the initialisation is over, whatever is left of it
            if begun && role == Role::Init {
                continue;
            }
            if matches!(self.step(role, container), Step::NotYet) && !begun {
                return;
            }
        }
        for container in spec::mains(pod) {
            self.step(Role::Main, container);
        }
        for container in spec::ephemerals(pod) {
            self.step(Role::Ephemeral, &container);
        }
    }

    fn step(&mut self, role: Role, container: &Container) -> Step {
        let memory = self.input.memory;
        if memory.busy(&Job::Start(container.name.clone())) {
            return Step::NotYet;
        }
        let Some(instance) = self.input.observed.current(&container.name) else {
            self.start(container, None);
            return Step::NotYet;
        };
        match &instance.state {
            State::Created | State::Unknown => {
                self.plan.push(self.input, Action::Remove { id: instance.id.clone() });
                Step::NotYet
            }
            State::Running { .. } => self.running(role, container, instance),
            State::Exited(exit) => self.ended(role, container, exit),
        }
    }

    fn running(&mut self, role: Role, container: &Container, instance: &Instance) -> Step {
        let memory = self.input.memory;
        let stop = |message: String, grace| Action::Stop {
            id: instance.id.clone(),
            name: container.name.clone(),
            grace,
            message,
        };
        let grace = spec::grace(self.input.pod);
        if let Some((message, own)) = memory.doomed.get(&instance.id) {
            self.plan.push(self.input, stop(message.clone(), own.unwrap_or(grace)));
            return Step::NotYet;
        }
        let replaceable = matches!(role, Role::Main | Role::Sidecar) && !instance.hash.is_empty();
        if replaceable && instance.hash != spec::hash(container) {
            let message = format!("Container {} definition changed, will be restarted", container.name);
            self.plan.push(self.input, stop(message, grace));
            return Step::NotYet;
        }
        let started = memory.health.get(&instance.id).is_some_and(|health| health.started);
        // an init container counts when it has ended, a sidecar when it has started
        if role != Role::Init && started { Step::Done } else { Step::NotYet }
    }

    fn ended(&mut self, role: Role, container: &Container, exit: &Exit) -> Step {
        if role == Role::Init && exit.code == 0 {
            return Step::Done;
        }
        if !restarts(role, policy(self.input, container), exit) {
            return Step::NotYet;
        }
        let failed = exit.finished_at.unwrap_or(self.input.now);
        let backoff = self.input.memory.crash.get(&container.name);
        if let Some(backoff) = backoff {
            let held = backoff.holds_until(failed).filter(|until| *until > self.input.now);
            if let Some(until) = held {
                let message = format!(
                    "back-off {} restarting failed container={} pod={}",
                    go_seconds(backoff.delay()),
                    container.name,
                    spec::long_name(self.input.pod)
                );
                self.wait(container, "CrashLoopBackOff", message);
                self.plan.wake_at(until);
                return Step::NotYet;
            }
        }
        self.start(container, Some(failed));
        Step::NotYet
    }

    fn start(&mut self, container: &Container, ended: Option<Timestamp>) {
        let Input { observed, memory, now, .. } = self.input;
        if let Some(failure) = memory.failed.get(&container.name).filter(|failure| failure.retry_at > now) {
            self.failed(container, failure);
            return;
        }
        let Some(sandbox) = observed.sandbox() else { return };
        if !memory.volumes.ready || !self.slot {
            return;
        }
        self.slot = false;
        let action = Action::Start {
            name: container.name.clone(),
            attempt: observed.next_attempt(&container.name),
            sandbox: sandbox.id.clone(),
            ended,
        };
        self.plan.push(self.input, action);
    }

    fn failed(&mut self, container: &Container, failure: &Failure) {
        self.plan.wake_at(failure.retry_at);
        let shown_until = after(failure.at, PULL_ERROR_SHOWN);
        match &failure.pull {
            Some((_, image)) if shown_until <= self.input.now => {
                let message =
                    format!("Back-off pulling image \"{image}\": {}: {}", failure.reason, failure.message);
                self.wait(container, "ImagePullBackOff", message);
            }
            pull => {
                if pull.is_some() {
                    self.plan.wake_at(shown_until);
                }
                self.wait(container, &failure.reason, failure.message.clone());
            }
        }
    }

    fn wait(&mut self, container: &Container, reason: &str, message: String) {
        let waiting = Waiting { reason: reason.to_owned(), message };
        self.plan.waiting.insert(container.name.clone(), waiting);
    }
}
