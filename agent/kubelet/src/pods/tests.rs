//! Whole pod lives against the runtime in memory, on a paused clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use xebec_cri::fake::{FakeRuntime, Script};
use xebec_cri::messages::{ContainerState, ExecSyncResponse, LinuxContainerResources, Mount};
use xebec_cri::{CriError, Runtime};

use super::manager::Manager;
use super::{Index, Shared};
use crate::api::{ApiFailure, PodApi};
use crate::clock::Clock;
use crate::config::Config;
use crate::desired::Change;
use crate::host::{Host, HostError};
use crate::record::{Kind, Recorder};
use crate::spec;

/// A machine that only notes what is asked of it.
#[derive(Default)]
struct FakeHost {
    calls: Mutex<Vec<String>>,
    broken_mounts: Mutex<u32>,
    missing_env: Mutex<bool>,
}

impl FakeHost {
    fn note(&self, call: &str) {
        self.calls.lock().push(call.to_owned());
    }
}

#[async_trait]
impl Host for FakeHost {
    async fn prepare(&self, pod: &Pod) -> Result<String, HostError> {
        Ok(format!("/kubepods/pod{}", spec::uid(pod)))
    }

    async fn mount(&self, _: &Pod) -> Result<(), HostError> {
        self.note("mount");
        let mut broken = self.broken_mounts.lock();
        if *broken > 0 {
            *broken -= 1;
            let cause = "configmap \"c\" not found".to_owned();
            return Err(HostError::Volume { volume: "v".into(), cause });
        }
        Ok(())
    }

    fn refreshes(&self, _: &Pod) -> bool {
        false
    }

    async fn environment(
        &self,
        _: &Pod,
        _: &Container,
        ips: &[String],
    ) -> Result<Vec<(String, String)>, HostError> {
        if *self.missing_env.lock() {
            return Err(HostError::Config("configmap \"c\" not found".into()));
        }
        Ok(vec![("POD_IP".into(), ips.first().cloned().unwrap_or_default())])
    }

    async fn mounts(&self, _: &Pod, _: &Container, _: &[(String, String)]) -> Result<Vec<Mount>, HostError> {
        Ok(Vec::new())
    }

    fn resources(&self, _: &Pod, _: &Container) -> LinuxContainerResources {
        LinuxContainerResources { cpu_shares: 2, ..LinuxContainerResources::default() }
    }

    async fn write_file(&self, _: &Pod, c: &str, name: &str, _: Vec<u8>) -> Result<PathBuf, HostError> {
        Ok(Path::new("/pods").join(c).join(name))
    }

    fn log_directory(&self, pod: &Pod) -> PathBuf {
        Path::new("/logs").join(spec::uid(pod))
    }

    async fn link_log(&self, _: &Pod, _: &str, _: &str, _: &Path) -> Result<(), HostError> {
        Ok(())
    }

    async fn clean_up(&self, _: &Pod) -> Result<(), HostError> {
        self.note("clean up");
        Ok(())
    }

    async fn remove(&self, _: &Pod) -> Result<(), HostError> {
        self.note("remove");
        Ok(())
    }

