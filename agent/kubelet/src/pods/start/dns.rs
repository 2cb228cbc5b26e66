//! A pod's resolv.conf. Enters: its dnsPolicy and dnsConfig, the cluster's DNS, the node's resolv.conf. Leaves: the
//! CRI's DNSConfig (pure, upstream's rules).

use k8s_openapi::api::core::v1::Pod;
use xebec_cri::messages::DnsConfig;
use xebec_host::machine::ResolvConf;

use crate::config::Config;
use crate::spec;

/// Upstream's limits: three servers, 32 search domains of 2048 characters together.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// The DNS settings of a pod; `node` is the node's own resolv.conf, parsed.
pub fn config(pod: &Pod, config: &Config, node: &ResolvConf) -> DnsConfig {
    let spec = spec::spec(pod);
    let on_host = spec::on_host_network(pod);
    let cluster = match spec.dns_policy.as_deref() {
        Some("None") => None,
        Some("Default") => Some(false),
        Some("ClusterFirstWithHostNet") => Some(true),
        _ => Some(!on_host),
    };
    let mut dns = match cluster {
        None => DnsConfig::default(),
        Some(true) if !config.cluster_dns.is_empty() => cluster_first(pod, config, node),
        Some(_) => DnsConfig {
            servers: node.servers.clone(),
            searches: node.searches.clone(),
            options: node.options.clone(),
        },
    };
    if let Some(extra) = &spec.dns_config {
        dns.servers.extend(extra.nameservers.clone().unwrap_or_default());
        dns.searches.extend(extra.searches.clone().unwrap_or_default());
        for option in extra.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            dns.options.retain(|known| known.split(':').next() != Some(name));
            dns.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.clone(),
            });
        }
    }
    limit(&mut dns);
    dns
}

fn cluster_first(pod: &Pod, config: &Config, node: &ResolvConf) -> DnsConfig {
    let domain = &config.cluster_domain;
    let own = [format!("{}.svc.{domain}", spec::namespace(pod)), format!("svc.{domain}"), domain.clone()];
    DnsConfig {
        servers: config.cluster_dns.clone(),
        searches: own.into_iter().chain(node.searches.iter().cloned()).collect(),
        options: vec!["ndots:5".to_owned()],
    }
}

fn limit(dns: &mut DnsConfig) {
    dedup(&mut dns.servers);
    dedup(&mut dns.searches);
    dns.servers.truncate(MAX_SERVERS);
    dns.searches.truncate(MAX_SEARCHES);
    while dns.searches.join(" ").len() > MAX_SEARCH_CHARS {
        dns.searches.pop();
    }
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xebec_host::machine::parse_resolv_conf;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    fn resolved(spec: serde_json::Value) -> DnsConfig {
        let node =
            parse_resolv_conf("nameserver 192.168.1.1 # router\nsearch lan. example.com\noptions edns0\n");
        config(&pod(spec), &Config::new("n", "10.0.0.1"), &node)
    }

    #[test]
    fn cluster_first_asks_the_cluster_and_searches_it_before_the_node() {
        let dns = resolved(json!({"containers": []}));
        assert_eq!(dns.servers, ["10.96.0.10"]);
        let searches = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan", "example.com"];
        assert_eq!(dns.searches, searches);
        assert_eq!(dns.options, ["ndots:5"]);
    }

    #[test]
    fn on_the_nodes_network_only_the_explicit_policy_asks_the_cluster() {
        let host = resolved(json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirst"}));
        assert_eq!(host.servers, ["192.168.1.1"]);
        assert_eq!(host.options, ["edns0"]);
        let policy = "ClusterFirstWithHostNet";
        let both = resolved(json!({"containers": [], "hostNetwork": true, "dnsPolicy": policy}));
        assert_eq!(both.servers, ["10.96.0.10"]);
    }

    #[test]
    fn a_pods_own_settings_add_and_override() {
        let none = resolved(json!({"containers": [], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"]}}));
        assert_eq!((none.servers, none.searches), (vec!["1.1.1.1".to_owned()], vec!["a.b".to_owned()]));
        let own = resolved(json!({"containers": [],
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]}}));
        assert_eq!(own.options, ["ndots:2", "rotate"]);
    }
}
