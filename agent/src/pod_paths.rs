//! Ways between this node's pods, past its IP stack (`xebec_dataplane::pods`). Enters: pods that the network is about to
//! connect. Leaves: their ways, before their links go up; and the next gate's answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xebec_dataplane::Options;
use xebec_dataplane::addresses::Notices;
use xebec_dataplane::pods::{LocalPod, PodPaths};
use xebec_network::{Attachment, Gate, ServicePath};
use xebec_program::{Failure, chain};

/// Between two looks for pods that are gone, without word from the kernel that a device is: until then packets to their
/// addresses are dropped, not refused.
const LOOK: Duration = Duration::from_secs(60);
/// As long, where the kernel gives no word.
const BLIND: Duration = Duration::from_secs(1);
/// A device that comes or goes is told of several times, and pods come and go in groups: one look for all that is told within
/// so long.
const GATHER: Duration = Duration::from_millis(100);

/// Gives pods their ways, then asks the next gate.
pub(crate) struct PathGate {
    paths: Mutex<PodPaths>,
    next: Arc<dyn Gate>,
}

impl PathGate {
    /// Loads the program; pods that have a way keep it. With `off`, those that have one lose it, and the next gate is all
    /// there is.
    pub(crate) fn install(
        options: &Options,
        off: bool,
        next: Arc<dyn Gate>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let failed = |error| Failure::part("ways between pods")(&error);
        let mut paths = PodPaths::install(options).map_err(failed)?;
        if off {
            paths.remove_all().map_err(failed)?;
            return Ok(None);
        }
        Ok(Some(Arc::new(Self { paths: Mutex::new(paths), next })))
    }

    /// Takes the ways of pods that are gone; false, and told, if that failed.
    fn take_gone(&self) -> bool {
        match self.paths.lock().clean() {
            Ok(0) => true,
            Ok(removed) => {
                debug!(removed, "pods are gone");
                true
            }
            Err(error) => {
                warn!(error = %chain(&error), "cannot remove the ways of pods that are gone");
                false
            }
        }
    }

    /// Takes the ways of pods that are gone, until `stop`.
    pub(crate) async fn clean(self: Arc<Self>, stop: CancellationToken) {
        let mut devices = followed(Notices::of_devices());
        loop {
            let pause = if self.take_gone() && devices.is_some() { LOOK } else { BLIND };
            tokio::select! {
                () = stop.cancelled() => return,
                told = changed(devices.as_ref()) => if followed(told).is_none() { devices = None },
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GATHER) => {}
            }
        }
    }
}

/// The next word of devices; none ever comes where they are not followed.
async fn changed(devices: Option<&Notices>) -> io::Result<()> {
    match devices {
        Some(devices) => devices.changed().await,
        None => std::future::pending().await,
    }
}

fn followed<T>(result: io::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| warn!(%error, "devices are not followed; pods that are gone are looked for"))
        .ok()
}

impl Gate for PathGate {
    fn admit(&self, attachment: Attachment) -> BoxFuture<'_, Result<(), String>> {
        if attachment.limited || attachment.service_path == ServicePath::Packet {
            // Its packets are to wait in its device's queues, or to meet the programs there: it has no way past them, to it or
            // from it, nor that of a pod that is gone and had its address.
            self.take_gone();
            return self.next.admit(attachment);
        }
        let [mac, node_mac] = attachment.macs;
        let pod = LocalPod { device: attachment.index, mac, node_mac };
        let mut paths = self.paths.lock();
        for address in &attachment.addresses {
            if let Err(error) = paths.add(*address, &pod) {
                let pod = format!("{}/{}", attachment.namespace, attachment.name);
                warn!(pod, %address, error = %chain(&error), "the pod is reached by the node's IP stack");
            }
        }
        drop(paths);
        self.next.admit(attachment)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{IpAddr, TcpListener, TcpStream};
    use std::path::Path;
    use std::time::Instant;

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use xebec_network::{Hooks, cidr};
    use xebec_rig::{NetNs, Rig, enter, within};

    use super::*;

    struct Open;

