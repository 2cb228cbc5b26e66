//! The loopback plugin: `lo` is up in the pod's namespace after ADD.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use crate::Failure;

/// ADD brings `lo` up; DEL has nothing to do, the device goes with its namespace.
pub(crate) fn run(command: &str, netns: &str, version: &str) -> Result<Value, Failure> {
    if !matches!(command, "ADD" | "CHECK") {
        return Ok(Value::Null);
    }
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| (100, format!("{what}: {error}"))
    };
    let namespace = File::open(netns).map_err(failed(&format!("CNI_NETNS {netns:?}")))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| failed("enter the namespace")(error.into()))?;
    bring_up().map_err(failed("bring lo up"))?;
    let mut ips = vec![json!({"version": "4", "address": "127.0.0.1/8", "interface": 0})];
    let six = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    if six.lines().any(|line| line.ends_with(" lo")) {
        ips.push(json!({"version": "6", "address": "::1/128", "interface": 0}));
    }
    Ok(json!({
        "cniVersion": version,
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns}],
        "ips": ips,
        "dns": {},
    }))
}

/// SIOCSIFFLAGS, netdevice(7).
#[expect(unsafe_code, reason = "no safe call sets a device's flags without a netlink library")]
fn bring_up() -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all-zero is a valid ifreq (integers and a byte array).
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: both calls get a pointer to a live ifreq with a NUL-terminated name; the union's flags are an integer that
    // the first call filled in.
    let result = unsafe {
        let get = libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request);
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if get < 0 { get } else { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }
    };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
