//! [`Host`] on this machine, over xebec-host: cgroups, volumes, environment, logs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Container, Pod, Service};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use xebec_cri::messages::{LinuxContainerResources, Mount, MountPropagation};
use xebec_host::cgroups::{CgroupOptions, Cgroups, NodeLimits};
use xebec_host::env::{Context, ServiceFacts, resolve, service_variables};
use xebec_host::qos::{Amounts, container_resources};
use xebec_host::volumes::{
    ContainerMount, LocalVolumes, Mounts, Propagation, VolumeError, VolumeManager, VolumeOptions,
    fetch_objects,
};

use super::machine::NodeMachine;
use super::sources::KubeSources;
use super::{Host, HostError, files};
use crate::config::Config;
use crate::error::KubeletError;
use crate::spec;

/// See the module.
pub struct NodeHost {
    config: Config,
    cgroups: Cgroups,
    volumes: LocalVolumes,
    sources: KubeSources,
    services: Store<Service>,
    allocatable: Amounts,
    memory: u64,
    active: Mutex<BTreeMap<String, Pod>>,
    mounted: Mutex<HashMap<String, Mounts>>,
}

impl NodeHost {
    /// Sets the machine up: directories, `kubepods` cgroups with the node's limits; follows Services (for variables)
    /// until `cancel`.
    pub fn new(
        config: &Config,
        machine: &NodeMachine,
        client: Client,
        cancel: CancellationToken,
    ) -> Result<Self, KubeletError> {
        let fail =
            |what: &str, error: &dyn std::fmt::Display| KubeletError::Machine(format!("{what}: {error}"));
        for dir in [&config.root_dir, &config.pod_logs_dir, &config.container_logs_dir] {
            std::fs::create_dir_all(dir)
                .map_err(|error| fail(&format!("create {}", dir.display()), &error))?;
        }
        let options = CgroupOptions {
            root: config.cgroup_root.clone(),
            pod_pids_limit: config.pod_pids_limit,
            linear_weights: config.linear_cpu_weights,
        };
        let cgroups = Cgroups::discover(options).map_err(|error| fail("cgroups", &error))?;
        let amount = |name: &str| machine.allocatable().get(name).copied().unwrap_or_default();
        // pods together may use what the machine has without the reserve; evictions keep their distance by themselves
        let limits = NodeLimits { cpu_milli: amount("cpu").milli_value(), memory: None, pids: None };
        cgroups.ensure_node(&limits).map_err(|error| fail("kubepods cgroup", &error))?;
        let volumes = LocalVolumes::new(VolumeOptions {
            root: config.root_dir.clone(),
            allocatable: machine.allocatable().clone(),
        });
        Ok(NodeHost {
            config: config.clone(),
            cgroups,
            volumes,
            sources: KubeSources::new(client.clone()),
            services: follow_services(client, cancel),
            allocatable: machine.allocatable().clone(),
            memory: machine.memory(),
            active: Mutex::default(),
            mounted: Mutex::default(),
        })
    }

    /// The cgroups of this node's pods (the kubelet's server reads usage from them).
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    fn pod_dir(&self, pod: &Pod) -> PathBuf {
        self.volumes.pod_dir(spec::uid(pod))
    }

    /// Notes a pod as active or not; the QoS classes' shares follow.
    fn note_active(&self, pod: &Pod, active: bool) -> Option<Vec<Pod>> {
        let mut pods = self.active.lock();
        let known = pods.contains_key(spec::uid(pod));
        if known == active {
            return None;
        }
        if active {
            pods.insert(spec::uid(pod).to_owned(), pod.clone());
        } else {
            pods.remove(spec::uid(pod));
        }
        Some(pods.values().cloned().collect())
    }

    async fn update_classes(&self, pod: &Pod, active: bool) -> Result<(), HostError> {
        let Some(pods) = self.note_active(pod, active) else { return Ok(()) };
        let cgroups = self.cgroups.clone();
        blocking(move || cgroups.update_classes(&pods).map_err(system)).await
    }

