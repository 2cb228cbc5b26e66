//! The smallest rig: two namespaces on a wire. In one the clients, in the other the servers; the dataplane is on a cgroup
//! that only the clients are in.

use std::path::Path;

use xebec_dataplane::Options;

use crate::netns::{NetNs, unique, wire};
use crate::place::{Place, object_or_skip};

/// Clients, servers, and a place for a dataplane.
#[derive(Debug)]
pub struct Rig {
    // Dropped in this order.
    place: Place,
    /// Where clients are: 10.199.0.1, fd99::1.
    pub client_ns: NetNs,
    /// Where servers are: 10.199.0.2 and 10.199.1.1 to .7, fd99::2 and fd99:1::1.
    pub server_ns: NetNs,
    /// How its dataplane is installed.
    pub options: Options,
}

impl Rig {
    /// `None`, with the reason printed, where the machine cannot run this.
    pub fn new() -> Option<Self> {
        let object = object_or_skip()?;
        let id = unique();
        let (client, server) = (NetNs::new(format!("{id}c")), NetNs::new(format!("{id}s")));
        wire((&client, "wire"), (&server, "wire"), 1500);
        for (netns, n) in [(&client, 1), (&server, 2)] {
            netns.address("wire", &format!("10.199.0.{n}/24"));
            netns.address("wire", &format!("fd99::{n}/64"));
        }
        // The servers' addresses; the VIPs have no route anywhere.
        server.address("lo", "fd99:1::1/64");
        for i in 1..8 {
            server.address("lo", &format!("10.199.1.{i}/24"));
        }
        client.ip("route add 10.199.1.0/24 via 10.199.0.2");
        client.ip("route add fd99:1::/64 via fd99::2");
        let place = Place::new(&id, "node-a", object);
        let options = place.options.clone();
        Some(Self { place, client_ns: client, server_ns: server, options })
    }

    /// The cgroup of its clients.
    pub fn cgroup(&self) -> &Path {
        self.place.cgroup()
    }

    /// The base directory of the pins.
    pub fn pin_dir(&self) -> &Path {
        self.place.pin_dir()
    }

    /// Where its dataplane lives.
    pub fn place(&self) -> &Place {
        &self.place
    }
}
