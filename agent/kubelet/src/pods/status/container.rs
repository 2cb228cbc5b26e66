//! One container's status. Enters: its instances in the runtime and why it waits. Leaves: its ContainerStatus.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::Input;
use crate::pods::memory::Job;
use crate::pods::observe::{Exit, Instance, State};
use crate::spec::{self, Role};

/// The status of a container; `old` is what the API has of it.
pub fn status(
    input: Input<'_>,
    role: Role,
    container: &Container,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    // an instance on its way to its start says nothing yet; a write of its id would hold up the write of its start
    let starting = input.memory.busy(&Job::Start(container.name.clone()));
    let shown = |instance: &&Instance| !(starting && instance.state == State::Created);
    let mut instances = input.observed.instances(&container.name).filter(shown);
    let latest = instances.next();
    let previous = instances.next().and_then(|i| ended(input, i));
    let old_last = old.and_then(|old| old.last_state.clone());
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        resources: container.resources.clone().filter(|_| role != Role::Ephemeral),
        volume_mounts: mounts(container),
        ..ContainerStatus::default()
    };
    let Some(instance) = latest else {
        return without_instance(input, container, old, status);
    };
    status.container_id = Some(format!("{}://{}", input.runtime, instance.id));
    status.restart_count = i32::try_from(instance.attempt).unwrap_or(i32::MAX);
    status.image_id = instance.image_id.clone();
    if !instance.image.is_empty() && !instance.image.starts_with("sha256:") {
        status.image = instance.image.clone();
    }
    status.last_state = Some(previous.map(terminated).or(old_last).unwrap_or_default());
    match &instance.state {
        State::Running { since } => {
            let health = input.memory.health.get(&instance.id);
            let running = ContainerStateRunning { started_at: Some(Time(seconds(*since))) };
            status.state = Some(ContainerState { running: Some(running), ..ContainerState::default() });
            status.started = Some(health.is_some_and(|health| health.started));
            status.ready = health.is_some_and(|health| health.ready && health.started);
            if role == Role::Init {
                status.ready = false;
            }
        }
        State::Exited(exit) => {
            let mut over = describe(input, instance, exit);
            // the file of the message goes with the pod's volumes: what was written stays true
            let written = old.and_then(|old| old.state.as_ref()).and_then(|state| state.terminated.as_ref());
            if let Some(written) = written.filter(|w| w.container_id == over.container_id) {
                over.message = over.message.or_else(|| written.message.clone());
            }
            match input.waiting.get(&container.name) {
                Some(waiting) => {
                    status.last_state = Some(terminated(over));
                    status.state = Some(wait(&waiting.reason, &waiting.message));
                }
                None => {
                    status.ready = role == Role::Init && exit.code == 0;
                    status.state = Some(terminated(over));
                }
            }
        }
        State::Created | State::Unknown => status.state = Some(default_wait(input)),
    }
    status
}

/// The runtime has no trace of the container: it was never started, or all of it was removed.
fn without_instance(
    input: Input<'_>,
    container: &Container,
    old: Option<&ContainerStatus>,
    mut status: ContainerStatus,
) -> ContainerStatus {
    if let Some(waiting) = input.waiting.get(&container.name) {
        status.last_state = Some(old.and_then(|old| old.last_state.clone()).unwrap_or_default());
        status.restart_count = old.map_or(0, |old| old.restart_count);
        status.state = Some(wait(&waiting.reason, &waiting.message));
        return status;
    }
    let Some(old) = old.filter(|old| old.container_id.is_some()) else {
        status.last_state = Some(ContainerState::default());
        status.state = Some(default_wait(input));
        return status;
    };
    // the API knows an instance that the runtime no longer has
    let mut status = old.clone();
    status.ready = false;
    status.started = Some(false);
    let was_running = old.state.as_ref().is_some_and(|state| state.terminated.is_none());
    if was_running {
        let lost = ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            container_id: old.container_id.clone(),
            ..ContainerStateTerminated::default()
        };
        if input.stopped {
            status.state = Some(terminated(lost));
        } else {
            status.state = Some(default_wait(input));
            status.last_state = Some(terminated(lost));
        }
    }
    status
}

fn ended(input: Input<'_>, instance: &Instance) -> Option<ContainerStateTerminated> {
    instance.exit().map(|exit| describe(input, instance, exit))
}

fn describe(input: Input<'_>, instance: &Instance, exit: &Exit) -> ContainerStateTerminated {
    let time = |at: Option<Timestamp>| Some(Time(seconds(at.unwrap_or(Timestamp::UNIX_EPOCH))));
    ContainerStateTerminated {
        exit_code: exit.code,
        reason: Some(exit.reason.clone()),
        message: (!exit.message.is_empty()).then(|| exit.message.clone()),
        started_at: time(exit.started_at),
        finished_at: time(exit.finished_at),
        container_id: Some(format!("{}://{}", input.runtime, instance.id)),
        signal: None,
    }
}

fn terminated(terminated: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

fn wait(reason: &str, message: &str) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: (!message.is_empty()).then(|| message.to_owned()),
    };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// PodInitializing while there are init containers, else ContainerCreating.
fn default_wait(input: Input<'_>) -> ContainerState {
    let has_inits = spec::inits(input.pod).next().is_some();
    wait(if has_inits { "PodInitializing" } else { "ContainerCreating" }, "")
}

/// The API's times carry whole seconds.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let one = |mount: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: mount
            .read_only
            .unwrap_or(false)
            .then(|| mount.recursive_read_only.clone().unwrap_or_else(|| "Disabled".to_owned())),
        ..VolumeMountStatus::default()
    };
    Some(mounts.iter().map(one).collect())
}
