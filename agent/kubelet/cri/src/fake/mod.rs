//! A container runtime in memory, for tests of whatever drives a [`Runtime`].
//!
//! Enters: the same calls a real runtime gets, and the test's own orders (let a container exit, fail the next
//! call). Leaves: the same answers and events, and a log of the calls. Time is tokio's clock, counted from
//! [`FakeRuntime::EPOCH`], so that tests on a paused clock decide what time it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::messages::*;
use crate::{CriError, EventKind, RuntimeEvent};

mod calls;

/// How an exec'd command answers: given the container's name and the command.
pub type ExecScript = Box<dyn Fn(&str, &[String]) -> Result<ExecSyncResponse, CriError> + Send + Sync>;

/// What a container does by itself once started.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Ends this long after its start; `None` runs until stopped.
    pub exits_after: Option<(Duration, i32)>,
    /// Needs this long to end after the stop signal; longer than the grace means it is killed (code 137).
    pub stops_within: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Script { exits_after: None, stops_within: Duration::ZERO }
    }
}

struct Held {
    status: ContainerStatus,
    sandbox: String,
    config: ContainerConfig,
    ended: watch::Sender<bool>,
    process: bool,
    exit: Option<(i32, i64, String)>,
}

struct State {
    next: u64,
    sandboxes: BTreeMap<String, (PodSandboxStatus, PodSandboxConfig)>,
    containers: BTreeMap<String, Held>,
    images: BTreeMap<String, Image>,
    pullable: Option<Vec<String>>,
    calls: Vec<String>,
    failures: VecDeque<(String, CriError)>,
    delays: BTreeMap<String, Duration>,
    scripts: BTreeMap<String, Script>,
    exec: Option<Arc<ExecScript>>,
    network_ready: bool,
    mute: bool,
    lists_broken: bool,
    answer_after: Duration,
    exit_known_after: Duration,
}

/// The runtime in memory; every clone of the `Arc` sees the same containers.
pub struct FakeRuntime {
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
    start: Instant,
    me: std::sync::Weak<FakeRuntime>,
}

impl FakeRuntime {
    /// The fake's time when it was made: 2026-01-01T00:00:00Z, in seconds since the Unix epoch.
    pub const EPOCH: u64 = 1_767_225_600;

    /// An empty runtime, network ready, every image pullable. Must be called inside a tokio runtime.
    pub fn new() -> Arc<Self> {
        let state = State {
            next: 1,
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            images: BTreeMap::new(),
            pullable: None,
            calls: Vec::new(),
            failures: VecDeque::new(),
            delays: BTreeMap::new(),
            scripts: BTreeMap::new(),
            exec: None,
            network_ready: true,
            mute: false,
            lists_broken: false,
            answer_after: Duration::ZERO,
            exit_known_after: Duration::ZERO,
        };
        Arc::new_cyclic(|me| FakeRuntime {
            state: Mutex::new(state),
            events: broadcast::channel(1024).0,
            start: Instant::now(),
            me: me.clone(),
        })
    }

