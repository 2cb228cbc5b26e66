//! Two namespaces connected as pods, through the real socket, with real devices. Needs root; says so where it is not.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use xebec_network::ipam::Reservation;
use xebec_network::{Attachment, Gate, Hooks, HostPorts, Options};

const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// A network namespace that goes with the guard.
struct Netns(String);

impl Netns {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        ip(&format!("netns add {name}"));
        Self(name)
    }
    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
    fn exec(&self, line: &str) -> String {
        ip(&format!("netns exec {} {line}", self.0))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "del", &self.0]).status().ok();
    }
}

fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs work on a thread inside a namespace.
fn inside<T: Send + 'static>(
    netns: &Netns,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    use std::os::fd::AsFd;
    let file = std::fs::File::open(netns.path()).unwrap();
    std::thread::spawn(move || {
        rustix::thread::move_into_link_name_space(
            file.as_fd(),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .unwrap();
        work()
    })
}

/// Connects from one pod to another; returns the peer address that the server saw.
fn talk(client: &Netns, server: &Netns, address: Ipv4Addr) -> Ipv4Addr {
    let (ready, listening) = std::sync::mpsc::channel();
    let accepted = inside(server, move || {
        let listener = TcpListener::bind((address, 8080)).unwrap();
        ready.send(()).unwrap();
        listener.accept().unwrap().1
    });
    listening.recv().unwrap();
    inside(client, move || {
        TcpStream::connect_timeout(&(address, 8080).into(), Duration::from_secs(5)).unwrap()
    })
    .join()
    .unwrap();
    match accepted.join().unwrap() {
        SocketAddr::V4(peer) => *peer.ip(),
        SocketAddr::V6(peer) => panic!("{peer} is no IPv4 peer"),
    }
}

fn call(socket: &Path, command: &str, container: &str, netns: &str) -> Value {
    call_with(socket, command, container, netns, &Value::Null)
}

