//! Statuses as tables.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::clock::after;
use crate::pods::memory::{Health, Termination};
use crate::pods::observe::{Exit, Instance, Sandbox, State};

fn at(seconds: u64) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, Duration::from_secs(1_000_000 + seconds))
}

struct World {
    pod: Pod,
    observed: Observed,
    memory: Memory,
    waiting: BTreeMap<String, Waiting>,
    stopped: bool,
}

impl World {
    fn new(spec: Value) -> Self {
        let metadata = json!({"name": "p", "namespace": "ns", "uid": "u", "generation": 3});
        let pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let memory = Memory { start_time: Some(at(0)), ..Memory::default() };
        World { pod, observed: Observed::default(), memory, waiting: BTreeMap::new(), stopped: false }
    }

    fn sandbox(mut self) -> Self {
        let ips = vec!["10.1.1.1".to_owned()];
        self.observed.sandboxes =
            vec![Sandbox { id: "s".into(), attempt: 0, ready: true, created_at: None, ips }];
        self
    }

    fn has(mut self, name: &str, attempt: u32, state: State, ready: bool) -> Self {
        let id = format!("{name}{attempt}");
        self.memory.health.insert(id.clone(), Health { started: true, ready });
        let instance = Instance {
            id,
            name: name.into(),
            attempt,
            sandbox: "s".into(),
            state,
            created_at: None,
            image: "docker.io/library/i:1".into(),
            image_id: "docker.io/library/i@sha256:1".into(),
            hash: String::new(),
            log_path: String::new(),
        };
        self.observed.containers.insert(0, instance);
        self
    }

    fn running(self, name: &str, ready: bool) -> Self {
        self.has(name, 0, State::Running { since: at(5) }, ready)
    }

    fn exited(self, name: &str, code: i32) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        let exit = Exit {
            started_at: Some(at(5)),
            finished_at: Some(at(6)),
            code,
            reason: reason.into(),
            message: String::new(),
        };
        self.has(name, 0, State::Exited(exit), false)
    }

    fn with(mut self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self);
        self
    }

    fn status_at(&self, now: Timestamp) -> PodStatus {
        pod_status(Input {
            pod: &self.pod,
            observed: &self.observed,
            memory: &self.memory,
            waiting: &self.waiting,
            stopped: self.stopped,
            host_ips: &["192.168.0.1".to_owned()],
            runtime: "containerd",
            now,
        })
    }

    fn status(&self) -> PodStatus {
        self.status_at(at(50))
    }

    fn phase(&self) -> String {
        self.status().phase.unwrap()
    }
}

