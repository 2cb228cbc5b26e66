//! Xebec's own metrics: how full the maps are, what the programs counted, connections by service. Enters: the maps.
//! Leaves: text. What cannot be read is left out and logged.

use super::text::Text;
use crate::apply::Applier;
use crate::maps::pinned::PinnedMaps;
use crate::model::Family;

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The map.
    pub map: &'static str,
    /// Entries in use.
    pub entries: u64,
    /// The most there can be.
    pub max: u64,
}

/// In the order of [`xebec_abi::state::Stat`].
const SOCKET_EVENTS: [&str; 11] = [
    "translated",
    "no_endpoint",
    "retry",
    "exhausted",
    "reversed",
    "overflow",
    "affinity_hit",
    "tag_mismatch",
    "no_port",
    "unallocated",
    "denied",
];
/// In the order of [`xebec_abi::flow::PacketStat`].
const PACKET_EVENTS: [&str; 15] = [
    "translated",
    "flows",
    "rejected",
    "no_local_endpoint",
    "denied",
    "exhausted",
    "errors",
    "reselected",
    "established",
    "echoes",
    "unallocated",
    "sent_on_in_driver",
    "sent_on_to_node",
    "misdirected",
    "oversize",
];

/// Adds the maps' metrics.
pub(super) fn write(text: &mut Text, applier: &mut Applier<PinnedMaps>) {
    let name = "xebec_build_info";
    text.family(name, "gauge", "The version of this program.");
    text.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let help = "Service ports in the maps, one a family, the self-probe's included.";
    text.single("xebec_dataplane_service_ports", "gauge", help, applier.len() as f64);
    let mut fills = applier.fill();
    fills.extend(applier.maps().tracked().fill());
    for (name, help, of) in [
        ("map_entries", "Entries in use.", (|f: &Fill| f.entries) as fn(&Fill) -> u64),
        ("map_max_entries", "The most entries that fit.", |f| f.max),
    ] {
        let name = format!("xebec_dataplane_{name}");
        text.family(&name, "gauge", help);
        for fill in &fills {
            text.sample(&name, &[("map", fill.map)], of(fill) as f64);
        }
    }
    let sockets = applier.maps().counters();
    events(text, "socket", "What the socket programs did.", &SOCKET_EVENTS, sockets);
    let packets = applier.maps().tracked().counters();
    events(text, "packet", "What the packet programs did.", &PACKET_EVENTS, packets);
    connections(text, applier);
}

fn events(
    text: &mut Text,
    kind: &str,
    help: &str,
    names: &[&str],
    counters: Result<Vec<u64>, crate::maps::MapError>,
) {
    let counters = match counters {
        Ok(counters) => counters,
        Err(error) => {
            return tracing::warn!(error = %xebec_program::chain(&error), "cannot read the counters");
        }
    };
    let name = format!("xebec_dataplane_{kind}_events_total");
    text.family(&name, "counter", help);
    for (event, count) in names.iter().zip(counters) {
        text.sample(&name, &[("event", event)], count as f64);
    }
}

fn connections(text: &mut Text, applier: &mut Applier<PinnedMaps>) {
    let name = "xebec_dataplane_service_connections_total";
    text.family(name, "counter", "Connections and datagram flows that a service port gave an endpoint.");
    for (index, label, key) in applier.service_ports() {
        let Ok(count) = applier.maps().served().total(index) else { continue };
        let (service, port) = label.rsplit_once(':').unwrap_or((&label, ""));
        let (namespace, service) = service.split_once('/').unwrap_or(("", service));
        let family = if key.family() == Family::V4 { "IPv4" } else { "IPv6" };
        let protocol = key.protocol.to_string();
        let labels = [
            ("namespace", namespace),
            ("service", service),
            ("port", port),
            ("protocol", &protocol),
            ("ip_family", family),
        ];
        text.sample(name, &labels, count as f64);
    }
}

#[cfg(test)]
mod tests {
    use xebec_abi::flow::PacketStat;
    use xebec_abi::state::{STATS, Stat};

    use super::*;

    #[test]
    fn events_have_the_names_of_their_counters() {
        assert_eq!(SOCKET_EVENTS.len(), STATS as usize);
        assert_eq!(SOCKET_EVENTS[Stat::NoEndpoint as usize], "no_endpoint");
        assert_eq!(SOCKET_EVENTS[Stat::TagMismatch as usize], "tag_mismatch");
        assert_eq!(PACKET_EVENTS[PacketStat::NoLocal as usize], "no_local_endpoint");
        assert_eq!(SOCKET_EVENTS[Stat::Unallocated as usize], "unallocated");
        assert_eq!(SOCKET_EVENTS[Stat::Denied as usize], "denied");
        assert_eq!(PACKET_EVENTS[PacketStat::Unallocated as usize], "unallocated");
        assert_eq!(PACKET_EVENTS[PacketStat::Echoes as usize], "echoes");
        assert_eq!(PACKET_EVENTS[PacketStat::Oversize as usize], "oversize");
    }
}
