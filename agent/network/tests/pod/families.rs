//! Pods with addresses of both families, and of IPv6 alone: what they reach, under which address, and what is left.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use xebec_network::{Hooks, host_device};

use crate::node::{Netns, Node, addresses, inside, ip};
use crate::{fresh_port, talk};

/// A machine outside, on a wire to a node that has a default route to it.
fn outside(node: &Netns) -> Netns {
    let outside = Netns::new("xout");
    ip(&format!("-n {} link add eth0 type veth peer name eth0 netns {}", node.0, outside.0));
    for (netns, last) in [(node, 1), (&outside, 2)] {
        ip(&format!("-n {} addr add 192.0.2.{last}/24 dev eth0", netns.0));
        ip(&format!("-n {} addr add 2001:db8::{last}/64 dev eth0 nodad", netns.0));
        ip(&format!("-n {} link set eth0 up", netns.0));
    }
    ip(&format!("-n {} route add default via 192.0.2.2", node.0));
    ip(&format!("-n {} route add default via 2001:db8::2", node.0));
    outside
}

/// What arrives at a socket of a namespace; whoever sends does so when the socket is there.
fn heard(at: &Netns, address: SocketAddr, send: impl FnOnce()) -> Option<IpAddr> {
    let (ready, listening) = std::sync::mpsc::channel();
    let hears = inside(at, move || {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        ready.send(()).unwrap();
        socket.recv_from(&mut [0; 16]).ok().map(|(_, from)| from.ip())
    });
    listening.recv().unwrap();
    send();
    hears.join().unwrap()
}

fn say(from: &Netns, own: IpAddr, to: SocketAddr) {
    let says = move || {
        let socket = UdpSocket::bind((own, 0)).unwrap();
        socket.send_to(b"x", to).unwrap();
    };
    inside(from, says).join().unwrap();
}

#[test]
fn pods_have_an_address_of_each_family() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let netns = Netns::new("xdual");
    let outside = outside(&netns);
    let mut node = Node::at(netns, "fd00:10:244:7::/64,10.244.7.0/24", Hooks::default());
    let (one, two) = (Netns::new("xone"), Netns::new("xtwo"));
    let first = node.call("ADD", "c-one", &one.path(), &Value::Null);
    let second = node.call("ADD", "c-two", &two.path(), &Value::Null);
    let (a, b) = (addresses(&first), addresses(&second));
    assert_eq!(a.iter().map(IpAddr::is_ipv6).collect::<Vec<_>>(), [true, false], "the primary family first");
    assert_eq!(first["ok"]["ips"][0]["gateway"], "fe80::1");
    assert_eq!(addresses(&node.call("ADD", "c-one", &one.path(), &Value::Null)), a, "a repeated ADD");
    assert!(node.call("CHECK", "c-one", &one.path(), &Value::Null).get("ok").is_some());
    assert_eq!(node.reservations(), 4);
    for family in [0, 1] {
        assert_eq!(talk(&one, &two, b[family]), a[family], "the server must see the client's own address");
        assert_eq!(talk(&two, &one, a[family]), b[family]);
    }
    // The node itself, and the world outside, which sees the node.
    assert_eq!(talk(&node.netns, &one, a[0]).to_string(), "2001:db8::1");
    for (address, sees) in [("2001:db8::2", "2001:db8::1"), ("192.0.2.2", "192.0.2.1")] {
        assert_eq!(talk(&one, &outside, address.parse().unwrap()).to_string(), sees);
    }

    // Under an address that is not its own nothing leaves a pod, of either family.
    for (own, foreign, outer) in
        [(a[0], "fd00:10:244:7::99", "2001:db8::2"), (a[1], "10.244.7.99", "192.0.2.2")]
    {
        let foreign: IpAddr = foreign.parse().unwrap();
        one.exec(&format!("ip addr add {foreign} dev eth0 {}", if foreign.is_ipv6() { "nodad" } else { "" }));
        for (at, to) in [(&two, b[usize::from(foreign.is_ipv4())]), (&outside, outer.parse().unwrap())] {
            let [heard_at, missed_at] = [(); 2].map(|()| SocketAddr::new(to, fresh_port()));
            let own_word = heard(at, heard_at, || say(&one, own, heard_at));
            assert!(own_word.is_some(), "from its own address to {to}");
            let foreign_word = heard(at, missed_at, || say(&one, foreign, missed_at));
            assert_eq!(foreign_word, None, "from {foreign} to {to}");
        }
    }
    // Nor does the node listen to a router in it, or have an address there.
    let device = host_device("c-one eth0");
    assert_eq!(node.netns.exec(&format!("cat /proc/sys/net/ipv6/conf/{device}/accept_ra")).trim(), "0");
    assert_eq!(node.netns.exec(&format!("ip -6 addr show dev {device}")), "");

    // A new server knows what is there; pods come and go as before.
    node.stop();
    node.start(Hooks::default());
    assert_eq!(addresses(&node.call("ADD", "c-one", &one.path(), &Value::Null)), a);
    for _ in 0..2 {
        assert_eq!(node.call("DEL", "c-one", &one.path(), &Value::Null), json!({"ok": null}));
    }
    let routes = node.netns.exec("ip -6 route") + &node.netns.exec("ip route");
    assert!(!routes.contains(&a[0].to_string()) && !routes.contains(&a[1].to_string()), "{routes}");
    assert!(routes.contains(&b[0].to_string()) && routes.contains(&b[1].to_string()), "{routes}");
    assert_eq!(node.reservations(), 2);
    node.stop();
    node.remove();
    assert_eq!(node.netns.exec("nft list ruleset"), "");
}

#[test]
fn a_node_that_loses_a_family_forgets_its_rules_and_listens_to_its_router_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let netns = Netns::new("xsix");
    let outer = outside(&netns);
    let hears =
        || std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_ra").unwrap().trim().to_owned();
    let parameter = |netns: &Netns| inside(netns, hears).join().unwrap();
    assert_eq!(parameter(&netns), "1");
    // A new namespace has what the machine's own has.
    inside(&netns, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap()).join().unwrap();
    let mut node = Node::at(netns, "fd00:10:244:7::/64", Hooks::default());
    assert_eq!(parameter(&node.netns), "2");
    assert_eq!(node.netns.exec("cat /proc/sys/net/ipv4/ip_forward").trim(), "0", "no business of ours");
    let pod = Netns::new("xpod");
    let added = node.call("ADD", "c-pod", &pod.path(), &Value::Null);
    assert_eq!(addresses(&added).len(), 1);
    assert_eq!(pod.exec("ip -4 -o addr show dev eth0"), "");
    assert_eq!(talk(&pod, &outer, "2001:db8::2".parse().unwrap()).to_string(), "2001:db8::1");
    assert!(node.netns.exec("nft list tables").contains("table ip6 xebec"));
    node.stop();
    node.options.pod_cidrs = vec!["10.244.7.0/24".parse().unwrap()];
    node.start(Hooks::default());
    assert_eq!(node.netns.exec("nft list tables").trim(), "table ip xebec");
    node.stop();
}