fn condition(status: &PodStatus, kind: &str) -> (String, Option<String>, Option<String>) {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

fn two() -> Value {
    json!({"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}]})
}

fn ended(world: &mut World) {
    world.stopped = true;
    world.observed.sandboxes.clear();
    world.memory.termination =
        Some(Termination { since: at(40), grace: Duration::ZERO, reason: None, message: None });
}

#[test]
fn a_new_pod_is_pending_and_its_containers_are_being_created() {
    let status = World::new(two()).status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!((status.host_ip.as_deref(), status.pod_ip.as_deref()), (Some("192.168.0.1"), None));
    let first = &status.container_statuses.as_ref().unwrap()[0];
    let waiting = first.state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    let message = Some("containers with unready status: [a b]".to_owned());
    let unready = ("False".to_owned(), Some("ContainersNotReady".to_owned()), message);
    assert_eq!(condition(&status, "Ready"), unready);
    assert_eq!(condition(&status, "PodReadyToStartContainers").0, "False");
    assert_eq!(condition(&status, "PodScheduled").0, "True");
}

#[test]
fn a_running_pod_is_ready_once_all_its_containers_are() {
    let world = World::new(two()).sandbox().running("a", true).running("b", false);
    let status = world.status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.1.1.1"));
    assert_eq!(condition(&status, "Ready").2.as_deref(), Some("containers with unready status: [b]"));
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("containerd://a0"));
    assert_eq!(container.image, "docker.io/library/i:1");
    assert!(container.ready && container.started == Some(true));
    let ready = world.with(|w| w.memory.health.get_mut("b0").unwrap().ready = true).status();
    assert_eq!(condition(&ready, "Ready"), ("True".to_owned(), None, None));
}

#[test]
fn the_time_of_a_condition_moves_only_with_its_status() {
    let world = World::new(two()).sandbox().running("a", true).running("b", true);
    let first = world.status_at(at(50));
    let world = world.with(|w| w.pod.status = Some(first.clone()));
    assert_eq!(world.status_at(at(60)), first, "nothing changed, nothing to write");
    let lost = world.with(|w| w.memory.health.get_mut("b0").unwrap().ready = false).status_at(at(70));
    let times = |status: &PodStatus| -> Vec<(String, Timestamp)> {
        let conditions = status.conditions.iter().flatten();
        conditions.map(|c| (c.type_.clone(), c.last_transition_time.clone().unwrap().0)).collect()
    };
    let moved: Vec<String> = times(&lost)
        .into_iter()
        .zip(times(&first))
        .filter(|(new, old)| new != old)
        .map(|(new, _)| new.0)
        .collect();
    assert_eq!(moved, ["Ready", "ContainersReady"]);
}

#[test]
fn a_crash_loop_shows_the_reason_and_the_last_end() {
    let world = World::new(two()).sandbox().exited("a", 3).running("b", true).with(|w| {
        let waiting = Waiting { reason: "CrashLoopBackOff".into(), message: "back-off 10s".into() };
        w.waiting.insert("a".into(), waiting);
    });
    let status = world.status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let container = &status.container_statuses.unwrap()[0];
    let waiting = container.state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    let last = container.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
}

#[test]
fn the_restart_count_is_the_attempt() {
    let world = World::new(two()).sandbox().exited("a", 1).has("a", 4, State::Running { since: at(9) }, true);
    let container = &world.status().container_statuses.unwrap()[0];
    assert_eq!(container.restart_count, 4);
    assert_eq!(container.last_state.clone().unwrap().terminated.unwrap().exit_code, 1);
}

#[test]
fn phases_follow_the_containers_and_are_final_only_when_stopped() {
    let never = json!({"restartPolicy": "Never", "containers": [{"name": "a"}, {"name": "b"}]});
    let done = World::new(never.clone()).sandbox().exited("a", 0).exited("b", 0);
    assert_eq!(done.phase(), "Running", "not final while the sandbox is up");
    assert_eq!(done.with(ended).phase(), "Succeeded");
    let failed = World::new(never).sandbox().exited("a", 0).exited("b", 2).with(ended);
    assert_eq!(failed.phase(), "Failed");
    let status = failed.status();
    assert_eq!(condition(&status, "Ready").1.as_deref(), Some("PodFailed"));
    let again = failed.with(|w| {
        w.pod.status = Some(status);
        w.observed = Observed::default();
    });
    assert_eq!(again.phase(), "Failed", "a final phase stays, whatever becomes of the containers");
    let kept = &again.status().container_statuses.unwrap()[1];
    assert_eq!(kept.state.clone().unwrap().terminated.unwrap().exit_code, 2);
}

#[test]
fn the_deadline_fails_a_pod() {
    let world = World::new(two()).sandbox().exited("a", 137).exited("b", 137).with(ended).with(|w| {
        let termination = w.memory.termination.as_mut().unwrap();
        termination.reason = Some("DeadlineExceeded".into());
    });
    let status = world.status();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );
}

#[test]
fn init_containers_hold_the_pod_pending() {
    let spec = json!({
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}],
    });
    let world = World::new(spec).sandbox().running("i", true);
    let status = world.status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let (value, reason, message) = condition(&status, "Initialized");
    assert_eq!((value.as_str(), reason.as_deref()), ("False", Some("ContainersNotInitialized")));
    assert_eq!(message.as_deref(), Some("containers with incomplete status: [i s]"));
    let main = &status.container_statuses.unwrap()[0];
    assert_eq!(main.state.clone().unwrap().waiting.unwrap().reason.as_deref(), Some("PodInitializing"));
    let up =
        world.with(|w| w.observed.containers.clear()).exited("i", 0).running("s", true).running("a", true);
    assert_eq!(up.phase(), "Running");
    assert_eq!(condition(&up.status(), "Initialized").0, "True");
    assert!(up.status().init_container_statuses.unwrap()[0].ready);
}

#[test]
fn a_readiness_gate_holds_ready_back_but_not_the_containers() {
    let mut spec = two();
    spec["readinessGates"] = json!([{"conditionType": "x.io/lb"}]);
    let status = World::new(spec).sandbox().running("a", true).running("b", true).status();
    assert_eq!(condition(&status, "ContainersReady").0, "True");
    let (value, reason, message) = condition(&status, "Ready");
    assert_eq!((value.as_str(), reason.as_deref()), ("False", Some("ReadinessGatesNotReady")));
    let expected = "corresponding condition of pod readiness gate \"x.io/lb\" does not exist.";
    assert_eq!(message.as_deref(), Some(expected));
}

#[test]
fn a_container_that_vanished_is_unknown() {
    let world = World::new(two()).sandbox().running("a", true).running("b", true);
    let before = world.status();
    let world = world.with(|w| {
        w.pod.status = Some(before);
        w.observed.containers.clear();
    });
    let container = &world.status().container_statuses.unwrap()[0];
    let last = container.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
    assert!(!container.ready);
}

#[test]
fn quality_of_service_follows_requests_and_limits() {
    let of = |resources: Value| {
        let spec = json!({"containers": [{"name": "a", "resources": resources}]});
        World::new(spec).status().qos_class.unwrap()
    };
    assert_eq!(of(json!({})), "BestEffort");
    assert_eq!(of(json!({"requests": {"cpu": "1"}})), "Burstable");
    let same =
        json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
    assert_eq!(of(same), "Guaranteed");
}
