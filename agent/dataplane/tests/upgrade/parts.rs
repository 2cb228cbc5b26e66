//! Services, policies and ways between pods, each taken over by itself; and a selected pod that is never without enforcement.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use xebec_abi::LAYOUT_VERSION;
use xebec_dataplane::addresses::outside_devices;
use xebec_dataplane::load::versioned;
use xebec_dataplane::pods::PodPaths;
use xebec_dataplane::tunnel::Tunnel;
use xebec_rig::ask::{SILENCE, ask_tcp, say};
use xebec_rig::objects::Agent;
use xebec_rig::{NetNs, enter};

use super::{older, pause};
use crate::packet::net::Outside;
use crate::path::paths;
use crate::policy::deny_ingress;
use crate::policy::net::{A, B, Cluster, policy};

/// Asks pod a from pod b all the time; the end says how many answers came.
struct Intruder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Intruder {
    fn begin(from: &NetNs) -> Self {
        let (stop, path) = (Arc::new(AtomicBool::new(false)), from.path());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            enter(&path);
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let heard = || usize::from(socket.recv(&mut [0; 64]).is_ok());
            let mut reached = 0;
            while !stopped.load(Ordering::Relaxed) {
                let _ = socket.send_to(b"?", (A, 80));
                reached += heard();
            }
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            reached += heard();
            reached
        });
        Self { stop, thread }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn own_alone(pin_dir: &Path) -> bool {
    older::names(pin_dir) == [format!("v{LAYOUT_VERSION}")]
}

#[test]
fn each_part_takes_over_its_own() {
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.set(&[deny_ingress()]);
    drop(paths(&cluster));
    let pins = cluster.rig.pin_dir().to_owned();
    let old = older::directory(&pins);
    for services_first in [false, true] {
        drop(Agent::new(&cluster.rig.options));
        older::downgrade(&pins);
        let links = older::link_ids(&old);
        assert_eq!(links.len(), 9 + 2 + 2, "{links:?}");
        let intruder = Intruder::begin(&cluster.b);
        pause(50);
        let agent = services_first.then(|| Agent::new(&cluster.rig.options));
        cluster.restart();
        assert!(old.join("links").join(format!("pod_path-{}", cluster.device("a"))).exists());
        assert_eq!(old.join("links/connect4").exists(), !services_first);
        assert_eq!(old.join("maps/FE4").exists(), !services_first, "Services' agent comes yet");
        let paths = PodPaths::install(&cluster.rig.options).unwrap();
        assert_eq!(own_alone(&pins), services_first);
        let agent = agent.unwrap_or_else(|| Agent::new(&cluster.rig.options));
        assert!(own_alone(&pins));
        assert_eq!(older::link_ids(&versioned(&pins)), links, "the same links");
        drop((agent, paths));
        // Policies are followed, by programs of this layout.
        assert_eq!(ask_tcp(&cluster.b, &format!("{A}:80")), SILENCE);
        assert_eq!(intruder.end(), 0, "pod a was reached");
    }
    cluster.set(&[]);
    assert!(ask_tcp(&cluster.b, &format!("{A}:80")).starts_with("A "));
    assert_eq!(PodPaths::install(&cluster.rig.options).unwrap().remove_all().unwrap(), 4);
}

#[test]
fn a_pod_is_never_without_its_policy_whatever_layout_enforced_it() {
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.set(&[deny_ingress(), policy("b", json!({"podSelector": {"matchLabels": {"app": "b"}}}))]);
    drop(paths(&cluster));
    let pins = cluster.rig.pin_dir().to_owned();
    let theirs = pins.join("v9");
    fs::rename(versioned(&pins), &theirs).unwrap();
    let before = older::link_ids(&theirs);
    let intruder = Intruder::begin(&cluster.b);
    cluster.restart();
    drop(PodPaths::install(&cluster.rig.options).unwrap());
    // Ways are ours; that no pod is known to have one leaves all to the stack. Policies are theirs until ours are known.
    let policies: Vec<_> = before.keys().filter(|name| name.starts_with("policy_")).cloned().collect();
    assert_eq!((policies.len(), older::names(&theirs.join("links"))), (4, policies.clone()));
    assert_eq!(ask_tcp(&cluster.b, &format!("{A}:80")), SILENCE);
    // Pod b is selected no more.
    cluster.set(&[deny_ingress()]);
    assert!(own_alone(&pins), "{:?}", older::names(&pins));
    let after = older::link_ids(&versioned(&pins));
    let of_a: Vec<_> =
        policies.iter().filter(|name| name.ends_with(&cluster.device("a").to_string())).collect();
    assert!(of_a.len() == 2 && of_a.iter().all(|name| after[*name] == before[*name]), "{after:?}");
    assert!(after.keys().filter(|name| name.starts_with("policy_")).count() == 2);
    assert_eq!(ask_tcp(&cluster.b, &format!("{A}:80")), SILENCE);
    pause(50);
    assert_eq!(intruder.end(), 0, "pod a was reached");
    assert!(ask_tcp(&cluster.a, &format!("{B}:80")).starts_with("B "));
    assert!(super::within(&cluster.rig.client_ns, || say(&format!("{B}:80"))).is_ok());
}

#[test]
fn drivers_and_the_tunnel_get_new_programs_at_once() {
    let Some(mut outside) = Outside::with(|options| options.xdp = true) else { return };
    let (mut options, pins) = (outside.rig.options.clone(), outside.rig.pin_dir().to_owned());
    for xdp in [true, false] {
        options.xdp = true;
        outside.agent = Agent::new(&options);
        outside.refresh();
        let mut tunnel = Tunnel::open(&pins).unwrap();
        let devices = outside_devices().unwrap().into_keys().collect();
        let own = ["10.198.0.2".parse().unwrap()];
        tunnel.up(&mut outside.agent.devices, options.tunnel_port, &devices, &own).unwrap();
        older::downgrade(&pins);
        let old = older::directory(&pins);
        let (mut links, programs) = (older::link_ids(&old), older::program_ids(&old));
        let of = |name: &str| links.keys().filter(|link| link.starts_with(name)).count();
        assert_eq!((links.len(), of("xdp_ingress-"), of("tunnel_ingress-")), (9 + 2 * 2 + 2 + 1, 2, 1));
        options.xdp = xdp;
        // Devices are looked at later.
        outside.agent = Agent::new(&options);
        links.retain(|link, _| xdp || !link.starts_with("xdp_"));
        let own = versioned(&pins);
        assert_eq!(older::link_ids(&own), links);
        assert!(older::program_ids(&own).iter().all(|id| !programs.contains(id)));
        outside.refresh();
        assert!(own_alone(&pins) && older::link_ids(&own) == links);
    }
}
