//! The volume manager of a real node. Enters: pods. Leaves: volumes below `<root>/pods/<uid>/volumes`.
//!
//! A volume is planned first (fetching what it holds), then carried out on a blocking thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume};
use parking_lot::RwLock;
use xebec_api::quantity::Quantity;

use super::ownership::{self, ChangePolicy};
use super::payload::{self, DEFAULT_MODE, File, Payload, Wanted};
use super::tokens::TokenCache;
use super::{
    ContainerMount, Objects, OnDisk, Sources, TokenRequest, VolumeError, VolumeManager, atomic, claim,
    cleanup, container, hostpath, tmpfs,
};
use crate::qos::{Amounts, pod_resources};

/// Where volumes live and what the node has to give.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// `/var/lib/kubelet`; pods are below `pods/`.
    pub root: PathBuf,
    /// Allocatable resources: what an unset limit is in downwardAPI volumes, and the most a memory volume may hold.
    pub allocatable: Amounts,
}

/// A volume that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedVolume {
    /// Where it is on the node.
    pub host_path: PathBuf,
    /// Mounted read only whatever the container asks.
    pub read_only: bool,
}

/// A pod's ready volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// By volume name.
    pub volumes: BTreeMap<String, MountedVolume>,
    /// True if the contents of a volume were written.
    pub changed: bool,
}

/// What one volume becomes.
enum Plan {
    EmptyDir { dir: PathBuf, memory: Option<i64> },
    Files { dir: PathBuf, memory: bool, payload: Payload },
    Host { path: PathBuf, kind: String, read_only: bool },
}

/// Volumes on this machine's file systems.
pub struct LocalVolumes {
    root: PathBuf,
    allocatable: RwLock<Amounts>,
    tokens: TokenCache,
}

impl LocalVolumes {
    /// A manager for the pods below `options.root`.
    pub fn new(options: VolumeOptions) -> Self {
        Self {
            root: options.root,
            allocatable: RwLock::new(options.allocatable),
            tokens: TokenCache::default(),
        }
    }

    /// Takes over changed allocatable resources.
    pub fn set_allocatable(&self, allocatable: Amounts) {
        *self.allocatable.write() = allocatable;
    }

