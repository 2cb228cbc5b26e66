//! A pod's volumes. Enters: a pod and [`Sources`]. Leaves: directories under `<root>/pods/<uid>` laid out as the
//! upstream kubelet does, and the bind mounts a container asks the runtime for. Called by the pod worker.
//!
//! Every step may be cut short by `kill -9` and done again: mounting starts from what is on disk and in the mount
//! table, unmounting never deletes across a mount.

mod atomic;
mod claim;
mod cleanup;
mod container;
mod hostpath;
mod local;
mod mountinfo;
mod ownership;
mod payload;
mod sources;
mod subpath;
mod tmpfs;
mod tokens;

use std::path::PathBuf;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

pub use cleanup::OnDisk;
pub use local::{LocalVolumes, MountedVolume, Mounts, VolumeOptions};
pub use mountinfo::{MountEntry, mount_table, parse_mount_table};
pub use sources::{Objects, SourceError, Sources, Token, TokenRequest, TokenSource, fetch_objects};

/// How mounts spread between the host and a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    None,
    /// From the host into the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// One bind mount of a container, in CRI's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMount {
    /// The volume's name in the pod.
    pub volume: String,
    /// Absolute path on the node.
    pub host_path: PathBuf,
    /// Absolute path in the container.
    pub container_path: String,
    /// Mounted read only.
    pub read_only: bool,
    /// Read only including the mounts below it.
    pub recursive_read_only: bool,
    /// Mount propagation.
    pub propagation: Propagation,
}

/// Why a volume could not be set up or torn down; the texts are upstream's event messages.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// One volume could not be set up; retry with back-off.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {cause}")]
    SetUp {
        /// The volume's name.
        volume: String,
        /// Why.
        #[source]
        cause: Box<VolumeError>,
    },
    /// The volume's source could not be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A `hostPath` is not what its type demands.
    #[error("hostPath type check failed: {0}")]
    HostPath(String),
    /// A listed key is missing from the ConfigMap or Secret.
    #[error("{0}")]
    Key(String),
    /// The pod's specification cannot be carried out.
    #[error("{0}")]
    Invalid(String),
    /// A volume type this node does not serve.
    #[error("no volume plugin matched name: {0}")]
    Unsupported(String),
    /// A `subPath` leaves its volume or cannot be bound.
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}: {cause}")]
    SubPath {
        /// The volume's name.
        volume: String,
        /// The container's name.
        container: String,
        /// The kernel's answer.
        #[source]
        cause: std::io::Error,
    },
    /// A file operation failed.
    #[error("{operation} {}: {cause}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: std::io::Error,
    },
    /// A path still has something mounted on it; retry later.
    #[error("{} is still a mount point", .0.display())]
    Mounted(PathBuf),
    /// The worker thread ended early.
    #[error("volume work was cancelled")]
    Cancelled,
}

impl VolumeError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> VolumeError {
        let path = path.into();
        move |cause| VolumeError::Io { operation, path, cause }
    }
    pub(crate) fn sys(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(rustix::io::Errno) -> VolumeError {
        let path = path.into();
        move |errno| VolumeError::Io { operation, path, cause: errno.into() }
    }
}

/// Sets up and tears down the volumes of pods; [`LocalVolumes`] is the real one.
#[async_trait]
pub trait VolumeManager: Send + Sync {
    /// Makes every volume the pod's containers use ready, or says which one failed. Idempotent: call it again to
    /// bring changed ConfigMaps and Secrets, new labels and fresh tokens into place.
    async fn mount(&self, pod: &Pod, sources: &dyn Sources) -> Result<Mounts, VolumeError>;

    /// The bind mounts of one container; binds its `subPath`s first. `env` expands `subPathExpr`.
    async fn container_mounts(
        &self,
        pod: &Pod,
        mounts: &Mounts,
        container: &str,
        env: &[(String, String)],
    ) -> Result<Vec<ContainerMount>, VolumeError>;

    /// Takes every volume of the pod down and removes its directory. Idempotent; an error means: retry later.
    async fn unmount(&self, uid: &str) -> Result<(), VolumeError>;

    /// The pods that have a directory on this node, from disk and one read of the mount table.
    async fn reconstruct(&self) -> Result<Vec<OnDisk>, VolumeError>;
}
