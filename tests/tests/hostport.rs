//! A pod at a port of the node: from outside, from the node and from pods, without the agent, and when the pod is gone.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use xebec_tests::{Namespace, Outage, PATIENCE, namespaced, program, shell_pod, until};

/// A network namespace on a wire to the node and with no other way, so that nobody else can answer it. It speaks UDP by
/// raw sockets: every other socket of this machine is translated in its own calls, before anything leaves.
struct Outside(String);

/// Of a network for measurements (RFC 2544): no Service is from there.
const NODE_END: &str = "198.18.77.1";
const PORT: u16 = 38_043;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Text(String),
    Unreachable,
}

impl Outside {
    fn new() -> Result<Self> {
        let outside = Self(format!("outside-{}", std::process::id()));
        let name = &outside.0;
        for line in [
            format!("netns add {name}"),
            format!("link add outside0 type veth peer name eth0 netns {name}"),
            format!("addr add {NODE_END}/24 dev outside0"),
            "link set outside0 up".to_owned(),
            format!("-n {name} addr add 198.18.77.2/24 dev eth0"),
            format!("-n {name} link set eth0 up"),
        ] {
            program("ip").words(&line).ok()?;
        }
        Ok(outside)
    }

    /// Sends a datagram to the port of the node, and reads what comes back.
    fn ask(&self) -> Result<Option<Reply>> {
        let namespace = File::open(format!("/run/netns/{}", self.0))?;
        let ask = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            exchange()
        };
        std::thread::spawn(ask).join().map_err(|_| anyhow!("the thread outside panicked"))?
    }

    fn is_refused(&self) -> Result<()> {
        until("it is refused outside", PATIENCE, || {
            Ok((self.ask()? == Some(Reply::Unreachable)).then_some(()))
        })
    }

    fn is_answered(&self) -> Result<()> {
        until("it is answered outside", PATIENCE, || match self.ask()? {
            // The pod tells whom it saw.
            Some(Reply::Text(text)) if text.contains("hello") => Ok(Some(())),
            other => bail!("{other:?}"),
        })
    }
}

fn exchange() -> Result<Option<Reply>> {
    const OWN_PORT: u16 = 40_001;
    let udp = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::UDP))?;
    let icmp = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?;
    let payload = b"hello";
    let length = 8 + payload.len() as u16;
    // No checksum, which IPv4 allows.
    let header = [OWN_PORT, PORT, length, 0].map(u16::to_be_bytes).concat();
    let node: Ipv4Addr = NODE_END.parse()?;
    let datagram = [header.as_slice(), payload].concat();
    sendto(&udp, &datagram, SendFlags::empty(), &SocketAddrV4::new(node, 0))?;
    let mut ready = [PollFd::new(&udp, PollFlags::IN), PollFd::new(&icmp, PollFlags::IN)];
    poll(&mut ready, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))?;
    let [text, error] = ready.map(|fd| fd.revents().contains(PollFlags::IN));
    let mut buffer = [0; 1500];
    if text {
        let (len, _) = recv(&udp, &mut buffer[..], RecvFlags::empty())?;
        let packet = buffer.get(20..len).context("no UDP header")?;
        ensure!(buffer[12..16] == node.octets(), "from another address: {:?}", &buffer[12..16]);
        ensure!(packet[..2] == PORT.to_be_bytes(), "from another port: {packet:?}");
        return Ok(Some(Reply::Text(String::from_utf8_lossy(&packet[8..]).into_owned())));
    }
    if !error {
        return Ok(None);
    }
    let (len, _) = recv(&icmp, &mut buffer[..], RecvFlags::empty())?;
    // Destination unreachable, port.
    Ok((len > 22 && buffer[20..22] == [3, 3]).then_some(Reply::Unreachable))
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The pair goes with one of its ends.
        for line in ["link del outside0".to_owned(), format!("netns del {}", self.0)] {
            program("ip").words(&line).ok().ok();
        }
    }
}

fn serve(ns: &Namespace, ports: serde_json::Value) -> Result<()> {
    ns.apply(shell_pod("web", "").container(json!({
        "image": "xebec.local/workload:1", "command": ["/bin/xebec-workload", "serve", "--udp-port", "8081"], "ports": ports,
    })))?;
    ns.ready("web")
}

#[test]
fn a_host_port_leads_to_its_pod_as_long_as_it_is_there() -> Result<()> {
    namespaced("host-port", |ns| {
        let outside = Outside::new()?;
        outside.is_refused()?;
        serve(
            ns,
            json!([
                {"containerPort": 8080, "hostPort": PORT},
                {"containerPort": 8081, "hostPort": PORT, "protocol": "UDP"},
            ]),
        )?;
        outside.is_answered()?;
        let from_node: SocketAddr = ([127, 0, 0, 1], PORT).into();
        ensure!(xebec_tests::get(from_node, "/")?.status == 200, "from the node's loopback");
        ns.apply(shell_pod("client", "sleep 600").container(json!({"image": "xebec.local/workload:1"})))?;
        ns.ready("client")?;
        let answer = ns.exec("client", &format!("wget -qO- http://{NODE_END}:{PORT}/"))?;
        ensure!(answer.starts_with("web "), "{answer}");
        let answer = ns.exec("client", &format!("/bin/xebec-workload udp {NODE_END}:{PORT} hello"))?;
        ensure!(answer.trim_end().ends_with(&format!("from={NODE_END}:{PORT}")), "{answer}");
        // Through the agent's death and return.
        let outage = Outage::kill("xebec-agent")?;
        outside.is_answered()?;
        outage.restart()?;
        outside.is_answered()?;
        ns.kubectl("delete pod web").ok()?;
        outside.is_refused()?;
        ensure!(xebec_tests::get(from_node, "/").is_err(), "the node still reaches it");
        // Another pod may have the port now.
        serve(ns, json!([{"containerPort": 8081, "hostPort": PORT, "protocol": "UDP", "hostIP": NODE_END}]))?;
        outside.is_answered()?;
        Ok(())
    })
}
