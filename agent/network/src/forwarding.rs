//! What the kernel is told of forwarding. Enters: the families of the node's pods. Leaves: the parameters that let their packets
//! through. They are the node's, and stay.

use std::path::Path;

use crate::cidr::{IpNet, is_v6};
use crate::{DEVICE_PREFIX, NetworkError};

/// Lets the node forward packets of the families of these networks.
pub(crate) fn enable(pods: &[IpNet]) -> Result<(), NetworkError> {
    if pods.iter().any(|network| !is_v6(network)) {
        set("/proc/sys/net/ipv4/ip_forward")?;
    }
    if pods.iter().any(is_v6) {
        keep_advertised_routes();
        set("/proc/sys/net/ipv6/conf/all/forwarding")?;
    }
    Ok(())
}

fn set(path: &str) -> Result<(), NetworkError> {
    if std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1") {
        return Ok(());
    }
    std::fs::write(path, "1").map_err(NetworkError::io("write", Path::new(path)))
}

/// A node that forwards IPv6 forgets the routes that routers advertised to it, its default route among them, unless it is told
/// to listen all the same (`accept_ra` of 2, Documentation/networking/ip-sysctl).
fn keep_advertised_routes() {
    let Ok(devices) = std::fs::read_dir("/proc/sys/net/ipv6/conf") else { return };
    for device in devices.flatten() {
        let name = device.file_name();
        let is_ours = name.to_string_lossy().starts_with(DEVICE_PREFIX);
        let path = device.path().join("accept_ra");
        if is_ours || name == "all" || !std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == "1") {
            continue;
        }
        if let Err(error) = std::fs::write(&path, "2") {
            tracing::warn!(%error, path = %path.display(), "routes that are advertised there are lost");
        }
    }
}

/// Sets a parameter of a device; `false`, and the reason in the log, where it cannot be set.
pub(crate) fn parameter(family: &str, device: &str, name: &str, value: &str) -> bool {
    let path = format!("/proc/sys/net/{family}/conf/{device}/{name}");
    let set = std::fs::write(&path, value);
    if let Err(error) = &set {
        // Without IPv6 in the kernel there is nothing to set.
        tracing::debug!(%error, path, "kernel parameter left as it is");
    }
    set.is_ok()
}
