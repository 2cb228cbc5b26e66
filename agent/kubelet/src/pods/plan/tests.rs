//! Plans as tables: each case says what is there and what must be done.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::clock::after;
use crate::pods::backoff::Backoff;
use crate::pods::memory::{Failure, Health};
use crate::pods::observe::{Exit, Instance, Sandbox, State};
use crate::spec;

fn at(seconds: u64) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, Duration::from_secs(1_000_000 + seconds))
}

fn pod(spec: Value) -> Pod {
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "u"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A world with one ready sandbox and mounted volumes.
struct World {
    pod: Pod,
    observed: Observed,
    memory: Memory,
    now: Timestamp,
}

impl World {
    fn new(spec: Value) -> Self {
        let sandbox = Sandbox {
            id: "s0".into(),
            attempt: 0,
            ready: true,
            created_at: Some(at(0)),
            ips: vec!["10.1.1.1".into()],
        };
        let mut memory = Memory { start_time: Some(at(0)), ..Memory::default() };
        memory.volumes.ready = true;
        let observed = Observed { sandboxes: vec![sandbox], containers: vec![] };
        World { pod: pod(spec), observed, memory, now: at(100) }
    }

    fn has(mut self, name: &str, attempt: u32, state: State) -> Self {
        let hash = spec::find(&self.pod, name).map(|(_, c)| spec::hash(&c)).unwrap_or_default();
        let id = format!("{name}{attempt}");
        if matches!(state, State::Running { .. }) {
            self.memory.health.insert(id.clone(), Health { started: true, ready: true });
        }
        let instance = Instance {
            id,
            name: name.into(),
            attempt,
            sandbox: "s0".into(),
            state,
            created_at: Some(at(u64::from(attempt))),
            image: "i".into(),
            image_id: "sha256:i".into(),
            hash,
            log_path: String::new(),
        };
        self.observed.containers.insert(0, instance);
        self
    }

    fn running(self, name: &str) -> Self {
        self.has(name, 0, State::Running { since: at(1) })
    }

    fn exited(self, name: &str, code: i32, finished: u64) -> Self {
        let exit = Exit {
            started_at: Some(at(1)),
            finished_at: Some(at(finished)),
            code,
            reason: "Error".into(),
            message: String::new(),
        };
        self.has(name, 0, State::Exited(exit))
    }

    fn with(mut self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self);
        self
    }

    fn plan(&self) -> Plan {
        plan(Input { pod: &self.pod, observed: &self.observed, memory: &self.memory, now: self.now })
    }

    /// The actions in short: `start web`, `stop web0`.
    fn actions(&self) -> Vec<String> {
        let short = |action: &Action| match action {
            Action::Volumes => "volumes".to_owned(),
            Action::RunSandbox { attempt } => format!("sandbox {attempt}"),
            Action::Start { name, attempt, .. } => format!("start {name} {attempt}"),
            Action::Stop { id, grace, .. } => format!("stop {id} {}", grace.as_secs()),
            Action::Remove { id } => format!("remove {id}"),
            Action::StopSandbox { id } => format!("stop sandbox {id}"),
            Action::RemoveSandbox { id } => format!("remove sandbox {id}"),
            Action::CleanUp => "clean up".to_owned(),
            Action::Finish => "finish".to_owned(),
        };
        self.plan().actions.iter().map(short).collect()
    }
}

fn two() -> Value {
    json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]})
}

fn staged() -> Value {
    json!({
        "initContainers": [
            {"name": "i1"}, {"name": "side1", "restartPolicy": "Always"},
            {"name": "side2", "restartPolicy": "Always"}, {"name": "i2"},
        ],
        "containers": [{"name": "a", "image": "i"}],
    })
}

fn ending(world: &mut World, grace: u64) {
    let grace = Duration::from_secs(grace);
    world.memory.termination = Some(Termination { since: world.now, grace, reason: None, message: None });
}

#[test]
fn a_new_pod_gets_volumes_and_sandbox_side_by_side() {
    let world = World::new(two()).with(|w| {
        w.observed = Observed::default();
        w.memory.volumes.ready = false;
    });
    assert_eq!(world.actions(), ["volumes", "sandbox 0"]);
}

#[test]
fn nothing_starts_before_the_volumes_are_mounted() {
    let world = World::new(two()).with(|w| {
        w.memory.volumes.ready = false;
        w.memory.jobs.insert(Job::Volumes);
    });
    assert!(world.actions().is_empty());
}

