//! A node in memory: machine, API server and Events as fakes around the real manager and workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Secret};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use xebec_cri::fake::FakeRuntime;
use xebec_cri::messages::{LinuxContainerResources, Mount};

use crate::api::{ApiFailure, PodApi};
use crate::clock::Clock;
use crate::config::Config;
use crate::desired::Change;
use crate::host::{Host, HostError};
use crate::pods::manager::Manager;
use crate::pods::registry::PodRegistry;
use crate::pods::start::handler::Handlers;
use crate::pods::{Index, Shared};
use crate::record::{Kind, Recorder};
use crate::spec;

/// A machine that only notes what is asked of it.
#[derive(Default)]
pub struct FakeHost {
    pub calls: Mutex<Vec<String>>,
    pub broken_mounts: Mutex<u32>,
    pub missing_env: Mutex<bool>,
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
pub struct FakeApi {
    pub pods: Mutex<BTreeMap<String, Pod>>,
    changes: mpsc::Sender<Change>,
    version: Mutex<u64>,
    pub deleted: Mutex<Vec<String>>,
    pub down: Mutex<bool>,
    pub phases: Mutex<Vec<String>>,
    /// Handlers by RuntimeClass.
    pub classes: Mutex<BTreeMap<String, String>>,
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

    pub fn pod(&self, uid: &str) -> Option<Pod> {
        self.pods.lock().get(uid).cloned()
    }

    /// Writes an annotation.
    pub fn touch(&self, uid: &str, step: u32) {
        let mut pod = self.pod(uid).unwrap();
        pod.metadata.annotations.get_or_insert_default().insert("step".to_owned(), step.to_string());
        self.store(pod);
    }

    pub fn delete(&self, uid: &str, grace: i64) {
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

    async fn runtime_class(&self, name: &str) -> Result<RuntimeClass, ApiFailure> {
        if *self.down.lock() {
            return Err(ApiFailure::Unavailable("down".into()));
        }
        let found = self.classes.lock().get(name).cloned();
        let handler = found.ok_or_else(|| ApiFailure::Gone(format!("runtimeclasses {name:?} not found")))?;
        Ok(RuntimeClass { handler, ..RuntimeClass::default() })
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
pub struct Events(pub Mutex<Vec<(String, String)>>);

impl Recorder for Events {
    fn record(&self, _: ObjectReference, _: Kind, reason: &str, message: String) {
        self.0.lock().push((reason.to_owned(), message));
    }
}

pub struct World {
    pub runtime: Arc<FakeRuntime>,
    pub host: Arc<FakeHost>,
    pub api: Arc<FakeApi>,
    pub events: Arc<Events>,
    changes: Option<mpsc::Receiver<Change>>,
    cancel: CancellationToken,
    agent: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    pub fn new() -> Self {
        let (tx, rx) = mpsc::channel(1000);
        let api = FakeApi {
            pods: Mutex::default(),
            changes: tx,
            version: Mutex::new(0),
            deleted: Mutex::default(),
            down: Mutex::new(false),
            phases: Mutex::default(),
            classes: Mutex::default(),
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
    pub fn start(&mut self) {
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
            registry: PodRegistry::default(),
            start_gate,
            stop_gate,
            exec_gate,
            handlers: Handlers::default(),
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
    pub async fn kill_agent(&mut self) {
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
            classes: Mutex::new(old.classes.lock().clone()),
        };
        self.api = Arc::new(api);
        self.changes = Some(rx);
    }

    pub fn create(&self, uid: &str, spec: Value) {
        let metadata = json!({"name": uid, "namespace": "default", "uid": uid});
        self.api.store(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap());
    }

    pub fn phase(&self, uid: &str) -> String {
        self.api.pod(uid).and_then(|pod| pod.status?.phase).unwrap_or_default()
    }

    pub fn ready(&self, uid: &str) -> bool {
        let status = self.api.pod(uid).and_then(|pod| pod.status).unwrap_or_default();
        status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
    }

    pub fn restarts(&self, uid: &str) -> i32 {
        let status = self.api.pod(uid).and_then(|pod| pod.status).unwrap_or_default();
        status.container_statuses.unwrap_or_default().iter().map(|status| status.restart_count).sum()
    }

    pub fn told(&self, reason: &str) -> Vec<String> {
        let events = self.events.0.lock();
        events.iter().filter(|(r, _)| r == reason).map(|(_, message)| message.clone()).collect()
    }

    pub fn starts(&self) -> Vec<String> {
        let calls = self.runtime.calls();
        calls.iter().filter_map(|call| call.strip_prefix("StartContainer ")).map(str::to_owned).collect()
    }

    pub fn calls(&self, prefix: &str) -> usize {
        self.runtime.calls().iter().filter(|call| call.starts_with(prefix)).count()
    }
}