    /// The fake's time now.
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(Self::EPOCH) + self.start.elapsed()
    }

    fn nanos(&self) -> i64 {
        let since = self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Every call so far that changes something, as `Call name` (`StartContainer web`).
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.state.lock().calls.clear();
    }

    /// Makes the next call of this name (`RunPodSandbox`) fail, before it does anything.
    pub fn fail_next(&self, call: &str, error: CriError) {
        self.state.lock().failures.push_back((call.to_owned(), error));
    }

    /// Makes every later call of this name take this long.
    pub fn delay(&self, call: &str, by: Duration) {
        self.state.lock().delays.insert(call.to_owned(), by);
    }

    /// Sets what containers of this name do by themselves.
    pub fn script(&self, container: &str, script: Script) {
        self.state.lock().scripts.insert(container.to_owned(), script);
    }

    /// Sets how exec'd commands answer; without it they succeed silently.
    pub fn on_exec(&self, script: ExecScript) {
        self.state.lock().exec = Some(Arc::new(script));
    }

    /// While true ListContainers fails.
    pub fn break_lists(&self, broken: bool) {
        self.state.lock().lists_broken = broken;
    }

    /// Makes StartContainer answer, and the status say RUNNING, this long after the process started.
    pub fn answer_starts_after(&self, by: Duration) {
        self.state.lock().answer_after = by;
    }

    /// Makes the status tell an exit this long after its event (and after StartContainer answered).
    pub fn know_exits_after(&self, by: Duration) {
        self.state.lock().exit_known_after = by;
    }

    /// Limits what can be pulled to these images.
    pub fn pullable(&self, images: &[&str]) {
        self.state.lock().pullable = Some(images.iter().map(|&i| i.to_owned()).collect());
    }

    /// Sets the `NetworkReady` condition.
    pub fn set_network_ready(&self, ready: bool) {
        self.state.lock().network_ready = ready;
    }

    /// While true no event is sent, as with a broken stream.
    pub fn mute_events(&self, mute: bool) {
        self.state.lock().mute = mute;
    }

    /// Ends the running container of this name with this code; false if none runs.
    pub fn exit(&self, container: &str, code: i32) -> bool {
        let id = {
            let state = self.state.lock();
            let running = state.containers.values().find(|held| {
                held.status.state() == ContainerState::ContainerRunning && name_of(&held.status) == container
            });
            running.map(|held| held.status.id.clone())
        };
        id.is_some_and(|id| self.end(&id, code, if code == 0 { "Completed" } else { "Error" }))
    }

    /// Every container there is: (name, attempt, state), in order of creation.
    pub fn containers(&self) -> Vec<(String, u32, ContainerState)> {
        let state = self.state.lock();
        let all = state.containers.values().map(|held| {
            let attempt = held.status.metadata.as_ref().map_or(0, |m| m.attempt);
            (name_of(&held.status), attempt, held.status.state())
        });
        all.collect()
    }

    /// The configuration the newest container of this name was created with.
    pub fn container_config(&self, container: &str) -> Option<ContainerConfig> {
        let state = self.state.lock();
        let mut found = state.containers.values().filter(|held| name_of(&held.status) == container);
        found.next_back().map(|held| held.config.clone())
    }

    /// The configurations of all sandboxes, in order of creation.
    pub fn sandbox_configs(&self) -> Vec<PodSandboxConfig> {
        self.state.lock().sandboxes.values().map(|(_, config)| config.clone()).collect()
    }

    /// Turns every sandbox not ready, as a restarted runtime finds them.
    pub fn lose_sandboxes(&self) {
        for (status, _) in self.state.lock().sandboxes.values_mut() {
            status.state = PodSandboxState::NotReady.into();
        }
    }

    fn emit(&self, id: &str, kind: EventKind) {
        if !self.state.lock().mute {
            let event = RuntimeEvent { id: id.to_owned(), kind, at: self.now(), pod_uid: None };
            // an error only means that nobody listens
            drop(self.events.send(event));
        }
    }

    /// Ends a container's process: the event is sent now, the status follows.
    fn end(&self, id: &str, code: i32, reason: &str) -> bool {
        let now = self.nanos();
        let started = {
            let mut state = self.state.lock();
            let Some(held) = state.containers.get_mut(id).filter(|held| held.process) else { return false };
            held.process = false;
            held.exit = Some((code, now, reason.to_owned()));
            held.status.state() == ContainerState::ContainerRunning
        };
        if started {
            self.tell_exit(id);
        }
        self.emit(id, EventKind::Stopped);
        true
    }

    /// Lets the status tell an exit, at once or after the time the test has set.
    fn tell_exit(&self, id: &str) {
        let by = self.state.lock().exit_known_after;
        let (id, me) = (id.to_owned(), self.me.upgrade());
        match me.filter(|_| !by.is_zero()) {
            None => self.write_exit(&id),
            Some(me) => {
                tokio::spawn(async move {
                    tokio::time::sleep(by).await;
                    me.write_exit(&id);
                });
            }
        }
    }

    fn write_exit(&self, id: &str) {
        let mut state = self.state.lock();
        let Some(held) = state.containers.get_mut(id) else { return };
        let Some((code, at, reason)) = held.exit.clone() else { return };
        held.status.state = ContainerState::ContainerExited.into();
        held.status.exit_code = code;
        held.status.finished_at = at;
        held.status.reason = reason;
        held.ended.send_replace(true);
    }

    /// Notes the call, waits its delay, and fails if the test asked for it.
    async fn enter(&self, call: &str, subject: &str) -> Result<(), CriError> {
        let (delay, failure) = {
            let mut state = self.state.lock();
            state.calls.push(format!("{call} {subject}").trim_end().to_owned());
            let at = state.failures.iter().position(|(name, _)| name == call);
            (state.delays.get(call).copied(), at.and_then(|at| state.failures.remove(at)))
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        failure.map_or(Ok(()), |(_, error)| Err(error))
    }

    fn fresh_id(state: &mut State, prefix: &str) -> String {
        let id = format!("{prefix}{:08}", state.next);
        state.next += 1;
        id
    }

    fn container_name(&self, id: &str) -> String {
        self.state.lock().containers.get(id).map_or_else(|| id.to_owned(), |held| name_of(&held.status))
    }
}

fn name_of(status: &ContainerStatus) -> String {
    status.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default()
}

fn not_found(kind: &str, id: &str) -> CriError {
    CriError::NotFound(format!("{kind} \"{id}\": not found"))
}

fn selected(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::{Runtime, RuntimeEvents};

    fn sandbox(uid: &str) -> PodSandboxConfig {
        let metadata = PodSandboxMetadata {
            name: "web".into(),
            uid: uid.into(),
            namespace: "default".into(),
            attempt: 0,
        };
        PodSandboxConfig { metadata: Some(metadata), ..PodSandboxConfig::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_lives_and_its_exit_is_an_event() {
        let runtime = FakeRuntime::new();
        let mut events = runtime.subscribe().await.unwrap();
        let sandbox_id = runtime.run_pod_sandbox(sandbox("u1"), "").await.unwrap();
        let again = runtime.run_pod_sandbox(sandbox("u1"), "").await.unwrap_err();
        assert!(matches!(again, CriError::NameReserved { id, .. } if id == sandbox_id));
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "c".into(), attempt: 0 }),
            ..ContainerConfig::default()
        };
        runtime.script("c", Script { exits_after: Some((Duration::from_secs(3), 2)), ..Script::default() });
        let id = runtime.create_container(&sandbox_id, config, sandbox("u1")).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        let mut kinds = Vec::new();
        for _ in 0..3 {
            kinds.push(events.next().await.unwrap().unwrap().kind);
        }
        assert_eq!(kinds, [EventKind::Started, EventKind::Started, EventKind::Stopped]);
        let status = runtime.container_status(&id).await.unwrap();
        assert_eq!(status.exit_code, 2);
        assert_eq!(status.finished_at - status.started_at, 3_000_000_000);
        runtime.remove_pod_sandbox(&sandbox_id).await.unwrap();
        assert!(runtime.container_status(&id).await.unwrap_err().is_not_found());
    }
}