    impl Gate for Open {
        fn admit(&self, _: Attachment) -> BoxFuture<'_, Result<(), String>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    /// Connects a pod as the runtime does.
    async fn add(socket: &Path, pod: &NetNs, limits: Value) -> [IpAddr; 2] {
        let request = json!({
            "command": "ADD", "container_id": pod.name, "netns": pod.path(), "ifname": "eth0",
            "args": format!("K8S_POD_NAMESPACE=ns;K8S_POD_NAME={}", pod.name),
            "config": {"cniVersion": "1.0.0", "runtimeConfig": {"bandwidth": limits}},
        });
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(request.to_string().as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        [0, 1].map(|n| {
            let address = answer["ok"]["ips"][n]["address"].as_str().unwrap_or_else(|| panic!("{answer}"));
            address.split('/').next().unwrap().parse().unwrap()
        })
    }

    /// Packets of both families that the node's stack has forwarded.
    fn forwarded() -> u64 {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap();
        let text = read("snmp");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("Ip:"))
            .map(|line| line.split(' ').collect())
            .collect();
        let at = rows[0].iter().position(|name| *name == "ForwDatagrams").unwrap();
        let six = read("snmp6");
        let line = six.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")).unwrap();
        rows[1][at].parse::<u64>().unwrap() + line.trim().parse::<u64>().unwrap()
    }

    /// More than 8 Mbit/s carry in a second, with all that may go at once.
    const ENOUGH: usize = 3_000_000;

    /// Bytes that pass from one pod to another in a second, [`ENOUGH`] at most; and packets that the node's stack forwarded.
    fn passed(from: &NetNs, to: &NetNs, address: IpAddr) -> (usize, u64) {
        let before = forwarded();
        let listener = within(to, || TcpListener::bind((address, 8080)).unwrap());
        let mut client = within(from, || TcpStream::connect((address, 8080)).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        for side in [&client, &server] {
            side.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            side.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        // Until the receiver has enough.
        let sender = std::thread::spawn(move || while client.write_all(&[0; 65_536]).is_ok() {});
        let (start, mut bytes, mut sum) = (Instant::now(), vec![0; 65_536], 0);
        while start.elapsed() < Duration::from_secs(1) && sum < ENOUGH {
            sum += server.read(&mut bytes).unwrap();
        }
        drop(server);
        sender.join().unwrap();
        (sum.min(ENOUGH), forwarded() - before)
    }

    #[test]
    fn a_limited_pod_has_no_way_past_its_limits() {
        let Some(rig) = Rig::new() else { return };
        let pods = ["a", "b", "c"].map(|pod| NetNs::new(format!("{}{pod}", rig.server_ns.name)));
        let [a, b, slow] = &pods;
        let folder = tempfile::tempdir().unwrap();
        let options = xebec_network::Options {
            socket: folder.path().join("cni.sock"),
            ipam_dir: folder.path().join("ipam"),
            conf_dir: folder.path().join("conf"),
            pod_cidrs: cidr::networks(&["10.244.7.0/24", "fd00:10:244:7::/64"]).unwrap(),
            cluster_cidrs: cidr::networks(&["10.244.0.0/16", "fd00:10:244::/56"]).unwrap(),
        };
        enter(&rig.server_ns.path());
        let gate = PathGate::install(&rig.options, false, Arc::new(Open)).unwrap().unwrap();
        let hooks = Hooks { gate: Some(gate.clone()), host_ports: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let [a_addresses, b_addresses, slow_addresses] = runtime.block_on(async {
            let server = xebec_network::start(&options, hooks).await.unwrap();
            tokio::spawn(server.serve(CancellationToken::new()));
            let limits = json!({
                "ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000,
            });
            let free = [add(&options.socket, a, Value::Null).await, add(&options.socket, b, Value::Null).await];
            [free[0], free[1], add(&options.socket, slow, limits).await]
        });
        for family in [0, 1] {
            assert_eq!(passed(a, b, b_addresses[family]), (ENOUGH, 0), "past the stack");
            assert_eq!(passed(b, a, a_addresses[family]), (ENOUGH, 0), "past the stack");
        }
        // After those: what waits in queues ends later than its sender.
        for family in [0, 1] {
            for (from, to, addresses) in [(a, slow, slow_addresses), (slow, a, a_addresses)] {
                let (bytes, packets) = passed(from, to, addresses[family]);
                assert!(
                    (200_000..ENOUGH).contains(&bytes),
                    "{bytes} bytes from {} to {}",
                    from.name,
                    to.name
                );
                assert!(packets > 0, "its packets wait in queues behind the stack");
            }
        }
        gate.paths.lock().remove_all().unwrap();
    }
}
