//! Addresses of the cluster DNS on the loopback device of a namespace. Needs root; says so where it is not.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, removed when dropped.
struct Netns(String);

impl Netns {
    fn new() -> Option<Self> {
        let name = format!("xlocal-{}", std::process::id());
        let made =
            Command::new("ip").args(["netns", "add", &name]).status().is_ok_and(|status| status.success());
        made.then(|| Self(name))
    }

    fn ip(&self, arguments: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.0]).args(arguments.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs work in the namespace, on a thread of its own.
    fn inside<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let run = || {
            let file = std::fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn addresses_of_both_families_come_and_go() {
    let Some(netns) = Netns::new() else {
        println!("skipped: namespaces need root");
        return;
    };
    netns.ip("link set lo up");
    netns.ip("link add veth type veth peer name other");
    netns.ip("link set veth up");
    netns.ip("link set other up");
    netns.ip("addr add fd42::1/64 dev other nodad");
    netns.ip("route add fd00:10:244::/64 dev veth");
    let dns: [IpAddr; 2] = ["10.96.0.10".parse().unwrap(), "fd00:10:96::a".parse().unwrap()];
    netns.inside(async || {
        for address in dns.iter().chain(&dns) {
            xebec_network::add_local_address(*address).await.unwrap();
        }
        for address in dns {
            // At once: duplicate address detection would take a second.
            let server = UdpSocket::bind((address, 53)).unwrap();
            let client = UdpSocket::bind((address, 0)).unwrap();
            client.send_to(b"?", (address, 53)).unwrap();
            assert_eq!(server.recv_from(&mut [0; 1]).unwrap().1.ip(), address);
        }
        // Nobody's source, though it has more in common with a pod's address than the node's own one has.
        let other = UdpSocket::bind("[::]:0").unwrap();
        other.connect("[fd00:10:244::1]:9").unwrap();
        assert_eq!(other.local_addr().unwrap().ip().to_string(), "fd42::1");
    });
    let listed = netns.ip("-o addr show lo");
    assert!(listed.contains("10.96.0.10/32 scope host"), "{listed}");
    assert!(listed.contains("fd00:10:96::a/128") && listed.contains("deprecated"), "{listed}");
    netns.inside(async || {
        for address in dns.iter().chain(&dns) {
            xebec_network::remove_local_address(*address).await.unwrap();
        }
    });
    let listed = netns.ip("-o addr show lo");
    assert!(!listed.contains("10.96.0.10") && !listed.contains("fd00:10:96"), "{listed}");
}
