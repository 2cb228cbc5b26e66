//! The calls of the CRI that Xebec makes, as one trait. Called by pod workers, node status and the streaming server.

use std::time::Duration;

use async_trait::async_trait;

use crate::CriError;
use crate::messages::{
    AttachRequest, AuthConfig, CgroupDriver, Container, ContainerConfig, ContainerFilter, ContainerStatus,
    ExecRequest, ExecSyncResponse, FilesystemUsage, Image, ImageSpec, LinuxContainerResources, PodSandbox,
    PodSandboxConfig, PodSandboxFilter, PodSandboxStatus, RuntimeStatus, VersionResponse,
};

/// A container runtime speaking CRI v1 (cri-api v0.36).
///
/// Every call is safe to cancel by dropping its future; the runtime may still carry it out. Stopping or removing
/// what is gone succeeds.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// The runtime's name and versions.
    async fn version(&self) -> Result<VersionResponse, CriError>;
    /// The runtime's conditions `RuntimeReady` and `NetworkReady`.
    async fn status(&self) -> Result<RuntimeStatus, CriError>;
    /// The cgroup driver the runtime is set up with; `None` where it cannot say (containerd before 2.0).
    async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>, CriError>;

    /// Creates and starts a sandbox with its network; returns its id. [`CriError::NameReserved`] if (uid, attempt) exists.
    async fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: &str) -> Result<String, CriError>;
    /// Stops every container of the sandbox at once and takes its network down.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError>;
    /// Removes the sandbox and its containers, stopping what still runs.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError>;
    /// The sandbox's state and addresses.
    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus, CriError>;
    /// The sandboxes that match, without addresses.
    async fn list_pod_sandboxes(&self, filter: PodSandboxFilter) -> Result<Vec<PodSandbox>, CriError>;

    /// Creates a container in a sandbox; returns its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String, CriError>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<(), CriError>;
    /// Sends the stop signal, and SIGKILL after `grace`; returns when the container has ended.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError>;
    /// Removes a container, its writable layer and its log link.
    async fn remove_container(&self, id: &str) -> Result<(), CriError>;
    /// The containers that match.
    async fn list_containers(&self, filter: ContainerFilter) -> Result<Vec<Container>, CriError>;
    /// One container's full status.
    async fn container_status(&self, id: &str) -> Result<ContainerStatus, CriError>;
    /// Changes a running container's limits.
    async fn update_container_resources(
        &self,
        id: &str,
        resources: LinuxContainerResources,
    ) -> Result<(), CriError>;
    /// Makes the runtime reopen a container's log file after it was renamed.
    async fn reopen_container_log(&self, id: &str) -> Result<(), CriError>;

    /// Runs a command in a container and collects its output; a `timeout` of zero means none.
    async fn exec_sync(
        &self,
        id: &str,
        cmd: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecSyncResponse, CriError>;
    /// Prepares an exec; returns the URL of the runtime's streaming server for it (single use, one minute).
    async fn exec(&self, request: ExecRequest) -> Result<String, CriError>;
    /// Prepares an attach; returns a URL as [`Runtime::exec`] does.
    async fn attach(&self, request: AttachRequest) -> Result<String, CriError>;
    /// Prepares a port forward into a sandbox; returns a URL as [`Runtime::exec`] does.
    async fn port_forward(&self, sandbox_id: &str, ports: Vec<i32>) -> Result<String, CriError>;

    /// The image, if it is present.
    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>, CriError>;
    /// Every image present.
    async fn list_images(&self) -> Result<Vec<Image>, CriError>;
    /// Pulls an image; returns its reference. No time limit but the caller's.
    async fn pull_image(
        &self,
        image: ImageSpec,
        auth: Option<AuthConfig>,
        sandbox: Option<PodSandboxConfig>,
    ) -> Result<String, CriError>;
    /// Removes an image by id or name.
    async fn remove_image(&self, image: &ImageSpec) -> Result<(), CriError>;
    /// The usage of the file systems that hold images.
    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>, CriError>;
}
