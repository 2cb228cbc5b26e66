//! PersistentVolumes that are a path of this node. Enters: the volume a claim is bound to. Leaves: the path.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::PersistentVolume;

use super::VolumeError;

/// A path on the node and the type it must have.
pub(super) struct HostDirectory {
    pub path: PathBuf,
    pub kind: String,
}

/// The node's path of a `hostPath` or `local` volume; other kinds need a driver this node has not.
pub(super) fn resolve(volume: &PersistentVolume) -> Result<HostDirectory, VolumeError> {
    let name = volume.metadata.name.clone().unwrap_or_default();
    let Some(spec) = &volume.spec else { return Err(VolumeError::Unsupported(name)) };
    if let Some(host) = &spec.host_path {
        return Ok(HostDirectory {
            path: PathBuf::from(&host.path),
            kind: host.type_.clone().unwrap_or_default(),
        });
    }
    if let Some(local) = &spec.local {
        return Ok(HostDirectory { path: PathBuf::from(&local.path), kind: "Directory".to_owned() });
    }
    let driver = spec.csi.as_ref().map(|csi| csi.driver.clone());
    Err(VolumeError::Unsupported(driver.unwrap_or(name)))
}
