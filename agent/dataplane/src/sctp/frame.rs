//! What every table has, whatever its service ports are: the hooks, and the look-ups that lead on from them.

use super::rules::{
    CLUSTER_IPS, FIREWALL_IPS, HOST_PORTS, HOST_PORTS_AT, JUMP_MARK, MARK, NO_ENDPOINT_NODE_PORTS,
    NO_ENDPOINT_SERVICES, NODE_IPS, NODE_PORT_IPS, Rules, SERVICE_IPS, SERVICE_NODE_PORTS, address,
};
use super::ruleset::keyword;
use crate::model::Family;

impl Rules<'_> {
    /// What every table has, whatever its service ports are.
    pub(super) fn frame(&mut self) {
        let ip = keyword(self.family);
        let addr = address(self.family);
        let loopback = if self.family == Family::V4 { "127.0.0.0/8" } else { "::1" };
        for name in [SERVICE_IPS, NO_ENDPOINT_SERVICES, FIREWALL_IPS, HOST_PORTS_AT] {
            self.set(name, true, &format!("type {addr} . inet_service : verdict ;"));
        }
        for name in [SERVICE_NODE_PORTS, NO_ENDPOINT_NODE_PORTS, HOST_PORTS] {
            self.set(name, true, "type inet_service : verdict ;");
        }
        for name in [CLUSTER_IPS, NODE_PORT_IPS, NODE_IPS] {
            self.set(name, false, &format!("type {addr} ;"));
        }
        let (own, family) = (self.addresses, self.family);
        for (name, list) in [(NODE_PORT_IPS, &own.node_ports), (NODE_IPS, &own.own)] {
            for address in list.iter().filter(|a| Family::of(a) == family) {
                self.element(name, address.to_string(), String::new());
            }
        }
        let at = |map: &str| format!("{ip} daddr . sctp dport vmap @{map}");
        let at_node = |set: &str, map: &str| format!("{ip} daddr @{set} sctp dport vmap @{map}");
        // As upstream, before any other filter and before the translation.
        let check = "meta l4proto sctp ct state new jump";
        for (name, hook, targets) in [
            ("filter-prerouting", "filter hook prerouting priority -110", &["firewall-check"][..]),
            ("filter-input", "filter hook input priority -110", &["endpoints-check"]),
            (
                "filter-forward",
                "filter hook forward priority -110",
                &["endpoints-check", "cluster-ips-check"],
            ),
            ("filter-output", "filter hook output priority -110", &["firewall-check"]),
            (
                "filter-output-post-dnat",
                "filter hook output priority -90",
                &["endpoints-check", "cluster-ips-check"],
            ),
        ] {
            let jumps = targets.iter().map(|target| format!("{check} {target}")).collect();
            self.chain(name, Some(hook), jumps);
        }
        for (name, hook, target) in [
            ("nat-prerouting", "nat hook prerouting priority -100", "services"),
            ("nat-output", "nat hook output priority -100", "services"),
            ("nat-postrouting", "nat hook postrouting priority 100", "masquerading"),
        ] {
            self.chain(name, Some(hook), vec![format!("meta l4proto sctp jump {target}")]);
        }
        let mut services = Vec::new();
        if let Some(pods) = &self.from_pods {
            services.push(format!("{ip} daddr @{CLUSTER_IPS} {ip} saddr != {pods} {JUMP_MARK}"));
        }
        services.extend([at(SERVICE_IPS), at_node(NODE_PORT_IPS, SERVICE_NODE_PORTS), at(HOST_PORTS_AT)]);
        services.push(format!("{ip} daddr != {loopback} {}", at_node(NODE_IPS, HOST_PORTS)));
        self.chain("services", None, services);
        self.chain("firewall-check", None, vec![at(FIREWALL_IPS)]);
        let none = vec![at(NO_ENDPOINT_SERVICES), at_node(NODE_PORT_IPS, NO_ENDPOINT_NODE_PORTS)];
        self.chain("endpoints-check", None, none);
        self.chain("cluster-ips-check", None, vec![format!("{ip} daddr @{CLUSTER_IPS} reject")]);
        self.chain("mark-for-masquerade", None, vec![format!("meta mark set meta mark or {MARK}")]);
        let masquerading = [
            format!("meta mark and {MARK} == 0 return"),
            format!("meta mark set meta mark xor {MARK}"),
            "masquerade fully-random".to_owned(),
        ];
        self.chain("masquerading", None, masquerading.to_vec());
    }
}
