//! What a TCP socket is told it is connected to: by the table of peers, and by socket storage where a place is taken.

use aya::maps::{Array, Map, MapData};
use serde_json::json;
use xebec_abi::reverse::PEERS;
use xebec_rig::Rig;
use xebec_rig::client::Client;
use xebec_rig::objects::{Agent, service, slice, tcp_udp};
use xebec_rig::server::Server;

use crate::VIP;

const OTHER: &str = "10.196.77.2";
const VIP6: &str = "fd96::77";
const OTHER6: &str = "fd96::78";

/// How many places of a table are taken.
fn taken<const WORDS: usize>(rig: &Rig, name: &str) -> usize
where
    [u64; WORDS]: aya::Pod,
{
    let pin = rig.pin_dir().join(format!("v{}/maps/{name}", xebec_abi::LAYOUT_VERSION));
    let table: Array<_, [u64; WORDS]> = Array::try_from(Map::Array(MapData::from_pin(pin).unwrap())).unwrap();
    table.iter().filter(|peer| peer.as_ref().unwrap()[0] != 0).count()
}

#[test]
fn sockets_that_share_a_place_are_each_told_their_own_peer() {
    let Some(rig) = Rig::new() else { return };
    let servers = ["10.199.1.1:8080", "10.199.1.2:8080", "[fd99:1::1]:8080", "[fd99:1::1]:8081"];
    let names = ["A", "B", "A6", "B6"];
    let _servers: Vec<_> =
        servers.iter().zip(names).map(|(at, name)| Server::tcp(&rig.server_ns, at, name)).collect();
    let port = |name: &str| if name == "d" { 8081 } else { 8080 };
    let mut agent = Agent::new(&rig.options);
    let vips = [
        ("a", VIP, "10.199.1.1"),
        ("b", OTHER, "10.199.1.2"),
        ("c", VIP6, "fd99:1::1"),
        ("d", OTHER6, "fd99:1::1"),
    ];
    agent.sync(
        vips.iter().map(|(name, vip, _)| service(name, &[vip], tcp_udp(80), json!({}))).collect(),
        vips.iter().map(|(name, _, backend)| slice(name, port(name), "TCP", &[backend])).collect(),
    );
    let mut client = Client::start(&rig);
    for (a, b, backend) in [
        (format!("{VIP}:80"), format!("{OTHER}:80"), "10.199.1.2:8080"),
        (format!("[{VIP6}]:80"), format!("[{OTHER6}]:80"), "[fd99:1::1]:8081"),
    ] {
        let six = if a.starts_with('[') { "6" } else { "" };
        let answer = client.ask(&format!("crowd {PEERS} {a} {b}"));
        assert_eq!(answer, format!("A{six} {a},B{six} {b}"));
        // A connection to the pod itself, beside one to its Service at the same place.
        let answer = client.ask(&format!("crowd {PEERS} {b} {backend}"));
        assert_eq!(answer, format!("B{six} {b},B{six} {backend}"));
    }
    assert_eq!(
        (taken::<3>(&rig, "PEERS4"), taken::<6>(&rig, "PEERS6")),
        (0, 0),
        "closed sockets keep a place"
    );
}
