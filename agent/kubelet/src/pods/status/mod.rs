//! A pod's status: a pure function of what is wanted, what is, and what is remembered.
//!
//! Enters: the pod (with the status the API has), [`Observed`], [`Memory`], the plan's waiting reasons, the node's
//! addresses, the time. Leaves: the PodStatus that upstream's kubelet would write. Called by the worker after
//! every plan; `patch` turns the difference into a request.

mod conditions;
mod container;
pub mod patch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use xebec_host::qos::qos_class;

use super::addresses;
use super::memory::Memory;
use super::observe::Observed;
use super::plan::Waiting;
use crate::spec::{self, RestartPolicy, Role};

/// Everything a status depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What is wanted, and the status the API has.
    pub pod: &'a Pod,
    /// What the runtime holds.
    pub observed: &'a Observed,
    /// What the worker remembers.
    pub memory: &'a Memory,
    /// Containers that wait for a reason.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// Nothing of the pod runs any more, and nothing will.
    pub stopped: bool,
    /// The node's addresses, the primary first.
    pub host_ips: &'a [String],
    /// The runtime's name, the scheme of container ids.
    pub runtime: &'a str,
    /// The time.
    pub now: Timestamp,
}

/// The status the pod has now.
pub fn pod_status(input: Input<'_>) -> PodStatus {
    let old = input.pod.status.clone().unwrap_or_default();
    let of_role = |wanted: &dyn Fn(Role) -> bool, old: &Option<Vec<ContainerStatus>>| {
        let old = old.as_deref().unwrap_or_default();
        let all = spec::all(input.pod).into_iter().filter(|(role, _)| wanted(*role));
        let list: Vec<ContainerStatus> = all
            .map(|(role, c)| {
                container::status(input, role, &c, old.iter().find(|status| status.name == c.name))
            })
            .collect();
        (!list.is_empty()).then_some(list)
    };
    let inits = of_role(&|role| matches!(role, Role::Init | Role::Sidecar), &old.init_container_statuses);
    let mains = of_role(&|role| role == Role::Main, &old.container_statuses);
    let ephemerals = of_role(&|role| role == Role::Ephemeral, &old.ephemeral_container_statuses);

    let termination = input.memory.termination.as_ref();
    let phase = phase(input, &old, inits.as_deref(), mains.as_deref());
    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        reason: termination.and_then(|t| t.reason.clone()).or(old.reason.clone()),
        message: termination.and_then(|t| t.message.clone()).or(old.message.clone()),
        start_time: old.start_time.clone().or(input.memory.start_time.map(Time)),
        host_ip: input.host_ips.first().cloned(),
        host_ips: Some(input.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        init_container_statuses: inits,
        container_statuses: mains,
        ephemeral_container_statuses: ephemerals,
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos_class(input.pod).as_str().to_owned())),
        observed_generation: input.pod.metadata.generation,
        // owned by others: kept as the API has them
        nominated_node_name: old.nominated_node_name.clone(),
        resource_claim_statuses: old.resource_claim_statuses.clone(),
        ..PodStatus::default()
    };
    set_ips(input, &old, &mut status);
    status.conditions = Some(conditions::all(input, &old, &status));
    status
}

fn set_ips(input: Input<'_>, old: &PodStatus, status: &mut PodStatus) {
    let current = input.observed.sandbox().map(|sandbox| sandbox.ips.clone());
    let had = || old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    let ips = match current {
        Some(_) if spec::on_host_network(input.pod) => addresses::on_host(had(), input.host_ips),
        Some(ips) => ips,
        // a pod that ended keeps its last address, as upstream
        None if input.stopped || input.memory.termination.is_some() => had(),
        None => Vec::new(),
    };
    status.pod_ip = ips.first().cloned();
    status.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
}

/// The phase, by upstream's rules (getPhase); a final phase never changes again.
fn phase(
    input: Input<'_>,
    old: &PodStatus,
    inits: Option<&[ContainerStatus]>,
    mains: Option<&[ContainerStatus]>,
) -> &'static str {
    match old.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    if input.memory.termination.as_ref().is_some_and(|t| t.reason.is_some()) {
        return if input.stopped { "Failed" } else { running_or_pending(mains.unwrap_or_default()) };
    }
    let policy = spec::restart_policy(input.pod);
    let (mut pending_init, mut failed_init) = (false, false);
    for ((role, _), status) in spec::inits(input.pod).zip(inits.unwrap_or_default()) {
        let state = status.state.as_ref();
        let exited = state.and_then(|state| state.terminated.as_ref());
        match role {
            Role::Sidecar => pending_init |= !status.started.unwrap_or(false) && exited.is_none(),
            _ => match exited {
                Some(exit) if exit.exit_code == 0 => {}
                Some(_) if policy == RestartPolicy::Never => failed_init = true,
                _ => pending_init = true,
            },
        }
    }
    let mains = mains.unwrap_or_default();
    let begun = mains.iter().any(|status| status.container_id.is_some());
    if failed_init {
        return if input.stopped { "Failed" } else { "Pending" };
    }
    if pending_init && !begun {
        // deleted before it ever ran
        return if input.stopped && input.memory.deleted { "Failed" } else { "Pending" };
    }
    by_containers(input, mains)
}

fn running_or_pending(mains: &[ContainerStatus]) -> &'static str {
    if mains.iter().any(|status| status.container_id.is_some()) { "Running" } else { "Pending" }
}

fn by_containers(input: Input<'_>, mains: &[ContainerStatus]) -> &'static str {
    let (mut waiting, mut running, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for status in mains {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        if state.running.is_some() {
            running += 1;
        } else if let Some(exit) = state.terminated {
            stopped += 1;
            succeeded += usize::from(exit.exit_code == 0);
        } else if last.is_some() {
            stopped += 1;
        } else {
            waiting += 1;
        }
    }
    if input.stopped && running == 0 {
        let all_well = waiting == 0 && stopped > 0 && succeeded == stopped;
        return if all_well { "Succeeded" } else { "Failed" };
    }
    // a pod is final only once it is stopped: until then one whose containers all ended still runs
    match (waiting, running, stopped) {
        (1.., _, _) => "Pending",
        (0, 1.., _) => "Running",
        (0, 0, 1..) => "Running",
        _ => "Pending",
    }
}