#[test]
fn main_containers_start_one_after_the_other() {
    assert_eq!(World::new(two()).actions(), ["start a 0"]);
    let busy = World::new(two()).with(|w| w.memory.jobs.extend([Job::Start("a".into())]));
    assert!(busy.actions().is_empty(), "b waits for a's postStart");
    assert_eq!(World::new(two()).running("a").actions(), ["start b 0"]);
    assert!(World::new(two()).running("a").running("b").actions().is_empty());
}

#[test]
fn a_container_that_cannot_start_does_not_hold_up_the_next() {
    let world = World::new(two()).with(|w| {
        let failure = Failure {
            reason: "ErrImagePull".into(),
            message: "no".into(),
            at: at(99),
            retry_at: at(109),
            pull: Some((Backoff::next(None, at(99), at(99)), "i".into())),
        };
        w.memory.failed.insert("a".into(), failure);
    });
    assert_eq!(world.actions(), ["start b 0"]);
    let plan = world.plan();
    assert_eq!(plan.waiting["a"].reason, "ErrImagePull");
    assert_eq!(plan.wake, Some(at(101)), "then it shows as back-off");
    let later = world.with(|w| w.now = at(102)).plan();
    assert_eq!(later.waiting["a"].reason, "ImagePullBackOff");
    assert_eq!(later.waiting["a"].message, "Back-off pulling image \"i\": ErrImagePull: no");
    assert_eq!(later.wake, Some(at(109)));
}

#[test]
fn init_containers_run_in_sequence_and_sidecars_count_once_started() {
    let order = World::new(staged());
    assert_eq!(order.actions(), ["start i1 0"]);
    assert!(World::new(staged()).running("i1").actions().is_empty(), "an init container must end");
    let one = World::new(staged()).exited("i1", 0, 5);
    assert_eq!(one.actions(), ["start side1 0"]);
    let starting = one.running("side1").with(|w| {
        w.memory.health.get_mut("side10").unwrap().started = false;
    });
    assert!(starting.actions().is_empty(), "its startup probe has not succeeded");
    let started = starting.with(|w| w.memory.health.get_mut("side10").unwrap().started = true);
    assert_eq!(started.actions(), ["start side2 0"]);
    let last = started.running("side2").exited("i2", 0, 9);
    assert_eq!(last.actions(), ["start a 0"]);
}

#[test]
fn a_failed_init_container_is_tried_again_unless_the_policy_is_never() {
    assert_eq!(World::new(staged()).exited("i1", 1, 5).actions(), ["start i1 1"]);
    let mut spec = staged();
    spec["restartPolicy"] = json!("Never");
    let plan = World::new(spec).exited("i1", 1, 5).plan();
    assert!(plan.terminate.is_some());
}

#[test]
fn a_sidecar_that_ends_is_restarted_beside_running_containers() {
    let world = World::new(staged())
        .exited("i1", 0, 1)
        .running("side2")
        .exited("i2", 0, 2)
        .running("a")
        .exited("side1", 0, 50);
    assert_eq!(world.actions(), ["start side1 1"]);
}

#[test]
fn restarts_follow_the_policy() {
    let of = |policy: &str, code: i32| {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]});
        World::new(spec).running("b").exited("a", code, 50).actions()
    };
    assert_eq!(of("Always", 0), ["start a 1"]);
    assert_eq!(of("OnFailure", 1), ["start a 1"]);
    assert!(of("OnFailure", 0).is_empty() && of("Never", 1).is_empty());
}

#[test]
fn a_crash_loop_waits_with_upstreams_words() {
    let world = World::new(two()).running("b").exited("a", 1, 95).with(|w| {
        let first = Backoff::next(None, at(10), at(10));
        w.memory.crash.insert("a".into(), Backoff::next(Some(first), at(60), at(60)));
    });
    let plan = world.plan();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.waiting["a"].reason, "CrashLoopBackOff");
    assert_eq!(plan.waiting["a"].message, "back-off 20s restarting failed container=a pod=p_ns(u)");
    assert_eq!(plan.wake, Some(at(115)));
    assert_eq!(world.with(|w| w.now = at(115)).actions(), ["start a 1"]);
}

#[test]
fn a_finished_pod_ends() {
    let spec = json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}, {"name": "b"}]});
    let half = World::new(spec.clone()).exited("a", 0, 5).running("b");
    assert_eq!(half.plan().terminate, None);
    assert!(World::new(spec).exited("a", 0, 5).exited("b", 0, 6).plan().terminate.is_some());
}

