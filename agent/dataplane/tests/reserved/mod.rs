//! The ports of translated sources in the kernel's list, in a network namespace of the test's own.

use xebec_dataplane::reserved::reserve_ports;
use xebec_rig::{Rig, within};

#[test]
fn cleanup_gives_the_reserved_ports_back() {
    let Some(rig) = Rig::new() else { return };
    let list = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    // More than a first small read would see.
    let others = "8080,9000-9100,10000-10100,11000-11100,12000-12100,60990-61010";
    let sysctl = || {
        let shown = std::process::Command::new("cat").arg(list).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().trim().to_owned()
    };
    within(&rig.server_ns, || {
        for before in [others, ""] {
            std::fs::write(list, format!("{before}\n")).unwrap();
            std::fs::create_dir_all(rig.pin_dir()).unwrap();
            reserve_ports(rig.pin_dir()).unwrap();
            assert!(sysctl().ends_with("-65535"), "{}", sysctl());
            xebec_dataplane::detach(rig.pin_dir()).unwrap();
            assert_eq!(sysctl(), before);
            assert!(!rig.pin_dir().exists());
        }
    });
}