    async fn service_variables(&self, pod: &Pod) -> BTreeMap<String, String> {
        // a pod must not start before the services are known; the list comes within moments of the API server
        if self.services.wait_until_ready().await.is_err() {
            tracing::warn!("the services are not known: the follower has ended");
        }
        let services = self.services.state();
        let facts: Vec<ServiceFacts> =
            services.iter().filter_map(|service| ServiceFacts::of(service)).collect();
        let links = spec::spec(pod).enable_service_links.unwrap_or(true);
        service_variables(&facts, spec::namespace(pod), links)
    }
}

fn follow_services(client: Client, cancel: CancellationToken) -> Store<Service> {
    let (store, writer) = reflector::store();
    let stream = watcher(Api::<Service>::all(client), watcher::Config::default());
    let stream = reflector::reflector(writer, stream.default_backoff());
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        loop {
            tokio::select! {
                next = stream.next() => match next {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => tracing::warn!(%error, "the watch of Services broke"),
                    None => return,
                },
                () = cancel.cancelled() => return,
            }
        }
    });
    store
}

fn system(error: impl std::fmt::Display) -> HostError {
    HostError::System(error.to_string())
}

fn volume(error: VolumeError) -> HostError {
    match error {
        VolumeError::SetUp { volume, cause } => HostError::Volume { volume, cause: cause.to_string() },
        other => system(other),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(system(error)))
}

fn io<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> HostError + 'a {
    move |error| HostError::System(format!("{what} {}: {error}", path.display()))
}

fn to_mount(mount: ContainerMount) -> Mount {
    let propagation = match mount.propagation {
        Propagation::None => MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => MountPropagation::PropagationBidirectional,
    };
    Mount {
        container_path: mount.container_path,
        host_path: mount.host_path.to_string_lossy().into_owned(),
        readonly: mount.read_only,
        recursive_read_only: mount.recursive_read_only,
        propagation: propagation.into(),
        ..Mount::default()
    }
}

#[async_trait]
impl Host for NodeHost {
    async fn prepare(&self, pod: &Pod) -> Result<String, HostError> {
        let logs = self.log_directory(pod);
        let mut dirs = vec![self.pod_dir(pod)];
        dirs.extend(spec::all(pod).into_iter().map(|(_, container)| logs.join(&container.name)));
        let (cgroups, owned) = (self.cgroups.clone(), pod.clone());
        let parent = blocking(move || {
            for dir in &dirs {
                std::fs::create_dir_all(dir).map_err(io("create", dir))?;
            }
            cgroups.ensure_pod(&owned).map_err(system)
        })
        .await?;
        self.update_classes(pod, true).await?;
        Ok(parent)
    }

    async fn mount(&self, pod: &Pod) -> Result<(), HostError> {
        let mounts = self.volumes.mount(pod, &self.sources).await.map_err(volume)?;
        self.mounted.lock().insert(spec::uid(pod).to_owned(), mounts);
        Ok(())
    }

