//! kube-proxy's nftables mode. Authority: KEP-3866; `pkg/proxy/nftables/proxier.go`, the rules it writes for ClusterIP and
//! NodePort Services with session affinity `None` and policies `Cluster`.

use std::fmt::Write;

use super::{PORT, ServicePort};
use crate::rig::{NODE, POD_RANGE};
use crate::server;

/// The input of `nft -f -`.
pub(crate) fn rules(ports: &[ServicePort]) -> String {
    let mut text =
        String::from("add table ip kube-proxy\ndelete table ip kube-proxy\ntable ip kube-proxy {\n");
    // Writing into a String cannot fail.
    for port in ports {
        let ServicePort { name, protocol, ip, node_port, endpoints } = port;
        let to = server::PORT;
        for (index, endpoint) in endpoints.iter().enumerate() {
            let _ = writeln!(
                text,
                " chain endpoint-{name}-{index} {{\n  ip saddr {endpoint} jump mark-for-masquerade\n  \
                 meta l4proto {protocol} dnat to {endpoint}:{to}\n }}"
            );
        }
        let choice: Vec<String> =
            (0..endpoints.len()).map(|index| format!("{index} : goto endpoint-{name}-{index}")).collect();
        let _ = writeln!(
            text,
            " chain service-{name} {{\n  ip daddr {ip} {protocol} dport {PORT} ip saddr != {POD_RANGE} jump \
             mark-for-masquerade\n  numgen random mod {} vmap {{ {} }}\n }}",
            endpoints.len(),
            choice.join(", "),
        );
        if node_port.is_some() {
            let _ = writeln!(
                text,
                " chain external-{name} {{\n  jump mark-for-masquerade\n  goto service-{name}\n }}"
            );
        }
    }
    let elements = |element: &dyn Fn(&ServicePort) -> Option<String>| {
        ports.iter().filter_map(element).collect::<Vec<_>>().join(",\n   ")
    };
    let addresses = elements(&|port| {
        let ServicePort { name, protocol, ip, .. } = port;
        Some(format!("{ip} . {protocol} . {PORT} : goto service-{name}"))
    });
    let numbers = elements(&|port| {
        let ServicePort { name, protocol, .. } = port;
        port.node_port.map(|number| format!("{protocol} . {number} : goto external-{name}"))
    });
    let _ = write!(
        text,
        " chain mark-for-masquerade {{\n  meta mark set meta mark or 0x4000\n }}\n \
         map service-ips {{\n  type ipv4_addr . inet_proto . inet_service : verdict\n  \
         elements = {{ {addresses} }}\n }}\n \
         map service-nodeports {{\n  type inet_proto . inet_service : verdict\n  elements = {{ {numbers} }}\n }}\n \
         set nodeport-ips {{\n  type ipv4_addr\n  elements = {{ {NODE} }}\n }}\n \
         chain services {{\n  ip daddr . meta l4proto . th dport vmap @service-ips\n  \
         ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports\n }}\n \
         chain masquerading {{\n  meta mark & 0x4000 == 0 return\n  meta mark set meta mark xor 0x4000\n  \
         masquerade fully-random\n }}\n \
         chain nat-prerouting {{\n  type nat hook prerouting priority dstnat; policy accept;\n  jump services\n }}\n \
         chain nat-output {{\n  type nat hook output priority -100; policy accept;\n  jump services\n }}\n \
         chain nat-postrouting {{\n  type nat hook postrouting priority srcnat; policy accept;\n  jump masquerading\n }}\n \
         chain filter-forward {{\n  type filter hook forward priority -110; policy accept;\n  \
         ct state invalid drop\n }}\n}}\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::ports;
    use super::*;

    #[test]
    fn each_port_is_an_element_and_each_endpoint_a_chain() {
        let text = rules(&ports(2, 2));
        let count = |part: &str| text.matches(part).count();
        assert_eq!(count(" chain service-"), 4, "two TCP ports, one of UDP, one served elsewhere");
        assert_eq!(count(" chain endpoint-"), 7);
        assert_eq!(count("numgen random mod 2"), 3);
        assert!(text.contains("10.192.0.2 . udp . 80 : goto service-000001UDP"));
        assert!(text.contains("elements = { tcp . 30080 : goto external-000001TCP,"));
    }
}
