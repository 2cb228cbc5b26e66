//! Who the machine is. Enters: /etc, /proc and the firmware's table. Leaves: the fields of `status.nodeInfo`.

use super::{MachineError, read};

/// The machine's names for itself, as `status.nodeInfo` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// `/etc/machine-id`, or the firmware's UUID where that is empty.
    pub machine_id: String,
    /// The firmware's UUID, or the machine id where a virtual machine has none.
    pub system_uuid: String,
    /// New at each boot.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// PRETTY_NAME of os-release.
    pub os_image: String,
    /// Go's name for the architecture: `amd64`, `arm64`.
    pub architecture: String,
    /// Always `linux`.
    pub operating_system: String,
}

/// PRETTY_NAME of an os-release(5) file, `Linux` without one.
fn pretty_name(text: &str) -> String {
    let name = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="));
    let name = name.map(|value| value.trim_matches(['"', '\''])).filter(|value| !value.is_empty());
    name.unwrap_or("Linux").to_owned()
}

/// Go's name for a machine name of uname(2).
fn go_arch(machine: &str) -> String {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i686" | "i386" => "386",
        "armv7l" => "arm",
        other => other,
    }
    .to_owned()
}

/// Asks the machine who it is.
pub fn identity() -> Result<NodeIdentity, MachineError> {
    let trimmed = |path: &str| read(path).map(|text| text.trim().to_owned());
    let optional = |path: &str| trimmed(path).ok().filter(|text| !text.is_empty());
    let firmware = optional("/sys/class/dmi/id/product_uuid").or_else(|| optional("/sys/hypervisor/uuid"));
    let machine_id = optional("/etc/machine-id").or_else(|| optional("/var/lib/dbus/machine-id"));
    let boot_id = trimmed("/proc/sys/kernel/random/boot_id")?;
    let either = firmware.clone().or_else(|| machine_id.clone()).unwrap_or_else(|| boot_id.clone());
    let os_release = read("/etc/os-release").or_else(|_| read("/usr/lib/os-release")).unwrap_or_default();
    let uname = rustix::system::uname();
    Ok(NodeIdentity {
        machine_id: machine_id.unwrap_or_else(|| either.clone()),
        system_uuid: either,
        boot_id,
        kernel_version: uname.release().to_string_lossy().into_owned(),
        os_image: pretty_name(&os_release),
        architecture: go_arch(&uname.machine().to_string_lossy()),
        operating_system: "linux".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        assert_eq!(pretty_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(pretty_name(""), "Linux");
        assert_eq!(go_arch("x86_64"), "amd64");
        let own = identity().unwrap();
        assert_eq!(own.boot_id.len(), 36);
        assert!(!own.machine_id.is_empty() && own.kernel_version.contains('.'));
    }
}
