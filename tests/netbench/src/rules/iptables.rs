//! kube-proxy's iptables mode. Authority: `pkg/proxy/iptables/proxier.go` (syncProxyRules), the rules it writes for
//! ClusterIP and NodePort Services with session affinity `None` and policies `Cluster`.

use std::fmt::Write;

use super::{PORT, ServicePort};
use crate::rig::POD_RANGE;
use crate::server;

/// The input of `iptables-restore`.
pub(crate) fn rules(ports: &[ServicePort]) -> String {
    let mut chains = String::from(
        "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n",
    );
    let mut rules = String::from(
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n\
         -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
         -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n",
    );
    // Writing into a String cannot fail.
    for port in ports {
        let ServicePort { name, protocol, ip, node_port, endpoints } = port;
        let _ = writeln!(chains, ":KUBE-SVC-{name} - [0:0]");
        let comment = format!("-m comment --comment \"default/s{name} cluster IP\"");
        let at = format!("-p {protocol} -m {protocol} --dport");
        let _ = writeln!(rules, "-A KUBE-SERVICES {comment} -d {ip}/32 {at} {PORT} -j KUBE-SVC-{name}");
        if let Some(number) = node_port {
            let _ = writeln!(chains, ":KUBE-EXT-{name} - [0:0]");
            let _ = writeln!(rules, "-A KUBE-NODEPORTS {at} {number} -j KUBE-EXT-{name}");
            let _ = writeln!(rules, "-A KUBE-EXT-{name} -j KUBE-MARK-MASQ");
            let _ = writeln!(rules, "-A KUBE-EXT-{name} -j KUBE-SVC-{name}");
        }
        let _ = writeln!(
            rules,
            "-A KUBE-SVC-{name} {comment} ! -s {POD_RANGE} -d {ip}/32 {at} {PORT} -j KUBE-MARK-MASQ"
        );
        for (index, endpoint) in endpoints.iter().enumerate() {
            let chain = format!("KUBE-SEP-{name}-{index}");
            let _ = writeln!(chains, ":{chain} - [0:0]");
            let left = endpoints.len() - index;
            let chance = match left {
                1 => String::new(),
                _ => format!("-m statistic --mode random --probability {:.11} ", 1.0 / left as f64),
            };
            let _ = writeln!(rules, "-A KUBE-SVC-{name} {chance}-j {chain}");
            let _ = writeln!(rules, "-A {chain} -s {endpoint}/32 -j KUBE-MARK-MASQ");
            let to = server::PORT;
            let _ = writeln!(
                rules,
                "-A {chain} -p {protocol} -m {protocol} -j DNAT --to-destination {endpoint}:{to}"
            );
        }
    }
    rules.push_str("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n");
    rules.push_str(
        "*filter\n:KUBE-FORWARD - [0:0]\n:KUBE-SERVICES - [0:0]\n\
         -A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES\n-A FORWARD -j KUBE-FORWARD\n\
         -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n\
         -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n\
         -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n",
    );
    chains + &rules
}

#[cfg(test)]
mod tests {
    use super::super::ports;
    use super::*;

    #[test]
    fn each_endpoint_has_its_chain_and_its_chance() {
        let text = rules(&ports(2, 2));
        let count = |part: &str| text.matches(part).count();
        assert_eq!(count(":KUBE-SVC-"), 4, "two TCP ports, one of UDP, one served elsewhere");
        assert_eq!(count(":KUBE-SEP-"), 7);
        assert_eq!(count("--probability 0.50000000000"), 3, "the last endpoint takes what is left");
        assert_eq!(count("--dport 30080 "), 1);
        assert!(text.contains(
            "-A KUBE-SERVICES -m comment --comment \"default/s000001UDP cluster IP\" -d 10.192.0.2/32 -p udp"
        ));
    }
}
