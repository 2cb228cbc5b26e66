//! What is measured, on whom, in which order. PURE.

/// Who carries a call to its Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Xebec, to the virtual IP.
    Xebec,
    /// Nobody: to a pod's own address.
    Direct,
    /// kube-proxy's rules of its iptables mode.
    Iptables,
    /// kube-proxy's rules of its nftables mode.
    Nftables,
}

/// All of them, in the order of the report.
pub(crate) const TARGETS: [Target; 4] = [Target::Xebec, Target::Direct, Target::Iptables, Target::Nftables];

impl Target {
    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Xebec => "xebec",
            Self::Direct => "direct",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }

    /// Whether it is somebody else's Services.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Iptables | Self::Nftables)
    }
}

/// Where the call comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A pod of the node, to a virtual IP.
    Pod,
    /// A machine outside, to a port of the node.
    Outside,
}

/// One measurement, taken on every target in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// What the report calls it.
    pub(crate) title: String,
    /// The client's kind of call.
    pub(crate) kind: &'static str,
    /// Where from.
    pub(crate) from: From,
    /// Which Service, of all.
    pub(crate) service: usize,
}

/// How many Services, in words.
pub(crate) fn count(services: usize) -> String {
    if services == 1 { "1 Service".to_owned() } else { format!("{services} Services") }
}

/// The measurements with `services` Services; those of open connections only once, with the `last` number.
pub(crate) fn steps(services: usize, last: bool) -> Vec<Step> {
    let step = |title: String, kind, from, service| Step { title, kind, from, service };
    let count = count(services);
    let mut steps = Vec::new();
    let positions = [("first", 0), ("middle", services / 2), ("last", services - 1)];
    for (position, service) in positions.into_iter().skip(if services == 1 { 2 } else { 0 }) {
        let of = if services == 1 { String::new() } else { format!(", to the {position}") };
        steps.push(step(format!("connect, ask, close; {count}{of}"), "crr", From::Pod, service));
    }
    let service = services - 1;
    steps.push(step(format!("the same from outside to a node port; {count}"), "crr", From::Outside, service));
    if last {
        for (title, kind, from) in [
            ("ask on an open connection", "rr", From::Pod),
            ("datagrams to and fro, socket connected", "udpc", From::Pod),
            ("datagrams to and fro, socket not connected", "udp", From::Pod),
            ("bytes on one connection", "stream", From::Pod),
            ("ask on an open connection from outside to a node port", "rr", From::Outside),
            ("bytes on one connection from outside to a node port", "stream", From::Outside),
        ] {
            steps.push(step(format!("{title}; {count}"), kind, from, service));
        }
    }
    steps
}

/// How many turns of how many seconds a kind of measurement gets. Bytes on one connection spread by half from one turn to the
/// next, whoever carries them, as it is chance where sender and receiver meet: only many turns have a median that says something.
pub(crate) fn turns(kind: &str, turns: usize, seconds: f64) -> (usize, f64) {
    if kind == "stream" { (turns * 4, seconds / 4.0) } else { (turns, seconds) }
}

/// The order in which the targets take turns: forth and back, so that a drift of the machine meets all.
pub(crate) fn order(targets: &[Target], rounds: usize) -> Vec<Target> {
    (0..rounds.max(1)).flat_map(|_| targets.iter().chain(targets.iter().rev())).copied().collect()
}

/// The virtual IP of a Service, by its number.
pub(crate) fn virtual_ip(service: usize) -> String {
    format!("10.{}.{}.{}", 192 + service / 62_500, service / 250 % 250, 1 + service % 250)
}

/// The port of the node that leads to a Service, for those that have one.
pub(crate) fn node_port(service: usize, services: usize) -> Option<u16> {
    (service + 1 == services).then_some(30_080)
}

/// The endpoints of a Service: the server's addresses for those that are called, others for the rest.
pub(crate) fn endpoints(service: usize, services: usize, count: u8) -> Vec<String> {
    let called = [0, services / 2, services - 1].contains(&service);
    let address = |n: u8| match called {
        true => crate::rig::server_address(n),
        false => format!("10.{}.{}.{n}", 128 + service / 62_500, service / 250 % 250 + 1),
    };
    (1..=count).map(address).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn turns_go_forth_and_back() {
        assert_eq!(order(&TARGETS[..2], 1), [Target::Xebec, Target::Direct, Target::Direct, Target::Xebec]);
        assert_eq!(order(&TARGETS, 3).len(), 24);
    }

    #[test]
    fn bytes_get_more_turns_in_the_same_time() {
        assert_eq!(turns("stream", 5, 0.4), (20, 0.1));
        assert_eq!(turns("rr", 5, 0.4), (5, 0.4));
    }

    #[test]
    fn every_service_has_an_address_of_its_own_in_the_range() {
        let all: HashSet<String> = (0..200_000).map(virtual_ip).collect();
        assert_eq!(all.len(), 200_000);
        assert!(
            all.iter()
                .all(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.octets()[1] & 0xf0 == 192))
        );
    }

    #[test]
    fn only_called_services_lead_to_the_server() {
        assert_eq!(endpoints(9, 10, 2), ["10.244.1.1", "10.244.1.2"]);
        assert_eq!(endpoints(1, 10, 2), ["10.128.1.1", "10.128.1.2"]);
        assert_eq!((node_port(9, 10), node_port(0, 10)), (Some(30_080), None));
    }

    #[test]
    fn one_service_has_no_positions() {
        assert_eq!(steps(1, false).len(), 2);
        assert_eq!(steps(1000, false).len(), 4);
        assert_eq!(steps(1000, true).len(), 10);
    }
}