    /// A pod's directory, `<root>/pods/<uid>`.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    async fn plan(&self, pod: &Pod, volume: &Volume, sources: &dyn Sources) -> Result<Plan, VolumeError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let dir = |plugin: &str| self.pod_dir(uid).join("volumes").join(plugin).join(&volume.name);
        if let Some(source) = &volume.empty_dir {
            let dir = dir("kubernetes.io~empty-dir");
            let memory = match source.medium.as_deref().unwrap_or_default() {
                "" => None,
                "Memory" => Some(self.memory_size(pod, source.size_limit.as_ref().map(|q| q.0.as_str()))),
                other => return Err(VolumeError::Unsupported(format!("emptyDir medium {other}"))),
            };
            return Ok(Plan::EmptyDir { dir, memory });
        }
        if let Some(source) = &volume.host_path {
            let kind = source.type_.clone().unwrap_or_default();
            return Ok(Plan::Host { path: PathBuf::from(&source.path), kind, read_only: false });
        }
        if let Some(source) = &volume.config_map {
            let mut objects = Objects::default();
            objects.load_config_map(sources, namespace, &source.name).await?;
            let wanted = Wanted {
                name: &source.name,
                items: source.items.as_deref(),
                mode: source.default_mode.unwrap_or(DEFAULT_MODE),
                optional: source.optional.unwrap_or(false),
            };
            let payload =
                payload::config_map(objects.config_maps.get(&source.name).map(AsRef::as_ref), &wanted)?;
            return Ok(Plan::Files { dir: dir("kubernetes.io~configmap"), memory: false, payload });
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let found = sources.secret(namespace, name).await?;
            let wanted = Wanted {
                name,
                items: source.items.as_deref(),
                mode: source.default_mode.unwrap_or(DEFAULT_MODE),
                optional: source.optional.unwrap_or(false),
            };
            let payload = payload::secret(found.as_deref(), &wanted)?;
            return Ok(Plan::Files { dir: dir("kubernetes.io~secret"), memory: true, payload });
        }
        if let Some(source) = &volume.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            let payload = payload::downward(pod, items, mode, &self.allocatable.read())?;
            return Ok(Plan::Files { dir: dir("kubernetes.io~downward-api"), memory: false, payload });
        }
        if let Some(source) = &volume.projected {
            let payload = self.projected(pod, source, sources).await?;
            return Ok(Plan::Files { dir: dir("kubernetes.io~projected"), memory: true, payload });
        }
        let claimed = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some((source.claim_name.clone(), source.read_only.unwrap_or(false))),
            (None, Some(_)) => {
                let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
                Some((format!("{pod_name}-{}", volume.name), false))
            }
            (None, None) => None,
        };
        match claimed {
            Some((name, read_only)) => {
                let found = claim::resolve(&*sources.claimed_volume(namespace, &name).await?)?;
                Ok(Plan::Host { path: found.path, kind: found.kind, read_only })
            }
            None => Err(VolumeError::Unsupported(volume.name.clone())),
        }
    }

    /// Bytes a memory volume may hold: the least of its own limit, the pod's and the node's; 0 is the kernel's default.
    fn memory_size(&self, pod: &Pod, limit: Option<&str>) -> i64 {
        let own = limit.and_then(|text| Quantity::parse(text).ok()).map(|q| q.value());
        let node = self.allocatable.read().get("memory").map(Quantity::value);
        [own, pod_resources(pod).memory_limit, node]
            .into_iter()
            .flatten()
            .filter(|b| *b > 0)
            .min()
            .unwrap_or(0)
    }

    async fn projected(
        &self,
        pod: &Pod,
        source: &ProjectedVolumeSource,
        sources: &dyn Sources,
    ) -> Result<Payload, VolumeError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let mut all = Payload::new();
        for part in source.sources.iter().flatten() {
            if let Some(part) = &part.config_map {
                let found = sources.config_map(namespace, &part.name).await?;
                let optional = part.optional.unwrap_or(false);
                let wanted = Wanted { name: &part.name, items: part.items.as_deref(), mode, optional };
                all.extend(payload::config_map(found.as_deref(), &wanted)?);
            } else if let Some(part) = &part.secret {
                let found = sources.secret(namespace, &part.name).await?;
                let optional = part.optional.unwrap_or(false);
                let wanted = Wanted { name: &part.name, items: part.items.as_deref(), mode, optional };
                all.extend(payload::secret(found.as_deref(), &wanted)?);
            } else if let Some(part) = &part.downward_api {
                let items = part.items.as_deref().unwrap_or_default();
                all.extend(payload::downward(pod, items, mode, &self.allocatable.read())?);
            } else if let Some(part) = &part.service_account_token {
                let (path, file) = self.token_file(pod, part, mode, sources).await?;
                all.insert(path, file);
            } else if !part.cluster_trust_bundle.as_ref().is_some_and(|b| b.optional.unwrap_or(false)) {
                return Err(VolumeError::Unsupported("projected source".to_owned()));
            }
        }
        Ok(all)
    }

    async fn token_file(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
        default_mode: i32,
        sources: &dyn Sources,
    ) -> Result<(String, File), VolumeError> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|s| s.service_account_name.clone());
        let request = TokenRequest {
            namespace: text(&pod.metadata.namespace),
            service_account: account.unwrap_or_else(|| "default".to_owned()),
            pod_name: text(&pod.metadata.name),
            pod_uid: text(&pod.metadata.uid),
            audience: wanted.audience.clone().filter(|a| !a.is_empty()),
            expiration_seconds: wanted.expiration_seconds.unwrap_or(3600),
        };
        let token = self.tokens.get(sources, &request, Timestamp::now()).await?;
        let owner = common_user(pod);
        let private = owner.is_some() || fs_group(pod).is_some();
        let mode = if private { 0o600 } else { default_mode.unsigned_abs() & 0o777 };
        Ok((wanted.path.clone(), File { data: token.into_bytes(), mode, uid: owner }))
    }
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

/// The user all containers run as, if they all run as the same named one.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users = containers.map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

/// The names of volumes that some container mounts.
fn used(pod: &Pod) -> BTreeSet<String> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let ordinary = spec.init_containers.iter().flatten().chain(&spec.containers);
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let names = ordinary.map(|c| &c.name).chain(ephemeral.map(|c| &c.name));
    names
        .flat_map(|name| container::volume_mounts(pod, name).unwrap_or_default())
        .map(|m| m.name.clone())
        .collect()
}