#[test]
fn the_deadline_ends_a_pod() {
    let spec = json!({"activeDeadlineSeconds": 150, "containers": [{"name": "a"}]});
    let world = World::new(spec).running("a");
    assert_eq!(world.plan().wake, Some(at(150)));
    let late = world.with(|w| w.now = at(150)).plan();
    assert_eq!(late.terminate.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn what_a_killed_agent_left_half_done_is_taken_up() {
    let created = World::new(two()).has("a", 0, State::Created);
    assert_eq!(created.actions(), ["remove a0", "start b 0"], "made but never started: made anew");
    let adopted = World::new(two()).running("a").running("b");
    assert!(adopted.actions().is_empty(), "what runs is left alone");
}

#[test]
fn a_lost_sandbox_is_stopped_and_replaced_by_the_next_attempt() {
    let lost = World::new(two()).with(|w| w.observed.sandboxes[0].ready = false);
    assert_eq!(lost.actions(), ["stop sandbox s0"]);
    let stopped = lost.with(|w| w.memory.stopped_sandboxes.extend(["s0".into()]));
    assert_eq!(stopped.actions(), ["sandbox 1"]);
}

#[test]
fn a_changed_image_and_a_failed_liveness_probe_stop_the_container() {
    let changed =
        World::new(two()).running("a").running("b").with(|w| w.observed.containers[0].hash = "old".into());
    assert_eq!(changed.actions(), ["stop b0 30"]);
    let doomed = World::new(two()).running("a").running("b").with(|w| {
        let own = Some(Duration::from_secs(5));
        w.memory.doomed.insert("a0".into(), ("Container a failed liveness probe".into(), own));
    });
    assert_eq!(doomed.actions(), ["stop a0 5"]);
}

#[test]
fn only_two_instances_are_kept() {
    let mut world = World::new(two()).running("b");
    for attempt in 0..4 {
        let exit = Exit {
            started_at: None,
            finished_at: Some(at(10)),
            code: 1,
            reason: String::new(),
            message: String::new(),
        };
        world = world.has("a", attempt, State::Exited(exit));
    }
    assert_eq!(world.actions(), ["start a 4", "remove a1", "remove a0"]);
}

#[test]
fn the_end_takes_mains_together_then_sidecars_in_reverse_then_the_sandbox() {
    let world = World::new(staged()).exited("i1", 0, 1).running("side1").running("side2").running("a");
    let world = world.with(|w| ending(w, 30));
    assert_eq!(world.actions(), ["stop a0 30"]);
    let stop = |world: World, name: &str| {
        let name = name.to_owned();
        world.with(move |w| w.observed.containers.retain(|c| c.name != name))
    };
    let world = stop(world, "a").with(|w| w.now = after(w.now, Duration::from_secs(12)));
    assert_eq!(world.actions(), ["stop side20 18"]);
    let world = stop(world, "side2");
    assert_eq!(world.actions(), ["stop side10 18"]);
    let world = stop(world, "side1");
    assert_eq!(world.actions(), ["stop sandbox s0"]);
}

#[test]
fn an_ending_pod_waits_for_what_is_being_started() {
    let world = World::new(two()).with(|w| {
        ending(w, 30);
        w.memory.jobs.insert(Job::Sandbox);
    });
    assert!(world.actions().is_empty() && !world.plan().stopped);
}

#[test]
fn the_object_goes_last() {
    let world = World::new(two()).with(|w| {
        ending(w, 0);
        w.memory.deleted = true;
        w.memory.stopped_sandboxes.insert("s0".into());
        w.observed.sandboxes[0].ready = false;
    });
    assert!(world.plan().stopped);
    assert!(world.actions().is_empty(), "the final status comes first");
    let world = world.with(|w| w.memory.final_written = true);
    assert_eq!(world.actions(), ["clean up"]);
    let world = world.with(|w| w.memory.cleaned = true);
    assert_eq!(world.actions(), ["remove sandbox s0"]);
    let world = world.with(|w| w.observed = Observed::default());
    assert_eq!(world.actions(), ["finish"]);
    let finished = world.with(|w| w.memory.deleted = false);
    assert!(finished.actions().is_empty(), "a finished pod stays until it is deleted");
}

#[test]
fn work_that_failed_waits() {
    let world = World::new(two()).with(|w| {
        w.observed = Observed::default();
        w.memory.retry.insert(Job::Sandbox, at(105));
    });
    assert!(world.actions().is_empty());
    assert_eq!(world.plan().wake, Some(at(105)));
    assert_eq!(world.with(|w| w.now = at(105)).actions(), ["sandbox 0"]);
}