    fn refreshes(&self, pod: &Pod) -> bool {
        spec::spec(pod).volumes.iter().flatten().any(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some()
                || volume.downward_api.is_some()
        })
    }

    async fn environment(
        &self,
        pod: &Pod,
        container: &Container,
        ips: &[String],
    ) -> Result<Vec<(String, String)>, HostError> {
        let config = |error: &dyn std::fmt::Display| HostError::Config(error.to_string());
        let objects = fetch_objects(spec::namespace(pod), container, &self.sources).await;
        let objects = objects.map_err(|error| config(&error))?;
        let services = self.service_variables(pod).await;
        let context = Context {
            pod,
            node_name: &self.config.node_name,
            pod_ips: ips,
            host_ips: &self.config.node_ips,
            allocatable: &self.allocatable,
            objects: &objects,
            services: &services,
        };
        resolve(&context, container).map_err(|error| config(&error))
    }

    async fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        env: &[(String, String)],
    ) -> Result<Vec<Mount>, HostError> {
        let mounted = self.mounted.lock().get(spec::uid(pod)).cloned().unwrap_or_default();
        let mounts = self.volumes.container_mounts(pod, &mounted, &container.name, env).await;
        Ok(mounts.map_err(|error| HostError::Config(error.to_string()))?.into_iter().map(to_mount).collect())
    }

    fn resources(&self, pod: &Pod, container: &Container) -> LinuxContainerResources {
        let resources = container_resources(pod, container, self.memory);
        LinuxContainerResources {
            cpu_period: resources.cpu_period,
            cpu_quota: resources.cpu_quota,
            cpu_shares: resources.cpu_shares,
            memory_limit_in_bytes: resources.memory_limit_in_bytes,
            oom_score_adj: resources.oom_score_adj,
            ..LinuxContainerResources::default()
        }
    }

    async fn write_file(
        &self,
        pod: &Pod,
        container: &str,
        name: &str,
        content: Vec<u8>,
    ) -> Result<PathBuf, HostError> {
        use std::os::unix::fs::PermissionsExt;
        let path = files::own_file(&self.pod_dir(pod), container, name);
        // a container of any user writes its termination message; only root writes the pod's hosts file
        let mode = if container.is_empty() { 0o644 } else { 0o666 };
        blocking(move || {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).map_err(io("create", dir))?;
            }
            std::fs::write(&path, content).map_err(io("write", &path))?;
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).map_err(io("set the mode of", &path))?;
            Ok(path)
        })
        .await
    }

    fn log_directory(&self, pod: &Pod) -> PathBuf {
        files::log_directory(&self.config.pod_logs_dir, pod)
    }

    async fn link_log(&self, pod: &Pod, container: &str, id: &str, log: &Path) -> Result<(), HostError> {
        let link = files::log_link(&self.config.container_logs_dir, pod, container, id);
        match tokio::fs::symlink(log, &link).await {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(io("link", &link)(error)),
            _ => Ok(()),
        }
    }

    async fn clean_up(&self, pod: &Pod) -> Result<(), HostError> {
        let uid = spec::uid(pod);
        self.volumes.unmount(uid).await.map_err(volume)?;
        self.mounted.lock().remove(uid);
        self.cgroups.remove_pod(uid).await.map_err(system)?;
        self.update_classes(pod, false).await
    }

    async fn remove(&self, pod: &Pod) -> Result<(), HostError> {
        // an orphan found on disk alone has no name: its logs cannot be told
        if spec::name(pod).is_empty() {
            return Ok(());
        }
        let (logs, links) = (self.log_directory(pod), self.config.container_logs_dir.clone());
        let prefix = format!("{}_{}_", spec::name(pod), spec::namespace(pod));
        blocking(move || {
            for entry in std::fs::read_dir(&links).into_iter().flatten().flatten() {
                let ours = entry.file_name().to_string_lossy().starts_with(&prefix);
                let path = entry.path();
                if ours && std::fs::read_link(&path).is_ok_and(|target| target.starts_with(&logs)) {
                    std::fs::remove_file(&path).map_err(io("remove", &path))?;
                }
            }
            match std::fs::remove_dir_all(&logs) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &logs)(error)),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn pods_on_disk(&self) -> Vec<String> {
        let mut found: BTreeSet<String> = match self.volumes.reconstruct().await {
            Ok(list) => list.into_iter().map(|pod| pod.uid).collect(),
            Err(error) => {
                tracing::warn!(%error, "the pods' directories cannot be read");
                BTreeSet::new()
            }
        };
        let cgroups = self.cgroups.clone();
        found.extend(blocking(move || Ok(cgroups.pods())).await.unwrap_or_default());
        found.into_iter().collect()
    }
}
