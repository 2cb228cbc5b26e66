//! Taking back what the kubelet made on the node. Enters: where it is. Leaves: nothing of it.

use std::path::Path;

use xebec_host::cgroups::{CgroupOptions, Cgroups};
use xebec_host::qos::Amounts;
use xebec_host::volumes::{LocalVolumes, VolumeManager, VolumeOptions};
use xebec_program::Failure;

/// Removes pod folders, with what is mounted in them, and the `kubepods` cgroups; for `reset`.
pub(crate) async fn remove_leftovers(root_dir: &Path, cgroup_root: &str) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::part("pod folders")(error);
    let volumes = LocalVolumes::new(VolumeOptions { root: root_dir.to_owned(), allocatable: Amounts::new() });
    for pod in volumes.reconstruct().await.map_err(|error| failed(&error))? {
        volumes.unmount(&pod.uid).await.map_err(|error| failed(&error))?;
    }
    let options = CgroupOptions { root: cgroup_root.to_owned(), pod_pids_limit: None, linear_weights: false };
    let cgroups = Cgroups::discover(options).map_err(|error| Failure::part("cgroups")(&error))?;
    cgroups.remove_node().await.map_err(|error| Failure::part("cgroups")(&error))
}