fn call_with(socket: &Path, command: &str, container: &str, netns: &str, ports: &Value) -> Value {
    let args = format!("K8S_POD_NAMESPACE=ns;K8S_POD_NAME={}", container.trim_start_matches("c-"));
    let request = json!({"command": command, "container_id": container, "netns": netns, "ifname": "eth0", "args": args,
        "config": {"cniVersion": "1.0.0", "runtimeConfig": {"portMappings": ports}}});
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request.to_string().as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

fn address(result: &Value) -> Ipv4Addr {
    result["ok"]["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32").parse().unwrap()
}

/// Lets all pods in but the one that the test calls forbidden, and says what it was asked.
struct Doorman;

impl Gate for Doorman {
    fn admit(&self, attachment: Attachment) -> BoxFuture<'_, Result<(), String>> {
        assert_eq!(attachment.namespace, "ns");
        assert!(attachment.index > 1);
        let address = attachment.address;
        let answer = match attachment.name.as_str() {
            "forbidden" => Err(format!("{address} is forbidden")),
            _ => Ok(()),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// Takes host ports down, as `pod address host-port`.
#[derive(Default)]
struct Told(parking_lot::Mutex<Vec<String>>);

impl HostPorts for Told {
    fn publish(&self, pods: Vec<Reservation>) -> BoxFuture<'static, Result<(), String>> {
        let ports = |pod: Reservation| {
            let text = format!("{} {}", pod.pod, pod.address);
            pod.ports.into_iter().map(move |port| format!("{text} {}", port.host_port))
        };
        let all: Vec<String> = pods.into_iter().flat_map(ports).collect();
        let refused = all.iter().any(|line| line.ends_with(" 9"));
        *self.0.lock() = all;
        Box::pin(std::future::ready(if refused { Err("port 9 is refused".to_owned()) } else { Ok(()) }))
    }
}

/// The server runs in a namespace of its own, as a node would, so that nothing of the machine is touched.
#[test]
fn pods_reach_each_other_and_leave_nothing_behind() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let node = Netns::new("xnode");
    let (one, two) = (Netns::new("xone"), Netns::new("xtwo"));
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        socket: folder.path().join("cni.sock"),
        ipam_dir: folder.path().join("ipam"),
        conf_dir: folder.path().join("conf"),
        pod_cidr: "10.244.7.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
    };
    let cancel = CancellationToken::new();
    let told = Arc::new(Told::default());
    let hooks = Hooks { gate: Some(Arc::new(Doorman)), host_ports: Some(told.clone()) };
    let (server_options, server_cancel) = (options.clone(), cancel.clone());
    let server = inside(&node, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..2 {
                xebec_network::add_local_address(DNS).await?;
            }
            xebec_network::run(server_options, hooks, server_cancel).await?;
            for _ in 0..2 {
                xebec_network::remove_local_address(DNS).await?;
            }
            Ok::<(), xebec_network::NetworkError>(())
        })
    });
    let conflist = options.conf_dir.join("10-xebec.conflist");
    for _ in 0..200 {
        if conflist.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    assert!(conflist.exists(), "the runtime was never told");

    let first = call(&options.socket, "ADD", "c-one", &one.path());
    let second = call(&options.socket, "ADD", "c-two", &two.path());
    let (a, b) = (address(&first), address(&second));
    assert_ne!(a, b);
    // A repeated ADD (a runtime that was killed before it got the answer) keeps the address.
    assert_eq!(address(&call(&options.socket, "ADD", "c-one", &one.path())), a);
    assert!(call(&options.socket, "CHECK", "c-one", &one.path()).get("ok").is_some());
    assert!(node.exec("ip -4 -o addr show lo").contains("10.96.0.10/32"));
    assert!(one.exec("ip -4 -o addr show eth0").contains(&format!("{a}/32")));
    assert_eq!(talk(&one, &two, b), a, "the server must see the client's own address");
    assert_eq!(talk(&two, &one, a), b);
    assert!(node.exec("ip route").contains(&format!("{a} dev xeb")));

    for _ in 0..2 {
        assert_eq!(call(&options.socket, "DEL", "c-one", &one.path()), json!({"ok": null}));
    }
    assert!(call(&options.socket, "CHECK", "c-one", &one.path()).get("error").is_some());
    assert_eq!(call(&options.socket, "DEL", "never-added", ""), json!({"ok": null}));
    assert!(!node.exec("ip route").contains(&a.to_string()));
    let bad = call(&options.socket, "ADD", "c-three", "/run/netns/does-not-exist");
    assert!(bad["error"]["msg"].as_str().unwrap().contains("/run/netns/does-not-exist"), "{bad}");
    assert_eq!(std::fs::read_dir(&options.ipam_dir).unwrap().count(), 1, "the failed ADD kept its address");

    // A pod that may not have its network yet has nothing of it; the runtime is told to try again later.
    let three = Netns::new("xthree");
    let refused = call(&options.socket, "ADD", "c-forbidden", &three.path());
    assert_eq!(refused["error"]["code"], 11, "{refused}");
    let said = refused["error"]["msg"].as_str().unwrap();
    assert!(said.starts_with("pod ns/forbidden: 10.244.7.") && said.ends_with(" is forbidden"), "{said}");
    assert!(three.exec("ip -o link show").lines().count() == 1, "the pod has a link");
    assert_eq!(std::fs::read_dir(&options.ipam_dir).unwrap().count(), 1, "the refused ADD kept its address");

    // Host ports answer before the ADD is over, go with the pod, and one that cannot answer is no pod's.
    let ports = |port: u16| json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
    let mapped = call_with(&options.socket, "ADD", "c-three", &three.path(), &ports(8080));
    assert_eq!(*told.0.lock(), [format!("ns/three {} 8080", address(&mapped))]);
    assert_eq!(call(&options.socket, "DEL", "c-three", &three.path()), json!({"ok": null}));
    assert!(told.0.lock().is_empty());
    let refused = call_with(&options.socket, "ADD", "c-three", &three.path(), &ports(9));
    assert_eq!(refused["error"]["msg"], "pod ns/three: port 9 is refused");
    assert!(told.0.lock().is_empty());
    assert_eq!(std::fs::read_dir(&options.ipam_dir).unwrap().count(), 1, "the refused ADD kept its address");
    assert!(std::fs::read_to_string(&conflist).unwrap().contains("\"portMappings\":true"));

    // Under another's address nothing leaves a pod.
    let device = xebec_network::host_device("c-two eth0");
    let filter = format!("cat /proc/sys/net/ipv4/conf/{device}/rp_filter");
    assert_eq!(node.exec(&filter).trim(), "1");

    cancel.cancel();
    server.join().unwrap().unwrap();
    assert!(!node.exec("ip -4 -o addr show lo").contains("10.96.0.10"));
}
