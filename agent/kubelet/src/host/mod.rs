//! What a pod needs of the machine, as one small trait: directories, cgroups, volumes, environment, images' rules.
//!
//! Enters: pods and containers. Leaves: host paths, mounts, variables. Called by the pod worker's jobs. `node`
//! implements it with xebec-host; tests use a fake.

mod files;
mod logs;
mod machine;
mod node;
mod sources;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, Pod};
use xebec_cri::messages::{LinuxContainerResources, Mount};

pub use logs::rotate_logs;
pub use machine::NodeMachine;
pub use node::NodeHost;

/// Why the machine could not serve a pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A volume could not be set up; retry. Reads as upstream's FailedMount event.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {cause}")]
    Volume {
        /// The volume's name in the pod.
        volume: String,
        /// For people.
        cause: String,
    },
    /// What a container's configuration refers to is missing or unusable; retry.
    #[error("{0}")]
    Config(String),
    /// The operating system refused something; retry.
    #[error("{0}")]
    System(String),
}

/// The machine a pod runs on.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Makes the pod's directories, log directory and cgroup; returns the `cgroup_parent` for the runtime.
    async fn prepare(&self, pod: &Pod) -> Result<String, HostError>;
    /// Mounts the pod's volumes, or brings their contents up to date; safe to repeat.
    async fn mount(&self, pod: &Pod) -> Result<(), HostError>;
    /// True if the contents of a volume of this pod can change while it runs.
    fn refreshes(&self, pod: &Pod) -> bool;
    /// A container's variables, resolved; `ips` are the pod's addresses.
    async fn environment(
        &self,
        pod: &Pod,
        container: &Container,
        ips: &[String],
    ) -> Result<Vec<(String, String)>, HostError>;
    /// A container's volume mounts, subPath resolved with its variables; the volumes must be mounted.
    async fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        env: &[(String, String)],
    ) -> Result<Vec<Mount>, HostError>;
    /// A container's limits for the runtime.
    fn resources(&self, pod: &Pod, container: &Container) -> LinuxContainerResources;
    /// Writes a file of one container's own (`termination-log`) or of the pod (`container` empty: `etc-hosts`).
    async fn write_file(
        &self,
        pod: &Pod,
        container: &str,
        name: &str,
        content: Vec<u8>,
    ) -> Result<std::path::PathBuf, HostError>;
    /// The pod's log directory.
    fn log_directory(&self, pod: &Pod) -> std::path::PathBuf;
    /// Makes the link in /var/log/containers for a started container.
    async fn link_log(
        &self,
        pod: &Pod,
        container: &str,
        id: &str,
        log: &std::path::Path,
    ) -> Result<(), HostError>;
    /// Unmounts the pod's volumes and removes its cgroup; safe to repeat.
    async fn clean_up(&self, pod: &Pod) -> Result<(), HostError>;
    /// Removes the pod's directories and logs; safe to repeat.
    async fn remove(&self, pod: &Pod) -> Result<(), HostError>;
    /// The UIDs of all pods that have a directory or a cgroup here.
    async fn pods_on_disk(&self) -> Vec<String>;
}
