//! A pod's conditions, with upstream's reasons and messages. Enters: the statuses of its containers. Leaves: the
//! conditions, each with the time of its last change; conditions of other owners are kept.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::Input;
use crate::spec::{self, Role};

/// The conditions that the kubelet owns.
pub const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

struct Verdict {
    status: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Verdict { status: true, reason: None, message: None }
    }

    fn no(reason: &str, message: Option<String>) -> Self {
        Verdict { status: false, reason: Some(reason.to_owned()), message }
    }
}

/// All conditions, the kubelet's first.
pub fn all(input: Input<'_>, old: &PodStatus, new: &PodStatus) -> Vec<PodCondition> {
    let phase = new.phase.as_deref().unwrap_or_default();
    let containers = containers_ready(input, new, phase);
    let ready = gates(input, old, &containers).unwrap_or(Verdict {
        status: containers.status,
        reason: containers.reason.clone(),
        message: containers.message.clone(),
    });
    let verdicts = [
        Verdict { status: input.observed.sandbox().is_some(), reason: None, message: None },
        initialized(input, new, phase),
        ready,
        containers,
        Verdict::yes(),
    ];
    let before = old.conditions.as_deref().unwrap_or_default();
    let mine = OWNED.iter().zip(verdicts).map(|(kind, verdict)| {
        let previous = before.iter().find(|condition| condition.type_ == **kind);
        stamp(input, kind, verdict, previous)
    });
    let others = before.iter().filter(|condition| !OWNED.contains(&condition.type_.as_str())).cloned();
    mine.chain(others).collect()
}

fn stamp(input: Input<'_>, kind: &str, verdict: Verdict, previous: Option<&PodCondition>) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let since = previous.filter(|p| p.status == status).and_then(|p| p.last_transition_time.clone());
    let now = Timestamp::from_second(input.now.as_second()).unwrap_or(input.now);
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason,
        message: verdict.message,
        last_probe_time: None,
        last_transition_time: Some(since.unwrap_or(Time(now))),
        observed_generation: input.pod.metadata.generation,
    }
}

fn by_phase(phase: &str) -> Option<Verdict> {
    match phase {
        "Succeeded" => Some(Verdict::no("PodCompleted", None)),
        "Failed" => Some(Verdict::no("PodFailed", None)),
        _ => None,
    }
}

fn names(list: &[&str]) -> String {
    format!("[{}]", list.join(" "))
}

fn containers_ready(input: Input<'_>, new: &PodStatus, phase: &str) -> Verdict {
    if let Some(verdict) = by_phase(phase) {
        return verdict;
    }
    let sidecars: Vec<&str> = spec::inits(input.pod)
        .filter(|(role, _)| *role == Role::Sidecar)
        .map(|(_, container)| container.name.as_str())
        .collect();
    let inits = new.init_container_statuses.as_deref().unwrap_or_default();
    let inits = inits.iter().filter(|status| sidecars.contains(&status.name.as_str()));
    let mains = new.container_statuses.as_deref().unwrap_or_default();
    let unready: Vec<&str> =
        inits.chain(mains).filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with unready status: {}", names(&unready));
    Verdict::no("ContainersNotReady", Some(message))
}

/// `None` if no readiness gate holds the pod back.
fn gates(input: Input<'_>, old: &PodStatus, containers: &Verdict) -> Option<Verdict> {
    if !containers.status {
        return None;
    }
    let gates = input.pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let conditions = old.conditions.as_deref().unwrap_or_default();
    let messages: Vec<String> = gates
        .iter()
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match conditions.iter().find(|condition| condition.type_ == *kind) {
                None => {
                    Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist."))
                }
                Some(condition) if condition.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    (!messages.is_empty()).then(|| Verdict::no("ReadinessGatesNotReady", Some(messages.join(", "))))
}

fn initialized(input: Input<'_>, new: &PodStatus, phase: &str) -> Verdict {
    let statuses = new.init_container_statuses.as_deref().unwrap_or_default();
    let done = |role: Role, status: &ContainerStatus| match role {
        Role::Sidecar => status.started.unwrap_or(false),
        _ => {
            let state = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            state.is_some_and(|exit| exit.exit_code == 0)
        }
    };
    let begun = new.container_statuses.iter().flatten().any(|status| status.container_id.is_some());
    let open: Vec<&str> = spec::inits(input.pod)
        .zip(statuses)
        .filter(|((role, _), status)| !begun && !done(*role, status))
        .map(|((_, container), _)| container.name.as_str())
        .collect();
    match phase {
        "Succeeded" => Verdict { status: true, reason: Some("PodCompleted".to_owned()), message: None },
        _ if open.is_empty() => Verdict::yes(),
        "Failed" => Verdict::no("PodFailed", None),
        _ => {
            let message = format!("containers with incomplete status: {}", names(&open));
            Verdict::no("ContainersNotInitialized", Some(message))
        }
    }
}
