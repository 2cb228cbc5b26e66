//! Taking a pod down: main containers together, sidecars in reverse after them, then the sandbox, then the node's
//! traces of the pod, then its API object.

use super::{Action, Input, Plan};
use crate::clock::{after, until};
use crate::pods::memory::Termination;
use crate::pods::observe::Instance;
use crate::spec::{self, Role};

/// Plans for a pod that is to end.
pub fn plan(input: Input<'_>, termination: &Termination) -> Plan {
    let mut plan = Plan::default();
    if containers(input, termination, &mut plan) || sandboxes(input, &mut plan) {
        return plan;
    }
    plan.stopped = true;
    // the final status goes out first: after that nothing of the pod can be asked any more
    if input.memory.final_written {
        traces(input, &mut plan);
    }
    plan
}

/// True while a container runs or is being started.
fn containers(input: Input<'_>, termination: &Termination, plan: &mut Plan) -> bool {
    let grace = until(input.now, after(termination.since, termination.grace));
    let sidecars: Vec<&str> = spec::inits(input.pod)
        .filter(|(role, _)| *role == Role::Sidecar)
        .map(|(_, container)| container.name.as_str())
        .collect();
    let stop = |instance: &Instance| Action::Stop {
        id: instance.id.clone(),
        name: instance.name.clone(),
        grace,
        message: format!("Stopping container {}", instance.name),
    };
    let running = || input.observed.containers.iter().filter(|instance| instance.running());
    let mut alive = input.memory.starting();
    for instance in running().filter(|instance| !sidecars.contains(&instance.name.as_str())) {
        alive = true;
        plan.push(input, stop(instance));
    }
    if alive {
        return true;
    }
    for name in sidecars.iter().rev() {
        let mut left = running().filter(|instance| instance.name == *name).peekable();
        if left.peek().is_some() {
            left.for_each(|instance| plan.push(input, stop(instance)));
            return true;
        }
    }
    false
}

/// True while a sandbox is not stopped.
fn sandboxes(input: Input<'_>, plan: &mut Plan) -> bool {
    let mut left = false;
    for sandbox in &input.observed.sandboxes {
        if sandbox.ready || !input.memory.stopped_sandboxes.contains(&sandbox.id) {
            left = true;
            plan.push(input, Action::StopSandbox { id: sandbox.id.clone() });
        }
    }
    left
}

fn traces(input: Input<'_>, plan: &mut Plan) {
    if !input.memory.cleaned {
        plan.push(input, Action::CleanUp);
        return;
    }
    if !input.memory.deleted {
        return;
    }
    for sandbox in &input.observed.sandboxes {
        plan.push(input, Action::RemoveSandbox { id: sandbox.id.clone() });
    }
    if input.observed.sandboxes.is_empty() {
        for instance in &input.observed.containers {
            plan.push(input, Action::Remove { id: instance.id.clone() });
        }
        if input.observed.containers.is_empty() {
            plan.push(input, Action::Finish);
        }
    }
}
