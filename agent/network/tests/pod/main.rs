//! Two namespaces connected as pods, through the real socket, with real devices. Needs root; says so where it is not.
#![expect(clippy::unwrap_used, reason = "a test")]

mod families;
mod limits;
mod node;
mod peers;
mod talks;

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use xebec_network::ipam::Reservation;
use xebec_network::{Attachment, Gate, Hooks, HostPorts};

use crate::node::{Netns, Node, address, inside};

const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// A port that no server had before: one that ended may live on for a moment in a process that another test just forked.
fn fresh_port() -> u16 {
    static PORTS: AtomicU16 = AtomicU16::new(9000);
    PORTS.fetch_add(1, Ordering::Relaxed)
}

/// Connects from one pod to another; returns the peer address that the server saw.
fn talk(client: &Netns, server: &Netns, address: IpAddr) -> IpAddr {
    let (port, (ready, listening)) = (fresh_port(), std::sync::mpsc::channel());
    let accepted = inside(server, move || {
        let listener = TcpListener::bind((address, port)).unwrap();
        ready.send(()).unwrap();
        listener.accept().unwrap().1
    });
    listening.recv().unwrap();
    inside(client, move || {
        TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(5)).unwrap()
    })
    .join()
    .unwrap();
    accepted.join().unwrap().ip()
}

/// Lets all pods in but the one that the test calls forbidden, and says what it was asked.
struct Doorman;

impl Gate for Doorman {
    fn admit(&self, attachment: Attachment) -> BoxFuture<'_, Result<(), String>> {
        assert_eq!(attachment.namespace, "ns");
        assert!(attachment.index > 1);
        let address = attachment.addresses[0];
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
            let text = format!("{} {}", pod.pod, pod.addresses[0]);
            pod.ports.into_iter().map(move |port| format!("{text} {}", port.host_port))
        };
        let all: Vec<String> = pods.into_iter().flat_map(ports).collect();
        let refused = all.iter().any(|line| line.ends_with(" 9"));
        *self.0.lock() = all;
        Box::pin(std::future::ready(if refused { Err("port 9 is refused".to_owned()) } else { Ok(()) }))
    }
}

/// Runs work of the network in a namespace.
fn in_runtime<F: Future<Output = ()> + 'static>(netns: &Netns, work: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
    };
    inside(netns, run).join().unwrap();
}

#[test]
fn pods_reach_each_other_and_leave_nothing_behind() {
    let told = Arc::new(Told::default());
    let hooks = Hooks { gate: Some(Arc::new(Doorman)), host_ports: Some(told.clone()) };
    let Some(mut server) = Node::new("xnode", hooks) else {
        println!("skipped: namespaces need root");
        return;
    };
    let (one, two) = (Netns::new("xone"), Netns::new("xtwo"));
    let call =
        |command: &str, container: &str, netns: &str| server.call(command, container, netns, &Value::Null);
    let node = &server.netns;
    in_runtime(node, || async {
        for _ in 0..2 {
            xebec_network::add_local_address(DNS).await.unwrap();
        }
    });

    let first = call("ADD", "c-one", &one.path());
    let second = call("ADD", "c-two", &two.path());
    let (a, b) = (address(&first), address(&second));
    assert_ne!(a, b);
    // A repeated ADD (a runtime that was killed before it got the answer) keeps the address.
    assert_eq!(address(&call("ADD", "c-one", &one.path())), a);
    assert!(call("CHECK", "c-one", &one.path()).get("ok").is_some());
    assert!(node.exec("ip -4 -o addr show lo").contains("10.96.0.10/32"));
    assert!(one.exec("ip -4 -o addr show eth0").contains(&format!("{a}/32")));
    assert_eq!(talk(&one, &two, b), a, "the server must see the client's own address");
    assert_eq!(talk(&two, &one, a), b);
    assert!(node.exec("ip route").contains(&format!("{a} dev xeb")));

    for _ in 0..2 {
        assert_eq!(call("DEL", "c-one", &one.path()), json!({"ok": null}));
    }
    assert!(call("CHECK", "c-one", &one.path()).get("error").is_some());
    assert_eq!(call("DEL", "never-added", ""), json!({"ok": null}));
    assert!(!node.exec("ip route").contains(&a.to_string()));
    let bad = call("ADD", "c-three", "/run/netns/does-not-exist");
    assert!(bad["error"]["msg"].as_str().unwrap().contains("/run/netns/does-not-exist"), "{bad}");
    assert_eq!(server.reservations(), 1, "the failed ADD kept its address");

    // A pod that may not have its network yet has nothing of it; the runtime is told to try again later.
    let three = Netns::new("xthree");
    let refused = call("ADD", "c-forbidden", &three.path());
    assert_eq!(refused["error"]["code"], 11, "{refused}");
    let said = refused["error"]["msg"].as_str().unwrap();
    assert!(said.starts_with("pod ns/forbidden: 10.244.7.") && said.ends_with(" is forbidden"), "{said}");
    assert!(three.exec("ip -o link show").lines().count() == 1, "the pod has a link");
    assert_eq!(server.reservations(), 1, "the refused ADD kept its address");

    // Host ports answer before the ADD is over, go with the pod, and one that cannot answer is no pod's.
    let ports =
        |port: u16| json!({"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]});
    let mapped = server.call("ADD", "c-three", &three.path(), &ports(8080));
    assert_eq!(*told.0.lock(), [format!("ns/three {} 8080", address(&mapped))]);
    assert_eq!(call("DEL", "c-three", &three.path()), json!({"ok": null}));
    assert!(told.0.lock().is_empty());
    let refused = server.call("ADD", "c-three", &three.path(), &ports(9));
    assert_eq!(refused["error"]["msg"], "pod ns/three: port 9 is refused");
    assert!(told.0.lock().is_empty());
    assert_eq!(server.reservations(), 1, "the refused ADD kept its address");
    let told = server.conflist().unwrap();
    let capabilities =
        r#""capabilities":{"bandwidth":true,"io.kubernetes.cri.pod-annotations":true,"portMappings":true}"#;
    assert!(told.contains(capabilities), "{told}");

    // Under another's address nothing leaves a pod.
    let device = xebec_network::host_device("c-two eth0");
    let filter = format!("cat /proc/sys/net/ipv4/conf/{device}/rp_filter");
    assert_eq!(node.exec(&filter).trim(), "1");

    in_runtime(node, || async {
        for _ in 0..2 {
            xebec_network::remove_local_address(DNS).await.unwrap();
        }
    });
    assert!(!node.exec("ip -4 -o addr show lo").contains("10.96.0.10"));
    server.stop();
}
