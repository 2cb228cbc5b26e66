//! Pods with limits of bandwidth: what passes in a second, and what is left when they are gone.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use xebec_network::{Attachment, Gate, Hooks, host_device};

use crate::fresh_port;
use crate::node::{Netns, Node, address, inside};

/// More than this is not what 8 Mbit/s carry in a second, with all that may go at once; less than the other end neither.
const BOUNDS: std::ops::Range<usize> = 200_000..3_000_000;

/// Bytes that arrive from one pod at another in a second, or [`BOUNDS`]' end if they are as many.
fn passed(client: &Netns, server: &Netns, address: IpAddr) -> usize {
    let (port, (ready, listening)) = (fresh_port(), std::sync::mpsc::channel());
    let receiving = inside(server, move || {
        let listener = TcpListener::bind((address, port)).unwrap();
        ready.send(()).unwrap();
        let (mut from, _) = listener.accept().unwrap();
        from.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (start, mut bytes, mut sum) = (Instant::now(), vec![0; 65_536], 0);
        while start.elapsed() < Duration::from_secs(1) && sum < BOUNDS.end {
            sum += from.read(&mut bytes).unwrap();
        }
        sum.min(BOUNDS.end)
    });
    listening.recv().unwrap();
    let sending = inside(client, move || {
        let mut to = TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(5)).unwrap();
        to.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        // Until the receiver has enough.
        while to.write_all(&[0; 65_536]).is_ok() {}
    });
    let sum = receiving.join().unwrap();
    sending.join().unwrap();
    sum
}

/// Lets all pods in but "late", and notes which are limited.
#[derive(Default)]
struct Doorman(Mutex<Vec<(String, bool)>>);

impl Gate for Doorman {
    fn admit(&self, attachment: Attachment) -> BoxFuture<'_, Result<(), String>> {
        let answer = if attachment.name == "late" { Err("too late".to_owned()) } else { Ok(()) };
        self.0.lock().push((attachment.name, attachment.limited));
        Box::pin(std::future::ready(answer))
    }
}

/// The names of the devices that what pods send waits on.
fn queues(node: &Node) -> Vec<String> {
    let listed = node.netns.exec("ip -o link show type ifb");
    listed.lines().map(|line| line.split(": ").nth(1).unwrap().to_owned()).collect()
}

/// The device of a container's.
fn queue(container: &str) -> String {
    host_device(&format!("{container} eth0")).replacen("xeb", "xi", 1)
}

#[test]
fn a_pod_is_as_fast_as_its_limits() {
    let doorman = Arc::new(Doorman::default());
    let hooks = Hooks { gate: Some(doorman.clone()), host_ports: None };
    let Some(node) = Node::new("xrate", hooks) else {
        println!("skipped: namespaces need root");
        return;
    };
    let (free, slow, other) = (Netns::new("xfree"), Netns::new("xslow"), Netns::new("xother"));
    let limits = |direction: &str| {
        let rate = json!({format!("{direction}Rate"): 8_000_000, format!("{direction}Burst"): u32::MAX});
        json!({"bandwidth": rate})
    };
    let unlimited = node.call("ADD", "c-free", &free.path(), &Value::Null);
    let receives = node.call("ADD", "c-slow", &slow.path(), &limits("Ingress"));
    assert_eq!(queues(&node), Vec::<String>::new());
    let sends = node.call("ADD", "c-other", &other.path(), &limits("egress"));
    assert_eq!(queues(&node), [queue("c-other")]);
    assert_eq!(
        *doorman.0.lock(),
        [("free".to_owned(), false), ("slow".to_owned(), true), ("other".to_owned(), true)]
    );
    let (free_address, slow_address) = (address(&unlimited), address(&receives));
    let held = passed(&free, &slow, slow_address);
    assert!(BOUNDS.contains(&held), "{held} bytes to a pod that may receive 8 Mbit/s");
    assert_eq!(passed(&slow, &free, free_address), BOUNDS.end, "what it sends is not limited");
    let held = passed(&other, &free, free_address);
    assert!(BOUNDS.contains(&held), "{held} bytes from a pod that may send 8 Mbit/s");
    assert_eq!(passed(&free, &other, address(&sends)), BOUNDS.end, "what it receives is not limited");

    // The same once more, as of a runtime that was killed before it got the answer.
    let again = node.call("ADD", "c-other", &other.path(), &limits("egress"));
    assert_eq!(address(&again), address(&sends));
    assert_eq!(queues(&node), [queue("c-other")]);
    assert_eq!(node.call("CHECK", "c-other", &other.path(), &limits("egress")), json!({"ok": null}));
    for _ in 0..2 {
        assert_eq!(node.call("DEL", "c-other", "", &Value::Null), json!({"ok": null}));
    }
    assert_eq!(queues(&node), Vec::<String>::new());
}

#[test]
fn nothing_is_left_of_a_limited_pod() {
    let doorman = Arc::new(Doorman::default());
    let hooks = || Hooks { gate: Some(doorman.clone()), host_ports: None };
    let Some(mut node) = Node::new("xleft", hooks()) else {
        println!("skipped: namespaces need root");
        return;
    };
    let pod = Netns::new("xpod");
    let limits = json!({"bandwidth": {
        "ingressRate": 1_000_000, "ingressBurst": 80_000, "egressRate": 2_000_000_000, "egressBurst": 8_000_000,
    }});

    // Neither of one that may not have its network, nor of one that cannot.
    let refused = node.call("ADD", "c-late", &pod.path(), &limits);
    assert_eq!(refused["error"]["msg"], "pod ns/late: too late");
    pod.exec("ip link add eth0 type veth peer name eth1");
    let refused = node.call("ADD", "c-pod", &pod.path(), &limits);
    assert!(refused["error"]["msg"].as_str().unwrap().starts_with("name eth0 in the pod"), "{refused}");
    pod.exec("ip link del eth0");
    let bad = json!({"bandwidth": {"egressRate": 1, "egressBurst": 1}});
    let refused = node.call("ADD", "c-pod", &pod.path(), &bad);
    assert_eq!(refused["error"]["code"], 4);
    let said = refused["error"]["msg"].as_str().unwrap();
    assert!(
        said.starts_with("CNI request: runtimeConfig.bandwidth: egressRate is 1, must be from"),
        "{said}"
    );
    assert_eq!((queues(&node), node.reservations()), (vec![], 0));

    // Of one whose namespace went, and its device with it: found at the next start, or by the runtime's GC.
    for by in ["start", "GC"] {
        address(&node.call("ADD", "c-pod", &pod.path(), &limits));
        assert_eq!(queues(&node), [queue("c-pod")]);
        node.netns.exec(&format!("ip link del {}", host_device("c-pod eth0")));
        if by == "start" {
            node.stop();
            assert_eq!(queues(&node), [queue("c-pod")]);
            node.start(hooks());
        } else {
            let gc = node.collect();
            assert_eq!(gc, json!({"ok": null}));
        }
        assert_eq!((queues(&node), node.reservations()), (vec![], 0), "{by}");
    }

    // All at once, and nothing of others'.
    node.netns.exec("ip link add xi0 type ifb");
    address(&node.call("ADD", "c-pod", &pod.path(), &limits));
    assert_eq!(queues(&node).len(), 2);
    node.stop();
    node.remove();
    assert_eq!(queues(&node), ["xi0"]);
    assert!(!node.netns.exec("ip -o link show").contains("xeb"));
}
