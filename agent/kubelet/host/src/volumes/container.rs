//! A container's bind mounts. Enters: the pod and its mounted volumes. Leaves: CRI mounts, subPaths bound. Each bind
//! lies at `volume-subpaths/<volume>/<container>/<index>`, as upstream lays them out.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, VolumeMount};

use super::{ContainerMount, Mounts, Propagation, VolumeError, subpath};
use crate::env::expand_path;

/// The volumeMounts of a container of any sort.
pub(super) fn volume_mounts<'p>(pod: &'p Pod, container: &str) -> Option<&'p [VolumeMount]> {
    let spec = pod.spec.as_ref()?;
    let ordinary = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let mut all =
        ordinary.map(|c| (&c.name, &c.volume_mounts)).chain(ephemeral.map(|c| (&c.name, &c.volume_mounts)));
    let (_, mounts) = all.find(|(name, _)| *name == container)?;
    Some(mounts.as_deref().unwrap_or_default())
}

/// A mount with its subPath, if it has one.
pub(super) struct Planned {
    mount: ContainerMount,
    sub: Option<(PathBuf, PathBuf)>,
}

/// Works out a container's mounts; pure.
pub(super) fn plan(
    pod_dir: &Path,
    pod: &Pod,
    mounts: &Mounts,
    container: &str,
    env: &[(String, String)],
) -> Result<Vec<Planned>, VolumeError> {
    let list = volume_mounts(pod, container)
        .ok_or_else(|| VolumeError::Invalid(format!("container {container} not found")))?;
    let one = |(index, mount): (usize, &VolumeMount)| {
        let volume = mounts.volumes.get(&mount.name).ok_or_else(|| {
            VolumeError::Invalid(format!(
                "cannot find volume {:?} to mount into container {container:?}",
                mount.name
            ))
        })?;
        let sub = match (mount.sub_path.as_deref(), mount.sub_path_expr.as_deref()) {
            (Some(path), _) if !path.is_empty() => Some(path.to_owned()),
            (_, Some(expr)) if !expr.is_empty() => Some(expand_path(expr, env).map_err(|name| {
                VolumeError::Invalid(format!("missing value for {name:?} in subPathExpr {expr:?}"))
            })?),
            _ => None,
        };
        let sub = sub.map(|path| {
            let target =
                pod_dir.join("volume-subpaths").join(&mount.name).join(container).join(index.to_string());
            (PathBuf::from(path), target)
        });
        let read_only = mount.read_only.unwrap_or(false) || volume.read_only;
        let recursive = mount.recursive_read_only.as_deref().is_some_and(|r| r != "Disabled");
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::None,
        };
        let path = &mount.mount_path;
        let container_path = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
        let host_path = sub.as_ref().map_or_else(|| volume.host_path.clone(), |(_, target)| target.clone());
        let volume = mount.name.clone();
        let recursive_read_only = read_only && recursive;
        let mount =
            ContainerMount { volume, host_path, container_path, read_only, recursive_read_only, propagation };
        Ok(Planned { mount, sub })
    };
    list.iter().enumerate().map(one).collect()
}

/// Binds the subPaths of a plan; blocks on the file system.
pub(super) fn carry_out(
    plan: Vec<Planned>,
    mounts: &Mounts,
    container: &str,
) -> Result<Vec<ContainerMount>, VolumeError> {
    let mut out = Vec::with_capacity(plan.len());
    for Planned { mount, sub } in plan {
        if let Some((path, target)) = sub
            && let Some(volume) = mounts.volumes.get(&mount.volume)
        {
            subpath::bind(&volume.host_path, &path, &target, (&mount.volume, container))?;
        }
        out.push(mount);
    }
    Ok(out)
}