    async fn pods_on_disk(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An API server with nothing but pods: merges status patches, tells the watcher.
struct FakeApi {
    pods: Mutex<BTreeMap<String, Pod>>,
    changes: mpsc::Sender<Change>,
    version: Mutex<u64>,
    deleted: Mutex<Vec<String>>,
    down: Mutex<bool>,
    phases: Mutex<Vec<String>>,
}

impl FakeApi {
    fn store(&self, mut pod: Pod) -> Pod {
        let mut version = self.version.lock();
        *version += 1;
        pod.metadata.resource_version = Some(version.to_string());
        self.pods.lock().insert(spec::uid(&pod).to_owned(), pod.clone());
        self.changes.try_send(Change::Apply(Arc::new(pod.clone()))).unwrap();
        pod
    }

    fn pod(&self, uid: &str) -> Option<Pod> {
        self.pods.lock().get(uid).cloned()
    }

    fn delete(&self, uid: &str, grace: i64) {
        let mut pod = self.pod(uid).unwrap();
        pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.store(pod);
    }
}

#[async_trait]
impl PodApi for FakeApi {
    async fn patch_status(&self, _: &str, _: &str, patch: &Value) -> Result<Pod, ApiFailure> {
        if *self.down.lock() {
            return Err(ApiFailure::Unavailable("down".into()));
        }
        let uid = patch["metadata"]["uid"].as_str().unwrap();
        let Some(pod) = self.pod(uid) else { return Err(ApiFailure::Gone("no such pod".into())) };
        let mut value = serde_json::to_value(&pod).unwrap();
        let mut status = value["status"].take();
        if status.is_null() {
            status = json!({});
        }
        for (key, new) in patch["status"].as_object().unwrap() {
            let old = status[key].clone();
            status[key] = match key.as_str() {
                "conditions" => merged(&old, new),
                "podIPs" | "hostIPs" => Value::Array(
                    new.as_array().unwrap().iter().filter(|e| e.get("$patch").is_none()).cloned().collect(),
                ),
                _ => new.clone(),
            };
        }
        value["status"] = status;
        let pod: Pod = serde_json::from_value(value).unwrap();
        let phase = pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
        let mut phases = self.phases.lock();
        if phases.last() != Some(&phase) {
            phases.push(phase);
        }
        drop(phases);
        Ok(self.store(pod))
    }

    async fn delete_now(&self, _: &str, _: &str, uid: &str) -> Result<(), ApiFailure> {
        self.deleted.lock().push(uid.to_owned());
        self.pods.lock().remove(uid);
        self.changes.try_send(Change::Gone(uid.to_owned())).unwrap();
        Ok(())
    }

    async fn create(&self, pod: &Pod) -> Result<(), ApiFailure> {
        self.store(pod.clone());
        Ok(())
    }

    async fn secret(&self, _: &str, name: &str) -> Result<Secret, ApiFailure> {
        Err(ApiFailure::Gone(name.to_owned()))
    }
}

fn merged(old: &Value, new: &Value) -> Value {
    let mut list = old.as_array().cloned().unwrap_or_default();
    for condition in new.as_array().unwrap() {
        match list.iter_mut().find(|known| known["type"] == condition["type"]) {
            Some(known) => {
                for (key, value) in condition.as_object().unwrap() {
                    known[key] = value.clone();
                }
            }
            None => list.push(condition.clone()),
        }
    }
    Value::Array(list)
}

#[derive(Default)]
struct Events(Mutex<Vec<(String, String)>>);

impl Recorder for Events {
    fn record(&self, _: ObjectReference, _: Kind, reason: &str, message: String) {
        self.0.lock().push((reason.to_owned(), message));
    }
}

struct World {
    runtime: Arc<FakeRuntime>,
    host: Arc<FakeHost>,
    api: Arc<FakeApi>,
    events: Arc<Events>,
    changes: Option<mpsc::Receiver<Change>>,
    cancel: CancellationToken,
    agent: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    fn new() -> Self {
        let (tx, rx) = mpsc::channel(1000);
        let api = FakeApi {
            pods: Mutex::default(),
            changes: tx,
            version: Mutex::new(0),
            deleted: Mutex::default(),
            down: Mutex::new(false),
            phases: Mutex::default(),
        };
        World {
            runtime: FakeRuntime::new(),
            host: Arc::default(),
            api: Arc::new(api),
            events: Arc::default(),
            changes: Some(rx),
            cancel: CancellationToken::new(),
            agent: None,
        }
    }

    /// Starts an agent; the API's pods are its first picture.
    fn start(&mut self) {
        let epoch = Timestamp::from_second(i64::try_from(FakeRuntime::EPOCH).unwrap()).unwrap();
        let (start_gate, stop_gate, exec_gate) = Shared::gates(2);
        let elapsed = self.runtime.now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let passed = elapsed - Duration::from_secs(FakeRuntime::EPOCH);
        let shared = Arc::new(Shared {
            config: Config::new("node-1", "192.168.0.1"),
            runtime: self.runtime.clone(),
            runtime_name: "fake".into(),
            host: self.host.clone(),
            api: self.api.clone(),
            recorder: self.events.clone(),
            clock: Clock::starting_at(crate::clock::after(epoch, passed)),
            index: Index::default(),
            registry: super::registry::PodRegistry::default(),
            start_gate,
            stop_gate,
            exec_gate,
        });
        self.cancel = CancellationToken::new();
        let (tx, rx) = mpsc::channel(1000);
        let pods: Vec<Pod> = self.api.pods.lock().values().cloned().collect();
        for pod in &pods {
            tx.try_send(Change::Apply(Arc::new(pod.clone()))).unwrap();
        }
        let uids = pods.iter().map(|pod| spec::uid(pod).to_owned()).collect();
        tx.try_send(Change::Synced(uids)).unwrap();
        let mut source = self.changes.take().unwrap();
        let cancel = self.cancel.clone();
        let manager = Manager::new(shared).run(self.runtime.clone(), rx, cancel.clone());
        self.agent = Some(tokio::spawn(async move {
            let forward = async {
                while let Some(change) = source.recv().await {
                    if tx.send(change).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = manager => {}
                () = forward => {}
            }
        }));
    }

    /// Kills the agent on the spot; the containers live on. The next `start` reads the API anew.
    async fn kill_agent(&mut self) {
        let agent = self.agent.take().unwrap();
        agent.abort();
        drop(agent.await);
        let (tx, rx) = mpsc::channel(1000);
        let old = &self.api;
        let api = FakeApi {
            pods: Mutex::new(old.pods.lock().clone()),
            changes: tx,
            version: Mutex::new(*old.version.lock()),
            deleted: Mutex::new(old.deleted.lock().clone()),
            down: Mutex::new(false),
            phases: Mutex::new(old.phases.lock().clone()),
        };
        self.api = Arc::new(api);
        self.changes = Some(rx);
    }

    fn create(&self, uid: &str, spec: Value) {
        let metadata = json!({"name": uid, "namespace": "default", "uid": uid});
        self.api.store(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap());
    }

    fn phase(&self, uid: &str) -> String {
        self.api.pod(uid).and_then(|pod| pod.status?.phase).unwrap_or_default()
    }

    fn ready(&self, uid: &str) -> bool {
        let status = self.api.pod(uid).and_then(|pod| pod.status).unwrap_or_default();
        status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
    }

    fn restarts(&self, uid: &str) -> i32 {
        let status = self.api.pod(uid).and_then(|pod| pod.status).unwrap_or_default();
        status.container_statuses.unwrap_or_default().iter().map(|status| status.restart_count).sum()
    }

    fn told(&self, reason: &str) -> Vec<String> {
        let events = self.events.0.lock();
        events.iter().filter(|(r, _)| r == reason).map(|(_, message)| message.clone()).collect()
    }

    fn starts(&self) -> Vec<String> {
        let calls = self.runtime.calls();
        calls.iter().filter_map(|call| call.strip_prefix("StartContainer ")).map(str::to_owned).collect()
    }

    fn calls(&self, prefix: &str) -> usize {
        self.runtime.calls().iter().filter(|call| call.starts_with(prefix)).count()
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn one() -> Value {
    json!({"containers": [{"name": "web", "image": "web:1"}]})
}

#[tokio::test(start_paused = true)]
async fn a_pod_starts_without_waiting_for_a_relist() {
    let mut world = World::new();
    world.start();
    pass(1).await;
    world.create("u1", one());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.phase("u1"), "Running");
    assert!(world.ready("u1"));
    let pod = world.api.pod("u1").unwrap();
    let status = pod.status.unwrap();
    assert!(status.pod_ip.unwrap().starts_with("10.244."));
    assert_eq!(status.container_statuses.unwrap()[0].started, Some(true));
    let told: Vec<String> = world.events.0.lock().iter().map(|(reason, _)| reason.clone()).collect();
    assert_eq!(told, ["Pulling", "Pulled", "Created", "Started"]);
    let sandbox = &world.runtime.sandbox_configs()[0];
    assert_eq!(sandbox.hostname, "u1");
    assert_eq!(sandbox.linux.as_ref().unwrap().cgroup_parent, "/kubepods/podu1");
    let container = world.runtime.container_config("web").unwrap();
    assert!(container.mounts.iter().any(|mount| mount.container_path == "/etc/hosts"));
    assert!(container.mounts.iter().any(|mount| mount.container_path == "/dev/termination-log"));
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_backs_off_ten_twenty_forty_seconds() {
    let mut world = World::new();
    world
        .runtime
        .script("web", Script { exits_after: Some((Duration::from_secs(1), 1)), ..Script::default() });
    world.start();
    world.create("u1", one());
    let mut started = Vec::new();
    for second in 0..90 {
        let before = started.len();
        started.extend(std::iter::repeat_n(second, world.starts().len() - before));
        pass(1).await;
    }
    assert_eq!(
        world.told("BackOff").first().map(String::as_str),
        Some("Back-off restarting failed container web in pod u1_default(u1)")
    );
    let gaps: Vec<i32> = started.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // the container itself lives for one second
    assert!(matches!(gaps[..], [1..=2, 11..=12, 21..=22, 41..=42, ..]), "{gaps:?}");
    assert!(world.restarts("u1") >= 3);
    let pod = world.api.pod("u1").unwrap();
    let container = &pod.status.unwrap().container_statuses.unwrap()[0];
    let waiting = container.state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(world.runtime.containers().len(), 2, "older instances are removed");
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_its_stages_and_succeeds() {
    let mut world = World::new();
    let ends = |seconds| Script { exits_after: Some((Duration::from_secs(seconds), 0)), ..Script::default() };
    world.runtime.script("init", ends(2));
    world.runtime.script("work", ends(3));
    world.start();
    world.create("u1", json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "init", "image": "i:1"}, {"name": "side", "image": "i:1", "restartPolicy": "Always"}],
        "containers": [{"name": "work", "image": "i:1"}],
    }));
    pass(20).await;
    assert_eq!(world.starts(), ["init", "side", "work"]);
    assert_eq!(*world.api.phases.lock(), ["Pending", "Running", "Succeeded"]);
    assert_eq!(world.calls("StopContainer side"), 1);
    assert!(world.host.calls.lock().contains(&"clean up".to_owned()));
    assert!(world.api.pod("u1").is_some(), "a finished pod stays");
    assert_eq!(world.runtime.containers().len(), 3, "its containers stay for their logs");
}

#[tokio::test(start_paused = true)]
async fn deletion_is_graceful_and_the_object_goes_last() {
    let mut world = World::new();
    world.runtime.script("web", Script { stops_within: Duration::from_secs(3), ..Script::default() });
    world.start();
    world.create(
        "u1",
        json!({"containers": [{"name": "web", "image": "web:1",
        "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}]}),
    );
    pass(1).await;
    world.api.delete("u1", 30);
    pass(6).await;
    assert!(world.api.pod("u1").is_some());
    assert_eq!(world.calls("StopContainer web 26"), 1, "{:?}", world.runtime.calls());
    pass(3).await;
    assert!(world.api.pod("u1").is_none());
    assert_eq!(*world.api.deleted.lock(), ["u1"]);
    assert_eq!(*world.host.calls.lock(), ["mount", "clean up", "remove"]);
    assert!(world.runtime.sandbox_configs().is_empty());
    assert_eq!(world.told("Killing"), ["Stopping container web"]);
    assert_eq!(world.api.phases.lock().last().map(String::as_str), Some("Failed"), "it ended with 143");
}

#[tokio::test(start_paused = true)]
async fn a_shorter_grace_cuts_a_stop_short() {
    let mut world = World::new();
    world.runtime.script("web", Script { stops_within: Duration::from_secs(600), ..Script::default() });
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.api.delete("u1", 300);
    pass(5).await;
    world.api.delete("u1", 1);
    pass(4).await;
    assert!(world.api.pod("u1").is_none(), "{:?}", world.runtime.calls());
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_finds_its_containers_again() {
    let mut world = World::new();
    world.start();
    world.create(
        "u1",
        json!({"containers": [{"name": "web", "image": "web:1",
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 10}}]}),
    );
    pass(15).await;
    assert!(world.ready("u1"));
    world.kill_agent().await;
    world.runtime.clear_calls();
    world.start();
    let mut flapped = false;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        flapped |= !world.ready("u1");
    }
    assert!(!flapped, "ready is kept until a probe says otherwise");
    let changed = ["RunPodSandbox", "CreateContainer", "StartContainer", "Stop", "Remove"];
    assert!(changed.iter().all(|call| world.calls(call) == 0), "{:?}", world.runtime.calls());
}

#[tokio::test(start_paused = true)]
async fn an_agent_killed_anywhere_on_the_way_leaves_one_container() {
    for millis in (0..300).step_by(10) {
        let mut world = World::new();
        for call in ["RunPodSandbox", "CreateContainer", "StartContainer"] {
            world.runtime.delay(call, Duration::from_millis(50));
        }
        world.start();
        world.create("u1", one());
        tokio::time::sleep(Duration::from_millis(millis)).await;
        world.kill_agent().await;
        world.start();
        pass(60).await;
        assert_eq!(world.phase("u1"), "Running", "killed after {millis} ms");
        let running =
            world.runtime.containers().into_iter().filter(|c| c.2 == ContainerState::ContainerRunning);
        assert_eq!(running.count(), 1, "killed after {millis} ms");
        assert_eq!(world.runtime.sandbox_configs().len(), 1, "killed after {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn orphans_go_only_after_the_api_has_spoken() {
    let mut world = World::new();
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.kill_agent().await;
    world.api.pods.lock().clear();
    world.start();
    pass(15).await;
    assert!(world.runtime.sandbox_configs().is_empty());
    assert!(world.api.deleted.lock().is_empty(), "there is nothing to delete in the API");
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_is_replaced() {
    let mut world = World::new();
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.runtime.lose_sandboxes();
    world.runtime.exit("web", 137);
    pass(15).await;
    assert_eq!(world.phase("u1"), "Running");
    assert_eq!(world.calls("RunPodSandbox"), 2);
    assert_eq!(world.restarts("u1"), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_events_are_made_up_for_by_the_relist() {
    let mut world = World::new();
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.runtime.mute_events(true);
    world.runtime.exit("web", 1);
    pass(11).await;
    assert_eq!(world.restarts("u1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_liveness_probe_restarts_and_a_failing_readiness_probe_does_not() {
    let mut world = World::new();
    world.runtime.on_exec(Box::new(|_, command: &[String]| {
        let exit_code = i32::from(command == ["bad"]);
        Ok(ExecSyncResponse { stdout: b"no".to_vec(), stderr: vec![], exit_code })
    }));
    world.start();
    let probe =
        |command: &str| json!({"exec": {"command": [command]}, "periodSeconds": 2, "failureThreshold": 3});
    world.create(
        "live",
        json!({"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "l", "image": "i:1", "livenessProbe": probe("bad")}]}),
    );
    world.create(
        "ready",
        json!({"containers": [{"name": "r", "image": "i:1", "readinessProbe": probe("bad")}]}),
    );
    world.create(
        "startup",
        json!({"containers": [{"name": "s", "image": "i:1",
        "startupProbe": probe("good"), "livenessProbe": probe("good")}]}),
    );
    pass(8).await;
    assert_eq!(world.restarts("live"), 1);
    assert!(world.told("Unhealthy").contains(&"Liveness probe failed: no".to_owned()));
    assert!(
        world.told("Killing").contains(&"Container l failed liveness probe, will be restarted".to_owned())
    );
    assert_eq!((world.restarts("ready"), world.ready("ready")), (0, false));
    assert_eq!((world.restarts("startup"), world.ready("startup")), (0, true));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_is_tried_again_later() {
    let mut world = World::new();
    world.runtime.pullable(&[]);
    world.start();
    world.create("u1", one());
    pass(1).await;
    let waiting = |world: &World| {
        let container = world.api.pod("u1").unwrap().status.unwrap().container_statuses.unwrap().remove(0);
        container.state.unwrap().waiting.unwrap().reason.unwrap()
    };
    assert_eq!(waiting(&world), "ErrImagePull");
    pass(5).await;
    assert_eq!(waiting(&world), "ImagePullBackOff");
    assert_eq!(world.calls("PullImage"), 1);
    world.runtime.pullable(&["web:1"]);
    pass(6).await;
    assert_eq!(world.phase("u1"), "Running");
    assert!(world.told("Failed").contains(&"Error: ErrImagePull".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn missing_configuration_names_itself_and_heals() {
    let mut world = World::new();
    *world.host.missing_env.lock() = true;
    *world.host.broken_mounts.lock() = 2;
    world.start();
    world.create("u1", one());
    pass(3).await;
    let expected = "MountVolume.SetUp failed for volume \"v\" : configmap \"c\" not found";
    assert_eq!(world.told("FailedMount"), [expected, expected]);
    let container = world.api.pod("u1").unwrap().status.unwrap().container_statuses.unwrap().remove(0);
    let waiting = container.state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
    assert_eq!(waiting.message.as_deref(), Some("configmap \"c\" not found"));
    *world.host.missing_env.lock() = false;
    pass(11).await;
    assert_eq!(world.phase("u1"), "Running");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_fails_is_made_again_with_the_same_attempt() {
    let mut world = World::new();
    let error = CriError::Failed { code: "Unknown", message: "cni said no".into() };
    world.runtime.fail_next("RunPodSandbox", error);
    world.start();
    world.create("u1", one());
    pass(8).await;
    assert_eq!(world.phase("u1"), "Running");
    let told = world.told("FailedCreatePodSandBox");
    assert_eq!(told, ["Failed to create pod sandbox: rpc error: code = Unknown desc = cni said no"]);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_once_the_api_is_back() {
    let mut world = World::new();
    world.start();
    *world.api.down.lock() = true;
    world.create("u1", one());
    pass(10).await;
    assert_eq!(world.phase("u1"), "");
    assert_eq!(world.runtime.containers().len(), 1, "the pod runs all the same");
    *world.api.down.lock() = false;
    pass(3).await;
    assert!(world.ready("u1"));
}

#[tokio::test(start_paused = true)]
async fn a_namesake_is_another_pod() {
    let mut world = World::new();
    world.start();
    world.create("u1", one());
    pass(1).await;
    world.api.delete("u1", 0);
    world.create("u2", one());
    pass(10).await;
    assert_eq!(world.phase("u2"), "Running");
    let sandboxes = world.runtime.list_pod_sandboxes(Default::default()).await.unwrap();
    assert_eq!(sandboxes.len(), 1);
    assert_eq!(sandboxes[0].metadata.as_ref().unwrap().uid, "u2");
}