/// Makes a directory and its parents; only the last one is open to containers.
fn make_dir(dir: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::create_dir_all(dir).map_err(VolumeError::io("create", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(VolumeError::io("chmod", dir))
}

fn make_new_dir(dir: &Path) -> Result<(), VolumeError> {
    // What exists may have been given to a group, or changed by its pod: leave it.
    if dir.is_dir() { Ok(()) } else { make_dir(dir, 0o777) }
}

fn own_root(dir: &Path, group: Option<u32>) -> Result<(), VolumeError> {
    group.map_or(Ok(()), |group| ownership::apply(dir, group, ChangePolicy::OnRootMismatch))
}

/// Carries a plan out; blocks on the file system. True if contents were written.
fn carry_out(plan: Plan, group: Option<u32>) -> Result<(MountedVolume, bool), VolumeError> {
    let (host_path, read_only, changed) = match plan {
        Plan::EmptyDir { dir, memory } => {
            make_new_dir(&dir)?;
            if let Some(size) = memory {
                tmpfs::ensure(&dir, Some(size))?;
            }
            own_root(&dir, group)?;
            (dir, false, false)
        }
        Plan::Files { dir, memory, payload } => {
            make_new_dir(&dir)?;
            if memory {
                tmpfs::ensure(&dir, None)?;
            }
            own_root(&dir, group)?;
            let own = |next: &Path| {
                group.map_or(Ok(()), |group| ownership::apply(next, group, ChangePolicy::Always))
            };
            let changed = atomic::write(&dir, &payload, own)?;
            // The API promises these read only, so that nobody edits what the next refresh replaces.
            (dir, true, changed)
        }
        Plan::Host { path, kind, read_only } => {
            hostpath::check(&path, &kind)?;
            (path, read_only, false)
        }
    };
    Ok((MountedVolume { host_path, read_only }, changed))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| VolumeError::Cancelled)?
}

/// A UID names a directory: it must be one plain path component.
fn checked(uid: &str) -> Result<&str, VolumeError> {
    let plain = !uid.is_empty() && uid != "." && uid != ".." && !uid.contains(['/', '\0']);
    if plain { Ok(uid) } else { Err(VolumeError::Invalid(format!("invalid pod UID {uid:?}"))) }
}

#[async_trait]
impl VolumeManager for LocalVolumes {
    async fn mount(&self, pod: &Pod, sources: &dyn Sources) -> Result<Mounts, VolumeError> {
        let uid = checked(pod.metadata.uid.as_deref().unwrap_or_default())?;
        let dir = self.pod_dir(uid);
        let used = used(pod);
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let mut plans = Vec::new();
        for volume in volumes.filter(|volume| used.contains(&volume.name)) {
            let plan = self.plan(pod, volume, sources).await;
            let failed = |cause| VolumeError::SetUp { volume: volume.name.clone(), cause: Box::new(cause) };
            plans.push((volume.name.clone(), plan.map_err(failed)?));
        }
        let group = fs_group(pod);
        blocking(move || {
            for dir in [dir.clone(), dir.join("volumes")] {
                make_dir(&dir, 0o750)?;
            }
            let mut mounts = Mounts::default();
            for (name, plan) in plans {
                let (volume, changed) = carry_out(plan, group)
                    .map_err(|cause| VolumeError::SetUp { volume: name.clone(), cause: Box::new(cause) })?;
                mounts.changed |= changed;
                mounts.volumes.insert(name, volume);
            }
            Ok(mounts)
        })
        .await
    }

    async fn container_mounts(
        &self,
        pod: &Pod,
        mounts: &Mounts,
        container: &str,
        env: &[(String, String)],
    ) -> Result<Vec<ContainerMount>, VolumeError> {
        let dir = self.pod_dir(checked(pod.metadata.uid.as_deref().unwrap_or_default())?);
        let plan = container::plan(&dir, pod, mounts, container, env)?;
        let (mounts, container) = (mounts.clone(), container.to_owned());
        blocking(move || container::carry_out(plan, &mounts, &container)).await
    }

    async fn unmount(&self, uid: &str) -> Result<(), VolumeError> {
        let dir = self.pod_dir(checked(uid)?);
        self.tokens.forget(uid);
        blocking(move || cleanup::take_down(&dir)).await
    }

    async fn reconstruct(&self) -> Result<Vec<OnDisk>, VolumeError> {
        let pods = self.root.join("pods");
        blocking(move || cleanup::reconstruct(&pods)).await
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
